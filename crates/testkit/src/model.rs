//! Models for tests, where a fixed script is not enough.
//!
//! [`Fickle`] never says the same twice: asked again, it asks for the same actions with other arguments, so that
//! whoever asks again what was answered already is found out by the [`crate::ledger`]. [`Fake`] says what a
//! closure says.

mod server;

pub use server::Server;

use async_trait::async_trait;
use maniple_core::{
    Result,
    message::{FinishReason, Message, ModelReply, ToolCall, Usage},
    model::{Fault, ModelName, ModelRequest},
    ports::{Model, Models, OnText, Price},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Rounds of tool calls, then an answer.
#[derive(Debug, Clone)]
pub struct Fickle {
    /// How often it asks for tools before it answers.
    pub rounds: usize,
    /// How many calls it asks for in a round: the offered tools in turn.
    pub width: usize,
    /// How long it takes.
    pub delay: Duration,
    asked: Arc<AtomicU64>,
}

impl Fickle {
    /// `rounds` rounds of `width` calls.
    pub fn new(rounds: usize, width: usize) -> Self {
        Self { rounds, width, delay: Duration::ZERO, asked: Arc::default() }
    }
    /// It takes this long.
    pub fn slow(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
    /// What it says to whom `mark` is the prompt, after `done` rounds, when `tools` are offered.
    fn say(&self, mark: &str, done: usize, tools: &[&str]) -> ModelReply {
        let nonce = self.asked.fetch_add(1, Ordering::SeqCst);
        let calls: Vec<ToolCall> = if done < self.rounds && !tools.is_empty() {
            (0..self.width).map(|index| call(mark, done, index, nonce, tools[(done + index) % tools.len()])).collect()
        } else {
            Vec::new()
        };
        let (text, finish_reason) = match calls.is_empty() {
            true => (Some(format!("done: {mark} (n{nonce})")), FinishReason::Stop),
            false => (None, FinishReason::ToolCalls),
        };
        let usage = Usage { input_tokens: 20, output_tokens: 10, cached_input_tokens: 0 };
        ModelReply { text, calls, usage, model: "fickle".into(), finish_reason, reasoning: None }
    }
}

fn call(mark: &str, round: usize, index: usize, nonce: u64, tool: &str) -> ToolCall {
    let arguments = json!({ "mark": mark, "place": format!("r{round}.{index}"), "nonce": nonce }).to_string();
    ToolCall { id: format!("call_{nonce}_{index}"), name: tool.to_owned(), arguments, extra: None }
}

/// The newest thing a user said: in these tests, the task's prompt.
fn mark(messages: &[Message]) -> &str {
    let said = messages.iter().rev().find_map(|message| match message {
        Message::User { content } => Some(content.as_str()),
        Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    said.unwrap_or_default()
}

/// Rounds of tool calls since the prompt.
fn rounds_done(messages: &[Message]) -> usize {
    let since = messages.iter().rev().take_while(|message| !matches!(message, Message::User { .. }));
    since.filter(|message| matches!(message, Message::Assistant { calls, .. } if !calls.is_empty())).count()
}

#[async_trait]
impl Model for Fickle {
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let tools: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        let reply = self.say(mark(&request.messages), rounds_done(&request.messages), &tools);
        tokio::time::sleep(self.delay).await;
        reply.text.as_deref().into_iter().for_each(text);
        Ok(reply)
    }
}

impl Models for Fickle {
    fn model(&self, _: &ModelName) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(self.clone()))
    }
    fn price(&self, _: &ModelName) -> Option<Price> {
        None
    }
}

/// What a [`Fake`] does with one call: after a wait, an answer or a fault.
pub type Says = (Duration, Result<ModelReply, Fault>);
type Saying = dyn Fn(u64, &ModelRequest) -> Says + Send + Sync;

/// A model that says what a closure says, and remembers what it was asked.
#[derive(Clone)]
pub struct Fake {
    says: Arc<Saying>,
    requests: Arc<Mutex<Vec<ModelRequest>>>,
}

impl Fake {
    /// The closure is given the number of the call, from 0, and the request.
    pub fn new(says: impl Fn(u64, &ModelRequest) -> Says + Send + Sync + 'static) -> Self {
        Self { says: Arc::new(says), requests: Arc::default() }
    }
    /// Everything it was asked.
    pub fn requests(&self) -> Vec<ModelRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An answer without calls.
pub fn text(said: impl Into<String>) -> ModelReply {
    let usage = Usage { input_tokens: 20, output_tokens: 10, cached_input_tokens: 0 };
    ModelReply {
        text: Some(said.into()),
        calls: Vec::new(),
        usage,
        model: "fake".into(),
        finish_reason: FinishReason::Stop,
        reasoning: None,
    }
}

/// An answer that asks for these calls.
pub fn calls(calls: &[(&str, Value)]) -> ModelReply {
    let call = |(index, (name, arguments)): (usize, &(&str, Value))| ToolCall {
        id: format!("call_{index}"),
        name: (*name).to_owned(),
        arguments: arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned),
        extra: None,
    };
    let calls = calls.iter().enumerate().map(call).collect();
    ModelReply { text: None, calls, finish_reason: FinishReason::ToolCalls, ..text("") }
}

#[async_trait]
impl Model for Fake {
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let number = {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.push(request.clone());
            requests.len() as u64 - 1
        };
        let (wait, answer) = (self.says)(number, request);
        // It speaks halfway, so that a reader has a while to hear it before the whole answer voids it.
        tokio::time::sleep(wait / 2).await;
        if let Ok(ModelReply { text: Some(said), .. }) = &answer {
            text(said);
        }
        tokio::time::sleep(wait - wait / 2).await;
        answer
    }
}

impl Models for Fake {
    fn model(&self, _: &ModelName) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(self.clone()))
    }
    fn price(&self, _: &ModelName) -> Option<Price> {
        None
    }
}
