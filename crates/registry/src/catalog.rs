//! Which tools there are: names, their versions, and who serves each.
//!
//! ```text
//! name ─► version ─► what was published (contract, owner, verdict)
//!                 └► instances: a file's, an import's, those that registered themselves
//! ```
//! There is a shelf for each realm: the node's, and one a tenant. A version stays known when nobody serves it: it is *gone*, and what comes back under its number must be the same.
//! The shelves are replaced whole, so that a reader sees one state of them.

mod admission;
mod instance;
mod origin;
mod quota;
mod realms;
mod shelf;
mod view;

pub use admission::Incoming;
pub(crate) use admission::{Accepted, Judged, News};
pub(crate) use instance::{InHand, Instance};
pub(crate) use origin::{Changed, Kept, Policy};
pub use origin::{Files, Origin};
pub(crate) use realms::Realms;
pub(crate) use shelf::{Entry, Shelf};

use crate::{
    GatewaySettings,
    gateway::told_why,
    lock::Pins,
    transport::{builtin, http},
};
use maniple_core::{
    AgentName, Error, Result, Tenant,
    tool::{Offer, Published, Realm, Source, ToolDefinition, ToolState, ToolVersion, ToolWish},
};
use semver::{Version, VersionReq};
use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

/// The principal that owns what an operator wrote.
pub const OPERATOR: &str = "operator";
/// The collection of the project's files.
pub(crate) const FILES: &str = "files";
/// The collection of those that registered themselves or were added.
pub(crate) const REGISTERED: &str = "registered";

/// The tools of this node: the built-in ones always.
pub struct Catalog {
    realms: RwLock<Arc<Realms>>,
    pins: RwLock<Arc<Pins>>,
    /// MCP servers that are being connected to for the first time: nobody knows their tools yet.
    connecting: RwLock<BTreeSet<String>>,
}

impl Default for Catalog {
    fn default() -> Self {
        let catalog = Self { realms: RwLock::default(), pins: RwLock::default(), connecting: RwLock::default() };
        let builtins = builtin::definitions().into_iter().map(Incoming::from).collect();
        let accepted = catalog.plan(&Origin::Builtin, builtins).all().expect("the built-in definitions keep the rules");
        catalog.put(&Origin::Builtin, accepted);
        catalog
    }
}

impl Catalog {
    /// A catalog of these, as an operator wrote them, and the built-in ones; every definition that breaks a rule is reported.
    pub fn new(definitions: Vec<ToolDefinition>) -> Result<Self, Vec<Error>> {
        let catalog = Self::default();
        let (files, incoming) = (Origin::File(Files::Strict), definitions.into_iter().map(Incoming::from).collect());
        let accepted = catalog.plan(&files, incoming).all()?;
        catalog.put(&files, accepted);
        Ok(catalog)
    }

    /// Puts the versions of an earlier process on the shelf. Those that were added are served again; the others wait for theirs.
    pub(crate) fn remember(&self, published: Vec<Published>) {
        self.change(|realms| {
            for one in published.into_iter().filter(|one| !matches!(one.source, Source::Builtin)) {
                let realm = one.realm.clone();
                realms.change(&realm, |shelf| shelf.remember(one));
            }
        });
    }

    /// What of these may be taken in, each compared with the versions before it, those of the same batch included.
    pub(crate) fn plan(&self, origin: &Origin, incoming: Vec<Incoming>) -> Judged {
        let (realms, policy) = (self.realms(), origin.policy());
        let mut judged = admission::judge(&realms, &policy, incoming);
        if !policy.may_move {
            let (shelf, collection) = (realms.of(&policy.realm), origin.collection());
            for one in &mut judged.accepted {
                one.quarantine = one.quarantine.take().or_else(|| led_astray(shelf, &collection, one));
            }
        }
        judged
    }

