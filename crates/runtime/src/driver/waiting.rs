//! What stands between a model call and its answer: no place for it yet, an attempt that came to nothing, a wait.
//!
//! | what happened | what follows |
//! |---|---|
//! | no place, and another model may be asked | that one |
//! | no place for up to 15 s | it is waited for in place, unrecorded |
//! | no place for longer, or refused for overload by all that may be asked | a backoff: up to 15 s in place, longer parked |
//! | that, and the patience is over, or the wait asked for is longer than it or the deadline | `model_unavailable` |
//! | an attempt failed | the same model after a backoff, the next one, or the end, as [`retry`](maniple_core::retry) says |

use super::{Driver, Flow, Left, Parking, Recorded, interrupt::Interrupt};
use crate::health::{Admitted, Held};
use maniple_core::{
    Error, Result,
    event::{Event, ModelFailed},
    model::{Fault, FaultKind, ModelName},
    retry::After,
    run::{Ask, Awaited, Next},
    task::{Ending, ErrorCode},
};
use std::{pin::pin, time::Duration};
use tokio::time::Instant;

/// The most text of a provider's complaint that is recorded, in bytes.
const COMPLAINT_MAX: usize = 4096;
/// A wait up to this long is waited out; beyond it the run parks and holds no worker.
pub(super) const WAIT_IN_PLACE: Duration = Duration::from_secs(15);

impl Driver {
    /// A place for a call of the model whose turn it is, or what becomes of the run without one.
    pub(super) async fn place_for(&mut self, ask: &Ask) -> Result<Result<Admitted, Flow>> {
        let prepared = self.prepared()?;
        let agent = prepared.contracts.agent();
        let model = match ask.model.checked_sub(1) {
            None => &agent.model,
            Some(fallback) => agent.fallbacks.get(fallback).ok_or_else(|| Error::internal("the chain of models ends before that one"))?,
        };
        let is_again =
            self.run.steps().last().is_some_and(|step| step.faults.iter().any(|f| f.fault.is_attempt() && f.model == model.as_str()));
        let until = Instant::now() + WAIT_IN_PLACE;
        loop {
            // Listened to before it is asked for, so that no news is missed in between.
            let changed = self.parts.health.changed(model);
            let mut news = pin!(changed.notified());
            news.as_mut().enable();
            let Held { why, wait } = match self.parts.health.admit(model, is_again) {
                Ok(admitted) => return Ok(Ok(admitted)),
                Err(held) => held,
            };
            let left = until.saturating_duration_since(Instant::now());
            if !ask.is_last_resort || left.is_zero() || wait.is_some_and(|wait| wait > left) {
                let fault = Fault { retry_after: wait, ..Fault::new(FaultKind::NotAsked, why) };
                return self.failed(ask, model, fault).await.map(Err);
            }
            if let Recorded::Lost = self.record().await? {
                return Ok(Err(Flow::Leave(Left::Lost)));
            }
            let interrupt = tokio::select! {
                () = news => continue,
                () = tokio::time::sleep(wait.unwrap_or(left)) => continue,
                interrupt = self.interrupts.next() => interrupt,
            };
            if let Some(flow) = self.interrupted(interrupt).await? {
                return Ok(Err(flow));
            }
        }
    }

    /// Records what came to nothing, and waits where the next attempt is to be waited for.
    pub(super) async fn failed(&mut self, ask: &Ask, model: &ModelName, mut fault: Fault) -> Result<Flow> {
        loop {
            self.tell_failed(ask, model, &fault)?;
            let prepared = self.prepared()?;
            let Next::Ask(next) = self.run.next(self.now(), Some(&prepared.contracts)) else { return Ok(Flow::Go) };
            let backoff = next.after.backoff(fastrand::f64());
            let wait = match next.after {
                After::Nothing => return Ok(Flow::Go),
                After::Overload(_) => return self.wait_out(model, &fault, backoff).await,
                After::Failures(_) => backoff.max(fault.retry_after.unwrap_or_default()),
            };
            if wait <= self.interrupts.left().unwrap_or(WAIT_IN_PLACE).min(WAIT_IN_PLACE) {
                return self.wait(wait).await;
            }
            // Too long for a mere attempt: others are asked first.
            let why = format!("{}; it would be asked again in {} ms", fault.message, wait.as_millis());
            fault = Fault { retry_after: fault.retry_after, ..Fault::new(FaultKind::NotAsked, why) };
        }
    }

