//! A call of a tool: what is sent, on whose word, and how it went.
//!
//! | | a run's | a direct one |
//! |---|---|---|
//! | comes from | a run, here or in a runtime elsewhere | a door |
//! | arguments, grant, consent | its journal has seen to them | the registry checks them |
//! | key | `{task_id}:{step}:{index}` | `{tenant}/call/{principal}/{key}` |
//! | record | its journal | the ledger |
//! | its definition is no more | it ends on it all the same, where an operator wrote it | refused |

use super::LedgerKey;
use crate::{
    AgentName, Tenant,
    tool::{ToolDefinition, Way},
    trace::TraceContext,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{mem, sync::Arc, time::Duration};

/// One attempt of a tool call, as it is sent: what a call of a run and a call at a door have in common.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// What to call.
    pub tool: Arc<ToolDefinition>,
    /// Whether an operator wrote its URLs.
    pub trusted: bool,
    /// The arguments.
    pub arguments: Value,
    /// The Idempotency-Key, as the tool is shown it.
    pub key: String,
    /// Names this very send: another attempt under the same key has another.
    pub send: String,
    /// The agent that calls.
    pub agent: AgentName,
    /// On whose behalf.
    pub tenant: Tenant,
    /// Of a call that a person agreed to: the way they agreed to. It is sent no other.
    pub agreed: Option<Way>,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The least of the tool's own time-out and what is left of the deadline.
    pub timeout: Duration,
}

/// A call of a run. The run's journal has seen to the arguments, the grant and a person's consent, and is the record of the
/// call; its key is the journal's too: `{task_id}:{step}:{index}`, with `{tenant}/` before it outside the default tenant.
#[derive(Debug, Clone)]
pub struct RunCall(pub Invocation);

/// A call that came through a door, of a principal that named it or had it named. The registry sees to its arguments and its
/// grant, and keeps the record of it.
#[derive(Debug, Clone)]
pub struct DirectCall {
    principal: String,
    key: String,
    invocation: Invocation,
}

impl DirectCall {
    /// The principal's call, where [`Invocation::key`] is the key that it gave. The tool is shown
    /// `{tenant}/call/{principal}/{key}`, which is no other principal's key and no run's.
    pub fn new(principal: impl Into<String>, mut invocation: Invocation) -> Self {
        let principal = principal.into();
        let key = mem::take(&mut invocation.key);
        invocation.key = format!("{}/call/{}/{key}", invocation.tenant, in_a_path(&principal));
        Self { principal, key, invocation }
    }
    /// The same in another trace.
    pub fn traced(mut self, trace: Option<TraceContext>) -> Self {
        self.invocation.trace = trace.or(self.invocation.trace);
        self
    }
    /// Who asks.
    pub fn principal(&self) -> &str {
        &self.principal
    }
    /// The key as the principal gave it.
    pub fn key(&self) -> &str {
        &self.key
    }
    /// As it is sent.
    pub fn invocation(&self) -> &Invocation {
        &self.invocation
    }
    /// What names it in the ledger.
    pub fn ledger_key(&self) -> LedgerKey {
        let Invocation { tenant, tool, .. } = &self.invocation;
        LedgerKey { tenant: tenant.clone(), principal: self.principal.clone(), tool: tool.name.clone(), key: self.key.clone() }
    }
}

/// A name as one segment of a path: what could end it or cannot stand in a header is percent-encoded.
fn in_a_path(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b':' => segment.push(byte.into()),
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

/// How a direct call went.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectOutcome {
    /// Its outcome.
    pub invoked: Invoked,
    /// Whether another call under this key was sent, and this is its outcome: nothing was sent now.
    pub replayed: bool,
}

impl From<Invoked> for DirectOutcome {
    /// The outcome of this very call.
    fn from(invoked: Invoked) -> Self {
        Self { invoked, replayed: false }
    }
}

/// Whether a call may go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may: one of the calls of the last 60 s is this one.
    Now,
    /// Not before this has passed; at most 60 s.
    After(Duration),
}

