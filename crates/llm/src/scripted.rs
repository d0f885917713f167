//! A model that says what a test wrote down, and remembers what it was asked.
//!
//! ```
//! use maniple_llm::{Line, Scripted};
//! use maniple_core::model::FaultKind;
//! use std::time::Duration;
//!
//! let model = Scripted::new([
//!     Line::fault(FaultKind::Overloaded, "it is down"),
//!     Line::call("clock", serde_json::json!({})).after(Duration::from_millis(20)),
//!     Line::text("it is noon"),
//! ]);
//! assert_eq!(model.calls(), 0);
//! ```
//!
//! It is a [`Model`] and, under every name, a [`Models`]; among real providers it is [`crate::Api::Scripted`].

use crate::answer;
use async_trait::async_trait;
use maniple_core::{
    Result,
    message::{FinishReason, Message, ModelReply, ToolCall, Usage},
    model::{Fault, FaultKind, ModelName, ModelRequest},
    ports::{Model, Models, OnText, Price},
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

/// How many requests are remembered; older ones go first.
const MAX_REMEMBERED: usize = 10_000;

/// What the model does with one call. Reads from YAML or JSON: `{text: …}`, `{calls: [{name: …, arguments: {…}}]}`,
/// `{fault: overloaded, message: …}`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Line {
    /// Its words, streamed one by one. With `fault`: what is heard of an answer that breaks off.
    pub text: Option<String>,
    /// The tool calls it asks for.
    pub calls: Vec<CallLine>,
    /// Why it stops. Default: `tool_calls` if there are calls, else `stop`.
    pub finish_reason: Option<FinishReason>,
    /// What is reported. Default: an estimate.
    pub usage: Option<Usage>,
    /// It fails like this, after `text`.
    pub fault: Option<FaultKind>,
    /// What the fault says.
    pub message: Option<String>,
    /// What the fault asks to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// How long until its first byte, in milliseconds. Beyond the request's time it is a time-out.
    pub delay_ms: u64,
    /// How long between two words, in milliseconds. Beyond the request's time it is a time-out.
    pub word_ms: u64,
}

/// A tool call of a [`Line`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallLine {
    /// The tool.
    pub name: String,
    /// JSON, or text that need not be JSON: it is passed on as it is.
    #[serde(default)]
    pub arguments: Value,
    /// Default: made.
    #[serde(default)]
    pub id: Option<String>,
}

impl Line {
    /// An answer.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }
    /// One tool call; more with [`Line::and_call`].
    pub fn call(tool: impl Into<String>, arguments: Value) -> Self {
        Self::default().and_call(tool, arguments)
    }
    /// Another tool call in the same answer.
    pub fn and_call(mut self, tool: impl Into<String>, arguments: Value) -> Self {
        self.calls.push(CallLine { name: tool.into(), arguments, id: None });
        self
    }
    /// A failure.
    pub fn fault(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { fault: Some(kind), message: Some(message.into()), ..Self::default() }
    }
    /// Words that are heard before the answer breaks off.
    pub fn cut(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::fault(FaultKind::CutAfter, "the answer broke off") }
    }
    /// How long it takes to its first byte.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay_ms = delay.as_millis() as u64;
        self
    }
    /// How long it takes from word to word.
    pub fn slowly(mut self, between_words: Duration) -> Self {
        self.word_ms = between_words.as_millis() as u64;
        self
    }
    /// Tokens it reports.
    pub fn used(mut self, input_tokens: u64, output_tokens: u64) -> Self {
        self.usage = Some(Usage { input_tokens, output_tokens, cached_input_tokens: 0 });
        self
    }
    /// Why it stops.
    pub fn finishing(mut self, reason: FinishReason) -> Self {
        self.finish_reason = Some(reason);
        self
    }
}

/// A model that follows a script. Clones share the script and what was seen.
#[derive(Clone)]
pub struct Scripted(Arc<Shared>);

struct Shared {
    script: Script,
    requests: Mutex<VecDeque<ModelRequest>>,
    calls: watch::Sender<u64>,
}

enum Script {
    /// Each line once, by the order of calls.
    Once(Vec<Line>),
    /// The line of the step a conversation has come to.
    ByStep(Vec<Line>),
    /// Whatever it says.
    Answer(Box<dyn Fn(&ModelRequest) -> Line + Send + Sync>),
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("calls", &self.calls()).finish_non_exhaustive()
    }
}

