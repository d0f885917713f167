//! Which tools there are: names, their versions, and who serves each.
//!
//! ```text
//! name ─► version ─► what was published (contract, owner, verdict)
//!                 └► instances: a file's, an import's, those that registered themselves
//! ```
//! A version stays known when nobody serves it: it is *gone*, and what comes back under its number must be the same.
//! The shelf is replaced whole, so that a reader sees one state of it.

mod admission;
mod instance;
mod origin;
mod shelf;
mod view;

pub use admission::Incoming;
pub(crate) use admission::{Accepted, Judged, News};
pub(crate) use instance::{InHand, Instance};
pub(crate) use origin::{Changed, Kept, Policy};
pub use origin::{Files, Origin};
pub(crate) use shelf::{Entry, Shelf};

use crate::{
    lock::Pins,
    transport::{builtin, http},
};
use maniple_core::{
    AgentName, Error, Result,
    tool::{Offer, Published, Source, ToolDefinition, ToolState, ToolVersion, ToolWish},
};
use semver::{Version, VersionReq};
use std::sync::{Arc, PoisonError, RwLock};

/// The principal that owns what an operator wrote.
pub const OPERATOR: &str = "operator";
/// The collection of the project's files.
pub(crate) const FILES: &str = "files";
/// The collection of those that registered themselves or were added.
pub(crate) const REGISTERED: &str = "registered";

/// The tools of this node: the built-in ones always.
pub struct Catalog {
    shelf: RwLock<Arc<Shelf>>,
    pins: RwLock<Arc<Pins>>,
}

impl Default for Catalog {
    fn default() -> Self {
        let catalog = Self { shelf: RwLock::default(), pins: RwLock::default() };
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
        self.change(|shelf| {
            for one in published.into_iter().filter(|one| !matches!(one.source, Source::Builtin)) {
                shelf.remember(one);
            }
        });
    }

    /// What of these may be taken in, each compared with the versions before it, those of the same batch included.
    pub(crate) fn plan(&self, origin: &Origin, incoming: Vec<Incoming>) -> Judged {
        let (shelf, policy) = (self.shelf(), origin.policy());
        let mut judged = admission::judge(&shelf, policy, incoming);
        if !policy.may_move {
            let collection = origin.collection();
            for one in &mut judged.accepted {
                one.quarantine = one.quarantine.take().or_else(|| led_astray(&shelf, &collection, one));
            }
        }
        judged
    }

    /// Replaces the collection of an origin by these.
    pub(crate) fn put(&self, origin: &Origin, accepted: Vec<Accepted>) {
        self.change(|shelf| shelf.put(&origin.collection(), accepted));
    }
    /// Takes one in, or renews its lease if it is the same as before.
    pub(crate) fn join(&self, origin: &Origin, accepted: Accepted, lease: Option<std::time::Duration>) -> Arc<Instance> {
        self.change(|shelf| shelf.join(&origin.collection(), accepted, lease))
    }
    /// Takes an instance out; its version stays known.
    pub(crate) fn withdraw(&self, name: &str, instance: &str) -> Option<Arc<Instance>> {
        self.change(|shelf| shelf.withdraw(name, instance))
    }
    /// Forgets versions that no collection serves: one, or all of a name. Returns those.
    pub(crate) fn forget(&self, name: &str, version: Option<&Version>) -> Vec<Version> {
        self.change(|shelf| shelf.forget(name, version))
    }
    /// Takes out those whose lease ran out. Returns how many.
    pub(crate) fn expire(&self) -> usize {
        if self.instances().iter().any(|instance| instance.is_expired()) { self.change(Shelf::expire) } else { 0 }
    }

    /// From now on, what `tools.lock` names is only used as it says.
    pub(crate) fn pin(&self, pins: Pins) {
        *self.pins.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pins);
    }
    pub(crate) fn pins(&self) -> Arc<Pins> {
        self.pins.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For each wish the highest version in its range that can be called now, in the order of the wishes; a tool that is
    /// unhealthy, gone or quarantined is not offered. `Invalid` tells of every wish that nothing was ever known for, and what there is instead.
    pub fn resolve(&self, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        let (shelf, pins) = (self.shelf(), self.pins());
        let mut found: Vec<Offer> = Vec::with_capacity(wishes.len());
        let mut missing = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for wish in wishes {
            if !seen.insert(&wish.name) {
                missing.push(format!("tool `{}` is listed twice", wish.name));
                continue;
            }
            match shelf.meet(wish) {
                Ok(entries) => match entries.iter().find_map(|entry| entry.offer(&pins)) {
                    Some(offer) => found.push(offer),
                    None => {
                        let why = entries.first().and_then(|entry| entry.state(&pins).1).unwrap_or_default();
                        tracing::debug!(%agent, tool = %wish.name, why, "not offered");
                    }
                },
                Err(why) => missing.push(why),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(Error::invalid(format!("agent `{agent}`: {}", missing.join("; "))).at("tools")) }
    }

    /// A version that is known.
    pub(crate) fn find(&self, name: &str, version: &Version) -> Option<Arc<Entry>> {
        self.shelf().find(name, version).cloned()
    }
    /// Everything that serves anything.
    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        self.shelf().entries().flat_map(|entry| entry.instances.iter().cloned()).collect()
    }
    /// How many versions, and instances, there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        let shelf = self.shelf();
        (shelf.entries().count(), shelf.entries().map(|entry| entry.instances.len()).sum())
    }

    /// Tools by name, the versions of each highest first: after `after`, at most `limit` names.
    pub(crate) fn list(&self, after: Option<&str>, limit: usize) -> Vec<ToolVersion> {
        let (shelf, pins) = (self.shelf(), self.pins());
        shelf.names_after(after).take(limit).flat_map(|(_, versions)| versions.values().rev()).map(|entry| entry.view(&pins)).collect()
    }
    /// The versions of one tool, highest first. `NotFound` names the nearest there is.
    pub fn versions(&self, name: &str) -> Result<Vec<ToolVersion>> {
        let (shelf, pins) = (self.shelf(), self.pins());
        let versions = shelf.versions(name).map_err(Error::not_found)?;
        Ok(versions.values().rev().map(|entry| entry.view(&pins)).collect())
    }
    /// The highest version in a wish's range and in the range that was granted, or why there is none that can be called.
    pub(crate) fn pick_within(&self, wish: &ToolWish, granted: &VersionReq) -> Result<Offer, (ToolState, String)> {
        let (shelf, pins) = (self.shelf(), self.pins());
        let mut entries = shelf.meet(wish).map_err(|why| (ToolState::Gone, why))?;
        entries.retain(|entry| granted.matches(&entry.published.definition.version));
        if entries.is_empty() {
            return Err((
                ToolState::Gone,
                format!("tool `{}` was granted as `{granted}`, and has no version there that is in `{}` too", wish.name, wish.range),
            ));
        }
        entries.iter().find_map(|entry| entry.offer(&pins)).ok_or_else(|| {
            let (state, why) = entries.first().map(|entry| entry.state(&pins)).unwrap_or((ToolState::Gone, None));
            (state, format!("tool `{wish}` is {}: {}", state.as_str(), why.unwrap_or_default()))
        })
    }

    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn change<T>(&self, change: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut current = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current))
    }
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
    Some(format!("{} leads elsewhere now, from {from} to {to}: give it a new version, or remove this one", one.definition.version))
}

/// Whether calls of both go to the same place in the same way.
fn leads_alike(a: &ToolDefinition, b: &ToolDefinition) -> bool {
    (&a.endpoint, &a.places, a.auth_type, &a.credential) == (&b.endpoint, &b.places, b.auth_type, &b.credential)
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
