//! One tool call with the attempts its effect class allows.

use super::{
    Driver,
    admitting::over_the_rate,
    doubting::{probe, settle},
    waiting::WAIT_IN_PLACE,
};
use crate::{Parts, lease::Lease, spans};
use futures::{FutureExt, future::BoxFuture};
use maniple_core::{
    event::{ToolFinished, ToolStarted, ToolStatus},
    ports::{Invocation, Invoked, RunCall},
    retry,
    tool::{Effect, Way},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tracing::Instrument;

/// Attempts of one tool call, where its effect allows more than one.
const ATTEMPTS: u32 = 3;
/// A transport bounds itself; this bounds a transport that does not.
pub(super) const TIMEOUT_SLACK: Duration = Duration::from_secs(1);

impl Driver {
    /// The first attempt of a call; `None` where the agent has no such tool any more.
    pub(super) fn invocation(&self, started: &ToolStarted) -> Option<RunCall> {
        let contracts = &self.prepared.as_ref()?.contracts;
        let (tool, _) = contracts.tool(&started.name)?;
        let task = self.run.task();
        let own = Duration::from_millis(tool.timeout_ms);
        Some(RunCall(Invocation {
            trusted: contracts.definitions.trusts(&tool.name),
            send: send(started, &self.lease, 1),
            timeout: self.interrupts.left().map_or(own, |left| left.min(own)),
            tool: tool.clone(),
            arguments: started.arguments.clone(),
            key: started.key.clone(),
            // What was started before ways were recorded goes the way of the definitions that its run began with.
            agreed: started.way.clone().or_else(|| tool.requires_approval.then(|| Way::of(tool))),
            agent: task.agent.clone(),
            tenant: task.tenant.clone(),
            trace: task.trace.clone(),
        }))
    }

    /// The call with the attempts its effect class allows. Nothing is sent before it is polled.
    pub(super) fn invoke(&self, started: ToolStarted) -> BoxFuture<'static, ToolFinished> {
        let not_again = |why: String| {
            let told = Value::String(format!("not sent again: {why}"));
            futures::future::ready(finished(&started, ToolStatus::Error, told)).boxed()
        };
        let Some(RunCall(mut invocation)) = self.invocation(&started) else {
            return not_again(format!("the agent has no tool `{}` any more", started.name));
        };
        if invocation.tool.requires_approval && invocation.tool.version != started.version {
            return not_again(format!("a person agreed to version {} of `{}`", started.version, started.name));
        }
        if invocation.tool.requires_approval && started.way.is_none() && self.run.task().retry_of.is_some() {
            return not_again(format!("where a person agreed that `{}` is called was not recorded", started.name));
        }
        let span = spans::tool_call(&self.run, &started);
        invocation.trace = (self.parts.tracing.context)(&span).or(invocation.trace);
        let until = self.probe_until();
        attempts(self.parts.clone(), self.lease.clone(), invocation, started, until).instrument(span).boxed()
    }
}

/// Names one send: an attempt under a claim.
fn send(started: &ToolStarted, lease: &Lease, attempt: u32) -> String {
    format!("{}#{}.{attempt}", started.key, lease.claim.epoch)
}

async fn attempts(
    parts: Arc<Parts>,
    lease: Arc<Lease>,
    invocation: Invocation,
    started: ToolStarted,
    until: Option<Instant>,
) -> ToolFinished {
    let begun = Instant::now();
    let mut attempt = 0;
    let mut cause;
    let outcome = loop {
        attempt += 1;
        let call = RunCall(Invocation { send: send(&started, &lease, attempt), ..invocation.clone() });
        if !lease.holds(&parts.work).await {
            // Another worker is at it: nothing more may be sent or recorded. The driver learns of it by itself.
            std::future::pending::<()>().await;
        }
        let invoking = tokio::time::timeout(invocation.timeout + TIMEOUT_SLACK, parts.tools.invoke(&call));
        let invoked = tokio::select! {
            biased;
            // What is still on its way must not arrive after the next holder has had its answer. An `at_most_once`
            // call is nobody's to send again: it may go on.
            () = lease.runs_out(&parts.work), if started.effect != Effect::AtMostOnce => Invoked::Unknown("the claim ran out".to_owned()),
            invoked = invoking => {
                invoked.unwrap_or_else(|_| Invoked::Unknown(format!("no answer in {} ms", invocation.timeout.as_millis())))
            }
        };
        let fits = |wait: Duration| wait <= WAIT_IN_PLACE && until.is_none_or(|until| Instant::now() + wait < until);
        cause = spans::cause(&invoked);
        break match invoked {
            Invoked::Ok(result) => finished(&started, ToolStatus::Ok, result),
            Invoked::Failed(result) => finished(&started, ToolStatus::Error, result),
            Invoked::Unknown(_) if started.effect == Effect::AtMostOnce => settle(&started, probe(&*parts.tools, &call, until).await),
            Invoked::Refused(refusal) => finished(&started, ToolStatus::Error, Value::String(format!("not sent: {}", refusal.message))),
            Invoked::Wait(_, wait) if attempt < ATTEMPTS && fits(wait) => {
                tokio::time::sleep(wait).await;
                continue;
            }
            Invoked::Wait(why, wait) => finished(&started, ToolStatus::Error, over_the_rate(&why, wait)),
            Invoked::NotSent(_) | Invoked::Unknown(_) if attempt < ATTEMPTS => {
                tokio::time::sleep(retry::After::Failures(attempt).backoff(fastrand::f64())).await;
                continue;
            }
            Invoked::NotSent(why) => finished(&started, ToolStatus::Error, Value::String(format!("not sent: {why}"))),
            Invoked::Unknown(why) => {
                finished(&started, ToolStatus::Error, Value::String(format!("no outcome after {attempt} attempts: {why}")))
            }
        };
    };
    if let (false, Some(cause)) = (outcome.status == ToolStatus::Ok, cause) {
        spans::went_wrong(&tracing::Span::current(), &cause);
    }
    metrics::histogram!("maniple_tool_call_seconds", "tool" => started.name.clone(), "status" => outcome.status.as_str())
        .record(begun.elapsed());
    outcome
}

pub(super) fn finished(started: &ToolStarted, status: ToolStatus, result: Value) -> ToolFinished {
    ToolFinished { index: started.index, name: started.name.clone(), status, result }
}
