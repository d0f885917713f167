//! `AgentTask` as it is sent: every field strict, nothing ignored. Bounds are [`request::TaskRequest::accept`]'s.

use crate::strict;
use maniple_core::{AgentName, Error, Result, SessionId, TaskId, request};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The fields of a request, for messages.
const FIELDS: [&str; 12] = [
    "id",
    "session_id",
    "prompt",
    "metadata",
    "max_steps",
    "token_budget",
    "agent",
    "context",
    "deadline_ms",
    "priority",
    "not_before",
    "output_schema",
];
/// Fields of the contract that nothing enforces yet. A limit that is taken and not kept is worse than none.
const NOT_ENFORCED: [&str; 4] = ["cost_budget_usd", "tree_token_budget", "webhook", "parent_task_id"];

/// What is asked, as a caller writes it. Leave a field out for its default; null is not a value of any.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "AgentTask")]
pub struct TaskRequest {
    /// Chosen by the caller so that sending twice is harmless; a UUIDv7 is made otherwise.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub id: Option<String>,
    /// The conversation; a new one is made and returned otherwise.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub session_id: Option<String>,
    /// What is asked.
    pub prompt: String,
    /// The caller's own notes; a model does not see them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// How many model calls at most. The ceiling is the operator's; 25 unless raised.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_steps: Option<i64>,
    /// How many tokens its model calls may use. The ceiling is the operator's; 32,768 unless raised.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub token_budget: Option<i64>,
    /// Who is to do it; needed only where a node serves several and the path names none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// The caller's facts for this task only; the agent's template can show them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub context: Map<String, Value>,
    /// When it must have ended, in milliseconds from acceptance, waiting included.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub deadline_ms: Option<i64>,
    /// Higher first; between sessions only.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub priority: Option<i64>,
    /// RFC 3339; the task takes its place in its session when this comes.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>, format = DateTime)]
    pub not_before: Option<String>,
    /// JSON Schema (2020-12 or draft-07) that the answer must fit.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Object>)]
    pub output_schema: Option<Map<String, Value>>,
}

/// A field that is there has its type: null is refused, not taken for "left out".
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl TaskRequest {
    /// Reads the types; the bounds are checked when it is accepted. Names the field at fault.
    pub fn read(body: &Value) -> Result<Self> {
        if let Some(name) = NOT_ENFORCED.into_iter().find(|name| body.get(name).is_some()) {
            return Err(Error::invalid(format!("{name} is not enforced by this version: leave it out")).at(name));
        }
        let members = strict::members(body, &FIELDS)?;
        if !members.contains_key("prompt") {
            return Err(Error::invalid("prompt is missing: say what is asked").at("prompt"));
        }
        strict::typed(body)
    }

    /// What this asks of an agent, typed. The bounds of numbers are checked when it is accepted.
    pub fn to(self, agent: &AgentName) -> Result<request::TaskRequest> {
        if self.agent.as_deref().is_some_and(|named| named != agent.as_str()) {
            return Err(Error::invalid(format!("agent must be `{agent}`, which the path names, or be left out")).at("agent"));
        }
        Ok(request::TaskRequest {
            id: self.id.as_deref().map(TaskId::parse).transpose()?,
            session_id: self.session_id.as_deref().map(SessionId::parse).transpose()?,
            metadata: self.metadata,
            max_steps: self.max_steps,
            token_budget: self.token_budget,
            context: self.context,
            deadline_ms: self.deadline_ms,
            priority: self.priority,
            not_before: self.not_before.as_deref().map(request::not_before).transpose()?,
            output_schema: self.output_schema.map(Value::Object),
            ..request::TaskRequest::new(agent.clone(), self.prompt)
        })
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
