//! What a model is shown: system prompt, examples, as much of the conversation as fits, and the run so far.
//!
//! When the window is full, whole turns go first, oldest first, then old tool results.

use super::catalog::Prepared;
use maniple_core::{
    Result,
    agent::AgentDefinition,
    estimate,
    message::Message,
    model::{CallTimes, ModelName, ModelOptions, ModelRequest, ToolChoice},
    ports::Turn,
    run::{Ask, Piece, Run},
};

const DROPPED: &str = "(an old result, left out to make room)";

/// The request of a model call. `turns` are newest first; `times` bound the call.
pub fn request(run: &Run, prepared: &Prepared, turns: &[Turn], ask: &Ask, times: CallTimes) -> Result<ModelRequest> {
    let contracts = &prepared.contracts;
    let agent = contracts.agent();
    let started = run.started().map_or(run.accepted_at(), |(_, at)| *at);
    let system = prepared.prompt.render(run.task(), started)?;
    let examples: Vec<Message> = agent.examples.iter().flat_map(|e| pair(&e.user, Some(&e.assistant))).collect();
    let mut pieces = run.transcript(contracts);

    let window = agent.memory.window_tokens >> run.compactions().min(16);
    let fixed = estimate::tokens(&system) + examples.iter().map(estimate::message_tokens).sum::<u64>();
    let own: u64 = pieces.iter().map(|piece| estimate::message_tokens(&piece.message)).sum();
    let conversation = newest_that_fit(turns, window.saturating_sub(fixed + own));
    shrink(&mut pieces, (fixed + own).saturating_sub(window));

    let messages = examples.into_iter().chain(conversation).chain(pieces.into_iter().map(|piece| piece.message)).collect();
    Ok(ModelRequest {
        model: model_of(prepared, ask).clone(),
        system,
        messages,
        tools: contracts.specs.clone(),
        // An answer is mended, not found anew: without calls its provider can hold it to the schema.
        tool_choice: if ask.last || run.is_repairing() { ToolChoice::None } else { ToolChoice::Auto },
        max_output_tokens: 0,
        output_schema: run.output_schema(contracts).cloned(),
        options: options(agent, ask),
        times,
    })
}

/// The model of the agent's chain that is asked.
pub fn model_of<'a>(prepared: &'a Prepared, ask: &Ask) -> &'a ModelName {
    let agent = prepared.contracts.agent();
    ask.model.checked_sub(1).and_then(|fallback| agent.fallbacks.get(fallback)).unwrap_or(&agent.model)
}

/// What the agent says of how its model is to speak. `extra` is written for that one: another may not know its members.
fn options(agent: &AgentDefinition, ask: &Ask) -> ModelOptions {
    let extra = if ask.model == 0 { agent.options.extra.clone() } else { Default::default() };
    ModelOptions { extra, ..agent.options.clone() }
}

fn pair(user: &str, assistant: Option<&str>) -> [Message; 2] {
    let answer = assistant.unwrap_or("(no answer)").to_owned();
    [Message::User { content: user.to_owned() }, Message::assistant(answer)]
}

/// Whole turns, oldest first, as many of the newest as `room` allows.
fn newest_that_fit(turns: &[Turn], room: u64) -> Vec<Message> {
    let mut left = room;
    let mut kept: Vec<[Message; 2]> = Vec::new();
    for turn in turns {
        let messages = pair(&turn.prompt, turn.output.as_deref());
        let size: u64 = messages.iter().map(estimate::message_tokens).sum();
        if size > left {
            break;
        }
        left -= size;
        kept.push(messages);
    }
    kept.into_iter().rev().flatten().collect()
}

/// Leaves out old tool results, oldest first, until `excess` tokens are saved.
fn shrink(pieces: &mut [Piece], mut excess: u64) {
    for piece in pieces.iter_mut().filter(|piece| piece.may_shrink) {
        if excess == 0 {
            return;
        }
        let before = estimate::message_tokens(&piece.message);
        if let Message::Tool { content, .. } = &mut piece.message
            && content.len() > DROPPED.len()
        {
            *content = DROPPED.to_owned();
            excess = excess.saturating_sub(before - estimate::message_tokens(&piece.message));
        }
    }
}
