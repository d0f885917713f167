//! A version as people and programs see it.

use super::shelf::Entry;
use crate::lock::Pins;
use maniple_core::tool::{Instance as InstanceView, Source, ToolState, ToolVersion};

impl Entry {
    pub(crate) fn view(&self, pins: &Pins) -> ToolVersion {
        let (state, reason) = self.state(pins);
        let published = &self.published;
        let first = self.instances.iter().find(|instance| self.usable(instance, pins).is_ok()).or(self.instances.first());
        let definition = first.map_or_else(|| (*published.definition).clone(), |instance| (*instance.definition).clone());
        let instances = self.instances.iter().map(|instance| {
            let view = instance.view();
            match self.usable(instance, pins) {
                Err((state @ ToolState::Quarantined, why)) => InstanceView { state, reason: Some(why), ..view },
                _ => view,
            }
        });
        let is_another = || definition.contract_hash() != published.definition.contract_hash();
        let was = (state == ToolState::Quarantined && is_another()).then(|| Box::new((*published.definition).clone()));
        ToolVersion {
            contract: published.contract.clone(),
            effect: published.definition.effect(),
            owner: published.owner.clone(),
            realm: published.realm.clone(),
            source: first.map_or(published.source, |instance| instance.source),
            state,
            reason,
            instances: instances.collect(),
            published_at: (published.source != Source::Builtin).then_some(published.at),
            previous: published.previous.clone(),
            verdict: published.verdict,
            changes: published.changes.clone(),
            overridden: published.overridden.clone(),
            notes: self.notes.clone(),
            proposed_effect: self.proposed.filter(|proposed| *proposed != published.definition.effect()),
            definition,
            was,
        }
    }
}
