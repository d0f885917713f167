//! Messages JSON as a model reply.
//!
//! What the model thought is kept block by block, with the places of its words and calls between, because a signed block must come
//! back as it was and where it was.

use crate::{
    answer::{self, MAX_CALLS, MAX_KEPT_BYTES, Voice},
    fault,
    profile::Profile,
};
use maniple_core::{
    estimate, lenient,
    message::{FinishReason, ModelReply, Reasoning, ToolCall, Usage},
    model::{Fault, ModelRequest},
};
use serde_json::{Value, json};

/// What a block weighs beside what it says, in bytes: so many that looking through them takes long are no answer.
const BLOCK_BYTES: usize = 1024;

/// One JSON object of an answer, plain or an event of a stream; an error where it is one.
pub fn parse(json: &str) -> Result<Value, Fault> {
    let piece = lenient::parse(json)
        .map_err(|e| fault::cut_after(format!("the answer is not what it should be: {e}: {}", fault::head(json.trim(), 300))))?;
    let is_error = piece["type"] == "error" || piece["error"].is_object() || piece["error"].as_str().is_some_and(|e| !e.is_empty());
    if is_error { Err(fault::of_error(&piece)) } else { Ok(piece) }
}

/// An answer as far as it has come. Only [`Draft::finish`] makes a reply of it.
#[derive(Default)]
pub struct Draft {
    model: Option<String>,
    stop_reason: Option<String>,
    voice: Voice,
    blocks: Vec<(u64, Block)>,
    fresh_input: u64,
    cache_read: u64,
    cache_creation: u64,
    output: u64,
    calls: usize,
    kept: usize,
}

/// A block that has begun.
enum Block {
    /// So many bytes of the text.
    Text(usize),
    Call {
        id: String,
        name: String,
        input: Value,
        pieces: String,
    },
    /// Thinking, as it came.
    Thought(Value),
    /// What nobody needs.
    Other,
}

impl Draft {
    /// A whole message, or the head of one.
    pub fn begin(&mut self, message: &Value, text: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        if let Some(model) = message["model"].as_str().filter(|m| !m.is_empty()) {
            self.model = Some(model.to_owned());
        }
        for (index, block) in (0..).zip(message["content"].as_array().into_iter().flatten()) {
            self.begin_block(index, block, text)?;
        }
        // Some servers of this API answer with a text alone.
        if let Some(said) = message["content"].as_str() {
            self.begin_block(0, &json!({ "type": "text", "text": said }), text)?;
        }
        self.stopped(message);
        self.add_usage(&message["usage"]);
        Ok(())
    }

    /// A block begins, or is there as a whole.
    pub fn begin_block(&mut self, index: u64, block: &Value, text: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        let begun = match block["type"].as_str() {
            Some("text") => Block::Text(0),
            Some("thinking" | "redacted_thinking") => Block::Thought(block.clone()),
            Some("tool_use") => Block::Call {
                id: block["id"].as_str().unwrap_or_default().to_owned(),
                name: block["name"].as_str().unwrap_or_default().to_owned(),
                input: block["input"].clone(),
                pieces: String::new(),
            },
            _ => Block::Other,
        };
        self.calls += usize::from(matches!(begun, Block::Call { .. }));
        if self.calls > MAX_CALLS {
            return Err(fault::cut_after(format!("it asks for more than {MAX_CALLS} tool calls")));
        }
        self.keep(BLOCK_BYTES + if matches!(begun, Block::Text(_) | Block::Other) { 0 } else { block.to_string().len() })?;
        self.blocks.push((index, begun));
        match block["text"].as_str().filter(|_| block["type"] == "text") {
            Some(said) => self.say(index, said, text),
            None => Ok(()),
        }
    }

    /// More of a block.
    pub fn add(&mut self, index: u64, delta: &Value, text: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        match delta["type"].as_str() {
            Some("text_delta") => self.say(index, delta["text"].as_str().unwrap_or_default(), text),
            Some("input_json_delta") => {
                let piece = delta["partial_json"].as_str().unwrap_or_default();
                self.keep(piece.len())?;
                match self.block(index) {
                    Some(Block::Call { pieces, .. }) => pieces.push_str(piece),
                    // Of a server's own tool.
                    Some(_) => {}
                    None => return Err(fault::cut_after("arguments came for a tool call that never began")),
                }
                Ok(())
            }
            Some("thinking_delta") => self.think(index, "thinking", &delta["thinking"]),
            Some("signature_delta") => self.think(index, "signature", &delta["signature"]),
            // Citations, and what may come.
            _ => Ok(()),
        }
    }

    fn block(&mut self, index: u64) -> Option<&mut Block> {
        self.blocks.iter_mut().rfind(|(at, _)| *at == index).map(|(_, block)| block)
    }

    fn say(&mut self, index: u64, said: &str, text: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        if self.block(index).is_none() {
            self.keep(BLOCK_BYTES)?;
            self.blocks.push((index, Block::Text(0)));
        }
        if let Some(Block::Text(bytes)) = self.block(index) {
            *bytes += said.len();
        }
        self.keep(said.len())?;
        self.voice.say(said, text);
        Ok(())
    }

