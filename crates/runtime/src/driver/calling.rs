//! The tool calls of one step: eight at a time, each recorded before it is sent and when it has its outcome.

use super::{Driver, Flow, Left, Recorded, interrupt::Interrupt};
use crate::{Parts, lease::Lease, spans};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use maniple_core::{
    Result,
    event::{Event, ToolFinished, ToolStarted, ToolStatus},
    ports::{Invocation, Invoked, Then},
    retry,
    run::Run,
    tool::Effect,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tracing::Instrument;

/// How long a started `at_most_once` call gets when its task is cancelled or out of time.
const GRACE: Duration = Duration::from_secs(1);
/// Attempts of one tool call, where its effect allows more than one.
const ATTEMPTS: u32 = 3;
/// A transport bounds itself; this bounds a transport that does not.
const TIMEOUT_SLACK: Duration = Duration::from_secs(1);

/// The calls in flight, by what may be done with them.
#[derive(Default)]
struct Flight {
    /// May be dropped and sent again.
    free: FuturesUnordered<BoxFuture<'static, ToolFinished>>,
    /// Never sent twice: dropping one leaves it in doubt.
    once: FuturesUnordered<BoxFuture<'static, ToolFinished>>,
    once_started: Vec<ToolStarted>,
}

impl Driver {
    pub(super) async fn call(&mut self) -> Result<Flow> {
        let step = self.run.step_number();
        let prepared = self.prepared()?;
        let mut flight = Flight::default();
        let out_of_patience = self.interrupts.out_of_patience();
        loop {
            let draining = self.interrupts.draining();
            let room = if draining { 0 } else { self.settings.calls_parallel.saturating_sub(flight.len()) };
            let plan = self.run.plan(&prepared.contracts, room);
            for fact in plan.record {
                self.tell(step, fact)?;
            }
            match self.record(Then::Keep).await? {
                Recorded::Yes if plan.send.is_empty() || self.lease.holds(&self.parts.store).await => {}
                Recorded::Yes | Recorded::Lost | Recorded::SignalsUnread => return Ok(Flow::Leave(Left::Lost)),
            }
            for started in plan.send {
                self.run.resent(&started);
                let call = self.invoke(started.clone());
                flight.take_off(started, call);
            }
            if draining {
                // What may be sent again is left to the next holder, under the same key.
                flight.free.clear();
            }
            if flight.is_empty() {
                return Ok(Flow::Go);
            }
            tokio::select! {
                biased;
                landed = flight.landed() => landed.into_iter().try_for_each(|finished| self.told_finished(step, finished))?,
                () = out_of_patience.cancelled(), if draining => {
                    self.stop(step, flight).await?;
                    return Ok(Flow::Go);
                }
                interrupt = self.interrupts.next() => match self.interrupted(interrupt).await? {
                    Some(Flow::Leave(left)) => return Ok(Flow::Leave(left)),
                    // Cancelled, or out of time; the calls of a run that is only handed over go on to their end.
                    Some(Flow::Go) if interrupt != Interrupt::Drain => {
                        self.stop(step, flight).await?;
                        return Ok(Flow::Go);
                    }
                    Some(Flow::Go) | None => {}
                },
            }
        }
    }

    /// Cancelled or out of time: `at_most_once` calls get a second, then are in doubt; the others are dropped.
    async fn stop(&mut self, step: u32, mut flight: Flight) -> Result<()> {
        flight.free.clear();
        let until = Instant::now() + GRACE;
        while !flight.is_empty() {
            match tokio::time::timeout_at(until, flight.landed()).await {
                Ok(landed) => landed.into_iter().try_for_each(|finished| self.told_finished(step, finished))?,
                Err(_) => break,
            }
        }
        for started in std::mem::take(&mut flight.once_started) {
            self.told_finished(step, Run::in_doubt(&started))?;
        }
        Ok(())
    }

    fn told_finished(&mut self, step: u32, finished: ToolFinished) -> Result<()> {
        self.tell(step, Event::ToolFinished(finished))
    }

    /// The call with the attempts its effect class allows. Nothing is sent before it is polled.
    fn invoke(&self, started: ToolStarted) -> BoxFuture<'static, ToolFinished> {
        let tool = self.prepared.as_ref().and_then(|prepared| prepared.contracts.tool(&started.name)).map(|(tool, _)| tool.clone());
        let Some(tool) = tool else {
            let told = format!("not sent again: the agent has no tool `{}` any more", started.name);
            return futures::future::ready(finished(&started, ToolStatus::Error, Value::String(told))).boxed();
        };
        let span = spans::tool_call(&started);
        let task = self.run.task();
        let own = Duration::from_millis(tool.timeout_ms);
        let invocation = Invocation {
            trusted: self.prepared.as_ref().is_some_and(|prepared| prepared.contracts.definitions.trusts(&tool.name)),
            journalled: true,
            send: String::new(),
            timeout: self.interrupts.left().map_or(own, |left| left.min(own)),
            tool,
            arguments: started.arguments.clone(),
            key: started.key.clone(),
            agent: task.agent.clone(),
            tenant: task.tenant.clone(),
            trace: (self.parts.tracing.context)(&span).or_else(|| task.trace.clone()),
        };
        attempts(self.parts.clone(), self.lease.clone(), invocation, started).instrument(span).boxed()
    }
}

