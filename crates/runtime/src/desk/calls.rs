//! Calls of tools that come through a door, and what is asked before and after one.
//!
//! ```text
//! may they? ─► which version, for this agent ─┬─ direct ─────────────────────────────► the registry: checks, key, way, tool
//!                                             └─ of a run elsewhere ─► does it fit? ─► the registry: way, tool
//! ```
//! A caller who leaves does not stop a call: nobody else would learn how it went.

mod meant;
mod sends;

pub(super) use sends::Sends;

use super::{Act, Desk, IdempotencyKey};
use crate::spans;
use maniple_core::{
    AgentName, Error, Principal, Result, Tenant,
    event::ToolStatus,
    ports::{Admission, Audience, DirectCall, DirectOutcome, Idempotency, Invocation, Invoked, KeyWas, Probed, Refusal},
    tool::{Effect, Way},
    trace::TraceContext,
};
use semver::{Version, VersionReq};
use sends::{SendName, broke_off};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// Which call is meant.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// The tool.
    pub tool: String,
    /// The agent on whose grant it is called.
    pub agent: AgentName,
    /// The arguments.
    pub arguments: Map<String, Value>,
    /// The highest version in it that can be called is.
    pub range: VersionReq,
    /// The hash of the very contract that is meant; no other is called.
    pub contract: Option<String>,
    /// On whose behalf; another tenant than the principal's needs the scope `operator`.
    pub tenant: Option<Tenant>,
    /// How long it may take; never longer than the tool's own time-out.
    pub timeout: Option<Duration>,
    /// The caller's trace; one begins here otherwise.
    pub trace: Option<TraceContext>,
    /// Who listens while it is under way.
    pub audience: Option<Arc<dyn Audience>>,
}

/// Whose direct call it is, and under which key.
#[derive(Debug, Clone, Default)]
pub struct Direct {
    /// Who asks, where the principal asks for others: keys are each one's own. Without the scope `operator` it is a name within
    /// the principal's.
    pub principal: Option<String>,
    /// The key; one is made otherwise.
    pub key: Option<IdempotencyKey>,
}

/// What a run's journal calls a call.
#[derive(Debug, Clone)]
pub struct OfRun {
    /// Its key.
    pub key: String,
    /// Names this very send.
    pub send: String,
    /// The way that a person agreed to, if one did.
    pub agreed: Option<Way>,
}

/// A call that gave a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// What the tool answered, bounded.
    pub result: Value,
    /// The version that was called.
    pub version: Version,
    /// Whether another call under this key was sent, and this is its result.
    pub replayed: bool,
}

/// Why there is no result, or no answer.
#[derive(Debug, Clone)]
pub enum NoResult {
    /// What was asked cannot be asked.
    Refused(Error),
    /// How the call went instead.
    Went(Invoked),
}

impl From<Error> for NoResult {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}
impl From<Refusal> for NoResult {
    fn from(refusal: Refusal) -> Self {
        Self::Went(Invoked::Refused(refusal))
    }
}

impl Desk {
    /// Calls a tool for whoever came through a door. The same key again has the same outcome.
    pub async fn call(&self, who: &Principal, call: ToolCall, direct: Direct) -> Result<Called, NoResult> {
        Act::UseTools.by(who)?;
        let audience = call.audience.clone();
        let call = self.direct(who, call, direct).await?;
        let version = call.invocation().tool.version.clone();
        let DirectOutcome { invoked, replayed } = self.carried_out(call, audience).await;
        called(invoked, version, replayed)
    }

    /// Carries a call of a run elsewhere out. A send is made once: this very one again is told what came of it.
    pub async fn call_for_run(&self, who: &Principal, call: ToolCall, run: OfRun) -> Result<Called, NoResult> {
        Act::UseTools.by(who)?;
        let send = self.send_name(who, &call, &run)?;
        let taken = match self.sends.of(&send) {
            Some(taken) => taken,
            None => {
                let call = self.of_run(who, call, run).await?;
                self.parts.registry.check(&call).await?;
                let (version, timeout) = (call.0.tool.version.clone(), call.0.timeout);
                let (registry, gate) = (self.parts.registry.clone(), self.gate.clone());
                self.sends.take(send, version, timeout, async move {
                    match gate.call(&call.0.tenant) {
                        Some(_seat) => registry.invoke(&call).await,
                        None => full(),
                    }
                })
            }
        };
        let version = taken.version.clone();
        called(taken.outcome().await, version, false)
    }

    /// What came of a send whose answer was lost. `None` where this process does not know of it; nothing is sent.
    pub async fn came_of(&self, who: &Principal, call: &ToolCall, run: &OfRun) -> Result<Option<Called>, NoResult> {
        Act::UseTools.by(who)?;
        let Some(taken) = self.sends.of(&self.send_name(who, call, run)?) else { return Ok(None) };
        let version = taken.version.clone();
        called(taken.outcome().await, version, false).map(Some)
    }

