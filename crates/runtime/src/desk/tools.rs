//! The catalogue of tools: what is there, who may use what, and who may change it.

use super::{Act, Desk, IdempotencyKey, NoResult, Page};
use maniple_core::{
    AgentName, Error, Kind, Principal, Result,
    ports::{Idempotency, KeyWas, Registration},
    tool::{LeftOut, Offer, Registered, Source, ToolDefinition, ToolState, ToolVersion, ToolWish},
};
use semver::Version;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most wishes of one question.
const WISHES_MAX: usize = 1_000;
/// The longest reason why an unproven version is taken in.
const REASON_CHARACTERS: usize = 1_000;

/// Why a version is taken in that is not proven to break nobody: 1 to 1,000 characters, recorded with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Checks one.
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() || text.chars().count() > REASON_CHARACTERS {
            let message = format!("override must say why, in 1 to {REASON_CHARACTERS} characters: it is recorded with the version");
            return Err(Error::invalid(message).at("override"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A definition on its way in.
#[derive(Debug, Clone)]
pub struct Definition {
    /// As it came, to be mended and checked.
    pub definition: Value,
    /// [`Source::Registered`], which expires, or [`Source::Added`], which stays.
    pub source: Source,
    /// Why it is taken in although it is not proven; needs the scope `admin`, or `operator`.
    pub unproven_because: Option<Reason>,
}

impl Desk {
    /// Tools by name, after `after`; a page holds `limit` names, each with its versions, highest first.
    pub async fn tools(&self, who: &Principal, after: Option<&str>, limit: usize) -> Result<Page<ToolVersion, String>> {
        Act::LookAtTools.by(who)?;
        // One name more than the page holds tells whether there is another page.
        let mut tools = self.parts.registry.list(&who.tenant, after, limit + 1).await?;
        let mut names: Vec<String> = tools.iter().map(|tool| tool.definition.name.clone()).collect();
        names.dedup();
        let next = (names.len() > limit).then(|| names[limit - 1].clone());
        if next.is_some() {
            tools.retain(|tool| tool.definition.name != names[limit]);
        }
        Ok(Page { items: tools.into_iter().map(|tool| shown_to(who, tool)).collect(), next })
    }

    /// What of the imports is no tool, and why; nothing for whoever does not run the node.
    pub async fn left_out(&self, who: &Principal) -> Result<Vec<LeftOut>> {
        match Act::LookAtNode.by(who) {
            Ok(()) => self.parts.registry.left_out().await,
            Err(_) => Ok(Vec::new()),
        }
    }

    /// One version: the one that is meant, or the highest that can be called, or the highest.
    pub async fn tool(&self, who: &Principal, name: &str, version: Option<&Version>) -> Result<ToolVersion> {
        Act::LookAtTools.by(who)?;
        let mut versions = match self.parts.registry.versions(&who.tenant, name).await {
            Err(error) if error.kind == Kind::NotFound => {
                let left_out = self.left_out(who).await?.into_iter().find(|one| one.name.as_deref() == Some(name));
                return Err(left_out.map_or(error, |LeftOut { from, place, why, .. }| {
                    Error::not_found(format!("there is no tool `{name}`: {place} of {from} is left out, as {why}"))
                }));
            }
            versions => versions?,
        };
        let at = match version {
            Some(version) => versions.iter().position(|known| known.definition.version == *version),
            None => versions.iter().position(|known| known.state == ToolState::Healthy).or((!versions.is_empty()).then_some(0)),
        };
        at.map(|at| shown_to(who, versions.swap_remove(at))).ok_or_else(|| no_version(name, version, &versions))
    }

    /// The versions of a tool below `below`, highest first.
    pub async fn tool_versions(
        &self,
        who: &Principal,
        name: &str,
        below: Option<&Version>,
        limit: usize,
    ) -> Result<Page<ToolVersion, Version>> {
        Act::LookAtTools.by(who)?;
        let all = self.parts.registry.versions(&who.tenant, name).await?;
        let rest = all.into_iter().filter(|known| below.is_none_or(|below| known.definition.version < *below));
        let rest = rest.map(|known| shown_to(who, known));
        Ok(Page::of(rest.take(limit + 1).collect(), limit, |last| last.definition.version.clone()))
    }

    /// What an agent was granted, as its model is shown it.
    pub async fn granted_to(&self, who: &Principal, agent: &AgentName) -> Result<Vec<Offer>> {
        Act::LookAtTools.by(who)?;
        who.may_use(agent)?;
        self.parts.registry.granted(&who.tenant, agent).await
    }

    /// Every tool that the principal may call, by name, with the agent on whose grant: the first by name of those that have it.
    /// None without the scope to call any.
    pub async fn callable(&self, who: &Principal) -> Result<BTreeMap<String, (AgentName, Offer)>> {
        let mut found = BTreeMap::new();
        if Act::UseTools.by(who).is_err() {
            return Ok(found);
        }
        for agent in self.parts.agents.all().keys().filter(|agent| who.uses(agent)) {
            let granted = match self.parts.registry.granted(&who.tenant, agent).await {
                Ok(granted) => granted,
                Err(error) if error.kind == Kind::Unavailable => return Err(error),
                Err(error) => {
                    // It has just gone, or its file asks for what cannot be had: the others' tools are there all the same.
                    tracing::debug!(%agent, %error, "its tools are not listed");
                    continue;
                }
            };
            for offer in granted {
                found.entry(offer.definition.name.clone()).or_insert_with(|| (agent.clone(), offer));
            }
        }
        Ok(found)
    }

    /// All that a runtime's agent may use now.
    pub async fn resolve_all(&self, who: &Principal, agent: &AgentName, key: Option<IdempotencyKey>) -> Result<(Vec<Offer>, KeyWas)> {
        let key = self.question(who, agent, key, json!({ "agent": agent })).await?;
        let offers = self.parts.registry.granted(&who.tenant, agent).await?;
        Ok((offers, self.remember(who, key, agent.as_str()).await?))
    }

    /// What a runtime's agent gets for its wishes; see [`maniple_core::ports::Tools::resolve`].
    pub async fn resolve(
        &self,
        who: &Principal,
        agent: &AgentName,
        wishes: &[ToolWish],
        key: Option<IdempotencyKey>,
    ) -> Result<(Vec<Offer>, KeyWas)> {
        let key = self.question(who, agent, key, json!({ "agent": agent, "tools": wishes })).await?;
        if wishes.len() > WISHES_MAX {
            return Err(Error::invalid(format!("tools may name at most {WISHES_MAX}")).at("tools"));
        }
        let offers = self.parts.registry.resolve(&who.tenant, agent, wishes).await?;
        Ok((offers, self.remember(who, key, agent.as_str()).await?))
    }

    /// What a call of a runtime's agent would get now.
    pub async fn pick(
        &self,
        who: &Principal,
        agent: &AgentName,
        wish: &ToolWish,
        key: Option<IdempotencyKey>,
    ) -> Result<(Offer, KeyWas), NoResult> {
        let key = self.question(who, agent, key, json!({ "agent": agent, "pick": wish })).await?;
        let offer = self.parts.registry.pick(&who.tenant, agent, &wish.name, &wish.range).await?;
        Ok((offer, self.remember(who, key, agent.as_str()).await?))
    }

    async fn question(&self, who: &Principal, agent: &AgentName, key: Option<IdempotencyKey>, said: Value) -> Result<Option<Idempotency>> {
        Act::UseTools.by(who)?;
        who.may_use(agent)?;
        self.recall(who, key.map(|key| key.of_saying("/tools/resolve".into(), &said))).await
    }

    /// Takes a definition in, or renews its instance's lease. Errors are those of [`maniple_core::ports::ToolRegistry::register`].
    pub async fn register(&self, who: &Principal, tool: Definition, key: Option<IdempotencyKey>) -> Result<(Registered, KeyWas)> {
        let Definition { definition, source, unproven_because } = tool;
        Act::UseTools.by(who)?;
        if unproven_because.is_some() {
            Act::Vouch.by(who)?;
        }
        let override_reason = unproven_because.map(|Reason(why)| why);
        let said = || json!({ "definition": definition, "source": source, "override": override_reason });
        let key = self.recall(who, key.map(|key| key.of_saying("/tools".into(), &said()))).await?;
        let registration = Registration { definition, by: who.registrant(), source, override_reason };
        let registered = self.parts.registry.register(registration).await?;
        let made = format!("{}@{}", registered.definition.name, registered.definition.version);
        Ok((registered, self.remember(who, key, &made).await?))
    }

    /// Takes one instance out: what a tool does when it stops. Its version stays known.
    pub async fn withdraw(&self, who: &Principal, name: &str, instance: &str) -> Result<()> {
        Act::UseTools.by(who)?;
        self.parts.registry.withdraw(name, instance, &who.registrant()).await
    }

    /// Forgets one version, or all of a name. Returns how many.
    pub async fn remove(&self, who: &Principal, name: &str, version: Option<&Version>) -> Result<u64> {
        Act::UseTools.by(who)?;
        self.parts.registry.remove(name, version, &who.registrant()).await
    }
}

/// What a principal sees of a version. Where it is served, as whom it is called and what ails it there is for those who run it: of
/// the node's own for operators, of a tenant's for those of it who may register tools.
fn shown_to(who: &Principal, mut version: ToolVersion) -> ToolVersion {
    let runs_it = match version.is_nodes() {
        true => Act::LookAtNode.by(who),
        false => Act::LookAtNode.by(who).or_else(|_| Act::UseTools.by(who)),
    };
    if runs_it.is_ok() {
        return version;
    }
    hide_the_way(&mut version.definition);
    if !version.is_nodes() {
        version.owner.clear();
    }
    (version.reason, version.overridden, version.was) = (None, None, None);
    for instance in &mut version.instances {
        instance.endpoint.clear();
        instance.reason = None;
    }
    version
}

/// What whoever asks at a door sees of an offer: a runtime, which acts on the node, all of it, and others what they may call.
pub fn offered_to(who: &Principal, mut offer: Offer) -> Offer {
    if Act::LookAtNode.by(who).is_err() {
        hide_the_way(&mut offer.definition);
    }
    offer
}

fn hide_the_way(definition: &mut ToolDefinition) {
    definition.endpoint.clear();
    (definition.health_url, definition.probe_url, definition.credential) = (None, None, None);
}

fn no_version(name: &str, wanted: Option<&Version>, versions: &[ToolVersion]) -> Error {
    let known = versions.iter().take(20).map(|known| known.definition.version.to_string()).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(version) if !versions.is_empty() => Error::not_found(format!("tool `{name}` has no version {version}: there are {known}")),
        _ => Error::not_found(format!("there is no tool `{name}`")),
    }
}
