//! After a failed attempt: the same model again, the next one, or the end. What the record says is decided here; what only a process knows, by its driver.
//!
//! | fault | same model | then |
//! |---|---|---|
//! | throttled, overloaded, cut, timed out | 3 attempts, backoff, Retry-After at least | fallback, else `model_unavailable` |
//! | money | never | fallback, else `model_denied` |
//! | invalid, not asked | never | fallback, else `model_unavailable` |
//! | context too long | once, with half the window | `context_too_long` |
//! | empty | once more, at once | what comes then is taken |
//! | refused | never | `model_refused` |
//! | denied | never | `model_denied`, at once |

use crate::{event::ModelFailed, model::FaultKind, task::ErrorCode};
use std::time::Duration;

/// Attempts of one model in one step.
pub const ATTEMPTS: u32 = 3;
/// The most that backoff alone waits.
pub const BACKOFF_CAP: Duration = Duration::from_secs(15);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// Whom to ask, or why nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This model of the chain.
    Ask(usize),
    /// The run fails with this code and this detail.
    End(ErrorCode, String),
}

/// Reads the faults of a step and says whom to ask. Pure: a takeover decides as the first holder would have.
pub fn choose(chain: &[&str], faults: &[ModelFailed]) -> Choice {
    let (mut model, mut tries, mut compactions) = (0, 0, 0);
    for fault in faults {
        let told = || format!("{}: {}", fault.model, fault.message);
        match fault.fault {
            FaultKind::Throttled | FaultKind::Overloaded | FaultKind::CutBefore | FaultKind::CutAfter | FaultKind::TimedOut => tries += 1,
            FaultKind::Money | FaultKind::Invalid | FaultKind::NotAsked => tries = ATTEMPTS,
            // Once a step: who records it sees to that.
            FaultKind::Empty => {}
            FaultKind::ContextTooLong => compactions += 1,
            FaultKind::Refused => return Choice::End(ErrorCode::ModelRefused, told()),
            FaultKind::Denied => return Choice::End(ErrorCode::ModelDenied, told()),
        }
        if compactions > 1 {
            return Choice::End(ErrorCode::ContextTooLong, told());
        }
        if tries >= ATTEMPTS {
            (model, tries) = (model + 1, 0);
        }
        if model >= chain.len() {
            let code = if fault.fault == FaultKind::Money { ErrorCode::ModelDenied } else { ErrorCode::ModelUnavailable };
            return Choice::End(code, told());
        }
    }
    Choice::Ask(model)
}

/// Exponential backoff with full jitter: between nothing and `500 ms × 2^(failures-1)`, at most 15 s.
/// `dice` is in 0..1. Retry-After is a minimum.
pub fn backoff(failures: u32, retry_after: Option<Duration>, dice: f64) -> Duration {
    let ceiling = BACKOFF_FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16))).min(BACKOFF_CAP);
    ceiling.mul_f64(dice.clamp(0.0, 1.0)).max(retry_after.unwrap_or_default())
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
    /// Takes one retry, or refuses.
    pub fn take(&mut self, now: Duration) -> bool {
        let minutes = now.saturating_sub(self.seen).as_secs_f64() / 60.0;
        self.seen = now;
        self.saved = (self.saved + minutes * Self::A_MINUTE).min(Self::MOST);
        let granted = self.saved >= 1.0;
        if granted {
            self.saved -= 1.0;
        }
        granted
    }
}