    /// `Exhausted` where who brings this would have brought more than it, or its realm, may.
    pub(crate) fn check_quota(&self, origin: &Origin, one: &Accepted, settings: &GatewaySettings) -> Result<()> {
        let (realms, realm) = (self.realms(), origin.realm());
        quota::check(realms.of(&realm), &realm, one, &one.instance(&origin.collection()), settings)
    }
    /// Replaces the collection of an origin by these.
    pub(crate) fn put(&self, origin: &Origin, accepted: Vec<Accepted>) {
        self.say_whose_names_go(origin, &accepted);
        self.change(|realms| realms.change(&origin.realm(), |shelf| shelf.put(&origin.collection(), accepted)));
    }
    /// Takes one in, or renews its lease if it is the same as before.
    pub(crate) fn join(&self, origin: &Origin, accepted: Accepted, lease: Option<std::time::Duration>) -> Arc<Instance> {
        self.say_whose_names_go(origin, std::slice::from_ref(&accepted));
        self.change(|realms| realms.change(&origin.realm(), |shelf| shelf.join(&origin.collection(), accepted, lease)))
    }
    /// Takes an instance out; its version stays known.
    pub(crate) fn withdraw(&self, realm: &Realm, name: &str, instance: &str) -> Option<Arc<Instance>> {
        self.change(|realms| realms.change(realm, |shelf| shelf.withdraw(name, instance)))
    }
    /// Forgets versions that no collection serves: one, or all of a name. Returns those.
    pub(crate) fn forget(&self, realm: &Realm, name: &str, version: Option<&Version>) -> Vec<Version> {
        self.change(|realms| realms.change(realm, |shelf| shelf.forget(name, version)))
    }
    /// Takes out those whose lease ran out. Returns how many.
    pub(crate) fn expire(&self) -> usize {
        let is_due = self.realms().instances().any(|instance| instance.is_expired());
        if is_due { self.change(|realms| realms.change_all(Shelf::expire)) } else { 0 }
    }

    /// A name that comes to the node is no tenant's any more.
    fn say_whose_names_go(&self, origin: &Origin, accepted: &[Accepted]) {
        let realms = self.realms();
        for one in accepted.iter().filter(|_| origin.realm().is_node()) {
            let tool = &one.definition.name;
            for tenant in realms.tenants_with(tool).filter(|_| !realms.is_nodes(tool)) {
                tracing::warn!(%tool, %tenant, "the node has a tool of this name now, which serves this tenant too; the tenant's own is not used any more");
            }
        }
    }

