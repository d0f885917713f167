//! Chat Completions JSON as a model reply.
//!
//! A plain answer is read as a stream of one piece, so that both ways have one set of rules. Text, calls and the reason why it
//! stopped make the answer; nothing else in it can void it.

use super::{calls::Calls, thought::Thought};
use crate::{
    answer::{self, MAX_KEPT_BYTES, Voice},
    fault,
    profile::Profile,
};
use maniple_core::{
    lenient,
    message::{FinishReason, ModelReply, Usage},
    model::{Fault, ModelRequest},
};
use serde_json::Value;

/// One JSON object of an answer, plain or a piece of a stream; an error where it is one.
pub fn parse(json: &str) -> Result<Value, Fault> {
    let piece = lenient::parse(json)
        .map_err(|e| fault::cut_after(format!("the answer is not what it should be: {e}: {}", fault::head(json.trim(), 300))))?;
    match error_in(&piece) {
        Some(error) => Err(fault::of_error(error)),
        None => Ok(piece),
    }
}

/// The error that stands where an answer should.
fn error_in(piece: &Value) -> Option<&Value> {
    let says_something = |error: &&Value| match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Array(errors) => !errors.is_empty(),
        Value::Number(code) => code.as_f64() != Some(0.0),
        Value::Bool(true) => true,
    };
    let choice = &piece["choices"][0];
    if let Some(error) = [&piece["error"], &choice["error"], &piece["errors"]].into_iter().find(says_something) {
        return Some(if std::ptr::eq(error, &piece["error"]) { piece } else { error });
    }
    let is_one =
        piece["object"] == "error" || piece["type"] == "error" || piece["base_resp"]["status_code"].as_i64().is_some_and(|code| code != 0);
    let has_no_answer = ["choices", "usage", "id", "model"].iter().all(|member| piece.get(member).is_none());
    let explains = || ["message", "detail", "msg", "error_msg", "error_message"].iter().any(|member| piece[*member].is_string());
    (is_one || has_no_answer && explains()).then_some(piece)
}

/// An answer as far as it has come. Only [`Draft::finish`] makes a reply of it.
#[derive(Default)]
pub struct Draft {
    voice: Voice,
    thought: Thought,
    calls: Calls,
    refused: bool,
    /// What the provider behind a router says of the end.
    broke_off: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    finish_reason: Option<String>,
}

impl Draft {
    /// Adds a piece; text goes to `text` as well.
    pub fn add(&mut self, piece: &Value, text: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        if let Some(model) = piece["model"].as_str().filter(|m| !m.is_empty()) {
            self.model = Some(model.to_owned());
        }
        // Some servers report usage so far in every piece: the last one is the whole.
        let reported = [&piece["usage"], &piece["x_groq"]["usage"]].into_iter().find(|usage| usage.is_object());
        self.usage = reported.map(usage).or(self.usage);
        // The usage chunk has no choice; we ask for one and never look at a second.
        let choice = &piece["choices"][0];
        for message in [&choice["delta"], &choice["message"]].into_iter().filter(|message| message.is_object()) {
            self.say(&message["content"], text);
            self.thought.add(message);
            if let Some(refusal) = message["refusal"].as_str().filter(|r| !r.is_empty()) {
                self.refused = true;
                self.voice.say(refusal, text);
            }
            message["tool_calls"].as_array().into_iter().flatten().try_for_each(|call| self.calls.add(call))?;
            if message["function_call"].is_object() {
                self.calls.add(&message["function_call"])?;
            }
        }
        self.say(&choice["text"], text);
        self.finish_reason = real(&choice["finish_reason"]).or(self.finish_reason.take());
        let native = choice["native_finish_reason"].as_str().filter(|native| matches!(*native, "error" | "network_error"));
        self.broke_off = native.map(str::to_owned).or(self.broke_off.take());
        if self.voice.weight() + self.thought.weight() + self.calls.weight() > MAX_KEPT_BYTES {
            return Err(fault::cut_after(format!("the answer says more than {MAX_KEPT_BYTES} bytes")));
        }
        Ok(())
    }

