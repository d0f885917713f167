//! The seams of the tool registry.

mod audience;
mod call;
mod ledger;

pub use audience::Audience;
pub use call::{Admission, DirectCall, DirectOutcome, Invocation, Invoked, Probed, Refusal, RefusalKind, RunCall};
pub use ledger::{LedgerKey, Opened, Opening, Outcome};

use crate::{
    AgentName, Result, Tenant,
    tool::{LeftOut, Offer, Published, Realm, Registered, Source, ToolVersion, ToolWish},
};
use async_trait::async_trait;
use semver::{Version, VersionReq};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// What an agent may call, and one attempt of a run's call: all that a run knows of tools.
///
/// A name is looked up among the node's tools first, then among the tenant's own: an agent's tools may differ by tenant. In the same process or behind HTTP, it behaves the same.
#[async_trait]
pub trait Tools: Send + Sync {
    /// For each wish the highest version in its range that is healthy and not quarantined, in the order of the
    /// wishes. One that nothing can be had for now, or that nothing is known for any more, is left out. `Unavailable` where
    /// nobody can say now, `Invalid` for a tool that is wished for twice.
    async fn resolve(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>>;

    /// The same where it is answered from memory and without fault; `None` where somebody must be asked, or told why not.
    fn offers_now(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Option<Vec<Offer>> {
        let _ = (tenant, agent, wishes);
        None
    }

    /// Takes one of the calls that the tool's `rate_limit` allows this agent in any 60 s, under the name of this send:
    /// taken twice under one name is taken once. Asked before a call is recorded as started, so that one that must wait is not.
    async fn admit(&self, call: &RunCall) -> Admission;

    /// Calls once: rate, breaker, credentials, send, bounds of the result. Nothing of it is recorded: the run's journal says what
    /// is about to be sent, and what came of it.
    async fn invoke(&self, call: &RunCall) -> Invoked;

    /// Asks the tool's `probe_url` whether a call in doubt happened. [`Probed::Unknown`] where there is none.
    async fn probe(&self, call: &RunCall) -> Probed;
}

/// The catalogue, and the calls that come through a door. The doors and the command line use it.
///
/// Whoever looks sees what serves a tenant's runs: the node's tools and that tenant's own. Another tenant's are not there, nor
/// does an error name them. Whoever changes something changes what is the registrant's: see [`Registrant::realm`].
#[async_trait]
pub trait ToolRegistry: Tools {
    /// Calls for whoever came through a door: arguments and grant are checked, and the call is recorded under (tenant, principal,
    /// tool, key) before it is sent. The same key again has the same outcome, whichever process of the registry is asked: one that
    /// is under way is waited for, at most [`Invocation::timeout`].
    async fn call(&self, call: &DirectCall) -> DirectOutcome;

    /// From now on, until [`ToolRegistry::leave`], this audience hears the call of that [`Invocation::key`], where the registry is in
    /// this process.
    fn attend(&self, key: &str, audience: Arc<dyn Audience>) {
        let _ = (key, audience);
    }

    /// Nobody listens to that call any more.
    fn leave(&self, key: &str) {
        let _ = key;
    }

    /// Asks the tool's `probe_url` whether a direct call in doubt happened. [`Probed::Unknown`] where there is none.
    async fn probe_call(&self, call: &DirectCall) -> Probed;

    /// Whether the arguments fit and the agent was granted the tool. A run's journal has seen to that; a door asks it all the same
    /// for a run elsewhere, whose journal it does not see.
    async fn check(&self, call: &RunCall) -> Result<(), Refusal>;

    /// Tools by name, each version highest first: after `after`, at most `limit` names.
    async fn list(&self, tenant: &Tenant, after: Option<&str>, limit: usize) -> Result<Vec<ToolVersion>>;

    /// The versions of one tool, highest first. `NotFound` tells what there is.
    async fn versions(&self, tenant: &Tenant, name: &str) -> Result<Vec<ToolVersion>>;

    /// What of the imports is no tool, by import.
    async fn left_out(&self) -> Result<Vec<LeftOut>>;

    /// What an agent was granted, as its model is shown it. `NotFound` for no such agent.
    async fn granted(&self, tenant: &Tenant, agent: &AgentName) -> Result<Vec<Offer>>;

    /// The highest version in the range that an agent may call now, by name.
    async fn pick(&self, tenant: &Tenant, agent: &AgentName, name: &str, range: &VersionReq) -> Result<Offer, Refusal>;

    /// Takes a definition in, or renews its instance's lease. `Invalid` names what is wrong, `Conflict` the other contract
    /// under this version or the list of breaks, `Denied` another owner or a name of the node's, `Exhausted` the quota that is used up.
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
    /// Why an unproven version is taken in all the same; needs [`Registrant::admin`] or [`Registrant::operator`].
    pub override_reason: Option<String>,
}

/// Who changes the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrant {
    /// The principal, with `{tenant}/` before it outside the default tenant.
    pub name: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// Whether it may act for every owner of its tenant.
    pub admin: bool,
    /// Whether it may act on the node: what it brings serves every tenant.
    pub operator: bool,
}

impl Registrant {
    /// Among whose names what it brings stands: an operator's among the node's, anybody else's among its tenant's.
    pub fn realm(&self) -> Realm {
        if self.operator { Realm::Node } else { Realm::Of(self.tenant.clone()) }
    }
    /// Whether it may act for every owner of its realm.
    pub fn is_over_all(&self) -> bool {
        self.admin || self.operator
    }
}

/// What a registry remembers: published versions, and the outcomes of calls by key.
///
/// Every write is durable when its call returns `Ok`, and can be made again.
#[async_trait]
pub trait ToolStore: Send + Sync {
    /// Remembers a version; a name of one realm is another one than that of another realm. The same contract again changes nothing but where it is [`Published::added`], and returns what is
    /// remembered; `Conflict` for another contract under this version, `Denied` for a name of another owner, `Exhausted` at 100,000 versions.
    async fn publish(&self, version: Published) -> Result<Published>;