    /// Takes a run's call its place under the tool's `rate_limit`; see [`maniple_core::ports::Tools::admit`].
    pub async fn admit(
        &self,
        who: &Principal,
        call: ToolCall,
        run: OfRun,
        key: Option<IdempotencyKey>,
    ) -> Result<(Admission, KeyWas), NoResult> {
        Act::UseTools.by(who)?;
        meant::is_a_runtime(who)?;
        let (key, tool) = (self.about(who, "admit", key, &call, json!({ "key": run.key, "send": run.send })).await?, call.tool.clone());
        let call = self.of_run(who, call, run).await?;
        let admission = self.parts.registry.admit(&call).await;
        Ok((admission, self.remember(who, key, &tool).await?))
    }

    /// Whether a run's call in doubt happened, as far as its tool can tell.
    pub async fn probe_for_run(
        &self,
        who: &Principal,
        call: ToolCall,
        run: OfRun,
        key: Option<IdempotencyKey>,
    ) -> Result<(Probed, KeyWas), NoResult> {
        Act::UseTools.by(who)?;
        meant::is_a_runtime(who)?;
        let (key, tool) = (self.about(who, "probe", key, &call, json!({ "key": run.key, "send": run.send })).await?, call.tool.clone());
        let call = self.of_run(who, call, run).await?;
        let probed = self.parts.registry.probe(&call).await;
        Ok((probed, self.remember(who, key, &tool).await?))
    }

    /// Whether a direct call in doubt happened, as far as its tool can tell; the call that is meant has the key of `direct`.
    pub async fn probe(
        &self,
        who: &Principal,
        call: ToolCall,
        direct: Direct,
        key: Option<IdempotencyKey>,
    ) -> Result<(Probed, KeyWas), NoResult> {
        Act::UseTools.by(who)?;
        let named = json!({ "principal": direct.principal, "key": direct.key.as_ref().map(IdempotencyKey::as_str) });
        let (key, tool) = (self.about(who, "probe", key, &call, named).await?, call.tool.clone());
        let call = self.direct(who, call, direct).await?;
        let probed = self.parts.registry.probe_call(&call).await;
        Ok((probed, self.remember(who, key, &tool).await?))
    }

    /// The key under which a question about a call is asked itself.
    async fn about(
        &self,
        who: &Principal,
        what: &str,
        key: Option<IdempotencyKey>,
        call: &ToolCall,
        named: Value,
    ) -> Result<Option<Idempotency>> {
        let said = json!({
            "agent": call.agent, "arguments": call.arguments, "version": call.range, "contract": call.contract, "tenant": call.tenant,
            "timeout_ms": call.timeout.map(|timeout| timeout.as_millis() as u64), "call": named,
        });
        self.recall(who, key.map(|key| key.of_saying(format!("/tools/{}/{what}", call.tool), &said))).await
    }

    fn send_name(&self, who: &Principal, call: &ToolCall, run: &OfRun) -> Result<SendName> {
        meant::is_a_runtime(who)?;
        Ok(SendName {
            principal: (who.tenant.clone(), who.name.clone()),
            tenant: meant::tenant(who, call)?,
            tool: call.tool.clone(),
            key: run.key.clone(),
            send: run.send.clone(),
        })
    }

    async fn carried_out(&self, call: DirectCall, audience: Option<Arc<dyn Audience>>) -> DirectOutcome {
        let Some(seat) = self.gate.call(&call.invocation().tenant) else { return full().into() };
        let registry = self.parts.registry.clone();
        let span = spans::direct_call(call.invocation());
        call.invocation().trace.iter().for_each(|trace| (self.parts.tracing.adopt)(&span, trace));
        let call = call.traced((self.parts.tracing.context)(&span));
        let work = async move {
            let begun = Instant::now();
            let key = call.invocation().key.clone();
            let is_attended = audience.map(|audience| registry.attend(&key, audience)).is_some();
            let outcome = registry.call(&call).await;
            if is_attended {
                registry.leave(&key);
            }
            drop(seat);
            if !outcome.replayed {
                count(call.invocation(), &outcome.invoked, begun.elapsed());
            }
            outcome
        };
        tokio::spawn(work.instrument(span)).await.unwrap_or_else(|_| broke_off().into())
    }
}

/// Counts a call as those of runs are.
fn count(call: &Invocation, invoked: &Invoked, took: Duration) {
    let status = match invoked {
        Invoked::Ok(_) => ToolStatus::Ok,
        Invoked::Refused(_) => ToolStatus::Refused,
        Invoked::Unknown(_) if call.tool.effect() == Effect::AtMostOnce => ToolStatus::InDoubt,
        Invoked::Failed(_) | Invoked::NotSent(_) | Invoked::Wait(..) | Invoked::Unknown(_) => ToolStatus::Error,
    };
    if let Some(cause) = spans::cause(invoked) {
        spans::went_wrong(&Span::current(), &cause);
    }
    metrics::counter!("maniple_tool_calls_total", "tool" => call.tool.name.clone(), "status" => status.as_str()).increment(1);
    if status != ToolStatus::Refused {
        metrics::histogram!("maniple_tool_call_seconds", "tool" => call.tool.name.clone(), "status" => status.as_str()).record(took);
    }
}

fn called(invoked: Invoked, version: Version, replayed: bool) -> Result<Called, NoResult> {
    match invoked {
        Invoked::Ok(result) => Ok(Called { result, version, replayed }),
        other => Err(NoResult::Went(other)),
    }
}

fn full() -> Invoked {
    Invoked::NotSent("this node has all the tool calls it takes at once".into())
}
