//! What was asked, and what came of it.

mod error_code;
mod limits;

pub use error_code::ErrorCode;
pub use limits::{Ceilings, STEPS_MIN, TOKENS_MIN, TaskLimits, in_range};

use crate::{AgentName, Error, Result, SessionId, TaskId, Tenant, Time, schema, trace::TraceContext};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// An accepted task: every field checked, every default filled. It is the data of `task.accepted`,
/// and nowhere else is it stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Task {
    /// Unique in its tenant.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: TaskId,
    /// Who is to do it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentName,
    /// The conversation it belongs to.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session_id: SessionId,
    /// What is asked. Never rendered as a template.
    pub prompt: String,
    /// The caller's own notes; not shown to the model.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Map<String, Value>,
    /// How many model calls at most.
    pub max_steps: u32,
    /// How many tokens its own model calls may use.
    pub token_budget: u64,
    /// The caller's facts for this task only; the agent's template can show them.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub context: Map<String, Value>,
    /// From acceptance, waiting included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// 0..=9, higher first.
    pub priority: u8,
    /// It takes its place in its session when this comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub not_before: Option<Time>,
    /// The answer must fit this schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// A hard limit in money. Nothing enforces it yet: never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_budget_usd: Option<f64>,
    /// A hard limit in tokens for the task and its children. Nothing enforces it yet: never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_token_budget: Option<u64>,
    /// The task this one works for. Never set yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub parent_task_id: Option<TaskId>,
    /// The failed task this one takes over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub retry_of: Option<TaskId>,
    /// Whose it is.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub tenant: Tenant,
    /// Who asked.
    pub principal: String,
    /// The trace it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// A task's state. Final ones never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TaskStatus {
    /// Accepted, not yet claimed.
    Pending,
    /// Claimed at least once.
    Running,
    /// It came to an answer, or to a bound that counts as one.
    Completed,
    /// It did not; `error` says why.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl TaskStatus {
    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
    /// The name in storage and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled].into_iter().find(|s| s.as_str() == text)
    }
}

/// What `waiting_for` says of a parked run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WaitingFor {
    /// A person's decision over a call.
    Approval,
    /// A person's answer.
    Input,
    /// Child tasks.
    Children,
    /// A moment.
    Timer,
}

impl WaitingFor {
    /// The name on the wire and in storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Input => "input",
            Self::Children => "children",
            Self::Timer => "timer",
        }
    }
    /// What has that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Approval, Self::Input, Self::Children, Self::Timer].into_iter().find(|waiting| waiting.as_str() == text)
    }
}

/// What a pending task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum QueuedFor {
    /// Its `not_before`.
    NotBefore,
    /// The end of another task of its session.
    Session,
    /// A worker with a free place.
    Worker,
}

/// A task as the outside sees it, live or final.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentResult {
    /// The task.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub task_id: TaskId,
    /// Its state.
    pub status: TaskStatus,
    /// The answer, or the best so far.
    pub output: Option<String>,
    /// Model calls that were answered.
    pub steps_used: u32,
    /// Input and output tokens as the provider reported them.
    pub tokens_used: u64,
    /// Tool calls the model asked for, made or not.
    pub tool_calls: u32,
    /// Why it ended as it did.
    pub error: Option<ErrorCode>,
    /// From first claim to end; so far, while it runs.
    pub duration_ms: u64,
    /// The conversation it belongs to.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session_id: SessionId,
    /// Who does it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentName,
    /// When it was accepted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Time,
    /// When it was first claimed.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Time>,
    /// When it ended.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub finished_at: Option<Time>,
    /// What to do about `error`.
    pub error_detail: Option<String>,
    /// The answer as JSON that fits `output_schema`.
    pub structured: Option<Value>,
    /// What its model calls cost, where prices are known.
    pub cost_usd: Option<f64>,
    /// The model that answered last.
    pub model: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// What a parked run waits for.
    pub waiting_for: Option<WaitingFor>,
    /// The failed task this one takes over from.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub retry_of: Option<TaskId>,
    /// What it waits for while it is pending. Left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_for: Option<QueuedFor>,
    /// What was asked, for readers that ask for it. Left out otherwise, and never recorded here: `task.accepted` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl AgentResult {
    /// What it weighs in memory, in bytes, nearly: what a page of them is bounded by.
    pub fn weight(&self) -> usize {
        let output = self.output.as_ref().map_or(0, String::len);
        size_of::<Self>() + output * (1 + usize::from(self.structured.is_some())) + self.error_detail.as_ref().map_or(0, String::len)
    }
}

