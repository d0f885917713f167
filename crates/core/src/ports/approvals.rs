//! What a person is asked, and what the person says.

use crate::{AgentName, TaskId, TaskKey, Tenant, Time, event::ApprovalRequested};
use serde::{Deserialize, Serialize};

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
