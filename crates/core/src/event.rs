//! A run's facts, as they are recorded.
//!
//! | event | recorded | then |
//! |---|---|---|
//! | `task.accepted` | by the accepting transaction | it waits for its turn |
//! | `task.started` | with the definitions it will end on | |
//! | `model.started` | before each attempt of a model call | the request is sent |
//! | `model.failed` | an attempt that came to nothing | another attempt, another model, or the end |
//! | `model.finished` | the whole answer | |
//! | `tool.started` | before the call is sent | the call is sent |
//! | `tool.finished` | its outcome; without `tool.started` where it was refused | |
//! | `approval.requested` | before a call that needs it, or of a call in doubt | a person is asked |
//! | `approval.decided` | what the person said, or that nobody did in time | the call is made, refused, or settled |
//! | `run.taken_over` | by a retry: the failed task's record | |
//! | `run.parked`, `run.resumed` | | nothing is held in between |
//! | `task.completed`, `task.failed`, `task.cancelled` | last, once | nothing |

mod approval;
mod stored;

pub use approval::{Answer, ApprovalDecided, ApprovalRequested, Question};
pub use stored::{FRAME_TAIL, StoredEvent};

use crate::{
    Error, Result, TaskId, Time,
    message::{FinishReason, Reasoning, ToolCall, Usage},
    model::FaultKind,
    task::{AgentResult, Task, TaskStatus, WaitingFor},
    tool::{Effect, Way},
};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// What this build writes and the newest it can fold. A worker does not claim a task with newer events.
pub const EVENT_VERSION: u32 = 3;

/// Every event there is: its variant, its data, its name on the wire and in the journal.
macro_rules! events {
    ($($(#[doc = $doc:literal])+ $variant:ident($data:ty) = $name:literal,)+) => {
        /// A fact of a run.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant)] // it lives for one append
        pub enum Event {
            $($(#[doc = $doc])+ $variant($data),)+
        }

        /// Which event it is: all that its name says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl EventKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
            /// The one of that name, where this build knows it.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl Event {
            /// Which it is.
            pub const fn kind(&self) -> EventKind {
                match self {
                    $(Self::$variant(_) => EventKind::$variant,)+
                }
            }
            /// Its data as JSON text.
            pub fn data(&self) -> Result<Box<RawValue>> {
                match self {
                    $(Self::$variant(data) => serde_json::value::to_raw_value(data),)+
                }
                .map_err(|e| Error::internal(format!("event `{}` cannot be written", self.name())).because(e))
            }
            /// Reads one back. Fails on a name this build does not know.
            pub fn read(name: &str, data: &str) -> Result<Self> {
                let kind = EventKind::named(name)
                    .ok_or_else(|| Error::internal(format!("event `{name}` is not known to this version")))?;
                match kind {
                    $(EventKind::$variant => serde_json::from_str(data).map(Self::$variant),)+
                }
                .map_err(|e| Error::internal(format!("event `{name}` cannot be read")).because(e))
            }
        }
    };
}

events! {
    /// The task as it was accepted.
    Accepted(Task) = "task.accepted",
    /// The definitions the run will end on.
    Started(Started) = "task.started",
    /// An attempt of a model call is about to be sent.
    ModelStarted(ModelStarted) = "model.started",
    /// An attempt came to nothing.
    ModelFailed(ModelFailed) = "model.failed",
    /// The model answered.
    ModelFinished(ModelFinished) = "model.finished",
    /// A tool call is about to be sent.
    ToolStarted(ToolStarted) = "tool.started",
    /// A tool call has its outcome.
    ToolFinished(ToolFinished) = "tool.finished",
    /// A person is asked about a call.
    ApprovalRequested(ApprovalRequested) = "approval.requested",
    /// The person said something, or nobody did in time.
    ApprovalDecided(ApprovalDecided) = "approval.decided",
    /// The run lets go of its worker.
    Parked(Parked) = "run.parked",
    /// It goes on.
    Resumed(Resumed) = "run.resumed",
    /// What a retry takes over.
    TakenOver(TakenOver) = "run.taken_over",
    /// It came to an answer.
    Completed(AgentResult) = "task.completed",
    /// It did not.
    Failed(AgentResult) = "task.failed",
    /// Somebody stopped it.
    Cancelled(AgentResult) = "task.cancelled",
}

/// See [`Event::Started`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Started {
    /// The agent's version.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Version,
    /// The hash under which agent and tools are stored.
    pub definitions: String,
    /// The hash of the agent's definition alone.
    pub agent: String,
    /// The tools it got.
    pub tools: Vec<StartedTool>,
}
/// A tool of [`Started`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartedTool {
    /// Its name.
    pub name: String,
    /// The version it got.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Version,
    /// The hash of its contract.
    pub contract: String,
}
/// See [`Event::ModelStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelStarted {
    /// 1, 2, 3 … within the step, takeovers included. A higher one voids the deltas of a lower.
    pub attempt: u32,
    /// Whom.
    pub model: String,
    /// SHA-256 of the request as JSON, its times left out: evidence, never a gate.
    pub request_hash: String,
    /// The most it may say, in tokens.
    pub max_output_tokens: u32,
}
/// See [`Event::ModelFailed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelFailed {
    /// Which attempt.
    pub attempt: u32,
    /// Whom.
    pub model: String,
    /// What sort of failure.
    pub fault: FaultKind,
    /// What the provider said, without secrets, at most 4 KiB.
    pub message: String,
    /// What it cost all the same, as reported or estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// That in money, where prices are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}
