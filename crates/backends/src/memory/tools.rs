//! Published versions, and the ledger of calls.

use super::TaskStore;
use crate::rules::{
    self,
    tools::{self, Found, Record},
};
use async_trait::async_trait;
use maniple_core::{
    Result, Time,
    ports::{self, LedgerKey, Opened, Opening, Outcome},
    tool::{Published, Realm},
};
use semver::Version;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

/// What is known of tools.
#[derive(Default)]
pub(super) struct Tools {
    /// By realm and name, then by version.
    published: BTreeMap<(Realm, String), BTreeMap<Version, Published>>,
    calls: HashMap<LedgerKey, Call>,
    /// The calls in the order in which they were opened.
    by_age: BTreeMap<u64, (Time, LedgerKey)>,
    opened: u64,
}

struct Call {
    number: u64,
    record: Record,
    outcome: Option<Outcome>,
}

impl TaskStore {
    fn known(&self) -> MutexGuard<'_, Tools> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ports::ToolStore for TaskStore {
    async fn publish(&self, version: Published) -> Result<Published> {
        let mut known = self.known();
        let Tools { published, .. } = &mut *known;
        let count: usize = published.values().map(BTreeMap::len).sum();
        let (name, number) = ((version.realm.clone(), version.definition.name.clone()), version.definition.version.clone());
        if let Some(versions) = published.get(&name) {
            if let Some(any) = versions.values().next() {
                tools::same_owner(&name.1, &any.owner, &version)?;
            }
            if let Some(known) = versions.get(&number) {
                let (known, _) = tools::again(known.clone(), &version)?;
                published.entry(name).or_default().insert(number, known.clone());
                return Ok(known);
            }
        }
        if count >= tools::VERSIONS_MAX {
            return Err(tools::full());
        }
        let version = Published { at: self.clock.now(), ..version };
        published.entry(name).or_default().insert(number, version.clone());
        Ok(version)
    }

    async fn published(&self) -> Result<Vec<Published>> {
        Ok(self.known().published.values().flat_map(BTreeMap::values).cloned().collect())
    }

    async fn unpublish(&self, realm: &Realm, name: &str, version: Option<&Version>) -> Result<u64> {
        let (mut known, name) = (self.known(), (realm.clone(), name.to_owned()));
        let Some(versions) = known.published.get_mut(&name) else { return Ok(0) };
        let before = versions.len();
        versions.retain(|number, _| version.is_some_and(|only| only != number));
        let (after, gone) = (versions.len(), before - versions.len());
        if after == 0 {
            known.published.remove(&name);
        }
        Ok(gone as u64)
    }

    async fn open_call(&self, call: &LedgerKey, opening: &Opening) -> Result<Opened> {
        tools::check_key(call)?;
        let (mut known, now) = (self.known(), self.clock.now());
        if let Some(Call { record, outcome, .. }) = known.calls.get_mut(call) {
            return Ok(match (record.found(opening, now), outcome) {
                (Found::OtherArguments, _) => Opened::OtherArguments,
                (_, Some(outcome)) => Opened::Done(outcome.clone()),
                (Found::UnderWay(left), None) => Opened::UnderWay(left),
                (Found::InDoubt, None) => Opened::InDoubt,
                (Found::Theirs, None) => record.told(),
                (Found::Free, None) => {
                    record.take(opening, now);
                    record.told()
                }
            });
        }
        known.opened += 1;
        let number = known.opened;
        known.by_age.insert(number, (now, call.clone()));
        known.calls.insert(call.clone(), Call { number, record: Record::new(opening, now), outcome: None });
        Ok(Opened::New)
    }

    async fn renew_call(&self, call: &LedgerKey, holder: &str, lease: Duration) -> Result<bool> {
        let (mut known, now) = (self.known(), self.clock.now());
        let held = known.open(call, holder).map(|record| record.held = Some((holder.to_owned(), now.plus(lease))));
        Ok(held.is_some())
    }

    async fn close_call(&self, call: &LedgerKey, outcome: &Outcome) -> Result<()> {
        tools::check_outcome(outcome)?;
        let mut known = self.known();
        let record = known.calls.get_mut(call).ok_or_else(|| tools::no_call(call))?;
        record.outcome.get_or_insert_with(|| outcome.clone());
        Ok(())
    }

    async fn leave_call(&self, call: &LedgerKey, holder: &str) -> Result<()> {
        if let Some(record) = self.known().open(call, holder) {
            record.held = None;
        }
        Ok(())
    }

    async fn drop_call(&self, call: &LedgerKey, holder: &str) -> Result<()> {
        let mut known = self.known();
        match known.open(call, holder) {
            Some(record) if record.sends == 1 => known.forget(call),
            Some(record) => record.held = None,
            None => {}
        }
        Ok(())
    }

    async fn forget_calls(&self, keep: Duration, limit: usize) -> Result<u64> {
        let (mut known, now) = (self.known(), self.clock.now());
        let old = known.by_age.values().take_while(|(at, _)| at.plus(keep) <= now).take(limit.min(rules::READ_MAX));
        let old: Vec<LedgerKey> = old.map(|(_, call)| call.clone()).collect();
        old.iter().for_each(|call| known.forget(call));
        Ok(old.len() as u64)
    }
}

impl Tools {
    /// The record of a call without an outcome that this one holds.
    fn open(&mut self, call: &LedgerKey, holder: &str) -> Option<&mut Record> {
        let call = self.calls.get_mut(call).filter(|call| call.outcome.is_none())?;
        Some(&mut call.record).filter(|record| record.is_held_by(holder))
    }
    fn forget(&mut self, call: &LedgerKey) {
        if let Some(record) = self.calls.remove(call) {
            self.by_age.remove(&record.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::{Kind, ports::ToolStore as _};
    use maniple_testkit::tool_store_suite::version;
    use std::sync::Arc;

    #[tokio::test]
    async fn no_more_versions_are_kept_than_a_node_can_bear() {
        let store = TaskStore::new();
        for patch in 0..tools::VERSIONS_MAX as u64 {
            let mut version = version("pay", "1.0.0", "ann");
            Arc::make_mut(&mut version.definition).version = Version::new(1, 0, patch);
            store.publish(version).await.unwrap();
        }
        let refused = store.publish(version("another", "1.0.0", "ann")).await;
        assert_eq!(refused.map_err(|e| e.kind), Err(Kind::Exhausted));
        store.publish(version("pay", "1.0.0", "ann")).await.expect("it is known");
    }
}
