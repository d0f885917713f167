//! Whom agents ask.

use crate::{
    Result,
    message::ModelReply,
    model::{Fault, ModelName, ModelRequest},
};
use async_trait::async_trait;
use std::sync::Arc;

/// The models of this node, by name.
pub trait Models: Send + Sync {
    /// The model of that name. `Invalid` names the providers there are.
    fn model(&self, name: &ModelName) -> Result<Arc<dyn Model>>;
    /// What it costs, where that is configured.
    fn price(&self, name: &ModelName) -> Option<Price>;
    /// Where it is asked, for those who look; `None` for one in this process.
    fn server(&self, _name: &ModelName) -> Option<Server> {
        None
    }
}

/// Where a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its host.
    pub address: String,
    /// Its port.
    pub port: u16,
}

/// What a model costs, in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// For input.
    pub input: f64,
    /// For input from the provider's cache.
    pub cached_input: f64,
    /// For output.
    pub output: f64,
}

impl Price {
    /// What that many tokens cost.
    pub fn of(&self, usage: &crate::message::Usage) -> f64 {
        let fresh = usage.input_tokens.saturating_sub(usage.cached_input_tokens);
        (fresh as f64 * self.input + usage.cached_input_tokens as f64 * self.cached_input + usage.output_tokens as f64 * self.output) / 1e6
    }
}

/// Hears a model's text as it comes, piece by piece.
///
/// A name of its own, because `async_trait` would tie a bare `dyn FnMut(&str)` to one lifetime of text.
pub type OnText<'a> = dyn FnMut(&str) + Send + 'a;

/// One model of one provider: one attempt of a call, no retries of its own.
#[async_trait]
pub trait Model: Send + Sync {
    /// Asks once, inside `request.times`. Text is passed to `text` as it comes; only a whole, terminated
    /// answer is a reply. Dropping the future aborts the call.
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault>;
}
