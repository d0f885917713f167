//! What every answer gets, whoever gave it.

use crate::shape;
use maniple_core::{
    estimate,
    message::{ToolCall, Usage},
    model::ModelRequest,
};

/// More calls than this in one answer are no answer.
pub const MAX_CALLS: usize = 256;

/// Estimates what a provider did not report: a budget must count something.
pub fn or_estimated(mut usage: Usage, request: &ModelRequest, text: Option<&str>, calls: &[ToolCall]) -> Usage {
    if usage.input_tokens == 0 {
        usage.input_tokens = estimate::request_tokens(request);
    }
    if usage.output_tokens == 0 {
        let called: u64 = calls.iter().map(|c| estimate::tokens(&c.name) + estimate::tokens(&c.arguments)).sum();
        usage.output_tokens = text.map_or(0, estimate::tokens) + called;
    }
    usage
}

/// Gives an id to calls without one of their own, unlike any in the conversation before, says "no arguments" in JSON, and names
/// arguments as their tool does.
pub fn settled(mut calls: Vec<ToolCall>, request: &ModelRequest) -> Vec<ToolCall> {
    for at in 0..calls.len() {
        let (before, rest) = calls.split_at_mut(at);
        let call = &mut rest[0];
        if call.id.is_empty() || before.iter().any(|c| c.id == call.id) {
            call.id = format!("call_{}_{at}", request.messages.len());
        }
        if call.arguments.trim().is_empty() {
            call.arguments = "{}".to_owned();
        }
        if let Some(tool) = request.tools.iter().find(|tool| tool.name == call.name) {
            call.arguments = shape::original_names(tool, std::mem::take(&mut call.arguments));
        }
    }
    calls
}

/// What a model is told where its provider cannot hold it to a schema. The run checks and repairs an answer anyway.
pub fn instruction(schema: &serde_json::Value) -> String {
    format!(
        "Your final answer must be one JSON value that fits the JSON Schema below, and nothing else: \
         no words around it, no code fence.\n{schema}"
    )
}
