//! The seams of the tool registry.

use crate::{
    AgentName, Result, Tenant,
    tool::{Offer, Published, Registered, Source, ToolDefinition, ToolVersion, ToolWish},
    trace::TraceContext,
};
use async_trait::async_trait;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// What an agent may call, and one attempt of a call: all that a run knows of tools.
///
/// In the same process or behind HTTP, it behaves the same.
#[async_trait]
pub trait Tools: Send + Sync {
    /// For each wish the highest version in its range that is healthy and not quarantined, in the order of the
    /// wishes. `Invalid` names every wish that cannot be met and what there is; `Unavailable` where that may pass.
    async fn resolve(&self, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>>;

    /// The same where it is answered from memory and without fault; `None` where somebody must be asked, or told why not.
    fn offers_now(&self, agent: &AgentName, wishes: &[ToolWish]) -> Option<Vec<Offer>> {
        let _ = (agent, wishes);
        None
    }

    /// Takes one of the calls that the tool's `rate_limit` allows this agent in any 60 s, under the name of this send:
    /// taken twice under one name is taken once. Asked before a call is recorded as started, so that one that must wait is not.
    async fn admit(&self, call: &Invocation) -> Admission;

    /// Calls once: grant, rate, breaker, credentials, send, bounds of the result. Arguments are already checked
    /// and the start is recorded, except where [`Invocation::journalled`] is false: then they are checked here, and the call
    /// is recorded here under (tenant, tool, key) before it is sent.
    async fn invoke(&self, call: &Invocation) -> Invoked;

    /// Asks the tool's `probe_url` whether a call in doubt happened. [`Probed::Unknown`] where there is none.
    async fn probe(&self, call: &Invocation) -> Probed;
}

/// One attempt of a tool call.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// What to call, as the run began with it.
    pub tool: Arc<ToolDefinition>,
    /// Whether an operator wrote its URLs.
    pub trusted: bool,
    /// The arguments.
    pub arguments: Value,
    /// The Idempotency-Key.
    pub key: String,
    /// Names this very send: another attempt under the same key has another.
    pub send: String,
    /// The agent that calls.
    pub agent: AgentName,
    /// On whose behalf.
    pub tenant: Tenant,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The least of the tool's own time-out and what is left of the deadline.
    pub timeout: Duration,
    /// Whether a run's journal holds the record of this call, so that the registry need not make one.
    pub journalled: bool,
    /// Whether a person agreed to this very call, as a runtime elsewhere says.
    pub approved: bool,
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

/// The catalogue: what tools there are, and who may change that. The doors and the command line use it.
#[async_trait]
pub trait ToolRegistry: Tools {
    /// Tools by name, each version highest first: after `after`, at most `limit` names.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<ToolVersion>>;

    /// The versions of one tool, highest first. `NotFound` tells what there is.
    async fn versions(&self, name: &str) -> Result<Vec<ToolVersion>>;

    /// What an agent was granted, as its model is shown it. `NotFound` for no such agent.
    async fn granted(&self, agent: &AgentName) -> Result<Vec<Offer>>;

    /// The highest version in the range that an agent may call now, by name.
    async fn pick(&self, agent: &AgentName, name: &str, range: &VersionReq) -> Result<Offer, Refusal>;

    /// Takes a definition in, or renews its instance's lease. `Invalid` names what is wrong, `Conflict` the other contract
    /// under this version or the list of breaks, `Denied` another owner.
    async fn register(&self, registration: Registration) -> Result<Registered>;

    /// Takes one instance out; its version stays known. `NotFound` where it is not there, `Denied` for another owner's.
    async fn withdraw(&self, name: &str, instance: &str, principal: &Registrant) -> Result<()>;

    /// Forgets versions that registered themselves or were added: one, or all of a name. Returns how many.
    async fn remove(&self, name: &str, version: Option<&Version>, principal: &Registrant) -> Result<u64>;
}

/// A definition on its way in.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The definition as it came, to be mended and checked.
    pub definition: Value,
    /// Who brings it.
    pub by: Registrant,
    /// [`Source::Registered`], which expires, or [`Source::Added`], which stays.
    pub source: Source,
    /// Why an unproven version is taken in all the same; needs [`Registrant::admin`].
    pub override_reason: Option<String>,
}

/// Who changes the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrant {
    /// The principal.
    pub name: String,
    /// Whether it may act for every owner.
    pub admin: bool,
}

/// What a registry remembers: published versions, and the outcomes of calls by key.
///
/// Every write is durable when its call returns `Ok`, and can be made again.
#[async_trait]
pub trait ToolStore: Send + Sync {
    /// Remembers a version. The same contract again changes nothing but where it is [`Published::added`], and returns what is
    /// remembered; `Conflict` for another contract under this version, `Denied` for a name of another owner, `Exhausted` at 100,000 versions.
    async fn publish(&self, version: Published) -> Result<Published>;

    /// All versions of all tools.
    async fn published(&self) -> Result<Vec<Published>>;

    /// Forgets one version, or all of a name, which is then nobody's. Returns how many.
    async fn unpublish(&self, name: &str, version: Option<&Version>) -> Result<u64>;

    /// Opens the record of a call under (tenant, tool, key), before it is sent. `Invalid` for a key that is not 1 to 255 bytes.
    async fn open_call(&self, call: &LedgerKey, arguments_hash: &str) -> Result<Opened>;

    /// Records its outcome; a record without one stays open. The first outcome stays: another one later changes nothing.
    /// `NotFound` for a call that was never opened, `Invalid` for more than 1 MiB of JSON or one nested more than 100 deep.
    async fn close_call(&self, call: &LedgerKey, outcome: &Outcome) -> Result<()>;

    /// Takes an open record out: the call was not sent. One that has its outcome stays.
    async fn drop_call(&self, call: &LedgerKey) -> Result<()>;

    /// Forgets up to `limit` records opened longer than `keep` ago, at most 10,000 at once. Returns how many.
    async fn forget_calls(&self, keep: Duration, limit: usize) -> Result<u64>;
}

/// What names a call in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LedgerKey {
    /// On whose behalf.
    pub tenant: Tenant,
    /// The tool's name.
    pub tool: String,
    /// The Idempotency-Key.
    pub key: String,
}

/// A recorded outcome of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "result")]
pub enum Outcome {
    /// A result.
    Ok(Value),
    /// A failure that was a complete answer.
    Failed(Value),
}

/// What the ledger says to a call that is about to be sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Opened {
    /// It is new; it is recorded now.
    New,
    /// It was started before under the same arguments, and its outcome is not recorded.
    Before,
    /// It has its outcome: nothing is to be sent.
    Done(Outcome),
    /// The key was used with other arguments.
    OtherArguments,
}

/// Counts calls over a sliding window; every replica that shares it counts alike.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Takes one of `most` in any `window`, under a name: taken twice under one name, within the window, is taken once.
    /// [`Admission::After`] says when the oldest one in the way leaves the window; nothing is taken then.
    async fn take(&self, bucket: &str, most: u32, window: Duration, name: &str) -> Result<Admission>;
}