impl Scripted {
    /// Says each line once, in the order of calls; a call too many is an `Invalid` fault that says so.
    pub fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        Self::of(Script::Once(lines.into_iter().collect()))
    }
    /// Says the line of the step: the first to a prompt, the second once it has said the first, and so on.
    /// It holds no state, so every run, and a run after a restart, hears the same. (Asked to repair an answer
    /// before any tool was called, it is at its first line again.)
    pub fn by_step(lines: impl IntoIterator<Item = Line>) -> Self {
        Self::of(Script::ByStep(lines.into_iter().collect()))
    }
    /// Says whatever `answer` makes of the request.
    pub fn answering(answer: impl Fn(&ModelRequest) -> Line + Send + Sync + 'static) -> Self {
        Self::of(Script::Answer(Box::new(answer)))
    }
    fn of(script: Script) -> Self {
        Self(Arc::new(Shared { script, requests: Mutex::default(), calls: watch::Sender::new(0) }))
    }

    /// How often it was called, failed and aborted calls included.
    pub fn calls(&self) -> u64 {
        *self.0.calls.borrow()
    }
    /// What it was asked, oldest first: the last 10,000 requests.
    pub fn requests(&self) -> Vec<ModelRequest> {
        self.seen().iter().cloned().collect()
    }
    /// Returns once it was called `calls` times in all: no need to sleep until a run is under way.
    pub async fn called(&self, calls: u64) {
        // It cannot close: `self` holds the sender.
        let _ = self.0.calls.subscribe().wait_for(|n| *n >= calls).await;
    }

    fn seen(&self) -> MutexGuard<'_, VecDeque<ModelRequest>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the request and finds its line.
    fn line(&self, request: &ModelRequest) -> Result<Line, Fault> {
        let mut seen = self.seen();
        if seen.len() == MAX_REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(request.clone());
        let mut before = 0;
        self.0.calls.send_modify(|calls| before = std::mem::replace(calls, *calls + 1));
        drop(seen);
        let (lines, at) = match &self.0.script {
            Script::Answer(answer) => return Ok(answer(request)),
            Script::Once(lines) => (lines, before as usize),
            Script::ByStep(lines) => (lines, steps_done(request)),
        };
        let missing = || Fault::new(FaultKind::Invalid, format!("the script has {} lines and none for call {}", lines.len(), at + 1));
        lines.get(at).cloned().ok_or_else(missing)
    }
}

/// How often the model has answered since the prompt. Earlier turns of a conversation have no calls; a prompt is the
/// last thing a user says, unless a repair is asked for later.
fn steps_done(request: &ModelRequest) -> usize {
    let called = |m: &Message| matches!(m, Message::Assistant { calls, .. } if !calls.is_empty());
    let first_call = request.messages.iter().position(called);
    let prompt = request.messages.iter().rposition(|m| matches!(m, Message::User { .. })).unwrap_or(0);
    request.messages.iter().skip(first_call.unwrap_or(prompt)).filter(|m| matches!(m, Message::Assistant { .. })).count()
}

#[async_trait]
impl Model for Scripted {
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let line = self.line(request)?;
        let end = Instant::now() + request.times.whole.min(Duration::from_secs(24 * 3600));
        match timeout_at(end, line.speak(request, text)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Fault::new(FaultKind::TimedOut, format!("no whole answer in {:?}", request.times.whole))),
        }
    }
}

impl Models for Scripted {
    fn model(&self, _: &ModelName) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(self.clone()))
    }
    fn price(&self, _: &ModelName) -> Option<Price> {
        None
    }
}

impl Line {
    async fn speak(self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault> {
        let times = request.times;
        pause(self.delay_ms, times.first_byte, "no byte of an answer").await?;
        for (at, word) in self.text.iter().flat_map(|t| t.split_inclusive(' ')).enumerate() {
            if at > 0 {
                pause(self.word_ms, times.between_chunks, "no further byte of the answer").await?;
            }
            text(word);
        }
        if let Some(kind) = self.fault {
            let mut fault = Fault::new(kind, self.message.unwrap_or_else(|| format!("scripted fault {kind:?}")));
            fault.retry_after = self.retry_after_ms.map(Duration::from_millis);
            return Err(fault);
        }
        let calls: Vec<ToolCall> = self.calls.into_iter().map(CallLine::spoken).collect();
        let calls = answer::settled(calls, request);
        let finish_reason = if calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        let usage = self.usage.unwrap_or_else(|| answer::or_estimated(Usage::default(), request, self.text.as_deref(), &calls, None));
        let model = request.model.model().to_owned();
        Ok(ModelReply { text: self.text, calls, usage, model, finish_reason: self.finish_reason.unwrap_or(finish_reason), reasoning: None })
    }
}

impl CallLine {
    fn spoken(self) -> ToolCall {
        let arguments = match self.arguments {
            Value::Null => "{}".to_owned(),
            Value::String(text) => text,
            json => json.to_string(),
        };
        ToolCall { id: self.id.unwrap_or_default(), name: self.name, arguments, extra: None }
    }
}

async fn pause(ms: u64, allowed: Duration, late: &str) -> Result<(), Fault> {
    let wanted = Duration::from_millis(ms);
    if wanted > allowed {
        sleep(allowed).await;
        return Err(Fault::new(FaultKind::TimedOut, format!("{late} in {allowed:?}")));
    }
    if !wanted.is_zero() {
        sleep(wanted).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
