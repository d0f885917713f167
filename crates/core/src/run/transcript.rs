//! What the model is shown of its own run.

use super::{REPEATS_TOLD, Run};
use crate::{
    agent::Contracts,
    event::ToolStatus,
    message::{FinishReason, Message},
    model::ModelName,
    tool,
};

/// A message of the run, and whether it may be shortened when the window is full.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The message.
    pub message: Message,
    /// An old tool result: the first to go after old turns.
    pub may_shrink: bool,
}

impl Run {
    /// The prompt and all steps so far, oldest first, ready to be followed by the model's next answer.
    pub fn transcript(&self, contracts: &Contracts) -> Vec<Piece> {
        let mut pieces = vec![fixed(Message::User { content: self.task.prompt.clone() })];
        let repeats = self.repeats(contracts);
        let last = self.step_number();
        for step in &self.steps {
            let Some(reply) = &step.reply else { continue };
            pieces.push(fixed(Message::Assistant {
                content: reply.text.clone(),
                calls: reply.calls.clone(),
                reasoning: reply.reasoning.clone(),
                by: ModelName::parse(&reply.model).ok(),
            }));
            for (index, call) in step.calls.iter().enumerate() {
                let Some(finished) = &call.finished else { continue };
                let times = repeats.each.get(&(step.number, index as u32)).copied().unwrap_or_default();
                let mut content = tool::shown(&finished.result);
                if times >= REPEATS_TOLD {
                    content.push_str(&format!(
                        "\n(You have made this same call with this same result {times} times in a row. Do something else, or answer.)"
                    ));
                }
                let message = Message::Tool {
                    call_id: call.asked.id.clone(),
                    name: call.asked.name.clone(),
                    content,
                    is_error: finished.status != ToolStatus::Ok,
                };
                pieces.push(Piece { message, may_shrink: step.number < last });
            }
            if reply.calls.is_empty()
                && let Err(complaint) = self.fit(contracts, reply.text.as_deref().unwrap_or_default())
            {
                let content = match reply.finish_reason {
                    FinishReason::Length => format!(
                        "Your answer was cut off at its length limit, so it does not fit the required JSON Schema: {complaint}. \
                         Answer again, shorter, with nothing but JSON that fits."
                    ),
                    _ => format!(
                        "Your answer does not fit the required JSON Schema: {complaint}. Answer again with nothing but JSON that fits."
                    ),
                };
                pieces.push(fixed(Message::User { content }));
            }
        }
        pieces
    }
}

fn fixed(message: Message) -> Piece {
    Piece { message, may_shrink: false }
}
