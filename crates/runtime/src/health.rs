//! What this process knows of its models: whose breaker is open, and how many retries each may still cost.

use maniple_core::{
    breaker::{Breaker, BreakerSettings, State},
    model::{FaultKind, ModelName},
    retry::Budget,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A breaker and a retry budget for each model. Forgotten when the process ends: they are opinions, not facts.
pub struct ModelHealth {
    origin: Instant,
    settings: BreakerSettings,
    known: Mutex<HashMap<ModelName, Known>>,
}

struct Known {
    breaker: Breaker,
    retries: Budget,
    /// The state that the metric shows.
    shown: Option<State>,
}

/// A call that may go. Letting go of it gives the place of a trial back, if it was one and nothing came of it.
pub(crate) struct Admitted {
    health: Arc<ModelHealth>,
    /// The model whose breaker lets only this one through.
    trial_of: Option<ModelName>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(model) = &self.trial_of {
            self.health.with(model, |known| known.breaker.let_go());
        }
    }
}

impl ModelHealth {
    /// All breakers closed.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { origin: Instant::now(), settings, known: Mutex::default() }
    }

    /// Whether a call may go now; else how long its breaker wants to wait.
    pub(crate) fn admit(self: &Arc<Self>, model: &ModelName) -> Result<Admitted, Duration> {
        let now = self.origin.elapsed();
        let is_trial = self.with(model, |known| match known.breaker.admit(now) {
            true => Ok(known.breaker.state(now) == State::HalfOpen),
            false => Err(known.breaker.wait(now)),
        })?;
        Ok(Admitted { health: self.clone(), trial_of: is_trial.then(|| model.clone()) })
    }
    /// The model answered.
    pub fn succeeded(&self, model: &ModelName) {
        self.with(model, |known| known.breaker.succeeded());
    }
    /// The model failed. Only what speaks of the provider's health counts.
    pub fn failed(&self, model: &ModelName, fault: FaultKind) {
        let now = self.origin.elapsed();
        match fault {
            FaultKind::Overloaded | FaultKind::CutBefore | FaultKind::CutAfter | FaultKind::TimedOut => {
                self.with(model, |known| known.breaker.failed(now))
            }
            // It answered: it lives.
            FaultKind::Throttled
            | FaultKind::Money
            | FaultKind::ContextTooLong
            | FaultKind::Refused
            | FaultKind::Denied
            | FaultKind::Invalid
            | FaultKind::Empty
            | FaultKind::NotAsked => {}
        }
    }
    /// Whether its breaker is open. Half-open counts as answering: there are no probe calls.
    pub fn is_open(&self, model: &ModelName) -> bool {
        self.state(model) == State::Open
    }
    /// The state of its breaker.
    pub fn state(&self, model: &ModelName) -> State {
        let now = self.origin.elapsed();
        self.with(model, |known| known.breaker.state(now))
    }
    /// A first attempt is made.
    pub fn called(&self, model: &ModelName) {
        self.with(model, |known| known.retries.called());
    }
    /// Takes one retry of the model's budget, or refuses.
    pub fn take_retry(&self, model: &ModelName) -> bool {
        let now = self.origin.elapsed();
        self.with(model, |known| known.retries.take(now))
    }

    fn with<T>(&self, model: &ModelName, f: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(model) {
            let known = Known { breaker: Breaker::new(self.settings), retries: Budget::new(self.origin.elapsed()), shown: None };
            all.insert(model.clone(), known);
        }
        let known = all.get_mut(model).expect("it is there or was just put there");
        let outcome = f(known);
        let state = known.breaker.state(self.origin.elapsed());
        if known.shown != Some(state) {
            known.shown = Some(state);
            let open = match state {
                State::Closed => 0.0,
                State::HalfOpen => 0.5,
                State::Open => 1.0,
            };
            metrics::gauge!("maniple_model_breaker_open", "model" => model.to_string()).set(open);
        }
        outcome
    }
}

impl Default for ModelHealth {
    fn default() -> Self {
        Self::new(BreakerSettings::default())
    }
}
