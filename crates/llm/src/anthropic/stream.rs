//! A Messages event stream as a model reply.
//!
//! `message_start`, then blocks (`content_block_start`, deltas, `content_block_stop`), then `message_delta` with the
//! stop_reason, then `message_stop`. Once the stop_reason was said, the answer is whole; an `error`, a broken event or an end
//! before it discards the whole. `ping` and unknown events may come anywhere.

use super::reply::{Draft, parse};
use crate::{fault, profile::Profile};
use maniple_core::{
    message::{ModelReply, Usage},
    model::{Fault, ModelRequest},
};

/// A stream as far as it has come.
#[derive(Default)]
pub struct Stream {
    draft: Draft,
}

impl Stream {
    /// Takes one event. `true` when it was the last.
    pub fn event(&mut self, data: &str, text: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        let event = parse(data)?;
        let index = event["index"].as_u64().unwrap_or(0);
        match event["type"].as_str() {
            Some("message_start") => self.draft.begin(&event["message"], text)?,
            // A whole message where a stream was asked for.
            Some("message") | None if event["content"].is_array() || event["content"].is_string() => self.draft.begin(&event, text)?,
            Some("content_block_start") => self.draft.begin_block(index, &event["content_block"], text)?,
            Some("content_block_delta") => self.draft.add(index, &event["delta"], text)?,
            Some("message_delta") => {
                self.draft.stopped(&event["delta"]);
                self.draft.add_usage(&event["usage"]);
            }
            Some("message_stop") => {
                return if self.draft.is_finished() { Ok(true) } else { Err(fault::cut_after("message_stop came before a stop_reason")) };
            }
            // `ping`, `content_block_stop`, and what may come.
            _ => {}
        }
        Ok(false)
    }

    /// Whether the model said why it stopped. What it cost is said with it.
    pub fn is_finished(&self) -> bool {
        self.draft.is_finished()
    }
    /// What an answer that is discarded cost.
    pub fn spent(&self, request: &ModelRequest) -> Option<Usage> {
        self.draft.spent(request)
    }

    /// The reply, after the last event or the end of the body.
    pub fn finish(self, request: &ModelRequest, profile: &Profile, text: &mut dyn FnMut(&str)) -> Result<ModelReply, Fault> {
        self.draft.finish(request, profile, text)
    }
}
