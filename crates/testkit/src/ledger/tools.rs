//! The ledger as the tools of a runtime, inside its process.

use super::{Ledger, Mode};
use async_trait::async_trait;
use maniple_core::{
    AgentName, Error, Result, Tenant,
    ports::{self, Admission, Invoked, Probed, RunCall},
    tool::{Offer, ToolDefinition, ToolWish},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Tools whose every call is remembered by a [`Ledger`].
#[derive(Clone)]
pub struct Tools {
    ledger: Ledger,
    definitions: Arc<RwLock<Vec<ToolDefinition>>>,
    taken: Arc<Mutex<Taken>>,
    away: Arc<AtomicBool>,
}

/// The sends of the last minute, by tool.
type Taken = BTreeMap<String, Vec<(Instant, String)>>;
const WINDOW: Duration = Duration::from_secs(60);

impl Tools {
    /// These tools.
    pub fn new(ledger: Ledger, definitions: Vec<ToolDefinition>) -> Self {
        Self { ledger, definitions: Arc::new(RwLock::new(definitions)), taken: Arc::default(), away: Arc::default() }
    }
    /// The names of those that need an agreement.
    pub fn guarded(&self) -> Vec<String> {
        let definitions = self.definitions.read().unwrap_or_else(PoisonError::into_inner);
        definitions.iter().filter(|tool| tool.requires_approval).map(|tool| tool.name.clone()).collect()
    }
    /// From now on nobody can say which there are, or somebody can again.
    pub fn are_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }
    fn offers(&self, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the server of the tools is still being connected to"));
        }
        let definitions = self.definitions.read().unwrap_or_else(PoisonError::into_inner);
        let find = |wish: &ToolWish| {
            let fitting = definitions.iter().filter(|tool| tool.name == wish.name && wish.range.matches(&tool.version));
            let highest = fitting.max_by_key(|tool| tool.version.clone()).cloned();
            highest
                .map(|definition| Offer { definition, trusted: true })
                .ok_or_else(|| Error::invalid(format!("there is no tool `{wish}`")))
        };
        wishes.iter().map(find).collect()
    }

    /// From now on, these.
    pub fn replace(&self, definitions: Vec<ToolDefinition>) {
        *self.definitions.write().unwrap_or_else(PoisonError::into_inner) = definitions;
    }
}

#[async_trait]
impl ports::Tools for Tools {
    async fn resolve(&self, _tenant: &Tenant, _agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        self.offers(wishes)
    }
    fn offers_now(&self, _tenant: &Tenant, _agent: &AgentName, wishes: &[ToolWish]) -> Option<Vec<Offer>> {
        self.offers(wishes).ok()
    }

    async fn admit(&self, RunCall(call): &RunCall) -> Admission {
        let Some(most) = call.tool.rate_limit else { return Admission::Now };
        let now = Instant::now();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let window = taken.entry(call.tool.name.clone()).or_default();
        window.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        if window.iter().any(|(_, send)| *send == call.send) {
            return Admission::Now;
        }
        if window.len() < most as usize {
            window.push((now, call.send.clone()));
            return Admission::Now;
        }
        Admission::After(WINDOW - now.duration_since(window[0].0))
    }

    async fn probe(&self, RunCall(call): &RunCall) -> Probed {
        match self.ledger.probe(&call.key) {
            true => Probed::Happened(json!({ "tool": call.tool.name, "probed": true })),
            false => Probed::DidNot,
        }
    }

    async fn invoke(&self, run_call: &RunCall) -> Invoked {
        let RunCall(call) = run_call;
        let name = &call.tool.name;
        if let Admission::After(wait) = self.admit(run_call).await {
            return Invoked::Wait("over the rate".into(), wait);
        }
        if self.ledger.turns_away(&call.key) {
            return Invoked::Failed(json!("this call was given up"));
        }
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
