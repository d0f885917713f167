//! Tools that need nobody else: `clock`, `calculator`, `http_fetch`. All are pure.

mod calculator;
mod clock;
mod fetch;
mod html;

use super::client::Client;
use maniple_aside::Aside;
use maniple_core::{
    Error, Result,
    ports::{Invocation, Invoked},
    tool::ToolDefinition,
};
use serde_json::{Value, json};
use std::sync::Arc;

const NAMES: [&str; 3] = ["calculator", "clock", "http_fetch"];

/// Their definitions; an agent must still list what it uses.
pub(crate) fn definitions() -> Vec<ToolDefinition> {
    [calculator::definition(), clock::definition(), fetch::definition()]
        .into_iter()
        .map(|definition: Value| serde_json::from_value(definition).expect("a built-in definition has every field"))
        .collect()
}

/// Whether `builtin:NAME` exists.
pub(crate) fn check(name: &str) -> Result<()> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    let near = NAMES.into_iter().find(|known| strsim::jaro_winkler(known, name) > 0.7);
    let hint = near.map_or_else(|| format!("there are {}", NAMES.join(", ")), |near| format!("did you mean `{near}`?"));
    Err(Error::invalid(format!("endpoint `builtin:{name}`: there is no built-in tool `{name}`; {hint}")).at("endpoint"))
}

/// Calls built-in tools.
pub(crate) struct Transport {
    client: Arc<Client>,
    aside: Aside,
}

impl Transport {
    pub(crate) fn new(client: Arc<Client>, aside: Aside) -> Self {
        Self { client, aside }
    }

    pub(crate) async fn call(&self, name: &str, call: &Invocation) -> Invoked {
        let outcome = match name {
            "calculator" => calculator::call(&call.arguments),
            "clock" => clock::call(&call.arguments, jiff::Timestamp::now()),
            "http_fetch" => return fetch::call(&self.client, &self.aside, call).await,
            other => return Invoked::NotSent(format!("this version has no built-in tool `{other}`")),
        };
        outcome.map_or_else(|why| Invoked::Failed(json!({ "error": why })), Invoked::Ok)
    }
}