/// See [`Event::ModelFinished`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelFinished {
    /// Which attempt.
    pub attempt: u32,
    /// The whole text.
    pub text: Option<String>,
    /// The calls it asked for.
    #[serde(default)]
    pub calls: Vec<ToolCall>,
    /// As the provider reported it.
    pub usage: Usage,
    /// The model that answered, `provider/model`.
    pub model: String,
    /// Why it stopped.
    pub finish_reason: FinishReason,
    /// What it cost, where prices are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// What it thought before, where its provider says. Readers are shown it if they ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
}
/// See [`Event::ToolStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToolStarted {
    /// Its place in the step, from 0.
    pub index: u32,
    /// The tool.
    pub name: String,
    /// The version called.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Version,
    /// Checked arguments.
    pub arguments: Value,
    /// `{task_id}:{step}:{index}`, with `{tenant}/` before it outside the default tenant.
    pub key: String,
    /// What may be done if nobody learns the outcome.
    pub effect: Effect,
    /// Of a call that a person agreed to: the way they agreed to. It is sent no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Way>,
}
/// See [`Event::ToolFinished`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToolFinished {
    /// Its place in the step, from 0.
    pub index: u32,
    /// The tool.
    pub name: String,
    /// How it went.
    pub status: ToolStatus,
    /// The result, or what the model is told. At most 1 MiB.
    pub result: Value,
}
/// How a tool call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// It answered.
    Ok,
    /// It answered with a failure, or could not be reached.
    Error,
    /// It was not sent: there is no `tool.started`.
    Refused,
    /// It may have happened; nobody knows.
    InDoubt,
}
impl ToolStatus {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::InDoubt => "in_doubt",
        }
    }
}
/// See [`Event::Parked`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Parked {
    /// What for.
    pub waiting_for: WaitingFor,
    /// Until when at most.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub until: Option<Time>,
}
/// See [`Event::Resumed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resumed {
    /// The signal that woke it.
    pub by: String,
}
/// See [`Event::TakenOver`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TakenOver {
    /// The failed task.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub from: TaskId,
    /// Its record through the last step in which a tool call was started.
    pub steps: Vec<TakenStep>,
}
/// A step of [`TakenOver`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TakenStep {
    /// Its number.
    pub step: u32,
    /// What the model said.
    pub reply: ModelFinished,
    /// The calls that were started.
    pub started: Vec<ToolStarted>,
    /// The calls that have an outcome.
    pub finished: Vec<ToolFinished>,
}

impl ModelFinished {
    /// Takes out what is between us and the provider, and unless `reasoning` what was thought.
    fn show(&mut self, reasoning: bool) {
        let thought = self.reasoning.take().filter(|_| reasoning);
        self.reasoning = thought.map(|thought| Reasoning { text: thought.text, note: thought.note, ..Reasoning::default() });
        self.calls.iter_mut().for_each(|call| call.extra = None);
    }
}

impl EventKind {
    /// Whether nothing follows it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl Event {
    /// The name on the wire.
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }
    /// Whether a claim that recorded it got somewhere, so that its worker's death does not count as poison.
    pub fn is_progress(&self) -> bool {
        matches!(self, Self::ModelFinished(_) | Self::ToolFinished(_))
    }
    /// Whether nothing follows it.
    pub fn is_final(&self) -> bool {
        self.kind().is_final()
    }
    /// The final event of a result.
    pub fn ended(result: AgentResult) -> Self {
        match result.status {
            TaskStatus::Failed => Self::Failed(result),
            TaskStatus::Cancelled => Self::Cancelled(result),
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Completed => Self::Completed(result),
        }
    }
}
