//! The built-in model: no intelligence, but a real loop.
//!
//! It calls the granted tools that the prompt's words speak of, with arguments taken from the prompt, each at most
//! once a run; then it reports what they answered. The same request has the same reply. It is what a newcomer
//! without a key and a CI see every part move with, and it says in every answer what it is.

mod fill;
mod found;
mod words;

use crate::{answer, fault};
use async_trait::async_trait;
use maniple_core::{
    estimate,
    message::{FinishReason, Message, ModelReply, ToolCall, Usage},
    model::{Fault, ModelRequest, ToolChoice},
    ports::{Model, OnText},
};
use std::time::Duration;
use tokio::time::sleep;

/// How an answer in prose begins.
pub const PREFIX: &str = "[demo model: no intelligence. For a real one set OPENAI_API_KEY or ANTHROPIC_API_KEY, \
                          or start Ollama, and name it as `model:` in the agent's file]";
/// The most tools it calls in one step.
const MAX_CALLS: usize = 4;
/// The most of a tool's result it repeats.
const MAX_RESULT_BYTES: usize = 1_000;
/// The most of the prompt it repeats.
const MAX_PROMPT_BYTES: usize = 300;

/// The built-in model.
#[derive(Debug, Clone)]
pub struct Demo {
    /// How long it waits between two words, so that people see them come; less where there are many. Default 15 ms.
    pub word_pause: Duration,
    /// How long it waits in one answer at most. Default 400 ms.
    pub pauses_at_most: Duration,
}

impl Default for Demo {
    fn default() -> Self {
        Self { word_pause: Duration::from_millis(15), pauses_at_most: Duration::from_millis(400) }
    }
}

#[async_trait]
impl Model for Demo {
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let mut reply = reply(request);
        let said = reply.text.as_deref().unwrap_or_default();
        let pause = self.word_pause.min(self.pauses_at_most / said.split_inclusive(' ').count().max(1) as u32);
        for word in said.split_inclusive(' ') {
            text(word);
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        reply.usage = answer::or_estimated(Usage::default(), request, reply.text.as_deref(), &reply.calls, None);
        Ok(reply)
    }
}

/// What it says, without the waiting.
fn reply(request: &ModelRequest) -> ModelReply {
    let run = Run::of(request);
    let calls = if request.tool_choice == ToolChoice::Auto { run.calls(request) } else { Vec::new() };
    let model = request.model.model().to_owned();
    if !calls.is_empty() {
        let calls = answer::settled(calls, request);
        return ModelReply { text: None, calls, usage: Usage::default(), model, finish_reason: FinishReason::ToolCalls, reasoning: None };
    }
    let said = match &request.output_schema {
        Some(schema) => fill::minimal(schema).to_string(),
        None => run.report(request),
    };
    let (said, finish_reason) = within(said, request.max_output_tokens);
    ModelReply { text: Some(said), calls: Vec::new(), usage: Usage::default(), model, finish_reason, reasoning: None }
}

/// The present run as the conversation shows it: earlier turns have no tool messages.
struct Run<'a> {
    prompt: &'a str,
    called: Vec<&'a str>,
    results: Vec<(&'a str, &'a str, bool)>,
}

impl<'a> Run<'a> {
    fn of(request: &'a ModelRequest) -> Self {
        let messages = &request.messages;
        let calls = |m: &'a Message| match m {
            Message::Assistant { calls, .. } => calls.as_slice(),
            Message::User { .. } | Message::Tool { .. } => &[],
        };
        // What comes after the first call is of this run, and a user's words there ask for a repair.
        let begun = messages.iter().position(|m| !calls(m).is_empty()).unwrap_or(messages.len());
        let prompt = messages[..begun].iter().rev().find_map(|m| match m {
            Message::User { content } => Some(content.as_str()),
            Message::Assistant { .. } | Message::Tool { .. } => None,
        });
        let results = messages.iter().filter_map(|m| match m {
            Message::Tool { name, content, is_error, .. } => Some((name.as_str(), content.as_str(), *is_error)),
            Message::User { .. } | Message::Assistant { .. } => None,
        });
        Self {
            prompt: prompt.unwrap_or_default(),
            called: messages.iter().flat_map(calls).map(|call| call.name.as_str()).collect(),
            results: results.collect(),
        }
    }

    /// The tools the prompt speaks of, not called yet, whose arguments can be found in it.
    fn calls(&self, request: &ModelRequest) -> Vec<ToolCall> {
        let fresh = request.tools.iter().filter(|tool| !self.called.contains(&tool.name.as_str()));
        let call = |tool: &maniple_core::message::ToolSpec| {
            let arguments = fill::arguments(&tool.parameters, self.prompt)?;
            Some(ToolCall { id: String::new(), name: tool.name.clone(), arguments: arguments.to_string(), extra: None })
        };
        words::spoken_of(fresh, self.prompt).into_iter().filter_map(call).take(MAX_CALLS).collect()
    }

    fn report(&self, request: &ModelRequest) -> String {
        let prompt = fault::head(self.prompt, MAX_PROMPT_BYTES);
        let mut said = format!("{PREFIX} You asked: \"{prompt}\".");
        for (tool, result, is_error) in &self.results {
            let verb = if *is_error { "failed" } else { "answered" };
            said.push_str(&format!(" I called {tool}; it {verb}: {}", fault::head(result, MAX_RESULT_BYTES)));
        }
        if self.results.is_empty() {
            let tools: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
            said.push_str(&match tools.as_slice() {
                [] => " I have no tools to call.".to_owned(),
                tools => format!(" Nothing in it speaks of a tool of mine: {}.", tools.join(", ")),
            });
        }
        said
    }
}

/// As many whole words as the request allows.
fn within(said: String, max_output_tokens: u32) -> (String, FinishReason) {
    let max = u64::from(max_output_tokens);
    if estimate::tokens(&said) <= max {
        return (said, FinishReason::Stop);
    }
    let mut kept = String::new();
    for word in said.split_inclusive(' ') {
        if estimate::tokens(&kept) + estimate::tokens(word) > max {
            break;
        }
        kept.push_str(word);
    }
    (kept, FinishReason::Length)
}

#[cfg(test)]
mod tests;