async fn attempts(parts: Arc<Parts>, lease: Arc<Lease>, invocation: Invocation, started: ToolStarted) -> ToolFinished {
    let begun = Instant::now();
    let mut attempt = 0;
    let outcome = loop {
        attempt += 1;
        let invocation = Invocation { send: format!("{}#{}.{attempt}", started.key, lease.claim.epoch), ..invocation.clone() };
        if !lease.holds(&parts.store).await {
            // Another worker is at it: nothing more may be sent or recorded. The driver learns of it by itself.
            std::future::pending::<()>().await;
        }
        let invoking = tokio::time::timeout(invocation.timeout + TIMEOUT_SLACK, parts.tools.invoke(&invocation));
        let invoked = tokio::select! {
            biased;
            // What is still on its way must not arrive after the next holder has had its answer. An `at_most_once`
            // call is nobody's to send again: it may go on.
            () = lease.runs_out(), if started.effect != Effect::AtMostOnce => Invoked::Unknown("the claim ran out".to_owned()),
            invoked = invoking => {
                invoked.unwrap_or_else(|_| Invoked::Unknown(format!("no answer in {} ms", invocation.timeout.as_millis())))
            }
        };
        break match invoked {
            Invoked::Ok(result) => finished(&started, ToolStatus::Ok, result),
            Invoked::Failed(result) => finished(&started, ToolStatus::Error, result),
            Invoked::Unknown(_) if started.effect == Effect::AtMostOnce => Run::in_doubt(&started),
            Invoked::Refused(refusal) => finished(&started, ToolStatus::Error, Value::String(format!("not sent: {}", refusal.message))),
            Invoked::Wait(_, wait) if attempt < ATTEMPTS => {
                tokio::time::sleep(wait).await;
                continue;
            }
            Invoked::NotSent(_) | Invoked::Unknown(_) if attempt < ATTEMPTS => {
                tokio::time::sleep(retry::backoff(attempt, None, fastrand::f64())).await;
                continue;
            }
            Invoked::NotSent(why) | Invoked::Wait(why, _) => {
                finished(&started, ToolStatus::Error, Value::String(format!("not sent: {why}")))
            }
            Invoked::Unknown(why) => {
                finished(&started, ToolStatus::Error, Value::String(format!("no outcome after {attempt} attempts: {why}")))
            }
        };
    };
    spans::returned(&tracing::Span::current(), outcome.status);
    metrics::histogram!("maniple_tool_call_seconds", "tool" => started.name.clone(), "status" => outcome.status.as_str())
        .record(begun.elapsed());
    outcome
}

fn finished(started: &ToolStarted, status: ToolStatus, result: Value) -> ToolFinished {
    ToolFinished { index: started.index, name: started.name.clone(), status, result }
}

impl Flight {
    fn take_off(&mut self, started: ToolStarted, call: BoxFuture<'static, ToolFinished>) {
        match started.effect {
            Effect::Pure | Effect::Idempotent => self.free.push(call),
            Effect::AtMostOnce => {
                self.once.push(call);
                self.once_started.push(started);
            }
        }
    }
    fn len(&self) -> usize {
        self.free.len() + self.once.len()
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The next outcome, with all others that are there by then. Not to be asked when empty.
    async fn landed(&mut self) -> Vec<ToolFinished> {
        let first = tokio::select! {
            biased;
            Some(finished) = self.free.next() => finished,
            Some(finished) = self.once.next() => finished,
            else => return Vec::new(),
        };
        let mut landed = vec![first];
        while let Some(Some(finished)) = self.free.next().now_or_never() {
            landed.push(finished);
        }
        while let Some(Some(finished)) = self.once.next().now_or_never() {
            landed.push(finished);
        }
        self.once_started.retain(|started| landed.iter().all(|finished| finished.index != started.index));
        landed
    }
}
