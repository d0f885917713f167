//! What a person is asked about a call, and says.

use crate::{Time, tool::Way};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// See [`super::Event::ApprovalRequested`]. What is decided is decided for exactly this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalRequested {
    /// `{task_id}:{step}:{index}`, with `:doubt` after it for a call in doubt; unique in its tenant.
    pub id: String,
    /// The call's place in the step, from 0.
    pub index: u32,
    /// What is asked.
    pub question: Question,
    /// The tool.
    pub tool: String,
    /// The version that would be called.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Version,
    /// The hash of that version's contract.
    pub contract: String,
    /// Where it would go, and as whom. Absent from what was asked before this was recorded, and where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Way>,
    /// Checked arguments.
    pub arguments: Value,
    /// The hash of the arguments in canonical form.
    pub arguments_hash: String,
    /// After this a decision comes too late.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Time,
}
/// What a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// May the call be made?
    MayCall,
    /// Nobody knows how the call went: did it happen?
    DidHappen,
}
impl Question {
    /// The name on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MayCall => "may_call",
            Self::DidHappen => "did_happen",
        }
    }
}
/// See [`super::Event::ApprovalDecided`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalDecided {
    /// The request.
    pub id: String,
    /// The call's place in the step, from 0.
    pub index: u32,
    /// What was said.
    pub answer: Answer,
    /// The principal that said it; none where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why; the model reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
/// What was said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes.
    Approved,
    /// No.
    Denied,
    /// Nothing, in time.
    Expired,
}
impl Answer {
    /// The name on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }
}
