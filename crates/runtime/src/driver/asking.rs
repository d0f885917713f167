//! One attempt of a model call, and what follows when it comes to nothing.

use super::{Driver, Flow, Left, Parking, Recorded, TURNS_MAX, interrupt::Interrupt};
use crate::{
    agent::{catalog::Prepared, context},
    health::Admitted,
    lease::patiently,
    spans,
};
use maniple_core::{
    Result, canonical, estimate,
    event::{Event, ModelFailed, ModelFinished, ModelStarted},
    message::{ModelReply, Usage},
    model::{CallTimes, Fault, FaultKind, ModelName, ModelRequest},
    ports::{Delta, Live, Turn},
    retry,
    run::{Ask, Awaited, Next, Run},
    task::{Ending, ErrorCode},
};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// The most text of a provider's complaint that is recorded, in bytes.
const COMPLAINT_MAX: usize = 4096;
/// A wait up to this long is waited out; beyond it the run parks and holds no worker.
pub(super) const WAIT_IN_PLACE: Duration = Duration::from_secs(15);
/// Deltas of a task come at most this often.
const DELTA_EVERY: Duration = Duration::from_millis(50);

enum Attempted {
    Reply(ModelReply),
    Fault(Fault),
    Interrupted(Flow),
}

impl Driver {
    pub(super) async fn ask(&mut self, ask: Ask) -> Result<Flow> {
        let request = match self.request(&ask).await? {
            Ok(request) => request,
            Err(ending) => return self.end(ending).await,
        };
        let model = request.model.clone();
        let admitted = match self.parts.health.admit(&model) {
            Ok(admitted) => admitted,
            Err(wait) => {
                let told = "its circuit breaker is open after failures in a row";
                let is_last = ask.model >= self.prepared()?.contracts.agent().fallbacks.len();
                if !is_last {
                    return self.give_up(&ask, &model, told);
                }
                let fault = Fault { retry_after: Some(wait), ..Fault::new(FaultKind::Overloaded, told) };
                return self.failed(&ask, &model, fault).await;
            }
        };
        self.tell(ask.step, started(&ask, &request))?;
        match self.record().await? {
            Recorded::Yes => self.asked(ask, request, Some(admitted)).await,
            Recorded::Lost => Ok(Flow::Leave(Left::Lost)),
        }
    }

    /// Sends a request whose start is recorded, and takes in what comes of it. What says something of the model's health is told
    /// before its place is given back.
    pub(super) async fn asked(&mut self, ask: Ask, request: ModelRequest, admitted: Option<Admitted>) -> Result<Flow> {
        if !self.lease.holds(&self.parts.work).await {
            return Ok(Flow::Leave(Left::Lost));
        }
        let model = request.model.clone();
        if ask.attempt == 1 {
            self.parts.health.called(&model);
        }
        let begun = Instant::now();
        match self.send(&ask, &request).await? {
            Attempted::Reply(reply) => self.replied(&ask, model, reply),
            Attempted::Fault(fault) => {
                if !self.was_cut(&request, &fault, begun.elapsed()) {
                    self.parts.health.failed(&model, fault.kind);
                }
                drop(admitted);
                self.failed(&ask, &model, fault).await
            }
            Attempted::Interrupted(flow) => Ok(flow),
        }
    }

    /// Whether a call ran out of time that its run or its agent had cut short: nothing is learnt of the model by that.
    fn was_cut(&self, request: &ModelRequest, fault: &Fault, after: Duration) -> bool {
        let given = request.times.whole;
        fault.kind == FaultKind::TimedOut && given < self.settings.call_times().whole && after >= given
    }

    /// The request, or the end of a run that has no room for it.
    async fn request(&mut self, ask: &Ask) -> Result<Result<ModelRequest, Ending>> {
        let prepared = self.prepared()?;
        if self.turns.is_none() {
            let bytes = prepared.contracts.agent().memory.window_tokens.saturating_mul(8) as usize;
            let session = self.run.task().session();
            let turns = patiently(|| self.parts.work.turns(&session, Some(&self.key.id), TURNS_MAX, bytes)).await?;
            self.turns = Some(turns);
        }
        let turns = self.turns.as_deref().unwrap_or_default();
        Ok(request(&self.run, &prepared, turns, ask, self.settings.call_times(), self.interrupts.left()))
    }