    /// From now on, what `tools.lock` names is only used as it says.
    pub(crate) fn pin(&self, pins: Pins) {
        *self.pins.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pins);
    }
    pub(crate) fn pins(&self) -> Arc<Pins> {
        self.pins.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For each wish the highest version in its range that can be called now, in the order of the wishes. A tool that is
    /// unhealthy, gone, quarantined or not known any more is not offered. `Invalid` for a tool that is wished for twice.
    pub fn resolve(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        let (realms, pins) = (self.realms(), self.pins());
        let shelf = realms.seen_by(tenant);
        let mut found: Vec<Offer> = Vec::with_capacity(wishes.len());
        let mut seen = BTreeSet::new();
        for wish in wishes {
            if !seen.insert(&wish.name) {
                return Err(Error::invalid(format!("agent `{agent}`: {}", listed_twice(wish))).at("tools"));
            }
            match shelf.meet(wish) {
                Ok(entries) => match entries.iter().find_map(|entry| entry.offer(&pins)) {
                    Some(offer) => found.push(offer),
                    None => {
                        let why = entries.first().and_then(|entry| entry.state(&pins).1).unwrap_or_default();
                        tracing::debug!(%agent, tool = %wish.name, why, "not offered");
                    }
                },
                // It was taken out, or has not come yet. Whoever wrote a name wrong is told by `check_wishes`.
                Err(why) => tracing::debug!(%agent, tool = %wish.name, why, "not offered: nothing is known of it"),
            }
        }
        Ok(found)
    }

    /// Whether an MCP server is being connected to for the first time.
    pub(crate) fn set_connecting(&self, server: &str, is_connecting: bool) {
        let mut connecting = self.connecting.write().unwrap_or_else(PoisonError::into_inner);
        match is_connecting {
            true => connecting.insert(server.to_owned()),
            false => connecting.remove(server),
        };
    }

    /// The server, not yet connected to, that a tool of this name would come from.
    pub(crate) fn comes_from(&self, tool: &str) -> Option<String> {
        let connecting = self.connecting.read().unwrap_or_else(PoisonError::into_inner);
        let is_its = |server: &&String| tool.strip_prefix(server.as_str()).is_some_and(|rest| rest.starts_with('_'));
        connecting.iter().find(is_its).cloned()
    }

    /// `Unavailable` where a wish that nothing is offered for may be met as soon as its server is connected to.
    pub(crate) fn is_settled(&self, wishes: &[ToolWish], offers: &[Offer]) -> Result<()> {
        for wish in wishes.iter().filter(|wish| offers.iter().all(|offer| offer.definition.name != wish.name)) {
            if let Some(server) = self.comes_from(&wish.name) {
                let told = format!("tool `{}`: the mcp server `{server}` is still being connected to", wish.name);
                return Err(Error::unavailable(told).at("tools"));
            }
        }
        Ok(())
    }

    /// `Invalid` names every wish that nothing is known for, with what there is instead, and every tool that is wished for twice.
    pub fn check_wishes(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Result<()> {
        let realms = self.realms();
        let shelf = realms.seen_by(tenant);
        let mut seen = BTreeSet::new();
        let mut wrong = Vec::new();
        for wish in wishes {
            let is_new = seen.insert(&wish.name);
            let unmet = || shelf.meet(wish).err().filter(|_| self.comes_from(&wish.name).is_none());
            wrong.extend(if is_new { unmet() } else { Some(listed_twice(wish)) });
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::invalid(format!("agent `{agent}`: {}", wrong.join("; "))).at("tools")) }
    }

    /// The tenants that have tools of their own.
    pub fn tenants(&self) -> Vec<Tenant> {
        self.realms().tenants().cloned().collect()
    }
    /// A version that a tenant sees.
    pub(crate) fn find(&self, tenant: &Tenant, name: &str, version: &Version) -> Option<Arc<Entry>> {
        self.realms().seen_by(tenant).find(name, version).cloned()
    }
    /// A version of the node's own.
    pub(crate) fn find_at_node(&self, name: &str, version: &Version) -> Option<Arc<Entry>> {
        self.realms().of(&Realm::Node).find(name, version).cloned()
    }
    /// Everything that serves anything.
    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        self.realms().instances().cloned().collect()
    }
    /// How many versions, and instances, there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        let realms = self.realms();
        (realms.entries().count(), realms.instances().count())
    }

    /// Tools by name, as a tenant sees them, the versions of each highest first: after `after`, at most `limit` names.
    pub fn list(&self, tenant: &Tenant, after: Option<&str>, limit: usize) -> Vec<ToolVersion> {
        let (realms, pins) = (self.realms(), self.pins());
        let names = realms.seen_by(tenant).names_after(after, limit).into_iter();
        names.flat_map(|(_, versions)| versions.values().rev()).map(|entry| entry.view(&pins)).collect()
    }
    /// The versions of one tool, as a tenant sees them, highest first. `NotFound` names the nearest there is.
    pub fn versions(&self, tenant: &Tenant, name: &str) -> Result<Vec<ToolVersion>> {
        let (realms, pins) = (self.realms(), self.pins());
        let versions = realms.seen_by(tenant).versions(name).map_err(Error::not_found)?;
        Ok(versions.values().rev().map(|entry| entry.view(&pins)).collect())
    }
    /// The versions of one tool of a realm, seen or not, highest first; none where it has none.
    pub(crate) fn versions_of(&self, realm: &Realm, name: &str) -> Vec<ToolVersion> {
        let (realms, pins) = (self.realms(), self.pins());
        let versions = realms.of(realm).get(name).into_iter().flat_map(|versions| versions.values().rev());
        versions.map(|entry| entry.view(&pins)).collect()
    }
    /// The highest version in a wish's range and in the range that was granted, or why there is none that can be called.
    pub(crate) fn pick_within(
        &self,
        tenant: &Tenant,
        wish: &ToolWish,
        granted: &VersionReq,
        tells_reasons: bool,
    ) -> Result<Offer, (ToolState, String)> {
        let (realms, pins) = (self.realms(), self.pins());
        let shelf = realms.seen_by(tenant);
        // Whoever names no range means what was granted, a pre-release too.
        let meant = if wish.range == VersionReq::STAR { granted } else { &wish.range };
        let asked = ToolWish { name: wish.name.clone(), range: meant.clone() };
        let mut entries = shelf.meet(&asked).map_err(|why| (ToolState::Gone, why))?;
        let granted_ones = shelf.meet(&ToolWish { range: granted.clone(), ..asked }).unwrap_or_default();
        entries.retain(|entry| granted_ones.iter().any(|other| Arc::ptr_eq(other, entry)));
        if entries.is_empty() {
            return Err((
                ToolState::Gone,
                format!("tool `{}` was granted as `{granted}`, and has no version there that is in `{}` too", wish.name, wish.range),
            ));
        }
        entries.iter().find_map(|entry| entry.offer(&pins)).ok_or_else(|| {
            let (state, why) = entries.first().map(|entry| entry.state(&pins)).unwrap_or((ToolState::Gone, None));
            (state, format!("tool `{wish}` is {}: {}", state.as_str(), told_why(tells_reasons, &wish.name, why)))
        })
    }

    pub(crate) fn realms(&self) -> Arc<Realms> {
        self.realms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn change<T>(&self, change: impl FnOnce(&mut Realms) -> T) -> T {
        let mut current = self.realms.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current))
    }
}