    /// All versions of all tools, by realm, name and version.
    async fn published(&self) -> Result<Vec<Published>>;

    /// Forgets one version, or all of a name of a realm, which is then nobody's. Returns how many.
    async fn unpublish(&self, realm: &Realm, name: &str, version: Option<&Version>) -> Result<u64>;

    /// Opens the record of a call before it is sent, or says what the record holds. Whoever is told [`Opened::New`] or
    /// [`Opened::Again`] holds the call for [`Opening::lease`], on the store's clock, and may send it; asking again under the same
    /// [`Opening::holder`] is answered alike. `Invalid` for a key that is not 1 to 255 bytes.
    async fn open_call(&self, call: &LedgerKey, opening: &Opening) -> Result<Opened>;

    /// Holds an open record for so long from now. False where it is not this holder's any more.
    async fn renew_call(&self, call: &LedgerKey, holder: &str, lease: Duration) -> Result<bool>;

    /// Records its outcome, whoever holds it. The first outcome stays: another one later changes nothing.
    /// `NotFound` for a call that was never opened, `Invalid` for more than 1 MiB of JSON or one nested more than 100 deep.
    async fn close_call(&self, call: &LedgerKey, outcome: &Outcome) -> Result<()>;

    /// Lets go of an open record: the call was sent, and nobody knows how it went. Changes nothing for another holder's.
    async fn leave_call(&self, call: &LedgerKey, holder: &str) -> Result<()>;

    /// The call was not sent: takes its open record out, or where an earlier holder may have sent it lets go of it. Changes nothing
    /// for another holder's, nor where there is an outcome.
    async fn drop_call(&self, call: &LedgerKey, holder: &str) -> Result<()>;

    /// Forgets up to `limit` records opened longer than `keep` ago, at most 10,000 at once. Returns how many.
    async fn forget_calls(&self, keep: Duration, limit: usize) -> Result<u64>;
}

/// Counts calls over a sliding window; every replica that shares it counts alike.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Takes one of `most` in any `window`, under a name: taken twice under one name, within the window, is taken once.
    /// [`Admission::After`] says when the oldest one in the way leaves the window; nothing is taken then.
    async fn take(&self, bucket: &str, most: u32, window: Duration, name: &str) -> Result<Admission>;
}
