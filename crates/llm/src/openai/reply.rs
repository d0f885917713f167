//! Chat Completions JSON as a model reply.
//!
//! A plain answer is read as a stream of one piece, so that both ways have one set of rules.

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
    let mut draft = Draft::default();
    draft.add(parse(body)?, &mut |_| {})?;
    draft.finish(request)
}

/// One JSON object of an answer, plain or a piece of a stream.
pub fn parse(json: &[u8]) -> Result<Piece, Fault> {
    let piece: Piece = serde_json::from_slice(json).map_err(|e| fault::cut_after(format!("the answer is not what it should be: {e}")))?;
    match &piece.error {
        Some(error) => Err(fault::of_error(error)),
        None if piece.object.as_deref() == Some("error") => Err(fault::of_error(&serde_json::from_slice(json).unwrap_or_default())),
        None => Ok(piece),
    }
}

/// A `chat.completion` or `chat.completion.chunk`.
#[derive(Deserialize)]
pub struct Piece {
    object: Option<String>,
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<ReportedUsage>,
    error: Option<Value>,
}
#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    message: Option<Delta>,
    finish_reason: Option<String>,
}
#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Value,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}
#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}
#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    #[serde(default)]
    arguments: Value,
}
#[derive(Deserialize)]
struct ReportedUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}
#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

/// An answer as far as it has come. Only [`Draft::finish`] makes a reply of it.
#[derive(Default)]
pub struct Draft {
    text: String,
    refused: bool,
    calls: Vec<(Option<u64>, ToolCall)>,
    model: Option<String>,
    usage: Option<ReportedUsage>,
    finish_reason: Option<String>,
}

impl Draft {
    /// Adds a piece; text goes to `text` as well.
    pub fn add(&mut self, piece: Piece, text: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        if let Some(model) = piece.model.filter(|m| !m.is_empty()) {
            self.model = Some(model);
        }
        // Some servers report usage so far in every piece: the last one is the whole.
        self.usage = piece.usage.or(self.usage.take());
        // The usage chunk has no choice; we ask for one and never look at a second.
        let Some(choice) = piece.choices.into_iter().flatten().next() else { return Ok(()) };
        if let Some(delta) = choice.delta.or(choice.message) {
            self.say(&delta.content, text);
            if let Some(refusal) = delta.refusal.filter(|r| !r.is_empty()) {
                self.refused = true;
                self.say(&Value::String(refusal), text);
            }
            delta.tool_calls.into_iter().flatten().try_for_each(|call| self.call(call))?;
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        Ok(())
    }

    /// Whether the model said that it was done.
    pub fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// A string, or a list of parts of which only text is for people.
    fn say(&mut self, content: &Value, text: &mut dyn FnMut(&str)) {
        match content {
            Value::String(said) if !said.is_empty() => {
                self.text.push_str(said);
                text(said);
            }
            Value::Array(parts) => parts.iter().filter(|p| p["type"] == "text").for_each(|part| self.say(&part["text"], text)),
            _ => {}
        }
    }

    /// Id and name come once, arguments in pieces. Some servers give no index, others 0 to every call:
    /// a new id with a name is a new call all the same.
    fn call(&mut self, delta: CallDelta) -> Result<(), Fault> {
        let id = delta.id.filter(|id| !id.is_empty());
        let (name, arguments) = delta.function.map(|f| (f.name, f.arguments)).unwrap_or_default();
        let name = name.filter(|name| !name.is_empty());
        let begun = match delta.index {
            Some(index) => self.calls.iter().rposition(|(i, _)| *i == Some(index)),
            None if name.is_some() => None,
            None => self.calls.len().checked_sub(1),
        };
        let begun = begun.filter(|&at| {
            let known = &self.calls[at].1;
            let is_another = name.is_some() && id.as_deref().is_some_and(|id| !known.id.is_empty() && id != known.id);
            !is_another
        });
        let at = match begun {
            Some(at) => at,
            None if self.calls.len() >= MAX_CALLS => return Err(fault::cut_after(format!("it asks for more than {MAX_CALLS} tool calls"))),
            None => {
                self.calls.push((delta.index, ToolCall { id: String::new(), name: String::new(), arguments: String::new() }));
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at].1;
        if let (true, Some(id)) = (call.id.is_empty(), id) {
            call.id = id;
        }
        if let (true, Some(name)) = (call.name.is_empty(), name) {
            call.name = name;
        }
        match arguments {
            Value::String(piece) => call.arguments.push_str(&piece),
            Value::Null => {}
            // Some servers send the object itself.
            object => call.arguments.push_str(&object.to_string()),
        }
        Ok(())
    }

    /// The reply, if the model said that it was done.
    pub fn finish(self, request: &ModelRequest) -> Result<ModelReply, Fault> {
        let reason = self.finish_reason.ok_or_else(|| fault::cut_after("the answer ended without a finish_reason"))?;
        let calls = answer::settled(self.calls.into_iter().map(|(_, call)| call).collect(), request);
        let finish_reason = match reason.as_str() {
            "length" => FinishReason::Length,
            "content_filter" | "refusal" => FinishReason::Refusal,
            "error" => return Err(fault::cut_after("the provider broke off: finish_reason `error`")),
            _ if self.refused => FinishReason::Refusal,
            // `tool_calls` without calls and `stop` with calls are both seen.
            _ if calls.is_empty() => FinishReason::Stop,
            _ => FinishReason::ToolCalls,
        };
        let text = (!self.text.is_empty()).then_some(self.text);
        let usage = self.usage.map(ReportedUsage::read).unwrap_or_default();
        let usage = answer::or_estimated(usage, request, text.as_deref(), &calls);
        let model = self.model.unwrap_or_else(|| request.model.model().to_owned());
        Ok(ModelReply { text, calls, usage, model, finish_reason })
    }
}

impl ReportedUsage {
    fn read(self) -> Usage {
        let input_tokens = self.prompt_tokens.unwrap_or(0);
        // Some providers leave reasoning out of `completion_tokens`, but never out of the total.
        let rest = self.total_tokens.unwrap_or(0).saturating_sub(input_tokens);
        let cached = self.prompt_tokens_details.and_then(|d| d.cached_tokens).unwrap_or(0);
        Usage { input_tokens, output_tokens: self.completion_tokens.unwrap_or(0).max(rest), cached_input_tokens: cached.min(input_tokens) }
    }
}
