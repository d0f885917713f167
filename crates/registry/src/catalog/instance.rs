//! One that serves a version of a tool: its lease, its health, its breaker, how many calls it has in hand.

use maniple_core::{
    breaker::{self, Breaker, BreakerSettings},
    canonical,
    tool::{Instance as View, Realm, Source, ToolDefinition, ToolState},
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Where calls of one version can go.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) definition: Arc<ToolDefinition>,
    pub(crate) source: Source,
    /// Whether an operator wrote its URLs.
    pub(crate) trusted: bool,
    /// Whose definition it is.
    pub(crate) realm: Realm,
    /// The collection it belongs to: the project's files, an import, those that registered themselves.
    pub(crate) collection: Arc<str>,
    /// Why it may not be used although it is there.
    pub(crate) quarantine: Option<String>,
    /// It weighs so much.
    pub(super) bytes: usize,
    born: Instant,
    in_hand: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lease: Option<(Instant, Duration)>,
    failures: u32,
    sick: Option<String>,
    polled_next: Instant,
    breaker: Breaker,
}

/// A call that an instance has in hand; letting go of it counts it out.
pub(crate) struct InHand {
    instance: Arc<Instance>,
    /// It is the one by which a breaker finds out whether calls go again, until it has.
    is_trial: bool,
}

impl InHand {
    /// How the call went, as far as that says something of the instance's health.
    pub(crate) fn went(mut self, well: bool) {
        self.is_trial = false;
        let now = self.instance.born.elapsed();
        let breaker = &mut self.instance.state().breaker;
        if well { breaker.succeeded() } else { breaker.failed(now) }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.instance.in_hand.fetch_sub(1, Ordering::Relaxed);
        if self.is_trial {
            self.instance.state().breaker.let_go();
        }
    }
}

impl Instance {
    pub(crate) fn new(definition: Arc<ToolDefinition>, source: Source, trusted: bool, realm: Realm, collection: Arc<str>) -> Self {
        let now = Instant::now();
        Self {
            id: id(&definition),
            bytes: super::quota::weight_of_instance(&definition),
            definition,
            source,
            trusted,
            realm,
            collection,
            quarantine: None,
            born: now,
            in_hand: AtomicU32::new(0),
            state: Mutex::new(State {
                lease: None,
                failures: 0,
                sick: None,
                polled_next: now,
                breaker: Breaker::new(BreakerSettings::default()),
            }),
        }
    }
    /// It leaves when it has been silent for so long.
    pub(crate) fn leased(self, lease: Duration) -> Self {
        self.state().lease = Some((Instant::now() + lease, lease));
        self
    }
    /// It is there, and not to be used.
    pub(crate) fn quarantined(self, why: String) -> Self {
        Self { quarantine: Some(why), ..self }
    }

    pub(crate) fn renew(&self) {
        if let Some((until, lease)) = &mut self.state().lease {
            *until = Instant::now() + *lease;
        }
    }
    pub(crate) fn is_expired(&self) -> bool {
        self.state().lease.is_some_and(|(until, _)| until <= Instant::now())
    }

    /// How it is, and why if it is not well.
    pub(crate) fn health(&self) -> (ToolState, Option<String>) {
        if let Some(why) = &self.quarantine {
            return (ToolState::Quarantined, Some(why.clone()));
        }
        let state = self.state();
        if state.lease.is_some_and(|(until, _)| until <= Instant::now()) {
            return (ToolState::Gone, Some("its lease ran out: it does not renew its registration".into()));
        }
        match &state.sick {
            Some(why) => (ToolState::Unhealthy, Some(why.clone())),
            None => (ToolState::Healthy, None),
        }
    }
    pub(crate) fn is_healthy(&self) -> bool {
        self.health().0 == ToolState::Healthy
    }

    /// Whether its health is to be asked now; whoever is told so asks, and the next time is `every` later.
    pub(crate) fn poll_due(&self, every: Duration) -> bool {
        let mut state = self.state();
        let due = self.definition.health_url.is_some() && state.polled_next <= Instant::now();
        if due {
            state.polled_next = Instant::now() + every;
        }
        due
    }
    /// What a poll said. So many failures in a row make it unhealthy, one success well again. Says whether that changed.
    pub(crate) fn polled(&self, outcome: Result<(), String>, failures_max: u32) -> bool {
        let mut state = self.state();
        let was_sick = state.sick.is_some();
        match outcome {
            Ok(()) => (state.failures, state.sick) = (0, None),
            Err(why) => {
                state.failures = state.failures.saturating_add(1);
                if state.failures >= failures_max {
                    state.sick = Some(why);
                }
            }
        }
        was_sick != state.sick.is_some()
    }
    /// Why it is not well, by its polls or by what somebody else knows.
    pub(crate) fn sick(&self) -> Option<String> {
        self.state().sick.clone()
    }
    /// What somebody else knows of its health, such as the connection to an MCP server.
    pub(crate) fn set_sick(&self, why: Option<String>) {
        self.state().sick = why;
    }

    /// Whether its breaker would let a call through; otherwise how long it stays so.
    pub(crate) fn lets(&self) -> Result<(), Duration> {
        let (now, state) = (self.born.elapsed(), self.state());
        if state.breaker.lets(now) { Ok(()) } else { Err(state.breaker.wait(now)) }
    }
    /// Takes a call in hand, unless the breaker is open: then how long it stays so.
    pub(crate) fn take(self: &Arc<Self>) -> Result<InHand, Duration> {
        let now = self.born.elapsed();
        let mut state = self.state();
        if !state.breaker.admit(now) {
            return Err(state.breaker.wait(now));
        }
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        Ok(InHand { instance: self.clone(), is_trial: state.breaker.state(now) == breaker::State::HalfOpen })
    }
    pub(crate) fn in_hand(&self) -> u32 {
        self.in_hand.load(Ordering::Relaxed)
    }

    pub(crate) fn view(&self) -> View {
        let (state, reason) = self.health();
        let lease = self.state().lease.map(|(until, _)| until.saturating_duration_since(Instant::now()).as_millis() as u64);
        View { id: self.id.clone(), endpoint: self.definition.endpoint.clone(), state, reason, source: self.source, lease_ms: lease }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of an instance: the same version at the same endpoint is the same one.
pub(crate) fn id(definition: &ToolDefinition) -> String {
    let named = format!("{}\n{}\n{}", definition.name, definition.version, definition.endpoint);
    let hash = canonical::hash_bytes(named.as_bytes());
    let hex = hash.rsplit(':').next().unwrap_or_default();
    hex.chars().take(16).collect()
}