    /// Waits, after all that may be asked had too much to do, if that fits what is left of the deadline and the patience.
    async fn wait_out(&mut self, model: &ModelName, fault: &Fault, backoff: Duration) -> Result<Flow> {
        let prepared = self.prepared()?;
        let agent = prepared.contracts.agent();
        let soonest = match agent.fallbacks.is_empty() {
            true => fault.retry_after.unwrap_or_default(),
            false => {
                let chain = std::iter::once(&agent.model).chain(&agent.fallbacks);
                chain.map(|model| self.parts.health.wait(model)).min().unwrap_or_default()
            }
        };
        let patience = agent.limits.patience_ms.map_or(self.settings.patience.duration(), Duration::from_millis);
        let tried_at = self.run.steps().last().and_then(|step| step.tried_at).unwrap_or(self.now());
        let left = tried_at.plus(patience).since(self.now());
        let why = if self.interrupts.left().is_some_and(|left| left < soonest) {
            format!("the deadline comes before the {} ms to wait", soonest.as_millis())
        } else if left.is_zero() || left < soonest {
            format!("the patience for this step, {} s, is over before it may be", patience.as_secs())
        } else {
            return self.wait(backoff.max(soonest).min(left)).await;
        };
        let ending = Ending::failed(ErrorCode::ModelUnavailable, format!("{model}: {fault}; not asked again: {why}"));
        self.end(Ending { output: self.run.best_output(), ..ending }).await
    }

    pub(super) fn tell_failed(&mut self, ask: &Ask, model: &ModelName, fault: &Fault) -> Result<()> {
        metrics::counter!("maniple_model_faults_total", "model" => model.to_string(), "fault" => format!("{:?}", fault.kind)).increment(1);
        match fault.kind {
            FaultKind::NotAsked => tracing::debug!(%model, message = %fault.message, "a model was not asked"),
            kind => {
                tracing::warn!(task = %self.key.id, step = ask.step, attempt = ask.attempt, %model, fault = ?kind, message = %fault.message, "a model call came to nothing")
            }
        }
        let message = fault.message[..fault.message.floor_char_boundary(COMPLAINT_MAX)].to_owned();
        let cost_usd = fault.usage.and_then(|usage| self.count_spent(model, &usage));
        let failed =
            ModelFailed { attempt: ask.attempt, model: model.to_string(), fault: fault.kind, message, usage: fault.usage, cost_usd };
        self.tell(ask.step, Event::ModelFailed(failed))
    }

    /// Whether the model gave this same answer to this same request before: then its prompt is at fault, not its provider.
    pub(super) fn is_repeated(&self, model: &ModelName, fault: &Fault) -> bool {
        let is_answer = matches!(fault.kind, FaultKind::Failed | FaultKind::CutAfter);
        let faults = self.run.steps().last().map(|step| step.faults.as_slice()).unwrap_or_default();
        let same = |f: &&ModelFailed| f.fault == fault.kind && f.model == model.as_str() && says_the_same(&f.message, &fault.message);
        is_answer && faults.iter().any(|f| same(&f))
    }

    async fn wait(&mut self, wait: Duration) -> Result<Flow> {
        if wait > WAIT_IN_PLACE {
            return self.park_until(wait).await;
        }
        if let Recorded::Lost = self.record().await? {
            return Ok(Flow::Leave(Left::Lost));
        }
        let until = Instant::now() + wait;
        loop {
            let interrupt: Interrupt = tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(Flow::Go),
                interrupt = self.interrupts.next() => interrupt,
            };
            if interrupt == Interrupt::Drain {
                // Handed over as it is, whoever comes next would ask at once.
                return self.park_until(until.saturating_duration_since(Instant::now())).await;
            }
            if let Some(flow) = self.interrupted(interrupt).await? {
                return Ok(flow);
            }
        }
    }

    /// Lets go of the worker until the moment has come.
    async fn park_until(&mut self, wait: Duration) -> Result<Flow> {
        let moment = Awaited::moment(self.now().plus(wait));
        loop {
            match self.park(moment).await? {
                Parking::Left(left) => return Ok(Flow::Leave(left)),
                Parking::SignalsRead if self.run.is_cancelled() => return Ok(Flow::Go),
                Parking::SignalsRead => {}
            }
        }
    }
}

/// Whether two answers say the same, apart from words with a digit: times, counts and the ids of requests.
fn says_the_same(one: &str, other: &str) -> bool {
    let words = |text: &'_ str| {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_whatever_request_it_names() {
        let said = "lab: HTTP 500: Failed to parse input at pos 7";
        assert!(says_the_same(&format!("{said} (request req_81ab)"), &format!("{said} (request req_99cd)")));
        assert!(!says_the_same(said, "lab: HTTP 500: out of memory"));
    }
}
