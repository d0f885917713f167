//! A Chat Completions event stream as a model reply.
//!
//! | state | piece without finish_reason | piece with one | `[DONE]` | the body ends |
//! |---|---|---|---|---|
//! | open | open | finished | cut | cut |
//! | finished | finished (usage comes here) | finished | **reply** | **reply** |
//!
//! Anything else before it is finished, an error event above all, discards the whole. Once finished, it is whole.

use super::reply::{Draft, parse};
use crate::{fault, profile::Profile};
use maniple_core::{
    message::{ModelReply, Usage},
    model::{Fault, ModelRequest},
};

/// What stands in the place of a last event.
pub const DONE: &str = "[DONE]";

/// A stream as far as it has come.
#[derive(Default)]
pub struct Stream {
    draft: Draft,
}

impl Stream {
    /// Takes one event. `true` when it was the last.
    pub fn event(&mut self, data: &str, text: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        if data == DONE {
            return if self.draft.is_finished() { Ok(true) } else { Err(fault::cut_after("`[DONE]` came before a finish_reason")) };
        }
        self.draft.add(&parse(data)?, text)?;
        Ok(false)
    }

    /// Whether the model said that it was done.
    pub fn is_finished(&self) -> bool {
        self.draft.is_finished()
    }
    /// Whether it was said what it cost.
    pub fn has_usage(&self) -> bool {
        self.draft.has_usage()
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
