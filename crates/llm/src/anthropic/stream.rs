//! A Messages event stream as a model reply.
//!
//! `message_start`, then blocks (`content_block_start`, deltas, `content_block_stop`), then `message_delta` with the
//! stop_reason, then `message_stop`: only that one ends it. `ping` and unknown events may come anywhere; an `error`,
//! a broken event or an end before `message_stop` discards the whole.

use super::reply::{Block, Draft, Message, ReportedUsage};
use crate::fault;
use maniple_core::{
    message::ModelReply,
    model::{Fault, ModelRequest},
};
use serde::Deserialize;
use serde_json::Value;

/// A stream as far as it has come.
#[derive(Default)]
pub struct Stream {
    draft: Draft,
    is_stopped: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Message,
    },
    ContentBlockStart {
        index: u64,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    MessageDelta {
        delta: Stopped,
        usage: Option<ReportedUsage>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// `ping`, `content_block_stop`, and what may come.
    #[serde(other)]
    Other,
}
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::enum_variant_names)] // theirs
enum Delta {
    TextDelta {
        text: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    /// Thinking, signatures, citations.
    #[serde(other)]
    Other,
}
#[derive(Deserialize)]
struct Stopped {
    stop_reason: Option<String>,
}

impl Stream {
    /// Takes one event. `true` when it was the last.
    pub fn event(&mut self, data: &str, text: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        let event = serde_json::from_str(data).map_err(|e| fault::cut_after(format!("the answer is not what it should be: {e}")))?;
        match event {
            Event::MessageStart { message } => {
                self.draft.model = message.model;
                self.draft.add_usage(message.usage);
            }
            Event::ContentBlockStart { index, content_block } => self.draft.begin_block(index, content_block, text)?,
            Event::ContentBlockDelta { index, delta } => match delta {
                Delta::TextDelta { text: said } => self.draft.say(&said, text),
                Delta::InputJsonDelta { partial_json } => self.draft.add_arguments(index, &partial_json)?,
                Delta::Other => {}
            },
            Event::MessageDelta { delta, usage } => {
                self.draft.stop_reason = delta.stop_reason.or(self.draft.stop_reason.take());
                self.draft.add_usage(usage);
            }
            Event::MessageStop => self.is_stopped = true,
            Event::Error { error } => return Err(fault::of_error(&error)),
            Event::Other => {}
        }
        Ok(self.is_stopped)
    }

    /// The reply, after the last event; there is none without it.
    pub fn finish(self, request: &ModelRequest) -> Result<ModelReply, Fault> {
        match self.is_stopped {
            true => self.draft.finish(request),
            false => Err(fault::cut_after("the answer ended without message_stop")),
        }
    }
}
