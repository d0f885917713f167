//! A model request as Messages JSON.
//!
//! Tools, then system, are the same from step to step and from task to task: each ends in a cache mark.

use crate::{answer, history, shape::Shape};
use maniple_core::{
    message::{Message, ToolSpec},
    model::{ModelRequest, ToolChoice},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use std::borrow::Cow;

/// The body of `POST …/v1/messages`.
pub fn body(request: &ModelRequest, model: &str, stream: bool) -> Vec<u8> {
    let last = request.tools.len().saturating_sub(1);
    let body = Body {
        model,
        max_tokens: request.max_output_tokens,
        system: system(request),
        tools: request.tools.iter().enumerate().map(|(at, tool)| Tool::of(tool, at == last)).collect(),
        tool_choice: match request.tool_choice {
            ToolChoice::None if !request.tools.is_empty() => Some(Choice { r#type: "none" }),
            ToolChoice::None | ToolChoice::Auto => None,
        },
        messages: turns(&request.messages),
        stream: stream.then_some(true),
    };
    serde_json::to_vec(&body).expect("a request of strings and JSON can be written")
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<SystemText<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}
#[derive(Serialize)]
struct SystemText<'a> {
    r#type: &'static str,
    text: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheMark>,
}
#[derive(Serialize)]
struct Tool<'a> {
    name: Cow<'a, str>,
    description: Cow<'a, str>,
    input_schema: Cow<'a, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheMark>,
}
#[derive(Serialize)]
struct Choice {
    r#type: &'static str,
}
#[derive(Serialize)]
struct CacheMark {
    r#type: &'static str,
}
const CACHED: CacheMark = CacheMark { r#type: "ephemeral" };

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Cow<'a, RawValue>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

/// The prompt, and what the answer must fit: `output_config.format` takes only a part of JSON Schema, and not
/// with every model.
fn system(request: &ModelRequest) -> Vec<SystemText<'_>> {
    let prompt = Some(Cow::Borrowed(request.system.as_str())).filter(|text| !text.trim().is_empty());
    let form = request.output_schema.as_ref().map(|schema| Cow::Owned(answer::instruction(schema)));
    let mut texts: Vec<_> = prompt.into_iter().chain(form).map(|text| SystemText { r#type: "text", text, cache_control: None }).collect();
    if let Some(last) = texts.last_mut() {
        last.cache_control = Some(CACHED);
    }
    texts
}

impl<'a> Tool<'a> {
    fn of(tool: &'a ToolSpec, is_last: bool) -> Self {
        let cache_control = is_last.then_some(CACHED);
        match Shape::ANTHROPIC.of(tool) {
            Cow::Borrowed(tool) => Self {
                name: Cow::Borrowed(&tool.name),
                description: Cow::Borrowed(&tool.description),
                input_schema: Cow::Borrowed(&tool.parameters),
                cache_control,
            },
            Cow::Owned(tool) => Self {
                name: Cow::Owned(tool.name),
                description: Cow::Owned(tool.description),
                input_schema: Cow::Owned(tool.parameters),
                cache_control,
            },
        }
    }
}

/// Turns alternate: neighbours of one role become one, and blank text, which is refused, goes.
fn turns(messages: &[Message]) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        let (role, blocks) = blocks(message);
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(last) if last.role == role => last.content.extend(blocks),
            _ => turns.push(Turn { role, content: blocks }),
        }
    }
    turns
}

fn blocks(message: &Message) -> (&'static str, Vec<Block<'_>>) {
    let said = |text: &'_ str| !text.trim().is_empty();
    match message {
        Message::User { content } => ("user", Some(content).filter(|t| said(t)).map(|text| Block::Text { text }).into_iter().collect()),
        Message::Assistant { content, calls } => {
            let text = content.as_deref().filter(|t| said(t)).map(|text| Block::Text { text });
            let calls = calls.iter().map(|call| Block::ToolUse {
                id: history::call_id(&call.id),
                name: history::tool_name(&call.name),
                input: history::arguments(&call.arguments),
            });
            ("assistant", text.into_iter().chain(calls).collect())
        }
        Message::Tool { call_id, content, is_error, .. } => {
            ("user", vec![Block::ToolResult { tool_use_id: history::call_id(call_id), content, is_error: *is_error }])
        }
    }
}
