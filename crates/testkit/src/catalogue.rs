//! A registry that remembers what it was asked, and says what the test wishes.

use async_trait::async_trait;
use maniple_core::{
    AgentName, Error, Result, Tenant,
    ports::{
        Admission, Audience, DirectCall, DirectOutcome, Invocation, Invoked, Probed, Refusal, RefusalKind, Registrant, Registration,
        RunCall, ToolRegistry, Tools,
    },
    tool::{LeftOut, Offer, Realm, Registered, Source, ToolDefinition, ToolState, ToolVersion, ToolWish},
};
use semver::{Version, VersionReq};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The registry. `clock` is granted to nobody.
#[derive(Default)]
pub struct Fake {
    versions: Mutex<Vec<ToolVersion>>,
    answers: Mutex<Vec<(Duration, Invoked)>>,
    /// Every call as it would be sent, and every question about one.
    pub calls: Mutex<Vec<Invocation>>,
    /// Of those the direct calls.
    pub direct: Mutex<Vec<DirectCall>>,
    /// What does not fit in a run's call.
    pub unfit: Mutex<Option<Refusal>>,
    /// How many calls have ended.
    pub finished: Mutex<usize>,
    /// What of its imports is no tool.
    pub left_out: Mutex<Vec<LeftOut>>,
    /// How often somebody asked what an agent was granted.
    pub asked: Mutex<usize>,
    /// What was brought.
    pub registrations: Mutex<Vec<Registration>>,
    /// What was taken out, and by whom.
    pub removals: Mutex<Vec<String>>,
    /// The pieces of its answers, where somebody listens; before them, that half is done.
    pub pieces: Mutex<Vec<Value>>,
    audience: Mutex<Option<Arc<dyn Audience>>>,
}

/// What is in it now.
pub fn seen<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A definition of that name and version; its one argument `n` is an integer.
pub fn definition(name: &str, version: &str) -> ToolDefinition {
    let parameters = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let written = json!({ "name": name, "version": version, "description": "For tests.", "parameters": parameters,
        "endpoint": "http://tools.test/x", "timeout_ms": 5_000 });
    serde_json::from_value(written).expect("a definition")
}

impl Fake {
    /// These tools, `NAME@VERSION`, sorted as a registry does.
    pub fn with(tools: &[&str]) -> Self {
        let versions = tools.iter().map(|tool| {
            let (name, version) = tool.split_once('@').expect("NAME@VERSION");
            of(definition(name, version))
        });
        Self { versions: Mutex::new(versions.collect()), ..Self::default() }
    }
    /// The next call takes so long and ends so. Without, it is `null` at once.
    pub fn will(&self, after: Duration, answer: Invoked) {
        seen(&self.answers).push((after, answer));
    }
    /// The last call.
    pub fn call(&self) -> Invocation {
        seen(&self.calls).last().expect("a call").clone()
    }
    /// Changes what is known of a version.
    pub fn change(&self, tool: &str, change: impl FnOnce(&mut ToolVersion)) {
        let mut versions = seen(&self.versions);
        change(
            versions
                .iter_mut()
                .find(|known| format!("{}@{}", known.definition.name, known.definition.version) == tool)
                .expect("such a version"),
        );
    }
}

fn of(definition: ToolDefinition) -> ToolVersion {
    ToolVersion {
        contract: definition.contract_hash(),
        effect: definition.effect(),
        definition,
        owner: "operator".into(),
        realm: Realm::Node,
        source: Source::File,
        state: ToolState::Healthy,
        reason: None,
        instances: vec![],
        published_at: None,
        previous: None,
        verdict: None,
        changes: vec![],
        overridden: None,
        notes: vec![],
        proposed_effect: None,
        was: None,
    }
}

fn offer(known: &ToolVersion) -> Offer {
    Offer { definition: known.definition.clone(), trusted: true }
}

#[async_trait]
impl Tools for Fake {
    async fn resolve(&self, _: &Tenant, _: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        let versions = seen(&self.versions);
        let find = |wish: &ToolWish| {
            versions.iter().find(|known| known.definition.name == wish.name && wish.range.matches(&known.definition.version))
        };
        wishes
            .iter()
            .map(|wish| find(wish).map(offer).ok_or_else(|| Error::invalid(format!("there is no tool `{wish}`")).at("tools")))
            .collect()
    }
    async fn admit(&self, RunCall(call): &RunCall) -> Admission {
        seen(&self.calls).push(call.clone());
        Admission::After(Duration::from_millis(1_500))
    }
    async fn invoke(&self, RunCall(call): &RunCall) -> Invoked {
        self.made(call).await
    }
    async fn probe(&self, RunCall(call): &RunCall) -> Probed {
        seen(&self.calls).push(call.clone());
        Probed::Happened(json!({ "key": call.key }))
    }
}

