//! Calls of which nobody knows how they went: the tool is asked, then a person or nobody; and questions that expire.

use super::{Driver, Offered, sending};
use futures::{FutureExt, future::BoxFuture};
use maniple_core::{
    Error, Result,
    event::{ApprovalDecided, Event, ToolFinished, ToolStarted, ToolStatus},
    ports::{Probed, RunCall, Then, Tools},
    retry,
    run::Run,
};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// How often a tool is asked whether a call happened.
const PROBES: u32 = 3;
/// How long all of that may take where the task has no deadline.
const PROBES_MAX: Duration = Duration::from_secs(60);

impl Driver {
    /// Takes in an outcome: where it is a doubt, a person may be asked instead.
    pub(super) fn landed(&mut self, step: u32, finished: ToolFinished) -> Result<()> {
        if finished.status != ToolStatus::InDoubt {
            return self.tell(step, Event::ToolFinished(finished));
        }
        let call = self.run.steps().last().and_then(|step| step.calls.get(finished.index as usize));
        let started = call.and_then(|call| call.started.clone());
        let started = started.ok_or_else(|| Error::internal(format!("call {} of step {step} landed and never started", finished.index)))?;
        self.tell_doubt(step, &started)
    }

    /// Records the doubt, or the question to a person, as the tool says.
    pub(super) fn tell_doubt(&mut self, step: u32, started: &ToolStarted) -> Result<()> {
        let prepared = self.prepared()?;
        let nothing_held = BTreeSet::new();
        let fact = self.run.doubt(started, &prepared.contracts, &self.terms(0, &nothing_held));
        self.tell(step, fact)
    }

    /// Asks the tool about a call of an earlier claim; `None` where it cannot be asked.
    pub(super) fn probe(&self, started: &ToolStarted) -> Option<BoxFuture<'static, ToolFinished>> {
        let call = self.invocation(started).filter(|call| call.0.tool.probe_url.is_some())?;
        let (tools, started) = (self.parts.tools.clone(), started.clone());
        let until = self.probe_until();
        Some(async move { settle(&started, probe(&*tools, &call, until).await) }.boxed())
    }

    /// When a probe must have ended.
    pub(super) fn probe_until(&self) -> Option<Instant> {
        self.interrupts.left().map(|left| Instant::now() + left)
    }

    /// Records that nobody answered in time; not where somebody did and we have not heard: then that is folded in.
    pub(super) async fn expire(&mut self, step: u32, expired: Vec<ApprovalDecided>) -> Result<Offered> {
        let facts = expired.into_iter().map(|decided| (step, Event::ApprovalDecided(decided))).collect();
        self.offer(facts, Then::Keep).await
    }
}

/// Asks up to three times, until the moment that is left.
pub(super) async fn probe(tools: &dyn Tools, call: &RunCall, until: Option<Instant>) -> Probed {
    if call.0.tool.probe_url.is_none() {
        return Probed::Unknown;
    }
    let until = until.unwrap_or_else(|| Instant::now() + PROBES_MAX);
    let asking = async {
        for attempt in 1..=PROBES {
            let probed = tokio::time::timeout(call.0.timeout + sending::TIMEOUT_SLACK, tools.probe(call)).await;
            match probed {
                Ok(known @ (Probed::Happened(_) | Probed::DidNot)) => return known,
                Ok(Probed::Unknown) | Err(_) if attempt == PROBES => break,
                Ok(Probed::Unknown) | Err(_) => tokio::time::sleep(retry::After::Failures(attempt).backoff(fastrand::f64())).await,
            }
        }
        Probed::Unknown
    };
    tokio::time::timeout_at(until, asking).await.unwrap_or(Probed::Unknown)
}

/// What a probe makes of a call in doubt.
pub(super) fn settle(started: &ToolStarted, probed: Probed) -> ToolFinished {
    match probed {
        Probed::Happened(result) => sending::finished(started, ToolStatus::Ok, result),
        Probed::DidNot => {
            let told = "this call did not happen, and never will: the tool says so. It may be made anew.";
            sending::finished(started, ToolStatus::Error, Value::String(told.into()))
        }
        Probed::Unknown => Run::in_doubt(started),
    }
}