fn listed_twice(wish: &ToolWish) -> String {
    format!("tool `{}` is listed twice", wish.name)
}

/// Why one that comes again may not be used: it leads elsewhere than what was looked at, under the same version. As it was
/// first published it may come back.
fn led_astray(shelf: &Shelf, collection: &str, one: &Accepted) -> Option<String> {
    let entry = shelf.find(&one.definition.name, &one.definition.version)?;
    let known = entry.instances.iter().find(|instance| &*instance.collection == collection)?;
    if leads_alike(&entry.published.definition, &one.definition) {
        return None;
    }
    if leads_alike(&known.definition, &one.definition) {
        return known.quarantine.clone();
    }
    let (from, to) = (&known.definition.endpoint, &one.definition.endpoint);
    let (name, version) = (&one.definition.name, &one.definition.version);
    let out = format!("`maniple tool rm {name}@{version}`");
    Some(format!("{version} leads elsewhere now, from {from} to {to}: look at it, then take the published one out with {out}"))
}

/// Whether calls of both go to the same place in the same way.
fn leads_alike(a: &ToolDefinition, b: &ToolDefinition) -> bool {
    (&a.endpoint, &a.places, &a.body, a.auth_type, &a.credential) == (&b.endpoint, &b.places, &b.body, b.auth_type, &b.credential)
}

/// Whether one definition keeps every rule, those of its transport included.
pub fn check(tool: &ToolDefinition) -> Result<()> {
    tool.check()?;
    for (field, url) in [("health_url", &tool.health_url), ("probe_url", &tool.probe_url)] {
        let Some(url) = url else { continue };
        let is_http =
            url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty());
        if !is_http {
            return Err(Error::invalid(format!("{field} `{url}` must be an http:// or https:// URL without credentials")).at(field));
        }
    }
    match tool.endpoint.split_once(':') {
        Some(("builtin", name)) => builtin::check(name),
        Some(("mcp", name)) if name.contains('/') => Ok(()),
        _ => http::check(tool),
    }
}

#[cfg(test)]
mod tests;
