//! Who listens to which call of a connection.

use maniple_core::ports::Audience;
use rmcp::model::ProgressToken;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Who hears how far calls are, by the token that each was sent with.
#[derive(Clone, Default)]
pub(super) struct Audiences(Arc<Mutex<HashMap<ProgressToken, Arc<dyn Audience>>>>);

impl Audiences {
    /// Who hears the call of that token.
    pub(super) fn of(&self, token: &ProgressToken) -> Option<Arc<dyn Audience>> {
        self.seats().get(token).cloned()
    }
    fn seats(&self) -> MutexGuard<'_, HashMap<ProgressToken, Arc<dyn Audience>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Seats an audience until what is returned is dropped.
    pub(super) fn seat(&self, token: &ProgressToken, audience: &Arc<dyn Audience>) -> impl Drop + use<> {
        self.seats().insert(token.clone(), audience.clone());
        Seat { audiences: self.clone(), token: token.clone() }
    }
}

struct Seat {
    audiences: Audiences,
    token: ProgressToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.audiences.seats().remove(&self.token);
    }
}
