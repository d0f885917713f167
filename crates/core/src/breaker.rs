//! A circuit breaker as a value: who calls says what time it is.
//!
//! | state | a call | it succeeds | it fails |
//! |---|---|---|---|
//! | closed | goes | failures := 0 | failures + 1; at `threshold` → open |
//! | open, until `cool_down` has passed | is refused | | |
//! | half-open | one goes, others are refused | → closed | → open |

use std::time::Duration;

/// When it opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it. Default 5.
    pub threshold: u32,
    /// How long it stays open before one call may try. Default 10 s.
    pub cool_down: Duration,
}
impl Default for BreakerSettings {
    fn default() -> Self {
        Self { threshold: 5, cool_down: Duration::from_secs(10) }
    }
}

/// The state as people and metrics see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Calls go.
    Closed,
    /// Calls are refused.
    Open,
    /// One call may try.
    HalfOpen,
}

/// A circuit breaker. `now` is any monotonic clock.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    settings: BreakerSettings,
    failures: u32,
    opened_at: Option<Duration>,
    trying_since: Option<Duration>,
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, ..Self::default() }
    }
    /// Its state.
    pub fn state(&self, now: Duration) -> State {
        match self.opened_at {
            None => State::Closed,
            Some(at) if now.saturating_sub(at) < self.settings.cool_down => State::Open,
            Some(_) => State::HalfOpen,
        }
    }
    /// Whether a call could go now; nothing changes by asking.
    pub fn lets(&self, now: Duration) -> bool {
        match self.state(now) {
            State::Closed => true,
            State::Open => false,
            // A trial whose outcome never came (its task was cancelled) frees its place after a cool-down.
            State::HalfOpen => self.trying_since.is_none_or(|since| now.saturating_sub(since) >= self.settings.cool_down),
        }
    }
    /// Whether a call may go now. In half-open the caller becomes the one that tries.
    pub fn admit(&mut self, now: Duration) -> bool {
        let goes = self.lets(now);
        if goes && self.opened_at.is_some() {
            self.trying_since = Some(now);
        }
        goes
    }
    /// When a refused call may ask again.
    pub fn wait(&self, now: Duration) -> Duration {
        let from = self.trying_since.or(self.opened_at).unwrap_or(now);
        (from + self.settings.cool_down).saturating_sub(now)
    }
    /// The one that was to try came to nothing, without a word about the provider's health: another may try.
    pub fn let_go(&mut self) {
        self.trying_since = None;
    }
    /// A failure that was counted says nothing of the provider after all. What has opened stays open.
    pub fn forgive(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }
    /// The call was answered.
    pub fn succeeded(&mut self) {
        *self = Self::new(self.settings);
    }
    /// The call failed in a way that says something of the provider's health.
    pub fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.settings.threshold || self.opened_at.is_some() {
            self.opened_at = Some(now);
            self.trying_since = None;
        }
    }
}