/// How far a run has come: small enough to be written with every append.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Model calls that were answered.
    pub steps_used: u32,
    /// Input and output tokens.
    pub tokens_used: u64,
    /// Tool calls asked for.
    pub tool_calls: u32,
    /// Money, where prices are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// The model that answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Progress {
    /// A model call, answered or not, took so much.
    pub(crate) fn spent(&mut self, tokens: u64, cost_usd: Option<f64>) {
        self.tokens_used = self.tokens_used.saturating_add(tokens);
        if let Some(cost) = cost_usd {
            *self.cost_usd.get_or_insert(0.0) += cost;
        }
    }
}

/// How a run ends. The store adds the times and makes the [`AgentResult`] of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// A final status.
    pub status: TaskStatus,
    /// The answer, or the best so far.
    pub output: Option<String>,
    /// Why.
    pub error: Option<ErrorCode>,
    /// What to do about it.
    pub error_detail: Option<String>,
    /// The answer as JSON that fits the schema.
    pub structured: Option<Value>,
}

impl Ending {
    /// Completed with an answer.
    pub fn completed(output: Option<String>) -> Self {
        Self { status: TaskStatus::Completed, output, error: None, error_detail: None, structured: None }
    }
    /// Failed with a code and what to do about it.
    pub fn failed(error: ErrorCode, detail: impl Into<String>) -> Self {
        Self { status: TaskStatus::Failed, output: None, error: Some(error), error_detail: Some(detail.into()), structured: None }
    }
    /// Cancelled.
    pub fn cancelled() -> Self {
        Self { status: TaskStatus::Cancelled, output: None, error: None, error_detail: None, structured: None }
    }
}

/// What a store knows of a task beside its journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The task.
    pub id: TaskId,
    /// Its session.
    pub session_id: SessionId,
    /// Its agent.
    pub agent: AgentName,
    /// When it was accepted.
    pub created_at: Time,
    /// When it was first claimed.
    pub started_at: Option<Time>,
    /// Its trace.
    pub trace_id: Option<String>,
    /// What it takes over from.
    pub retry_of: Option<TaskId>,
    /// How far it has come.
    pub progress: Progress,
    /// What it waits for, where it is parked.
    pub waiting_for: Option<WaitingFor>,
}

impl Header {
    /// The task as it is at `now`, unfinished. A task is running once it was claimed.
    pub fn live(&self, now: Time) -> AgentResult {
        let status = if self.started_at.is_some() { TaskStatus::Running } else { TaskStatus::Pending };
        let duration = self.started_at.map(|at| now.since(at)).unwrap_or_default();
        AgentResult {
            task_id: self.id.clone(),
            status,
            output: None,
            steps_used: self.progress.steps_used,
            tokens_used: self.progress.tokens_used,
            tool_calls: self.progress.tool_calls,
            error: None,
            duration_ms: duration.as_millis() as u64,
            session_id: self.session_id.clone(),
            agent: self.agent.clone(),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: None,
            error_detail: None,
            structured: None,
            cost_usd: self.progress.cost_usd,
            model: self.progress.model.clone(),
            trace_id: self.trace_id.clone(),
            waiting_for: self.waiting_for,
            retry_of: self.retry_of.clone(),
            queued_for: None,
            prompt: None,
        }
    }
    /// The task as it stays: ended at `now`.
    pub fn finished(&self, ending: &Ending, now: Time) -> AgentResult {
        AgentResult {
            status: ending.status,
            output: ending.output.clone(),
            error: ending.error,
            error_detail: ending.error_detail.clone(),
            structured: ending.structured.clone(),
            finished_at: Some(now),
            waiting_for: None,
            ..self.live(now)
        }
    }
}

impl Task {
    /// The rules that need more than one field: schema and deadline.
    pub fn check(&self) -> Result<()> {
        if self.prompt.is_empty() {
            return Err(Error::invalid("prompt must not be empty").at("prompt"));
        }
        if let Some(schema) = &self.output_schema {
            schema::Validator::compile(schema).map_err(|e| Error::invalid(format!("output_schema: {e}")).at("output_schema"))?;
        }
        Ok(())
    }
    /// The key under which stores know it.
    pub fn key(&self) -> crate::TaskKey {
        crate::TaskKey { tenant: self.tenant.clone(), id: self.id.clone() }
    }
    /// The session it belongs to.
    pub fn session(&self) -> crate::SessionKey {
        crate::SessionKey { tenant: self.tenant.clone(), agent: self.agent.clone(), id: self.session_id.clone() }
    }
    /// When it must have ended, for a task accepted at `created_at`.
    pub fn deadline(&self, created_at: Time) -> Option<Time> {
        self.deadline_ms.map(|ms| created_at.plus(Duration::from_millis(ms)))
    }
}