    async fn send(&mut self, ask: &Ask, request: &ModelRequest) -> Result<Attempted> {
        let model = match self.parts.models.model(&request.model) {
            Ok(model) => model,
            Err(error) => return Ok(Attempted::Fault(Fault::new(FaultKind::Invalid, error.to_string()))),
        };
        let mut deltas = Deltas::new(ask, self.key.clone(), self.parts.bus.clone());
        let mut text = |piece: &str| deltas.text(piece);
        let begun = Instant::now();
        let mut call = model.call(request, &mut text);
        let span = spans::llm_call(ask, &request.model);
        let answer = loop {
            tokio::select! {
                biased;
                answer = (&mut call).instrument(span.clone()) => break answer,
                interrupt = self.interrupts.next() => {
                    if let Some(flow) = self.interrupted(interrupt).await? {
                        return Ok(Attempted::Interrupted(flow));
                    }
                }
            }
        };
        let outcome = if answer.is_ok() { "ok" } else { "fault" };
        metrics::histogram!("maniple_model_call_seconds", "model" => request.model.to_string(), "outcome" => outcome)
            .record(begun.elapsed());
        Ok(match answer {
            Ok(reply) => {
                spans::answered(&span, &reply.usage);
                Attempted::Reply(reply)
            }
            Err(fault) => {
                span.record("error.type", tracing::field::debug(fault.kind));
                Attempted::Fault(fault)
            }
        })
    }

    fn replied(&mut self, ask: &Ask, model: ModelName, reply: ModelReply) -> Result<Flow> {
        self.parts.health.succeeded(&model);
        if self.run.asks_again(&reply) {
            let told = "the model answered with nothing: it is asked again once";
            self.tell_failed(ask, &model, FaultKind::Empty, told, Some(reply.usage))?;
            return Ok(Flow::Go);
        }
        let cost = self.spent(&model, &reply.usage);
        metrics::counter!("maniple_steps_total", "agent" => self.run.task().agent.to_string()).increment(1);
        self.tell(ask.step, Event::ModelFinished(ModelFinished::from((ask.attempt, reply, model.to_string(), cost))))?;
        Ok(Flow::Go)
    }

