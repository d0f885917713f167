//! What this process knows of its models: breakers, and how many retries it may still make.

use maniple_core::{
    breaker::{Breaker, Settings, State},
    model::{FaultKind, ModelName},
    retry::Budget,
};
use std::{collections::HashMap, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// Breakers by model and the retry budget. Forgotten when the process ends: they are opinions, not facts.
pub struct ModelHealth {
    origin: Instant,
    settings: Settings,
    breakers: Mutex<HashMap<ModelName, Breaker>>,
    retries: Mutex<Budget>,
}

impl ModelHealth {
    /// All breakers closed.
    pub fn new(settings: Settings) -> Self {
        let retries = Mutex::new(Budget::new(Duration::ZERO));
        Self { origin: Instant::now(), settings, breakers: Mutex::default(), retries }
    }

    /// Whether a call may go now; else how long its breaker wants to wait.
    pub fn admit(&self, model: &ModelName) -> Result<(), Duration> {
        let now = self.origin.elapsed();
        self.with(model, |breaker| if breaker.admit(now) { Ok(()) } else { Err(breaker.wait(now)) })
    }
    /// The model answered.
    pub fn succeeded(&self, model: &ModelName) {
        self.with(model, Breaker::succeeded);
    }
    /// The model failed. Only what speaks of the provider's health counts.
    pub fn failed(&self, model: &ModelName, fault: FaultKind) {
        let now = self.origin.elapsed();
        match fault {
            FaultKind::Overloaded | FaultKind::CutBefore | FaultKind::CutAfter | FaultKind::TimedOut => self.with(model, |b| b.failed(now)),
            // It answered: it lives.
            FaultKind::Throttled
            | FaultKind::Money
            | FaultKind::ContextTooLong
            | FaultKind::Refused
            | FaultKind::Denied
            | FaultKind::Invalid => {}
        }
    }
    /// Whether its breaker is open. Half-open counts as answering: there are no probe calls.
    pub fn is_open(&self, model: &ModelName) -> bool {
        self.state(model) == State::Open
    }
    /// The state of its breaker.
    pub fn state(&self, model: &ModelName) -> State {
        let now = self.origin.elapsed();
        self.with(model, |breaker| breaker.state(now))
    }
    /// A first attempt is made.
    pub fn called(&self) {
        self.retries.lock().expect("no holder panics").called();
    }
    /// Takes one retry of the budget, or refuses.
    pub fn take_retry(&self) -> bool {
        let now = self.origin.elapsed();
        self.retries.lock().expect("no holder panics").take(now)
    }

    fn with<T>(&self, model: &ModelName, f: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breakers = self.breakers.lock().expect("no holder panics");
        match breakers.get_mut(model) {
            Some(breaker) => f(breaker),
            None => f(breakers.entry(model.clone()).or_insert_with(|| Breaker::new(self.settings))),
        }
    }
}

impl Default for ModelHealth {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}
