//! What this process knows of its models: whose breaker is open, how many calls each takes at once, and how many retries it may
//! still cost.
//!
//! | a fault | the breaker | the pace |
//! |---|---|---|
//! | throttled | | slower |
//! | overloaded | counts the task | slower |
//! | failed, unreachable, cut, timed out | counts the task, once until somebody is answered | |
//! | the same answer to the same request again | takes the task's count back: the prompt is at fault | |
//! | any other | | |

use maniple_core::{
    TaskKey,
    breaker::{Breaker, BreakerSettings, State},
    model::{FaultKind, ModelName},
    pace::{self, Pace, Place},
    retry::Budget,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// A breaker, a pace and a retry budget for each model. Forgotten when the process ends: they are opinions, not facts.
pub struct ModelHealth {
    origin: Instant,
    settings: BreakerSettings,
    known: Mutex<HashMap<ModelName, Known>>,
}

struct Known {
    breaker: Breaker,
    /// The tasks whose failure the breaker has counted since the last answer; no more than its threshold.
    counted: HashSet<TaskKey>,
    pace: Pace,
    retries: Budget,
    /// Told when a call may go that could not before.
    changed: Arc<Notify>,
    /// The state that the metric shows.
    shown: Option<State>,
}

/// Why a call may not go now, and when it is worth asking again though nothing is told.
pub(crate) struct Held {
    pub(crate) why: &'static str,
    /// None where only another call's end makes room.
    pub(crate) wait: Option<Duration>,
}

/// A call that may go. Letting go of it gives its place back, that of a trial too if nothing came of it.
pub(crate) struct Admitted {
    health: Arc<ModelHealth>,
    model: ModelName,
    place: Place,
    is_trial: bool,
}

impl Admitted {
    /// It was refused because there is too much to do, and told to wait.
    pub(crate) fn refused(&self, retry_after: Option<Duration>) {
        let now = self.health.origin.elapsed();
        self.health.with(&self.model, |known| known.pace.refused(now, self.place, retry_after));
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.health.with(&self.model, |known| {
            known.pace.left();
            if self.is_trial {
                known.breaker.let_go();
            }
            known.changed.notify_one();
        });
    }
}

impl ModelHealth {
    /// All breakers closed.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { origin: Instant::now(), settings, known: Mutex::default() }
    }

    /// Whether a call may go now; one that `is_again` takes a retry of the model's budget.
    pub(crate) fn admit(self: &Arc<Self>, model: &ModelName, is_again: bool) -> Result<Admitted, Held> {
        let now = self.origin.elapsed();
        self.with(model, |known| {
            if !known.breaker.lets(now) {
                let why = "its circuit breaker is open after the failures of several tasks in a row";
                return Err(Held { why, wait: Some(known.breaker.wait(now)) });
            }
            let place = known.pace.admit(now).map_err(|held| match held {
                pace::Held::For(wait) => Held { why: "it asked to wait", wait: Some(wait) },
                pace::Held::Full => Held { why: "as many calls as it takes are in flight", wait: None },
            })?;
            let retry = if is_again { known.retries.take(now) } else { Ok(()) };
            if let Err(wait) = retry {
                known.pace.left();
                let why = "the retry budget is used up: a fifth of the calls, plus ten a minute";
                return Err(Held { why, wait: Some(wait) });
            }
            known.breaker.admit(now);
            let is_trial = known.breaker.state(now) == State::HalfOpen;
            Ok(Admitted { health: self.clone(), model: model.clone(), place, is_trial })
        })
    }
    /// Is told when a call may go that could not before: one at a time, or all.
    pub(crate) fn changed(&self, model: &ModelName) -> Arc<Notify> {
        self.with(model, |known| known.changed.clone())
    }
    /// How long nobody may ask, as far as that is known.
    pub(crate) fn wait(&self, model: &ModelName) -> Duration {
        let now = self.origin.elapsed();
        self.with(model, |known| match known.breaker.lets(now) {
            true => known.pace.holds(now),
            false => known.breaker.wait(now).max(known.pace.holds(now)),
        })
    }
    /// The model answered.
    pub fn succeeded(&self, model: &ModelName) {
        let now = self.origin.elapsed();
        self.with(model, |known| {
            let (was_open, had) = (known.breaker.state(now) != State::Closed, known.pace.limit());
            known.breaker.succeeded();
            known.counted.clear();
            known.pace.answered(now);
            match known.pace.limit() {
                // Each of them finds a place or waits on.
                limit if was_open || limit.is_none() && had.is_some() => known.changed.notify_waiters(),
                limit if limit > had => known.changed.notify_one(),
                _ => {}
            }
        });
    }
    /// The model failed a task, and where `is_repeated`, with the same answer to the same request. Only what speaks of the
    /// provider's health counts.
    pub fn failed(&self, model: &ModelName, task: &TaskKey, kind: FaultKind, is_repeated: bool) {
        let now = self.origin.elapsed();
        if !kind.is_attempt() && kind != FaultKind::Overloaded {
            // It answered, or was not asked.
            return;
        }
        self.with(model, |known| match known.breaker.state(now) {
            State::Closed if is_repeated && known.counted.remove(task) => known.breaker.forgive(),
            State::Closed if is_repeated || !known.counted.insert(task.clone()) => {}
            State::Closed | State::HalfOpen | State::Open => known.breaker.failed(now),
        });
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

    fn with<T>(&self, model: &ModelName, f: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(model) {
            let known = Known {
                breaker: Breaker::new(self.settings),
                counted: HashSet::new(),
                pace: Pace::default(),
                retries: Budget::new(self.origin.elapsed()),
                changed: Arc::default(),
                shown: None,
            };
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
