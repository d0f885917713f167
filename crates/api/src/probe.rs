//! What `/health` and `/ready` say.

use serde::{Deserialize, Serialize};

/// The answer of `/health`, while the process lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    /// The version that runs.
    pub version: String,
}

/// The answer of `/ready`; with 503 the same parts stand in the problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Readiness {
    /// `ready`, or `degraded` when a part that is not needed does not answer.
    pub status: PartState,
    /// Each part this role works with.
    pub parts: Vec<Part>,
}

/// One part a role works with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Part {
    /// `store`, `model:AGENT` and so on; the kind alone, `model`, for those who may not see what the node is made of.
    pub name: String,
    /// How it is.
    pub state: PartState,
    /// What is wrong with it, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How a part is, from well to ill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// It answers.
    Ready,
    /// It does not, and the role works without.
    Degraded,
    /// It does not, and the role cannot work without.
    Failed,
}

impl Readiness {
    /// What the parts come to: the worst of them.
    pub fn of(parts: Vec<Part>) -> Self {
        let any = |state| parts.iter().any(|part| part.state == state);
        let status = if any(PartState::Failed) {
            PartState::Failed
        } else if any(PartState::Degraded) {
            PartState::Degraded
        } else {
            PartState::Ready
        };
        Self { status, parts }
    }

    /// The same without names and details: of each kind of part, which stands before the colon of its name, the worst.
    pub fn kinds(self) -> Self {
        let mut kinds: Vec<Part> = Vec::new();
        for part in self.parts {
            let kind = part.name.split(':').next().unwrap_or_default();
            match kinds.iter_mut().find(|known| known.name == kind) {
                Some(known) => known.state = known.state.max(part.state),
                None => kinds.push(Part { name: kind.to_owned(), state: part.state, detail: None }),
            }
        }
        Self { status: self.status, parts: kinds }
    }
}
