//! The ledger as the tools of a runtime, inside its process.

use super::{Ledger, Mode};
use async_trait::async_trait;
use maniple_core::{
    AgentName, Error, Result,
    ports::{self, Admission, Invocation, Invoked, Probed},
    tool::{Offer, ToolDefinition, ToolWish},
};
use serde_json::json;
use std::sync::{Arc, RwLock};

/// Tools whose every call is remembered by a [`Ledger`].
#[derive(Clone)]
pub struct Tools {
    ledger: Ledger,
    definitions: Arc<RwLock<Vec<ToolDefinition>>>,
}

impl Tools {
    /// These tools.
    pub fn new(ledger: Ledger, definitions: Vec<ToolDefinition>) -> Self {
        Self { ledger, definitions: Arc::new(RwLock::new(definitions)) }
    }
    /// From now on, these.
    pub fn replace(&self, definitions: Vec<ToolDefinition>) {
        *self.definitions.write().expect("no holder panics") = definitions;
    }
}

#[async_trait]
impl ports::Tools for Tools {
    async fn resolve(&self, _agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        let definitions = self.definitions.read().expect("no holder panics");
        let find = |wish: &ToolWish| {
            let fitting = definitions.iter().filter(|tool| tool.name == wish.name && wish.range.matches(&tool.version));
            let highest = fitting.max_by_key(|tool| tool.version.clone()).cloned();
            highest
                .map(|definition| Offer { definition, trusted: true })
                .ok_or_else(|| Error::invalid(format!("there is no tool `{wish}`")))
        };
        wishes.iter().map(find).collect()
    }

    async fn admit(&self, _call: &Invocation) -> Admission {
        Admission::Now
    }

    async fn probe(&self, _call: &Invocation) -> Probed {
        Probed::Unknown
    }

    async fn invoke(&self, call: &Invocation) -> Invoked {
        let name = &call.tool.name;
        let mode = self.ledger.mode(name);
        match mode {
            Mode::NotSent => return Invoked::NotSent("it cannot be reached".into()),
            Mode::Close => return Invoked::Unknown("the connection was closed".into()),
            Mode::Ok(_) | Mode::Fail(_) | Mode::Slow(_) | Mode::Hang | Mode::Reset => {}
        }
        self.ledger.arrived(name, Some(call.key.clone()), call.arguments.clone());
        let answering = async {
            match mode {
                Mode::Ok(result) => Invoked::Ok(result),
                Mode::Fail(status) => Invoked::Failed(json!({ "status": status, "body": "the tool failed" })),
                Mode::Slow(wait) => {
                    tokio::time::sleep(wait).await;
                    Invoked::Ok(json!({ "tool": name, "ok": true }))
                }
                Mode::Hang => std::future::pending().await,
                Mode::Reset | Mode::Close | Mode::NotSent => Invoked::Unknown("the answer broke off".into()),
            }
        };
        let timed_out = Invoked::Unknown(format!("no answer in {} ms", call.timeout.as_millis()));
        tokio::time::timeout(call.timeout, answering).await.unwrap_or(timed_out)
    }
}
