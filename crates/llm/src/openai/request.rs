//! A model request as Chat Completions JSON.

use crate::{answer, history, provider::MaxTokensField, shape::Shape};
use maniple_core::{
    message::{Message, ToolCall, ToolSpec},
    model::{ModelRequest, ToolChoice},
};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// What servers of this API differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Whether the answer is to come in pieces.
    pub stream: bool,
    /// How the output is bounded.
    pub max_tokens: MaxTokensField,
    /// Whether `response_format` leaves the model free to call tools. Elsewhere than at OpenAI it is often a
    /// grammar for whatever the model says, so that it cannot.
    pub schema_beside_tools: bool,
}

/// The body of `POST …/chat/completions`.
pub fn body(request: &ModelRequest, model: &str, dialect: Dialect) -> Vec<u8> {
    let may_call = request.tool_choice == ToolChoice::Auto && !request.tools.is_empty();
    let (constrained, told) = match &request.output_schema {
        Some(schema) if may_call && !dialect.schema_beside_tools => (None, Some(answer::instruction(schema))),
        schema => (schema.as_ref(), None),
    };
    let body = Body {
        model,
        messages: turns(request, told),
        tools: request.tools.iter().map(Tool::of).collect(),
        tool_choice: match request.tool_choice {
            ToolChoice::None if !request.tools.is_empty() => Some("none"),
            // Some servers answer 400 for a choice without tools; `auto` is everyone's default.
            ToolChoice::None | ToolChoice::Auto => None,
        },
        max_tokens: (dialect.max_tokens == MaxTokensField::MaxTokens).then_some(request.max_output_tokens),
        max_completion_tokens: (dialect.max_tokens == MaxTokensField::MaxCompletionTokens).then_some(request.max_output_tokens),
        response_format: constrained.map(ResponseFormat::of),
        stream: dialect.stream.then_some(true),
        stream_options: dialect.stream.then_some(StreamOptions { include_usage: true }),
    };
    serde_json::to_vec(&body).expect("a request of strings and JSON can be written")
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Turn<'a> {
    System {
        content: Cow<'a, str>,
    },
    User {
        content: &'a str,
    },
    Assistant {
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
    },
    Tool {
        tool_call_id: Cow<'a, str>,
        content: &'a str,
    },
}

#[derive(Serialize)]
struct Call<'a> {
    id: Cow<'a, str>,
    r#type: &'static str,
    function: CalledFunction<'a>,
}
#[derive(Serialize)]
struct CalledFunction<'a> {
    name: Cow<'a, str>,
    arguments: String,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Cow<'a, ToolSpec>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: NamedSchema<'a>,
}
#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a Value,
}
#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

fn turns(request: &ModelRequest, told: Option<String>) -> Vec<Turn<'_>> {
    let prompt = request.system.as_str();
    let system = match told {
        Some(told) if prompt.is_empty() => Cow::Owned(told),
        Some(told) => Cow::Owned(format!("{prompt}\n\n{told}")),
        None => Cow::Borrowed(prompt),
    };
    let system = Some(system).filter(|text| !text.is_empty()).map(|content| Turn::System { content });
    system.into_iter().chain(request.messages.iter().map(Turn::of)).collect()
}

impl<'a> Turn<'a> {
    fn of(message: &'a Message) -> Self {
        match message {
            Message::User { content } => Self::User { content },
            Message::Assistant { content, calls } => Self::Assistant {
                // `null` is for calls alone: an empty answer is a string.
                content: content.as_deref().or(if calls.is_empty() { Some("") } else { None }),
                tool_calls: calls.iter().map(Call::of).collect(),
            },
            Message::Tool { call_id, content, .. } => Self::Tool { tool_call_id: history::call_id(call_id), content },
        }
    }
}

impl<'a> Call<'a> {
    fn of(call: &'a ToolCall) -> Self {
        let arguments = history::arguments(&call.arguments).get().to_owned();
        let function = CalledFunction { name: history::tool_name(&call.name), arguments };
        Self { id: history::call_id(&call.id), r#type: "function", function }
    }
}

impl<'a> Tool<'a> {
    fn of(function: &'a ToolSpec) -> Self {
        Self { r#type: "function", function: Shape::OPENAI.of(function) }
    }
}

impl<'a> ResponseFormat<'a> {
    /// Not strict: that would refuse every schema with an optional member. What comes back is checked anyway.
    fn of(schema: &'a Value) -> Self {
        Self { r#type: "json_schema", json_schema: NamedSchema { name: "answer", strict: false, schema } }
    }
}
