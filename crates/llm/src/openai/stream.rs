//! A Chat Completions event stream as a model reply.
//!
//! | state | piece without finish_reason | piece with one | `[DONE]` | the body ends |
//! |---|---|---|---|---|
//! | open | open | finished | cut | cut |
//! | finished | finished (usage comes here) | finished | **reply** | **reply** |
//!
//! Anything else, an error event above all, discards the whole.

use super::reply::{Draft, parse};
use crate::fault;
use maniple_core::{
    message::ModelReply,
    model::{Fault, ModelRequest},
};
use serde_json::Value;

/// A stream as far as it has come.
#[derive(Default)]
pub struct Stream {
    draft: Draft,
}

impl Stream {
    /// Takes one event. `true` when it was the last.
    pub fn event(&mut self, name: &str, data: &str, text: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        if data == "[DONE]" {
            return if self.draft.is_finished() { Ok(true) } else { Err(fault::cut_after("`[DONE]` came before a finish_reason")) };
        }
        if name == "error" {
            return Err(fault::of_error(&serde_json::from_str(data).unwrap_or(Value::String(data.to_owned()))));
        }
        if data.is_empty() {
            return Ok(false);
        }
        self.draft.add(parse(data.as_bytes())?, text)?;
        Ok(false)
    }

    /// The reply, after the last event or the clean end of the body.
    pub fn finish(self, request: &ModelRequest) -> Result<ModelReply, Fault> {
        self.draft.finish(request)
    }
}