/// How one attempt of a tool call went.
#[derive(Debug, Clone, PartialEq)]
pub enum Invoked {
    /// A complete answer that is a result, already bounded.
    Ok(Value),
    /// A complete answer that is a failure, already bounded.
    Failed(Value),
    /// Not a byte was written: it did not happen.
    NotSent(String),
    /// Not a byte was written, and trying again before this has passed is no use.
    Wait(String, Duration),
    /// Not a byte was written, and trying again is no use: the arguments, the grant, a quarantine, the egress rules.
    Refused(Refusal),
    /// It may have happened; nobody knows.
    Unknown(String),
}

/// Why a call is not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What sort of reason.
    pub kind: RefusalKind,
    /// For the model and for people.
    pub message: String,
}

/// The sorts of reasons why a call is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The arguments do not fit the tool's parameters.
    Arguments,
    /// The agent was not granted the tool.
    NotGranted,
    /// There is no such tool, or no such version.
    NotFound,
    /// It is not what `tools.lock` says.
    Quarantined,
    /// The key was used with other arguments.
    KeyReused,
    /// The egress rules, or the hosts of the credential, forbid it.
    Forbidden,
    /// A person must agree first, and nobody can be asked here.
    NeedsApproval,
}

impl RefusalKind {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::NotGranted => "not_granted",
            Self::NotFound => "not_found",
            Self::Quarantined => "quarantined",
            Self::KeyReused => "key_reused",
            Self::Forbidden => "forbidden",
            Self::NeedsApproval => "needs_approval",
        }
    }
}

/// What a probe of a call in doubt said.
#[derive(Debug, Clone, PartialEq)]
pub enum Probed {
    /// It happened, with this result, already bounded.
    Happened(Value),
    /// It did not, and never will.
    DidNot,
    /// Nobody knows.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusals_name_is_what_is_written() {
        use RefusalKind::*;
        for kind in [Arguments, NotGranted, NotFound, Quarantined, KeyReused, Forbidden, NeedsApproval] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    fn direct(tenant: &str, principal: &str, key: &str) -> DirectCall {
        let tool = json!({ "name": "pay", "version": "1.0.0", "description": "d", "endpoint": "http://x.test/" });
        let invocation = Invocation {
            tool: Arc::new(serde_json::from_value(tool).unwrap()),
            trusted: false,
            arguments: json!({}),
            key: key.into(),
            send: "s".into(),
            agent: AgentName::parse("a").unwrap(),
            tenant: Tenant::parse(tenant).unwrap(),
            agreed: None,
            trace: None,
            timeout: Duration::from_secs(1),
        };
        DirectCall::new(principal, invocation)
    }

    #[test]
    fn the_key_of_a_direct_call_is_its_tenants_and_its_principals() {
        let call = direct("default", "ann", "order/7");
        assert_eq!((call.principal(), call.key(), &*call.invocation().key), ("ann", "order/7", "default/call/ann/order/7"));
        assert_eq!(direct("acme", "a/b", "7").invocation().key, "acme/call/a%2Fb/7");
        assert_eq!(direct("acme", "Jürgen R.", "7").invocation().key, "acme/call/J%C3%BCrgen%20R./7", "it travels in a header");
        assert_ne!(direct("acme", "a", "b/7").invocation().key, direct("acme", "a/b", "7").invocation().key);
    }

    #[test]
    fn no_key_of_a_run_is_that_of_a_direct_call_and_no_tenants_is_anothers() {
        let (tenants, tasks) = (["default", "acme", "call", "acme.call"], ["job-1", "x:call:ann", "acme:1", "call"]);
        let mut keys = std::collections::BTreeSet::new();
        let mut count = 0;
        for tenant in tenants {
            // What cannot be a tenant's name or a task's id is what could make one look like the other.
            assert!(Tenant::parse(&format!("{tenant}/call/ann")).is_err() && crate::TaskId::parse(&format!("x/call/{tenant}")).is_err());
            let tenant_of_task = Tenant::parse(tenant).unwrap();
            for task in tasks {
                let prefix = if tenant_of_task.is_default() { String::new() } else { format!("{tenant}/") };
                keys.insert(format!("{prefix}{task}:1:0"));
                for principal in ["ann", "call", "acme/call", "%2F", ""] {
                    for given in [format!("{task}:1:0"), format!("acme/{task}:1:0"), format!("ann/{task}:1:0")] {
                        keys.insert(direct(tenant, principal, &given).invocation().key.clone());
                        count += 1;
                    }
                }
                count += 1;
            }
        }
        assert_eq!(keys.len(), count, "each is its own");
    }
}
