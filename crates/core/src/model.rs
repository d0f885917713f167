//! A model call: what is asked, and how it can fail.

use crate::{
    Error, Result,
    message::{Message, ToolSpec, Usage},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod options;

pub use options::{Effort, ModelOptions};
use std::{fmt, sync::Arc, time::Duration};

/// `provider/model`; what follows the first slash belongs to the provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(Self(text.into())),
            _ => Err(Error::invalid(format!("model `{text}` must be PROVIDER/MODEL, such as openai/gpt-5-mini")).at("model")),
        }
    }
    /// Who serves it.
    pub fn provider(&self) -> &str {
        self.0.split_once('/').map_or("", |(provider, _)| provider)
    }
    /// What the provider calls it.
    pub fn model(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, model)| model)
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl TryFrom<String> for ModelName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0.to_string()
    }
}
impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the model may call tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// It may.
    Auto,
    /// Tools are shown, for the sake of the conversation, but it must answer.
    None,
}

/// One model call, in nobody's wire format. Its hash is journaled, never the request itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRequest {
    /// Whom to ask.
    pub model: ModelName,
    /// The rendered system prompt.
    pub system: String,
    /// Examples, conversation, prompt and steps so far, oldest first.
    pub messages: Vec<Message>,
    /// What it may call.
    pub tools: Arc<[ToolSpec]>,
    /// Whether it may call them now.
    pub tool_choice: ToolChoice,
    /// The most it may say, in tokens.
    pub max_output_tokens: u32,
    /// The answer must fit this JSON Schema.
    pub output_schema: Option<Value>,
    /// How the model is to speak.
    #[serde(skip_serializing_if = "ModelOptions::is_usual")]
    pub options: ModelOptions,
    /// Bounds of the call; not part of what is asked.
    #[serde(skip)]
    pub times: CallTimes,
}

/// How long one attempt of a model call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTimes {
    /// Until the first byte of the answer.
    pub first_byte: Duration,
    /// Between two chunks.
    pub between_chunks: Duration,
    /// The fewest bytes in a minute after the first one; 0 for any number.
    pub bytes_a_minute: u32,
    /// In all; never more than what is left of the task's deadline.
    pub whole: Duration,
}

/// How one attempt of a model call failed; what follows is decided in [`crate::retry`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What sort of failure.
    pub kind: FaultKind,
    /// For the task's `error_detail`: names the provider, never a key.
    pub message: String,
    /// What the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// What it cost all the same: as reported, or estimated from what was heard before it failed.
    pub usage: Option<Usage>,
}

impl Fault {
    /// A fault without a wait.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, usage: None }
    }
}

/// The provider-fault table of a model call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 with or without Retry-After: wait and ask again.
    Throttled,
    /// 402, or a 429 that says the credit is used up: never ask again.
    Money,
    /// 503, 529, or an answer that says the same: it has too much to do, or starts.
    Overloaded,
    /// 500, 502, 504 and the like.
    Failed,
    /// A connection could not be made.
    Unreachable,
    /// The connection broke before the first byte of an answer.
    CutBefore,
    /// A 200 answer broke off, or carried an error, or was not what it should be. All of it is discarded.
    CutAfter,
    /// No byte, or no further byte, in time.
    TimedOut,
    /// A whole answer with nothing in it, the first of its step: it is asked again. Made by the runtime, never by a provider.
    Empty,
    /// The request does not fit the model's window.
    ContextTooLong,
    /// The model or its provider will not answer this.
    Refused,
    /// 401 or 403: the key.
    Denied,
    /// Any other 4xx: the provider does not understand the request or has no such model.
    Invalid,
    /// It was not asked: its breaker is open, calls to it are held back, or its retry budget is used up. Made by the runtime,
    /// never by a provider.
    NotAsked,
}

impl FaultKind {
    /// The name in storage and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Money => "money",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::CutBefore => "cut_before",
            Self::CutAfter => "cut_after",
            Self::TimedOut => "timed_out",
            Self::Empty => "empty",
            Self::ContextTooLong => "context_too_long",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::NotAsked => "not_asked",
        }
    }
    /// Whether it says that there is too much to do: waiting helps, and no attempt is used up.
    pub fn is_overload(self) -> bool {
        matches!(self, Self::Throttled | Self::Overloaded | Self::NotAsked)
    }
    /// Whether it is an attempt that failed and may be made again.
    pub fn is_attempt(self) -> bool {
        matches!(self, Self::Failed | Self::Unreachable | Self::CutBefore | Self::CutAfter | Self::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::FaultKind::*;

    #[test]
    fn a_faults_name_is_what_is_written() {
        let all = [
            Throttled,
            Money,
            Overloaded,
            Failed,
            Unreachable,
            CutBefore,
            CutAfter,
            TimedOut,
            Empty,
            ContextTooLong,
            Refused,
            Denied,
            Invalid,
            NotAsked,
        ];
        for fault in all {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
    }
}
