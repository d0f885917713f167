//! How a call that gave no result is told over HTTP, and read back as what it was.
//!
//! | outcome | status |
//! |---|---|
//! | `failed` | 502: the tool answered, and it was a failure |
//! | `wait` | 429 with Retry-After |
//! | `not_sent` | 503 with Retry-After: nothing was written, so it may be asked again |
//! | `unknown` | 504: it may have happened |
//! | `refused` | 422 arguments or a used key; 403 not granted, forbidden, a person's consent; 404; 409 quarantined |
//!
//! The member `outcome` of the problem holds all of it, so that nothing is guessed from a status.

use super::wire::in_ms;
use crate::problem::Problem;
use maniple_core::ports::{Invoked, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The name of the problem's member.
pub const MEMBER: &str = "outcome";
/// How much of what a tool answered stands in the sentence; all of it is in the member.
const SHOWN_CHARACTERS: usize = 200;

/// How a call went that gave no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CallOutcome {
    /// The tool answered, and it was a failure: `{status, body}` of an HTTP tool.
    Failed {
        /// What it answered.
        result: Value,
    },
    /// Nothing was written: it did not happen.
    NotSent {
        /// Why.
        message: String,
    },
    /// Nothing was written, and before this has passed asking again is no use.
    Wait {
        /// Why.
        message: String,
        /// How long.
        wait_ms: u64,
    },
    /// It is not called.
    Refused {
        /// What sort of reason.
        reason: RefusalKind,
        /// For the model and for people.
        message: String,
    },
    /// It may have happened; nobody knows.
    Unknown {
        /// Why.
        message: String,
    },
}

impl CallOutcome {
    /// The result of a call, or how it went instead.
    pub fn of(invoked: Invoked) -> Result<Value, Self> {
        Err(match invoked {
            Invoked::Ok(result) => return Ok(result),
            Invoked::Failed(result) => Self::Failed { result },
            Invoked::NotSent(message) => Self::NotSent { message },
            Invoked::Wait(message, wait) => Self::Wait { message, wait_ms: in_ms(wait) },
            Invoked::Refused(refusal) => refusal.into(),
            Invoked::Unknown(message) => Self::Unknown { message },
        })
    }

    /// As it is answered.
    pub fn problem(&self) -> Problem {
        let (name, title, status) = match self {
            Self::Failed { .. } => ("tool-failed", "The tool answered with a failure", 502),
            Self::NotSent { .. } => ("tool-not-sent", "The tool was not called", 503),
            Self::Wait { .. } => ("exhausted", "A limit of yours is used up", 429),
            Self::Unknown { .. } => ("tool-in-doubt", "The tool may have been called", 504),
            Self::Refused { reason, .. } => match reason {
                RefusalKind::Arguments | RefusalKind::KeyReused => ("invalid", "The request cannot be right as it stands", 422),
                RefusalKind::NotGranted | RefusalKind::Forbidden | RefusalKind::NeedsApproval => {
                    ("denied", "This principal may not do that", 403)
                }
                RefusalKind::NotFound => ("not-found", "There is nothing of that name", 404),
                RefusalKind::Quarantined => ("quarantined", "The tool is not what tools.lock says", 409),
            },
        };
        let mut problem = Problem::new(name, title, status, self.detail());
        problem.field = match self {
            Self::Refused { reason: RefusalKind::Arguments, .. } => Some("arguments".into()),
            Self::Refused { reason: RefusalKind::KeyReused, .. } => Some("Idempotency-Key".into()),
            _ => None,
        };
        problem.retry_after = match self {
            Self::NotSent { .. } => Some(1),
            Self::Wait { wait_ms, .. } => Some(wait_ms.div_ceil(1_000).max(1)),
            _ => None,
        };
        // Our own type: it has no non-string keys.
        problem.with(MEMBER, serde_json::to_value(self).unwrap_or_default())
    }

    fn detail(&self) -> String {
        match self {
            Self::Failed { result } => {
                let text = result["body"].as_str().or_else(|| result["error"].as_str()).map_or_else(|| result.to_string(), str::to_owned);
                let text: String = text.chars().take(SHOWN_CHARACTERS).collect();
                match &result["status"] {
                    Value::Number(status) => format!("the tool answered {status}: {text}"),
                    _ => format!("the tool failed: {text}"),
                }
            }
            Self::Unknown { message } => {
                format!("{message}; it may have happened: ask again with the same Idempotency-Key to learn what is recorded")
            }
            Self::NotSent { message } | Self::Wait { message, .. } | Self::Refused { message, .. } => message.clone(),
        }
    }

    /// What a problem says of a call; `None` where it says nothing of one.
    pub fn in_problem(problem: &Problem) -> Option<Self> {
        serde_json::from_value(problem.more.get(MEMBER)?.clone()).ok()
    }
}

impl From<Refusal> for CallOutcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { reason: refusal.kind, message: refusal.message }
    }
}

impl From<CallOutcome> for Invoked {
    fn from(outcome: CallOutcome) -> Self {
        match outcome {
            CallOutcome::Failed { result } => Self::Failed(result),
            CallOutcome::NotSent { message } => Self::NotSent(message),
            CallOutcome::Wait { message, wait_ms } => Self::Wait(message, Duration::from_millis(wait_ms)),
            CallOutcome::Refused { reason, message } => Self::Refused(Refusal { kind: reason, message }),
            CallOutcome::Unknown { message } => Self::Unknown(message),
        }
    }
}
