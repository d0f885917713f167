//! Where calls went of which nobody knows how they went: they are asked there although it has left the catalogue.

use super::way::Target;
use maniple_core::{
    ports::{Invocation, Invoked},
    tool::{Realm, ToolDefinition},
};
use std::{sync::Arc, time::Duration};

/// The most calls that are remembered; those that were not asked about for longest go first.
const MOST: u64 = 10_000;
/// How long one is remembered: who lives on with a doubt has stopped asking by then.
const KEPT: Duration = Duration::from_secs(3_600);

/// A place that may know of a call.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) definition: Arc<ToolDefinition>,
    pub(super) trusted: bool,
    /// Whose definition it is.
    pub(super) realm: Realm,
}

/// The places of calls under way or in doubt, by their keys.
pub(super) struct Doubts(moka::future::Cache<String, Arc<Vec<Place>>>);

impl Doubts {
    pub(super) fn new() -> Self {
        Self(moka::future::Cache::builder().max_capacity(MOST).time_to_live(KEPT).build())
    }

    /// A call is about to be sent there.
    pub(super) async fn goes(&self, call: &Invocation, target: &Target) {
        if target.definition.probe_url.is_none() {
            return;
        }
        let place = Place { definition: target.definition.clone(), trusted: target.trusted, realm: target.realm.clone() };
        let mut places = self.0.get(&call.key).await.map(|known| Vec::clone(&known)).unwrap_or_default();
        places.push(place);
        self.0.insert(call.key.clone(), Arc::new(places)).await;
    }

    /// An attempt went like that. Where the call has an outcome there is nothing to ask.
    pub(super) async fn went(&self, call: &Invocation, outcome: &Invoked) {
        if call.tool.probe_url.is_some() && matches!(outcome, Invoked::Ok(_) | Invoked::Failed(_)) {
            self.0.invalidate(&call.key).await;
        }
    }

    /// Where a call went, as far as this process knows.
    pub(super) async fn of(&self, call: &Invocation) -> Vec<Place> {
        self.0.get(&call.key).await.map(|known| Vec::clone(&known)).unwrap_or_default()
    }
}
