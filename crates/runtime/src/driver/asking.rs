//! One attempt of a model call.

use super::{Driver, Flow, Left, Recorded, TURNS_MAX};
use crate::{
    agent::{catalog::Prepared, context},
    health::Admitted,
    lease::patiently,
    spans,
};
use maniple_core::{
    Result, canonical, estimate,
    event::{Event, ModelFinished, ModelStarted},
    message::{ModelReply, Usage},
    model::{CallTimes, Fault, FaultKind, ModelName, ModelRequest},
    ports::{Delta, Live, Turn},
    run::{Ask, Run},
    task::{Ending, ErrorCode},
};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// Deltas of a task come at most this often.
const DELTA_EVERY: Duration = Duration::from_millis(50);

enum Attempted {
    Reply(ModelReply),
    Fault(Fault),
    Interrupted(Flow),
}

impl Driver {
    pub(super) async fn ask(&mut self, ask: Ask) -> Result<Flow> {
        let admitted = match self.place_for(&ask).await? {
            Ok(admitted) => admitted,
            Err(flow) => return Ok(flow),
        };
        let request = match self.request(&ask).await? {
            Ok(request) => request,
            Err(ending) => return self.end(ending).await,
        };
        self.tell(ask.step, started(&ask, &request))?;
        match self.record().await? {
            Recorded::Yes => self.asked(ask, request, admitted).await,
            Recorded::Lost => Ok(Flow::Leave(Left::Lost)),
        }
    }

    /// Sends a request whose start is recorded, and takes in what comes of it. What says something of the model's health is told
    /// before its place is given back.
    pub(super) async fn asked(&mut self, ask: Ask, request: ModelRequest, admitted: Admitted) -> Result<Flow> {
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
                if fault.kind.is_overload() {
                    admitted.refused(fault.retry_after);
                }
                if !self.was_cut(&request, &fault, begun.elapsed()) {
                    self.parts.health.failed(&model, &self.key, fault.kind, self.is_repeated(&model, &fault));
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
        let span = spans::llm_call(&self.run, ask, &request.model, self.parts.models.server(&request.model).as_ref());
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
                spans::answered(&span, &self.parts.tracing, &reply);
                Attempted::Reply(reply)
            }
            Err(fault) => {
                spans::faulted(&span, &fault);
                Attempted::Fault(fault)
            }
        })
    }

    fn replied(&mut self, ask: &Ask, model: ModelName, reply: ModelReply) -> Result<Flow> {
        self.parts.health.succeeded(&model);
        if self.run.asks_again(&reply) {
            let told = "the model answered with nothing: it is asked again once";
            self.tell_failed(ask, &model, &Fault { usage: Some(reply.usage), ..Fault::new(FaultKind::Empty, told) })?;
            return Ok(Flow::Go);
        }
        let cost = self.count_spent(&model, &reply.usage);
        metrics::counter!("maniple_steps_total", "agent" => self.run.task().agent.to_string()).increment(1);
        self.tell(ask.step, Event::ModelFinished(ModelFinished::from((ask.attempt, reply, model.to_string(), cost))))?;
        Ok(Flow::Go)
    }

    /// Counts what a call took, answered or not, and says what that costs where the price is known.
    pub(super) fn count_spent(&mut self, model: &ModelName, usage: &Usage) -> Option<f64> {
        self.spent.input_tokens += usage.input_tokens;
        self.spent.output_tokens += usage.output_tokens;
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
    let input = estimate::request_tokens(&request);
    let room = run.output_room(input).ok_or_else(|| run.no_room(input))?;
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
