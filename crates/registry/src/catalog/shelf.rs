//! A shelf: every name, version and instance of one realm at one moment.

use super::{OPERATOR, admission::Accepted, instance::Instance, quota};
use crate::lock::Pins;
use maniple_core::{
    Tenant,
    tool::{Effect, Offer, Published, Source, ToolState},
};
use semver::Version;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// The versions of one name, ascending.
pub(crate) type Versions = BTreeMap<Version, Arc<Entry>>;

/// Names, and the versions of each.
#[derive(Clone, Default)]
pub(crate) struct Shelf(BTreeMap<String, Arc<Versions>>);

/// One version of a tool.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) published: Published,
    pub(crate) original_name: Option<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) proposed: Option<Effect>,
    pub(crate) instances: Vec<Arc<Instance>>,
    /// What is published of it weighs so much.
    pub(super) bytes: usize,
}

impl Entry {
    fn new(published: Published) -> Self {
        let bytes = quota::weight(&published);
        Self { published, original_name: None, notes: Vec::new(), proposed: None, instances: Vec::new(), bytes }
    }

    /// How it is, and why if it cannot be called.
    pub(crate) fn state(&self, pins: &Pins) -> (ToolState, Option<String>) {
        let mut worst = (ToolState::Gone, Some("nobody serves it now".to_owned()));
        for instance in &self.instances {
            match self.usable(instance, pins) {
                Ok(()) => return (ToolState::Healthy, None),
                Err((state, why)) => worst = (state, Some(why)),
            }
        }
        worst
    }
    /// Whether calls may go to this instance.
    pub(crate) fn usable(&self, instance: &Instance, pins: &Pins) -> Result<(), (ToolState, String)> {
        let Published { definition, contract, realm, .. } = &self.published;
        // The file is the project's: of the tools that tenants bring, it speaks of those of its own tenant only.
        if realm.tenant().is_none_or(Tenant::is_default)
            && let Some(why) = pins.against(&definition.name, &definition.version, contract, &instance.definition.endpoint)
        {
            return Err((ToolState::Quarantined, why));
        }
        match instance.health() {
            (ToolState::Healthy, _) => Ok(()),
            (state, why) => Err((state, why.unwrap_or_default())),
        }
    }
    /// As an agent may use it now.
    pub(crate) fn offer(&self, pins: &Pins) -> Option<Offer> {
        let usable = self.instances.iter().find(|instance| self.usable(instance, pins).is_ok())?;
        Some(Offer { definition: (*usable.definition).clone(), trusted: usable.trusted })
    }
}

impl Shelf {
    /// With nothing on it.
    pub(super) const fn empty() -> Self {
        Self(BTreeMap::new())
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The versions of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Versions>> {
        self.0.get(name)
    }
    pub(crate) fn find(&self, name: &str, version: &Version) -> Option<&Arc<Entry>> {
        self.0.get(name)?.get(version)
    }
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.values().flat_map(|versions| versions.values())
    }
    pub(crate) fn names_after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = (&'a String, &'a Arc<Versions>)> {
        self.0.iter().filter(move |(name, _)| after.is_none_or(|after| name.as_str() > after))
    }
    /// The principal that a name belongs to.
    pub(crate) fn owner(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.values().next().map(|entry| entry.published.owner.as_str())
    }

