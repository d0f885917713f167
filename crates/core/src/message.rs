//! What goes to a model and what comes back.

use crate::model::ModelName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod reasoning;

pub use reasoning::{REASONING_MAX, Reasoning, VERBATIM_MAX};

/// One message of a model request. The system prompt is apart, in [`crate::model::ModelRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// What was asked.
    User {
        /// The text, never rendered as a template.
        content: String,
    },
    /// What a model said.
    Assistant {
        /// Its text, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        /// The tool calls it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
        /// What it thought; for the model that thought it and nobody else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning: Option<Reasoning>,
        /// Whose words these are, `provider/model`: ids of calls and reasoning mean something to that one. Unknown for examples and
        /// earlier turns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<ModelName>,
    },
    /// What a tool call came to.
    Tool {
        /// The id of the call this answers.
        call_id: String,
        /// The tool's name (some providers want it).
        name: String,
        /// What the model reads.
        content: String,
        /// Whether it is an error for the model to mend.
        #[serde(default)]
        is_error: bool,
    },
}

impl Message {
    /// Words of an assistant, of which nothing more is known.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::Assistant { content: Some(content.into()), calls: Vec::new(), reasoning: None, by: None }
    }
}

/// A tool call as the model asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToolCall {
    /// The provider's id for it, as it came; made where the provider gave none. Unlike any other of its answer.
    pub id: String,
    /// The tool's name, as the model wrote it.
    pub name: String,
    /// JSON text as the model wrote it: it may not be valid.
    pub arguments: String,
    /// What the provider put beside it and wants back with it, such as a signature. Nobody else reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub extra: Option<Value>,
}

/// Tokens of one model call, as the provider reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input_tokens: u64,
    /// All output tokens, reasoning included.
    pub output_tokens: u64,
    /// How many of the input tokens came from the provider's cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
}

impl Usage {
    /// What counts against a token budget.
    pub fn total(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It wants tools.
    ToolCalls,
    /// Its output was cut at the allowed length: tool calls in it are not trusted.
    Length,
    /// It, or a filter of the provider, will not answer.
    Refusal,
}

/// A model's whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReply {
    /// Its text; `None` where it only called tools.
    pub text: Option<String>,
    /// The calls it asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// What it cost in tokens.
    pub usage: Usage,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Why it stopped.
    pub finish_reason: FinishReason,
    /// What it thought before, where its provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
}

impl ModelReply {
    /// Whether there is nothing in it, though it ended well.
    pub fn is_empty(&self) -> bool {
        let said = self.text.as_deref().is_some_and(|text| !text.trim().is_empty());
        !said && self.calls.is_empty() && matches!(self.finish_reason, FinishReason::Stop | FinishReason::ToolCalls)
    }
}

/// A tool as a model is shown it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// `[a-zA-Z0-9_-]{1,64}`
    pub name: String,
    /// What it is for.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}