    /// Whether the model said that it was done.
    pub fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }
    /// Whether it was said what it cost.
    pub fn has_usage(&self) -> bool {
        self.usage.is_some()
    }

    /// A string, or a list of parts: text is for people, thinking is not, the rest is for nobody.
    fn say(&mut self, content: &Value, text: &mut dyn FnMut(&str)) {
        match content {
            Value::String(said) if !said.is_empty() => self.voice.say(said, text),
            Value::Array(parts) => {
                for part in parts {
                    match part["type"].as_str() {
                        Some("text" | "output_text") => self.say(&part["text"], text),
                        Some("thinking" | "reasoning") => self.think(&part["thinking"]),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn think(&mut self, content: &Value) {
        match content {
            Value::String(thought) => self.thought.think(thought),
            Value::Array(parts) => parts.iter().for_each(|part| self.think(&part["text"])),
            _ => {}
        }
    }

    /// What an answer that is discarded cost: as reported, or by what was heard; `None` where nothing was.
    pub fn spent(&self, request: &ModelRequest) -> Option<Usage> {
        let heard = || self.voice.heard().into_iter().chain([self.thought.text()]).chain(self.calls.heard());
        let tokens: u64 = heard().map(maniple_core::estimate::tokens).sum();
        if self.usage.is_none() && tokens == 0 {
            return None;
        }
        let mut usage = answer::or_estimated(self.usage.unwrap_or_default(), request, None, &[], None);
        usage.output_tokens = usage.output_tokens.max(tokens);
        Some(usage)
    }

    /// The reply, if the model said that it was done. What was still held back of its text goes to `text`.
    pub fn finish(self, request: &ModelRequest, profile: &Profile, text: &mut dyn FnMut(&str)) -> Result<ModelReply, Fault> {
        let spent = self.spent(request);
        let discarded = |message: String| Fault { usage: spent, ..fault::cut_after(message) };
        let Some(reason) = self.finish_reason else { return Err(discarded("the answer ended without a finish_reason".into())) };
        let mut calls = answer::settled(self.calls.finish(), request);
        let (mut said, aloud) = self.voice.finish(text);
        if let Some(answer) = answer::form::answered(request, profile, &mut calls) {
            said = answer;
        }
        let reasoning = self.thought.finish(aloud);
        if let Some(native) = self.broke_off.filter(|_| said.is_empty() && calls.is_empty()) {
            return Err(discarded(format!("the provider broke off: native_finish_reason `{native}`")));
        }
        let finish_reason = match profile.stop_reason(&reason) {
            None => return Err(discarded(format!("the provider broke off: finish_reason `{reason}`"))),
            Some(FinishReason::Length) => FinishReason::Length,
            Some(FinishReason::Refusal) => FinishReason::Refusal,
            Some(_) if self.refused => FinishReason::Refusal,
            // `tool_calls` without calls and `stop` with calls are both seen.
            Some(_) if calls.is_empty() => FinishReason::Stop,
            Some(_) => FinishReason::ToolCalls,
        };
        let said = (!said.is_empty()).then_some(said);
        let usage = answer::or_estimated(self.usage.unwrap_or_default(), request, said.as_deref(), &calls, reasoning.as_ref());
        let model = self.model.unwrap_or_else(|| request.model.model().to_owned());
        Ok(ModelReply { text: said, calls, usage, model, finish_reason, reasoning })
    }
}

/// A reason that is one: some servers write `""` or `"null"` in every piece before the last.
fn real(reason: &Value) -> Option<String> {
    let reason = reason.as_str()?.trim();
    let is_none = ["", "null", "none"].iter().any(|none| reason.eq_ignore_ascii_case(none));
    (!is_none).then(|| reason.to_owned())
}

fn usage(reported: &Value) -> Usage {
    let first = |names: &[&str]| names.iter().find_map(|name| answer::count(&reported[*name]));
    let input_tokens = first(&["prompt_tokens", "input_tokens"]).unwrap_or(0);
    // Some providers leave reasoning out of `completion_tokens`, but never out of the total.
    let rest = first(&["total_tokens"]).unwrap_or(0).saturating_sub(input_tokens);
    let output_tokens = first(&["completion_tokens", "output_tokens"]).unwrap_or(0).max(rest);
    let cached = answer::count(&reported["prompt_tokens_details"]["cached_tokens"]);
    let cached = cached.or_else(|| first(&["prompt_cache_hit_tokens", "cached_tokens"])).unwrap_or(0);
    Usage { input_tokens, output_tokens, cached_input_tokens: cached.min(input_tokens) }
}