    /// Whether it is an operator who brings a name that was somebody else's so far.
    pub(super) fn is_taken_by(&self, owner: &str, name: &str) -> bool {
        owner == OPERATOR && self.owner(name).is_some_and(|known| known != OPERATOR)
    }
    /// The same shelf without these names.
    pub(super) fn without(&self, names: &BTreeSet<&str>) -> Cow<'_, Self> {
        if names.is_empty() {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self(
            self.0.iter().filter(|(name, _)| !names.contains(name.as_str())).map(|(name, all)| (name.clone(), all.clone())).collect(),
        ))
    }

    pub(super) fn remember(&mut self, published: Published) {
        let (name, version) = (published.definition.name.clone(), published.definition.version.clone());
        let versions = Arc::make_mut(self.0.entry(name).or_default());
        versions.entry(version).or_insert_with(|| {
            let mut entry = Entry::new(published);
            let realm = entry.published.realm.clone();
            for definition in &entry.published.added {
                let definition = Arc::new(definition.clone());
                entry.instances.push(Arc::new(Instance::new(definition, Source::Added, false, realm.clone(), super::REGISTERED.into())));
            }
            Arc::new(entry)
        });
    }

    /// The collection is these from now on. One that stays keeps its health, its breaker and the calls it has in hand.
    pub(super) fn put(&mut self, collection: &str, accepted: Vec<Accepted>) {
        let before = self.take_out(|instance| &*instance.collection == collection);
        for one in accepted {
            let fresh = one.instance(collection);
            let known = before.iter().find(|known| {
                known.id == fresh.id
                    && known.definition == fresh.definition
                    && known.quarantine == fresh.quarantine
                    && known.trusted == fresh.trusted
                    && known.realm == fresh.realm
            });
            let instance = known.cloned().unwrap_or_else(|| Arc::new(fresh));
            self.entry(one).instances.push(instance);
        }
    }

    pub(super) fn join(&mut self, collection: &str, accepted: Accepted, lease: Option<Duration>) -> Arc<Instance> {
        let fresh = accepted.instance(collection);
        let id = fresh.id.clone();
        let entry = self.entry(accepted);
        // One that was added and one that registered itself stand side by side: only the latter leaves.
        let ours = |known: &Instance| known.id == id && &*known.collection == collection && known.source == fresh.source;
        if let Some(known) =
            entry.instances.iter().find(|known| ours(known) && known.definition == fresh.definition && known.realm == fresh.realm)
        {
            known.renew();
            return known.clone();
        }
        entry.instances.retain(|known| !ours(known));
        let instance = Arc::new(match lease {
            Some(lease) => fresh.leased(lease),
            None => fresh,
        });
        entry.instances.push(instance.clone());
        instance
    }

    pub(super) fn withdraw(&mut self, name: &str, id: &str) -> Option<Arc<Instance>> {
        let meant =
            |instance: &Instance| &*instance.collection == super::REGISTERED && instance.definition.name == name && instance.id == id;
        self.take_out(meant).pop()
    }

    pub(super) fn expire(&mut self) -> usize {
        self.take_out(Instance::is_expired).len()
    }

    pub(super) fn forget(&mut self, name: &str, version: Option<&Version>) -> Vec<Version> {
        let Some(versions) = self.0.get_mut(name) else { return Vec::new() };
        let versions = Arc::make_mut(versions);
        let ours = |entry: &Entry| {
            entry.instances.iter().all(|instance| &*instance.collection == super::REGISTERED || instance.quarantine.is_some())
        };
        let gone: Vec<Version> =
            versions.iter().filter(|(v, entry)| version.is_none_or(|wanted| *v == wanted) && ours(entry)).map(|(v, _)| v.clone()).collect();
        versions.retain(|v, _| !gone.contains(v));
        if versions.is_empty() {
            self.0.remove(name);
        }
        gone
    }

    /// The entry of what is taken in, made or made new.
    fn entry(&mut self, accepted: Accepted) -> &mut Entry {
        let definition = &accepted.published.definition;
        let versions = Arc::make_mut(self.0.entry(definition.name.clone()).or_default());
        let slot = versions.entry(definition.version.clone()).or_insert_with(|| Arc::new(Entry::new(accepted.published.clone())));
        let entry = Arc::make_mut(slot);
        if entry.published.contract != accepted.published.contract {
            *entry = Entry { instances: std::mem::take(&mut entry.instances), ..Entry::new(accepted.published) };
        } else {
            if entry.published.added != accepted.published.added {
                entry.published.added = accepted.published.added;
                entry.bytes = quota::weight(&entry.published);
            }
        }
        (entry.original_name, entry.notes, entry.proposed) = (accepted.original_name, accepted.notes, accepted.proposed);
        entry
    }

    fn take_out(&mut self, which: impl Fn(&Instance) -> bool) -> Vec<Arc<Instance>> {
        let mut out = Vec::new();
        for versions in self.0.values_mut() {
            let touched = versions.values().any(|entry| entry.instances.iter().any(|instance| which(instance)));
            for entry in touched.then(|| Arc::make_mut(versions)).into_iter().flat_map(BTreeMap::values_mut) {
                if entry.instances.iter().any(|instance| which(instance)) {
                    let (leaving, staying) = Arc::make_mut(entry).instances.drain(..).partition(|instance| which(instance));
                    Arc::make_mut(entry).instances = staying;
                    out.extend::<Vec<_>>(leaving);
                }
            }
        }
        out
    }
}

/// At most 20, comma-separated.
pub(super) fn listed<T: ToString>(names: impl ExactSizeIterator<Item = T>) -> String {
    const MOST: usize = 20;
    let more = names.len().saturating_sub(MOST);
    let text = names.take(MOST).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}
