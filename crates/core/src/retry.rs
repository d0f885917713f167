//! After a failed attempt: the same model again, the next one, a wait, or the end. What the record says is decided here; what
//! only a process knows, by its driver.
//!
//! | fault | same model | then |
//! |---|---|---|
//! | failed, unreachable, cut, timed out | 3 attempts, backoff to 15 s | fallback, else `model_unavailable` |
//! | throttled, overloaded, not asked | no attempt is used up | fallback, else all are asked again after a backoff to 60 s |
//! | money | never | fallback, else `model_denied` |
//! | invalid | never | fallback, else `model_unavailable` |
//! | context too long | once, with half the window | `context_too_long` |
//! | empty | once more, at once | what comes then is taken |
//! | refused | never | `model_refused` |
//! | denied | never | `model_denied`, at once |
//!
//! Retry-After is a minimum of every wait. How long a run may wait out overload is its driver's to say: its patience.

use crate::{event::ModelFailed, model::FaultKind, task::ErrorCode};
use std::time::Duration;

/// Attempts of one model in one step.
pub const ATTEMPTS: u32 = 3;
/// The most that backoff alone waits after a failed attempt.
pub const BACKOFF_CAP: Duration = Duration::from_secs(15);
/// The most that backoff alone waits for models that have too much to do.
pub const OVERLOAD_CAP: Duration = Duration::from_secs(60);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// Whom to ask, or why nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This model of the chain.
    Ask(Turn),
    /// The run fails with this code and this detail.
    End(ErrorCode, String),
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the chain.
    pub model: usize,
    /// What is waited for first.
    pub after: After,
    /// Whether nobody is left to be asked instead, before all are asked again.
    pub is_last: bool,
}

/// What stands before an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing: another model is asked, or a shorter request made.
    Nothing,
    /// The same model failed so many times in this step.
    Failures(u32),
    /// All that could be asked had too much to do, so many times.
    Overload(u32),
}

impl After {
    /// How long is waited, Retry-After apart: exponential with full jitter, `dice` in 0..1. After failures between nothing and
    /// `500 ms × 2^(n-1)`; after overload between half of that and all, so that a wait that has grown long is one.
    pub fn backoff(self, dice: f64) -> Duration {
        let grown = |times: u32, cap| BACKOFF_FIRST.saturating_mul(2u32.saturating_pow(times.saturating_sub(1).min(16))).min(cap);
        let dice = dice.clamp(0.0, 1.0);
        match self {
            Self::Nothing => Duration::ZERO,
            Self::Failures(times) => grown(times, BACKOFF_CAP).mul_f64(dice),
            Self::Overload(times) => grown(times, OVERLOAD_CAP).mul_f64(0.5 + dice / 2.0),
        }
    }
}

/// What is known of one model of the chain in this step.
#[derive(Clone, Copy, Default)]
struct Known {
    failures: u32,
    /// It is not asked any more.
    is_out: bool,
    /// It had too much to do when it was last its turn.
    is_passed: bool,
}

/// Reads the faults of a step and says whom to ask. Pure: a takeover decides as the first holder would have.
pub fn choose(chain: &[&str], faults: &[ModelFailed]) -> Choice {
    let mut known = vec![Known::default(); chain.len()];
    let mut turn = Turn { model: 0, after: After::Nothing, is_last: chain.len() == 1 };
    let (mut compactions, mut overloads) = (0, 0);
    for fault in faults {
        let told = || format!("{}: {}", fault.model, fault.message);
        let at = chain.iter().position(|model| *model == fault.model).unwrap_or(turn.model);
        let model = &mut known[at];
        let mut after = After::Nothing;
        match fault.fault {
            kind if kind.is_overload() => model.is_passed = true,
            kind if kind.is_attempt() => {
                model.failures += 1;
                model.is_out |= model.failures >= ATTEMPTS;
                after = After::Failures(model.failures);
            }
            // Once a step: who records it sees to that.
            FaultKind::Empty => {}
            FaultKind::ContextTooLong => compactions += 1,
            FaultKind::Refused => return Choice::End(ErrorCode::ModelRefused, told()),
            FaultKind::Denied => return Choice::End(ErrorCode::ModelDenied, told()),
            _ => model.is_out = true,
        }
        if compactions > 1 {
            return Choice::End(ErrorCode::ContextTooLong, told());
        }
        if known.iter().all(|model| model.is_out) {
            let code = if fault.fault == FaultKind::Money { ErrorCode::ModelDenied } else { ErrorCode::ModelUnavailable };
            return Choice::End(code, told());
        }
        if known.iter().all(|model| model.is_out || model.is_passed) {
            overloads += 1;
            after = After::Overload(overloads);
            known.iter_mut().for_each(|model| model.is_passed = false);
        }
        let mut left = (0..chain.len()).filter(|at| !known[*at].is_out && !known[*at].is_passed);
        let next = left.next().unwrap_or_default();
        let is_again = next == at || matches!(after, After::Overload(_));
        turn = Turn { model: next, after: if is_again { after } else { After::Nothing }, is_last: left.next().is_none() };
    }
    Choice::Ask(turn)
}

/// Keeps retries from becoming a storm: a fifth of the calls, plus ten a minute.
#[derive(Debug, Clone)]
pub struct Budget {
    saved: f64,
    seen: Duration,
}

impl Budget {
    const OF_CALLS: f64 = 0.2;
    const A_MINUTE: f64 = 10.0;
    const MOST: f64 = 100.0;

    /// A budget that begins with a minute's worth.
    pub fn new(now: Duration) -> Self {
        Self { saved: Self::A_MINUTE, seen: now }
    }
    /// A first attempt was made.
    pub fn called(&mut self) {
        self.saved = (self.saved + Self::OF_CALLS).min(Self::MOST);
    }
    /// Takes one retry; refused, says how long until there is one though nothing is called.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let minutes = now.saturating_sub(self.seen).as_secs_f64() / 60.0;
        self.seen = now;
        self.saved = (self.saved + minutes * Self::A_MINUTE).min(Self::MOST);
        if self.saved < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - self.saved) / Self::A_MINUTE * 60.0);
            // What is left may be less than any clock shows.
            return Err(wait.max(Duration::from_millis(1)));
        }
        self.saved -= 1.0;
        Ok(())
    }
}
