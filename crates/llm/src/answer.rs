//! What every answer gets, whoever gave it.

mod arguments;
pub mod form;
mod name;
mod voice;

pub use voice::Voice;

use crate::shape;
use maniple_core::{
    canonical, estimate,
    message::{Reasoning, ToolCall, Usage},
    model::ModelRequest,
};

/// More calls than this in one answer are no answer.
pub const MAX_CALLS: usize = 256;
/// The most of an answer that is kept: its text, what was thought, its calls, in bytes.
pub const MAX_KEPT_BYTES: usize = 16 << 20;
/// A provider that reports more tokens of one call than this has miscounted.
const MAX_TOKENS: f64 = 1e8;

/// Estimates what a provider did not report: a budget must count something.
pub fn or_estimated(
    mut usage: Usage,
    request: &ModelRequest,
    text: Option<&str>,
    calls: &[ToolCall],
    reasoning: Option<&Reasoning>,
) -> Usage {
    if usage.input_tokens == 0 {
        usage.input_tokens = estimate::request_tokens(request);
    }
    if usage.output_tokens == 0 {
        let called: u64 = calls.iter().map(|c| estimate::tokens(&c.name) + estimate::tokens(&c.arguments)).sum();
        let thought = reasoning.map_or(0, |reasoning| estimate::tokens(&reasoning.text));
        usage.output_tokens = text.map_or(0, estimate::tokens) + called + thought;
    }
    usage
}

/// A count of tokens in whatever a provider writes numbers as; none where it can be no count.
pub fn count(value: &serde_json::Value) -> Option<u64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (0.0..=MAX_TOKENS).contains(&number).then_some(number as u64)
}

/// Calls as the rest of the platform may rely on them: each with a name as it is offered where that can be told, an id unlike any
/// other, and "no arguments" said in JSON.
pub fn settled(mut calls: Vec<ToolCall>, request: &ModelRequest) -> Vec<ToolCall> {
    calls.retain(|call| !call.name.trim().is_empty() || !call.arguments.trim().is_empty());
    for at in 0..calls.len() {
        let (before, rest) = calls.split_at_mut(at);
        let call = &mut rest[0];
        if call.id.is_empty() || before.iter().any(|c| c.id == call.id) {
            call.id = made_id(&[&request.messages.len().to_string(), &at.to_string()]);
        }
        if let Some(meant) = name::meant(&call.name, &request.tools) {
            call.name = meant.to_owned();
        }
        let tool = request.tools.iter().find(|tool| tool.name == call.name);
        call.arguments = arguments::settled(std::mem::take(&mut call.arguments), tool);
        if let Some(tool) = tool {
            call.arguments = shape::original_names(tool, std::mem::take(&mut call.arguments));
        }
    }
    calls
}

/// An id that every provider takes: nine letters and digits, the same for the same parts.
pub fn made_id(parts: &[&str]) -> String {
    let mut id = canonical::hash_bytes(parts.join("\n").as_bytes());
    id.truncate(9);
    id
}
