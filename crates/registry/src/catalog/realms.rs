//! The shelves: the node's, which everybody sees, and one of each tenant, which that tenant alone sees.
//!
//! A name is looked for on the node's shelf first. What a tenant has under a name that the node has too is not seen by anybody:
//! it is there for its owner to take out.

use super::{
    Instance,
    shelf::{Entry, Shelf, Versions, listed},
};
use maniple_core::{
    Tenant,
    tool::{Realm, ToolWish},
};
use semver::{Version, VersionReq};
use std::{collections::BTreeMap, sync::Arc};

/// Every shelf at one moment.
#[derive(Clone, Default)]
pub(crate) struct Realms(BTreeMap<Realm, Arc<Shelf>>);

/// What one tenant sees.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    node: &'a Shelf,
    own: &'a Shelf,
}

static EMPTY: Shelf = Shelf::empty();

impl Realms {
    /// What stands in one realm, seen or not.
    pub(crate) fn of(&self, realm: &Realm) -> &Shelf {
        self.0.get(realm).map_or(&EMPTY, |shelf| shelf)
    }
    pub(crate) fn seen_by(&self, tenant: &Tenant) -> Seen<'_> {
        Seen { node: self.of(&Realm::Node), own: self.of(&Realm::Of(tenant.clone())) }
    }
    /// The tenants that have tools of their own.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.0.keys().filter_map(Realm::tenant)
    }
    /// The tenants that have a tool of that name.
    pub(crate) fn tenants_with<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Tenant> {
        self.0.iter().filter(|(_, shelf)| shelf.get(name).is_some()).filter_map(|(realm, _)| realm.tenant())
    }
    /// Whether a tenant may not use the name: the node has it.
    pub(crate) fn is_nodes(&self, name: &str) -> bool {
        self.of(&Realm::Node).get(name).is_some()
    }
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.values().flat_map(|shelf| shelf.entries())
    }
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.entries().flat_map(|entry| &entry.instances)
    }

    /// Changes what stands in one realm.
    pub(super) fn change<T>(&mut self, realm: &Realm, change: impl FnOnce(&mut Shelf) -> T) -> T {
        let changed = change(Arc::make_mut(self.0.entry(realm.clone()).or_default()));
        if self.of(realm).is_empty() {
            self.0.remove(realm);
        }
        changed
    }
    /// Changes every shelf, and sums what came of it.
    pub(super) fn change_all(&mut self, change: impl Fn(&mut Shelf) -> usize) -> usize {
        self.0.values_mut().map(|shelf| change(Arc::make_mut(shelf))).sum()
    }
}

impl<'a> Seen<'a> {
    fn get(self, name: &str) -> Option<&'a Arc<Versions>> {
        self.node.get(name).or_else(|| self.own.get(name))
    }
    pub(crate) fn find(self, name: &str, version: &Version) -> Option<&'a Arc<Entry>> {
        self.get(name)?.get(version)
    }

    /// At most so many names after that one, with their versions, in their order.
    pub(crate) fn names_after(self, after: Option<&str>, limit: usize) -> Vec<(&'a String, &'a Arc<Versions>)> {
        let own = self.own.names_after(after).filter(|(name, _)| self.node.get(name).is_none()).take(limit);
        let mut names: Vec<_> = self.node.names_after(after).take(limit).chain(own).collect();
        names.sort_by_key(|(name, _)| *name);
        names.truncate(limit);
        names
    }

    /// The versions in a wish's range, highest first, or what there is instead.
    pub(crate) fn meet(self, wish: &ToolWish) -> Result<Vec<&'a Arc<Entry>>, String> {
        let versions = self.versions(&wish.name)?;
        // `*` means releases; where there are none, what there is.
        let any = wish.range == VersionReq::STAR && versions.keys().all(|version| !version.pre.is_empty());
        let fits = |version: &Version| any || wish.range.matches(version);
        let fitting: Vec<_> = versions.iter().rev().filter(|(version, _)| fits(version)).map(|(_, entry)| entry).collect();
        if !fitting.is_empty() {
            return Ok(fitting);
        }
        let verb = if versions.len() == 1 { "is" } else { "are" };
        Err(format!("tool `{}` has no version in `{}`; there {verb} {}", wish.name, wish.range, listed(versions.keys())))
    }

    /// The versions of a name, or the nearest name there is.
    pub(crate) fn versions(self, name: &str) -> Result<&'a Arc<Versions>, String> {
        self.get(name).ok_or_else(|| {
            let names = self.names_after(None, usize::MAX);
            let near = names.iter().map(|known| (strsim::jaro_winkler(known.0, name), known)).max_by(|a, b| a.0.total_cmp(&b.0));
            match near {
                Some((likeness, (near, versions))) if likeness > 0.7 => {
                    format!("there is no tool `{name}`; did you mean `{near}` ({})?", listed(versions.keys()))
                }
                _ => format!("there is no tool `{name}`; there are {}", listed(names.iter().map(|(name, _)| *name))),
            }
        })
    }
}
