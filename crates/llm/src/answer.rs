//! What every answer gets, whoever gave it.

mod arguments;
pub mod form;
mod name;
mod voice;

pub use voice::Voice;

use crate::shape;
use maniple_core::{
    canonical, estimate,
    message::{Message, Reasoning, ToolCall, Usage},
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
        let Some((call, behind)) = rest.split_first_mut() else { break };
        if call.id.is_empty() || before.iter().any(|c| c.id == call.id) {
            let is_taken = |id: &str| behind.iter().chain(&*before).any(|call| call.id == id) || was_said(request, id);
            let said = request.messages.len().to_string();
            let mut made = (at..).step_by(MAX_CALLS).map(|number| made_id(&[&said, &number.to_string()]));
            call.id = made.find(|id| !is_taken(id)).expect("numbers do not run out");
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

/// Whether a call of the conversation has this id.
fn was_said(request: &ModelRequest, id: &str) -> bool {
    let calls = request.messages.iter().filter_map(|message| match message {
        Message::Assistant { calls, .. } => Some(calls),
        Message::User { .. } | Message::Tool { .. } => None,
    });
    calls.flatten().any(|call| call.id == id)
}

/// An id that every provider takes: nine letters and digits, the same for the same parts.
pub fn made_id(parts: &[&str]) -> String {
    let mut id = canonical::hash_bytes(parts.join("\n").as_bytes());
    id.truncate(9);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::request;

    #[test]
    fn an_id_that_is_made_is_unlike_any_in_the_conversation() {
        let call = |id: &str| ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into(), extra: None };
        let mut request = request("hi");
        let first = settled(vec![call("")], &request).remove(0).id;
        // The conversation was cut meanwhile, so that as many messages are left.
        request.messages = vec![Message::Assistant { content: None, calls: vec![call(&first)], reasoning: None, by: None }];
        let calls = settled(vec![call(""), call("a"), call("a")], &request);
        let ids: std::collections::BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).chain([first.as_str()]).collect();
        assert_eq!(ids.len(), 4, "{ids:?}");
    }
}
