//! Requests for a person, as they are shown and decided.

use crate::{page, strict};
use maniple_core::{
    Error, Result, Time,
    ports::{self, ApprovalState},
    tool::Way,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest reason, in characters: a model reads it.
pub const REASON_MAX: usize = 4096;

/// A request for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Approval {
    /// Its id, under which it is decided.
    pub id: String,
    /// The task that waits.
    pub task_id: String,
    /// Its agent.
    pub agent: String,
    /// In which step.
    pub step: u32,
    /// `may_call`: may the call be made? `did_happen`: nobody knows how the call went: did it happen?
    pub question: String,
    /// The tool.
    pub tool: String,
    /// The version that would be called.
    pub version: String,
    /// The hash of that version's contract.
    pub contract: String,
    /// Where it would go, and as whom. Null where that is not known.
    pub way: Option<Way>,
    /// The arguments, checked.
    pub arguments: Value,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Time,
    /// After this a decision comes too late.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Time,
    /// `open`, `approved`, `denied` or `expired`.
    pub state: String,
    /// What was said, once somebody has.
    pub decision: Option<SaidBy>,
}

/// What a person said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SaidBy {
    /// The principal.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Time>,
}

/// `approve`, or for a call in doubt "it happened"; `deny`, or "it did not happen".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Choice {
    Approve,
    Deny,
}

/// A decision on its way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Decision {
    /// What is decided.
    pub decision: Choice,
    /// Why, at most 4,096 characters; the model reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A page of requests, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ApprovalPage {
    /// The requests.
    pub approvals: Vec<Approval>,
    /// Where the next page begins; null after the last.
    pub next_cursor: Option<String>,
}

impl From<ports::Approval> for Approval {
    fn from(approval: ports::Approval) -> Self {
        let ports::Approval { key, agent, step, request, requested_at, state, decision, decided_at } = approval;
        Self {
            id: request.id,
            task_id: key.id.to_string(),
            agent: agent.to_string(),
            step,
            question: request.question.as_str().to_owned(),
            tool: request.tool,
            version: request.version.to_string(),
            contract: request.contract,
            way: request.way,
            arguments: request.arguments,
            requested_at,
            expires_at: request.expires_at,
            state: state.as_str().to_owned(),
            decision: decision.map(|decision| SaidBy { by: decision.by, reason: decision.reason, at: decided_at }),
        }
    }
}

impl ApprovalPage {
    /// These requests, and newer ones than `next` on the next page.
    pub fn of(approvals: Vec<ports::Approval>, next: Option<(Time, String)>) -> Self {
        let next_cursor = next.map(|(requested_at, id)| page::cursor(requested_at, id));
        Self { approvals: approvals.into_iter().map(Into::into).collect(), next_cursor }
    }
}

/// `state` of a query.
pub fn state(text: &str) -> Result<ApprovalState> {
    ApprovalState::parse(text).ok_or_else(|| Error::invalid("state must be one of open, approved, denied, expired").at("state"))
}

impl Decision {
    /// Reads a body. `Invalid` names the field.
    pub fn read(body: &Value) -> Result<Self> {
        let members = strict::members(body, &["decision", "reason"])?;
        let decision = match members.get("decision").and_then(Value::as_str) {
            Some("approve") => Choice::Approve,
            Some("deny") => Choice::Deny,
            _ => return Err(Error::invalid("decision must be `approve` or `deny`").at("decision")),
        };
        let reason = match members.get("reason") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.chars().count() <= REASON_MAX => Some(text.clone()).filter(|text| !text.trim().is_empty()),
            Some(_) => return Err(Error::invalid("reason must be text of at most 4096 characters").at("reason")),
        };
        Ok(Self { decision, reason })
    }
}
