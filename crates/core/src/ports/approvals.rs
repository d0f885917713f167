//! What a person is asked, and what the person says.

use crate::{
    AgentName, TaskId, TaskKey, Tenant, Time, canonical,
    event::{Answer, ApprovalRequested},
    signal::{Signal, SignalKind},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A request for a person. The store derives it from `approval.requested` in the append that records it.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The task that waits.
    pub key: TaskKey,
    /// Its agent.
    pub agent: AgentName,
    /// In which step.
    pub step: u32,
    /// What is asked.
    pub request: ApprovalRequested,
    /// When it was asked.
    pub requested_at: Time,
    /// What became of it.
    pub state: ApprovalState,
    /// What was said, once somebody has.
    pub decision: Option<Decision>,
    /// When that was.
    pub decided_at: Option<Time>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Nobody has decided.
    Open,
    /// Somebody agreed: the call is made; or, for a call in doubt, it happened.
    Approved,
    /// Somebody refused: the call is not made; or, for a call in doubt, it did not happen.
    Denied,
    /// Nobody decided in time.
    Expired,
}

impl ApprovalState {
    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Approved, Self::Denied, Self::Expired].into_iter().find(|state| state.as_str() == text)
    }
    /// What an answer makes of a request.
    pub fn of(answer: Answer) -> Self {
        match answer {
            Answer::Approved => Self::Approved,
            Answer::Denied => Self::Denied,
            Answer::Expired => Self::Expired,
        }
    }
    /// The name on the wire and in storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }
}

/// What a person said. It travels as the data of an approval signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether the person agreed.
    pub approve: bool,
    /// The principal.
    pub by: String,
    /// Why, at most 4 KiB; the model reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Decision {
    /// What it makes of a request.
    pub fn state(&self) -> ApprovalState {
        if self.approve { ApprovalState::Approved } else { ApprovalState::Denied }
    }

    /// The signal that tells the run: the decision with the request's id.
    ///
    /// A request's id may be longer than a signal's may be; a longer one goes by its hash.
    pub fn signal(&self, request: &str) -> Signal {
        const SIGNAL_ID_MAX: usize = 128;
        let plain = format!("approval:{request}");
        let id = if plain.len() <= SIGNAL_ID_MAX { plain } else { format!("approval:{}", canonical::hash_bytes(request.as_bytes())) };
        let data = json!({ "id": request, "approve": self.approve, "by": self.by, "reason": self.reason });
        Signal { id, kind: SignalKind::Approval, data, at: Time::default() }
    }
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The request as it is now.
    pub approval: Approval,
    /// Whether this call decided it; else it was said before.
    pub fresh: bool,
}

/// Which requests to list.
#[derive(Debug, Clone, Default)]
pub struct ListApprovals {
    /// Whose.
    pub tenant: Tenant,
    /// Of these agents only; empty means any.
    pub agents: Vec<AgentName>,
    /// In this state only.
    pub state: Option<ApprovalState>,
    /// Of this task only.
    pub task: Option<TaskId>,
    /// Strictly newer than this (requested_at, id).
    pub after: Option<(Time, String)>,
    /// At most.
    pub limit: usize,
}
