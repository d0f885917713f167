//! Messages JSON as a model reply. Thinking is left out: nobody asked for it.

use crate::{
    answer::{self, MAX_CALLS},
    fault,
};
use maniple_core::{
    message::{FinishReason, ModelReply, ToolCall, Usage},
    model::{Fault, ModelRequest},
};
use serde::Deserialize;
use serde_json::Value;

/// The reply in the body of a plain (not streamed) 200 answer.
pub fn read(body: &[u8], request: &ModelRequest) -> Result<ModelReply, Fault> {
    let message: Message =
        serde_json::from_slice(body).map_err(|e| fault::cut_after(format!("the answer is not what it should be: {e}")))?;
    if let Some(error) = message.error {
        return Err(fault::of_error(&error));
    }
    let mut draft = Draft::default();
    for (index, block) in (0..).zip(message.content) {
        draft.begin_block(index, block, &mut |_| {})?;
    }
    draft.add_usage(message.usage);
    draft.model = message.model;
    draft.stop_reason = message.stop_reason;
    draft.finish(request)
}

/// A whole message, or the head that `message_start` brings.
#[derive(Deserialize)]
pub struct Message {
    /// The model that answers.
    pub model: Option<String>,
    /// Usage so far.
    pub usage: Option<ReportedUsage>,
    #[serde(default)]
    content: Vec<Block>,
    stop_reason: Option<String>,
    error: Option<Value>,
}

/// A content block, whole or beginning.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Words, or the first of them.
    Text {
        #[serde(default)]
        #[allow(missing_docs)]
        text: String,
    },
    /// A tool call. Its input is empty where it comes in pieces.
    #[allow(missing_docs)]
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    /// Thinking, and what may come.
    #[serde(other)]
    Other,
}

/// Usage so far: a later report replaces what it names.
#[derive(Deserialize)]
pub struct ReportedUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

/// An answer as far as it has come. Only [`Draft::finish`] makes a reply of it.
#[derive(Default)]
pub struct Draft {
    /// The model that answers.
    pub model: Option<String>,
    /// Why it stopped, once it has.
    pub stop_reason: Option<String>,
    text: String,
    calls: Vec<Call>,
    fresh_input: u64,
    cache_read: u64,
    cache_creation: u64,
    output: u64,
}

struct Call {
    index: u64,
    id: String,
    name: String,
    input: Value,
    pieces: String,
}

impl Draft {
    /// A block begins, or is there as a whole.
    pub fn begin_block(&mut self, index: u64, block: Block, text: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        match block {
            Block::Text { text: said } => self.say(&said, text),
            Block::ToolUse { .. } if self.calls.len() >= MAX_CALLS => {
                return Err(fault::cut_after(format!("it asks for more than {MAX_CALLS} tool calls")));
            }
            Block::ToolUse { id, name, input } => self.calls.push(Call { index, id, name, input, pieces: String::new() }),
            Block::Other => {}
        }
        Ok(())
    }

    /// More words.
    pub fn say(&mut self, said: &str, text: &mut dyn FnMut(&str)) {
        if !said.is_empty() {
            self.text.push_str(said);
            text(said);
        }
    }

    /// More of a call's arguments.
    pub fn add_arguments(&mut self, index: u64, piece: &str) -> Result<(), Fault> {
        let call = self.calls.iter_mut().rfind(|call| call.index == index);
        let call = call.ok_or_else(|| fault::cut_after("arguments came for a tool call that never began"))?;
        call.pieces.push_str(piece);
        Ok(())
    }

    /// What was counted so far.
    pub fn add_usage(&mut self, usage: Option<ReportedUsage>) {
        let Some(usage) = usage else { return };
        self.fresh_input = usage.input_tokens.unwrap_or(self.fresh_input);
        self.output = usage.output_tokens.unwrap_or(self.output);
        self.cache_read = usage.cache_read_input_tokens.unwrap_or(self.cache_read);
        self.cache_creation = usage.cache_creation_input_tokens.unwrap_or(self.cache_creation);
    }

    /// The reply, if the model said why it stopped.
    pub fn finish(self, request: &ModelRequest) -> Result<ModelReply, Fault> {
        let reason = self.stop_reason.ok_or_else(|| fault::cut_after("the answer ended without a stop_reason"))?;
        let calls = answer::settled(self.calls.into_iter().map(Call::finish).collect(), request);
        let finish_reason = match reason.as_str() {
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "refusal" => FinishReason::Refusal,
            _ if calls.is_empty() => FinishReason::Stop,
            _ => FinishReason::ToolCalls,
        };
        let usage = Usage {
            // Theirs leaves out what was read from or written to the cache.
            input_tokens: self.fresh_input.saturating_add(self.cache_read).saturating_add(self.cache_creation),
            output_tokens: self.output,
            cached_input_tokens: self.cache_read,
        };
        let text = (!self.text.is_empty()).then_some(self.text);
        let usage = answer::or_estimated(usage, request, text.as_deref(), &calls);
        let model = self.model.unwrap_or_else(|| request.model.model().to_owned());
        Ok(ModelReply { text, calls, usage, model, finish_reason })
    }
}

impl Call {
    fn finish(self) -> ToolCall {
        let arguments = match (self.pieces.is_empty(), &self.input) {
            (false, _) => self.pieces,
            (true, Value::Null) => "{}".to_owned(),
            (true, input) => input.to_string(),
        };
        ToolCall { id: self.id, name: self.name, arguments }
    }
}