    fn think(&mut self, index: u64, member: &str, more: &Value) -> Result<(), Fault> {
        let Some(more) = more.as_str() else { return Ok(()) };
        self.keep(more.len())?;
        if self.block(index).is_none() {
            self.keep(BLOCK_BYTES)?;
            self.blocks.push((index, Block::Thought(json!({ "type": "thinking", "thinking": "" }))));
        }
        if let Some(Block::Thought(block)) = self.block(index) {
            match &mut block[member] {
                Value::String(known) => known.push_str(more),
                known => *known = more.into(),
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: usize) -> Result<(), Fault> {
        self.kept += bytes;
        if self.kept > MAX_KEPT_BYTES {
            return Err(fault::cut_after(format!("the answer says more than {MAX_KEPT_BYTES} bytes")));
        }
        Ok(())
    }

    /// Why it stopped, where it says so.
    pub fn stopped(&mut self, said: &Value) {
        let reason = said["stop_reason"].as_str().filter(|reason| !matches!(*reason, "" | "null"));
        self.stop_reason = reason.map(str::to_owned).or(self.stop_reason.take());
    }

    /// What was counted so far: a later report replaces what it names.
    pub fn add_usage(&mut self, usage: &Value) {
        let counted = |name: &str, so_far: u64| answer::count(&usage[name]).unwrap_or(so_far);
        self.fresh_input = counted("input_tokens", self.fresh_input);
        self.output = counted("output_tokens", self.output);
        self.cache_read = counted("cache_read_input_tokens", self.cache_read);
        self.cache_creation = counted("cache_creation_input_tokens", self.cache_creation);
    }

    /// Whether the model said why it stopped.
    pub fn is_finished(&self) -> bool {
        self.stop_reason.is_some()
    }

    fn usage(&self) -> Usage {
        Usage {
            // Theirs leaves out what was read from or written to the cache.
            input_tokens: self.fresh_input.saturating_add(self.cache_read).saturating_add(self.cache_creation),
            output_tokens: self.output,
            cached_input_tokens: self.cache_read,
        }
    }

    /// What an answer that is discarded cost: as reported, or by what was heard; `None` where nothing was.
    pub fn spent(&self, request: &ModelRequest) -> Option<Usage> {
        let of_block = |block: &Block| match block {
            Block::Call { name, pieces, .. } => estimate::tokens(name) + estimate::tokens(pieces),
            Block::Thought(block) => estimate::tokens(block["thinking"].as_str().unwrap_or_default()),
            Block::Text(_) | Block::Other => 0,
        };
        let heard: u64 = self.voice.heard().into_iter().map(estimate::tokens).sum();
        let heard = heard + self.blocks.iter().map(|(_, block)| of_block(block)).sum::<u64>();
        let usage = self.usage();
        if usage.total() == 0 && heard == 0 {
            return None;
        }
        let mut usage = answer::or_estimated(usage, request, None, &[], None);
        usage.output_tokens = usage.output_tokens.max(heard);
        Some(usage)
    }

    /// The reply, if the model said why it stopped. What was still held back of its text goes to `text`.
    pub fn finish(self, request: &ModelRequest, profile: &Profile, text: &mut dyn FnMut(&str)) -> Result<ModelReply, Fault> {
        let spent = self.spent(request);
        let discarded = |message: String| Fault { usage: spent, ..fault::cut_after(message) };
        let usage = self.usage();
        let Some(reason) = self.stop_reason else { return Err(discarded("the answer ended without a stop_reason".into())) };
        let (said, aloud) = self.voice.finish(text);
        let reasoning = thought(&self.blocks, aloud);
        let calls = self.blocks.into_iter().filter_map(|(_, block)| block.call()).collect();
        let mut calls = answer::settled(calls, request);
        let said = answer::form::answered(request, profile, &mut calls).unwrap_or(said);
        let finish_reason = match profile.stop_reason(&reason) {
            None => return Err(discarded(format!("the provider broke off: stop_reason `{reason}`"))),
            Some(reason @ (FinishReason::Length | FinishReason::Refusal)) => reason,
            Some(_) if calls.is_empty() => FinishReason::Stop,
            Some(_) => FinishReason::ToolCalls,
        };
        let said = (!said.is_empty()).then_some(said);
        let usage = answer::or_estimated(usage, request, said.as_deref(), &calls, reasoning.as_ref());
        let model = self.model.unwrap_or_else(|| request.model.model().to_owned());
        Ok(ModelReply { text: said, calls, usage, model, finish_reason, reasoning })
    }
}

/// What was thought, and where its blocks stood among the others.
fn thought(blocks: &[(u64, Block)], aloud: String) -> Option<Reasoning> {
    let thoughts = blocks.iter().filter_map(|(_, block)| if let Block::Thought(block) = block { Some(block) } else { None });
    let texts: Vec<&str> = thoughts.filter_map(|block| block["thinking"].as_str()).filter(|text| !text.is_empty()).collect();
    let has_some = blocks.iter().any(|(_, block)| matches!(block, Block::Thought(_)));
    let places = blocks.iter().filter_map(|(_, block)| match block {
        Block::Thought(block) => Some(block.clone()),
        Block::Text(bytes) => Some(json!({ "text_bytes": bytes })),
        Block::Call { .. } => Some(json!({ "call": true })),
        Block::Other => None,
    });
    let verbatim = has_some.then(|| Value::Array(places.collect()));
    let text = if texts.is_empty() { aloud } else { lenient::joined(texts.join("\n\n")) };
    Reasoning::kept(text, Vec::new(), verbatim)
}

impl Block {
    fn call(self) -> Option<ToolCall> {
        let Self::Call { id, name, input, pieces } = self else { return None };
        let arguments = match (pieces.is_empty(), &input) {
            (false, _) => pieces,
            (true, Value::Null) => "{}".to_owned(),
            (true, input) => input.to_string(),
        };
        Some(ToolCall { id, name, arguments, extra: None })
    }
}