    /// Counts what a call took, answered or not, and says what that costs where the price is known.
    fn spent(&self, model: &ModelName, usage: &Usage) -> Option<f64> {
        let agent = self.run.task().agent.to_string();
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens), ("cached_input", usage.cached_input_tokens)]
        {
            metrics::counter!("maniple_tokens_total", "agent" => agent.clone(), "model" => model.to_string(), "kind" => kind)
                .increment(tokens);
        }
        let cost = self.parts.models.price(model).map(|price| price.of(usage));
        if let Some(cost) = cost {
            metrics::gauge!("maniple_cost_usd_total", "agent" => agent, "model" => model.to_string()).increment(cost);
        }
        cost
    }

    /// Records the failure and waits where the next attempt goes to the same model.
    async fn failed(&mut self, ask: &Ask, model: &ModelName, fault: Fault) -> Result<Flow> {
        metrics::counter!("maniple_model_faults_total", "model" => model.to_string(), "fault" => format!("{:?}", fault.kind)).increment(1);
        tracing::debug!(%model, fault = ?fault.kind, message = %fault.message, "a model call came to nothing");
        self.tell_failed(ask, model, fault.kind, &fault.message, fault.usage)?;
        let prepared = self.prepared()?;
        let Next::Ask(next) = self.run.next(self.now(), Some(&prepared.contracts)) else { return Ok(Flow::Go) };
        if next.model != ask.model || fault.kind == FaultKind::ContextTooLong {
            return Ok(Flow::Go);
        }
        let failures = self.run.steps().last().map_or(1, |step| step.faults.iter().filter(|f| f.model == model.as_str()).count() as u32);
        let wait = retry::backoff(failures, fault.retry_after, fastrand::f64());
        match self.cannot_wait(wait, model) {
            Some(why) => self.give_up(ask, model, &format!("{fault}; not asked again: {why}")),
            None => self.wait(wait).await,
        }
    }

    /// Records that this model is not asked in this step any more: the next of the chain is, if there is one.
    fn give_up(&mut self, ask: &Ask, model: &ModelName, why: &str) -> Result<Flow> {
        self.tell_failed(ask, model, FaultKind::NotAsked, why, None)?;
        Ok(Flow::Go)
    }

    fn tell_failed(&mut self, ask: &Ask, model: &ModelName, fault: FaultKind, message: &str, usage: Option<Usage>) -> Result<()> {
        let cost_usd = usage.and_then(|usage| self.spent(model, &usage));
        let failed = ModelFailed { attempt: ask.attempt, model: model.to_string(), fault, message: cut(message), usage, cost_usd };
        self.tell(ask.step, Event::ModelFailed(failed))
    }

    /// Why the next attempt is not worth waiting for.
    fn cannot_wait(&self, wait: Duration, model: &ModelName) -> Option<String> {
        if self.interrupts.left().is_some_and(|left| left < wait) {
            Some(format!("the deadline comes before the {} ms to wait", wait.as_millis()))
        } else if wait > self.settings.retry_after_max.duration() {
            Some(format!("it asks to wait {} s, more than worker.retry_after_max", wait.as_secs()))
        } else if !self.parts.health.take_retry(model) {
            Some("the retry budget is used up: a fifth of the calls, plus ten a minute".to_owned())
        } else {
            None
        }
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

/// The request of a model call with `left` until the deadline, or the end of a run that has no room for it.
pub(super) fn request(
    run: &Run,
    prepared: &Prepared,
    turns: &[Turn],
    ask: &Ask,
    times: CallTimes,
    left: Option<Duration>,
) -> Result<ModelRequest, Ending> {
    let call_max = prepared.contracts.agent().limits.call_max_ms.map_or(times.whole, Duration::from_millis);
    let times = CallTimes { whole: left.map_or(call_max, |left| left.min(call_max)), ..times };
    let request = context::request(run, prepared, turns, ask, times);
    let mut request = request.map_err(|error| Ending::failed(ErrorCode::Internal, error.to_string()))?;
    let room = run.output_room(estimate::request_tokens(&request));
    let room = room.ok_or_else(|| run.out_of_tokens())?;
    request.max_output_tokens = request.options.max_output_tokens.map_or(room, |most| most.min(room));
    Ok(request)
}

/// What is recorded before a request is sent.
pub(super) fn started(ask: &Ask, request: &ModelRequest) -> Event {
    Event::ModelStarted(ModelStarted {
        attempt: ask.attempt,
        model: request.model.to_string(),
        request_hash: canonical::hash_bytes(&serde_json::to_vec(request).unwrap_or_default()),
        max_output_tokens: request.max_output_tokens,
    })
}

fn cut(message: &str) -> String {
    message[..message.floor_char_boundary(COMPLAINT_MAX)].to_owned()
}

/// Passes text on: the first piece at once, then at most twenty times a second.
struct Deltas {
    key: maniple_core::TaskKey,
    bus: std::sync::Arc<dyn maniple_core::ports::Bus>,
    next: Delta,
    published: Option<Instant>,
}

impl Deltas {
    fn new(ask: &Ask, key: maniple_core::TaskKey, bus: std::sync::Arc<dyn maniple_core::ports::Bus>) -> Self {
        Self { key, bus, next: Delta { step: ask.step, attempt: ask.attempt, index: 0, text: String::new() }, published: None }
    }
    fn text(&mut self, piece: &str) {
        self.next.text.push_str(piece);
        let now = Instant::now();
        let due = self.published.is_none_or(|at| now >= at + DELTA_EVERY);
        if due && !self.next.text.is_empty() {
            let following = Delta { index: self.next.index + 1, text: String::new(), ..self.next };
            self.bus.publish(&self.key, Live::Delta(std::mem::replace(&mut self.next, following)));
            self.published = Some(now);
        }
    }
}