impl Fake {
    async fn made(&self, call: &Invocation) -> Invoked {
        seen(&self.calls).push(call.clone());
        let next = { seen(&self.answers).pop() };
        let (after, answer) = next.unwrap_or((Duration::ZERO, Invoked::Ok(json!(null))));
        let (pieces, audience) = (seen(&self.pieces).clone(), seen(&self.audience).clone());
        if let Some(audience) = audience.filter(|_| !pieces.is_empty()) {
            audience.progress(1.0, Some(2.0), Some("half".into()));
            audience.content(&pieces);
        }
        tokio::time::sleep(after).await;
        *seen(&self.finished) += 1;
        answer
    }
}

#[async_trait]
impl ToolRegistry for Fake {
    async fn call(&self, call: &DirectCall) -> DirectOutcome {
        let replayed = seen(&self.direct).iter().any(|known| known.ledger_key() == call.ledger_key());
        seen(&self.direct).push(call.clone());
        DirectOutcome { invoked: self.made(call.invocation()).await, replayed }
    }
    fn attend(&self, _: &str, audience: Arc<dyn Audience>) {
        *seen(&self.audience) = Some(audience);
    }
    fn leave(&self, _: &str) {
        *seen(&self.audience) = None;
    }
    async fn probe_call(&self, call: &DirectCall) -> Probed {
        seen(&self.direct).push(call.clone());
        Probed::Happened(json!({ "key": call.invocation().key }))
    }
    async fn check(&self, _: &RunCall) -> Result<(), Refusal> {
        seen(&self.unfit).clone().map_or(Ok(()), Err)
    }
    async fn list(&self, _: &Tenant, after: Option<&str>, limit: usize) -> Result<Vec<ToolVersion>> {
        let versions = seen(&self.versions);
        let mut names: Vec<&str> =
            versions.iter().map(|known| known.definition.name.as_str()).filter(|name| after.is_none_or(|after| *name > after)).collect();
        names.dedup();
        names.truncate(limit);
        Ok(versions.iter().filter(|known| names.contains(&known.definition.name.as_str())).cloned().collect())
    }
    async fn versions(&self, _: &Tenant, name: &str) -> Result<Vec<ToolVersion>> {
        let found: Vec<ToolVersion> = seen(&self.versions).iter().filter(|known| known.definition.name == name).cloned().collect();
        if found.is_empty() { Err(Error::not_found(format!("there is no tool `{name}`"))) } else { Ok(found) }
    }
    async fn left_out(&self) -> Result<Vec<LeftOut>> {
        Ok(seen(&self.left_out).clone())
    }
    async fn granted(&self, _: &Tenant, agent: &AgentName) -> Result<Vec<Offer>> {
        *seen(&self.asked) += 1;
        match agent.as_str() {
            "search" => Ok(seen(&self.versions).iter().filter(|known| known.definition.name != "clock").map(offer).collect()),
            "twice" => Err(Error::invalid(format!("agent `{agent}`: tool `pay` is listed twice")).at("tools")),
            _ => Err(Error::not_found(format!("there is no agent `{agent}`")).at("agent")),
        }
    }
    async fn pick(&self, _: &Tenant, agent: &AgentName, name: &str, range: &VersionReq) -> Result<Offer, Refusal> {
        if name == "clock" {
            return Err(Refusal { kind: RefusalKind::NotGranted, message: format!("agent `{agent}` was not granted `clock`") });
        }
        let versions = seen(&self.versions);
        let found = versions
            .iter()
            .find(|known| known.definition.name == name && known.state == ToolState::Healthy && range.matches(&known.definition.version));
        found.map(offer).ok_or_else(|| Refusal { kind: RefusalKind::NotFound, message: format!("there is no tool `{name}` in `{range}`") })
    }
    async fn register(&self, registration: Registration) -> Result<Registered> {
        let definition: ToolDefinition =
            serde_json::from_value(registration.definition.clone()).map_err(|e| Error::invalid(e.to_string()))?;
        let new_version = seen(&self.registrations).iter().all(|known| known.definition["version"] != registration.definition["version"]);
        seen(&self.registrations).push(registration);
        let contract = definition.contract_hash();
        Ok(Registered {
            definition,
            contract,
            instance: "i1".into(),
            lease_ms: Some(30_000),
            new_version,
            previous: None,
            verdict: None,
            changes: vec![],
            notes: vec![],
        })
    }
    async fn withdraw(&self, name: &str, instance: &str, principal: &Registrant) -> Result<()> {
        seen(&self.removals).push(format!("{name}/{instance} by {}", principal.name));
        Ok(())
    }
    async fn remove(&self, name: &str, version: Option<&Version>, principal: &Registrant) -> Result<u64> {
        seen(&self.removals).push(format!("{name}@{} by {}", version.map_or("*".to_owned(), ToString::to_string), principal.name));
        Ok(2)
    }
}
