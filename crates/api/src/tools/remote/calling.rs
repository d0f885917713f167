//! A call over a connection that may break.
//!
//! | what happens to the connection | then |
//! |---|---|
//! | none could be made | *not sent* |
//! | it broke, or no answer came in time | asked again until the call's time is over |
//! | and still no answer | *unknown*: the effect class decides |
//!
//! Asking again never sends a call twice, whichever process is asked. A direct call is asked for again as it was: its record, which
//! all of them share, says what became of it. A run's call is asked about: the process that has it, or has just had it, answers; every
//! other one says that it does not know of it, and another one may be asked the next time.

use super::{
    super::{
        outcome::CallOutcome,
        wire::{CallAnswer, CallOfRun, CallRequest, TIMEOUT_MS_MAX, in_ms},
    },
    RemoteTools,
};
use crate::{client::read, problem::Problem};
use maniple_core::{
    Result,
    ports::{DirectCall, DirectOutcome, Invocation, Invoked, Refusal, RefusalKind, RunCall},
};
use reqwest::{Method, RequestBuilder};
use std::time::Duration;
use tokio::time::Instant;

/// What a call is given beyond its own time-out, for the way there and back.
const SLACK: Duration = Duration::from_secs(3);
/// The first pause before a call is asked for again; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a question has no answer.
pub(super) enum Lost {
    /// No connection could be made: nothing was written.
    NotSent(String),
    /// The question, or a part of it, was written.
    Unknown(String),
}

impl Lost {
    pub(super) fn why(self) -> String {
        match self {
            Self::NotSent(why) | Self::Unknown(why) => why,
        }
    }
}

/// What was answered.
enum Told {
    /// How the call went.
    Outcome(DirectOutcome),
    /// The door did not take the question for a call.
    TurnedAway(Problem),
}

impl RemoteTools {
    /// A question about a run's call.
    pub(super) fn of_run(&self, RunCall(call): &RunCall, what: &str, again: bool) -> RequestBuilder {
        let mut question = question(call);
        if what == "admit" {
            question.arguments.clear();
        }
        question.run = Some(CallOfRun { key: call.key.clone(), send: call.send.clone(), agreed: call.agreed.clone(), again });
        self.asking(call, what, &question)
    }

    /// A direct call, on behalf of its principal.
    pub(super) fn direct(&self, call: &DirectCall) -> RequestBuilder {
        let question = CallRequest { principal: Some(call.principal().to_owned()), ..question(call.invocation()) };
        self.asking(call.invocation(), "invoke", &question).header("Idempotency-Key", call.key())
    }

    /// The question what became of one.
    pub(super) fn about_direct(&self, call: &DirectCall) -> RequestBuilder {
        let (principal, key) = (Some(call.principal().to_owned()), Some(call.key().to_owned()));
        self.asking(call.invocation(), "probe", &CallRequest { principal, key, ..question(call.invocation()) })
    }

    fn asking(&self, call: &Invocation, what: &str, question: &CallRequest) -> RequestBuilder {
        let mut request = self.client.to(Method::POST, &["tools", &call.tool.name, what]).json(question);
        if let Some(trace) = &call.trace {
            request = request.header("traceparent", &trace.traceparent);
            if let Some(state) = &trace.tracestate {
                request = request.header("tracestate", state);
            }
        }
        request
    }

    /// Asks until there is an answer, or the call's time is over. `question` is told whether it was asked before.
    pub(super) async fn carried_out(&self, call: &Invocation, question: impl Fn(bool) -> RequestBuilder) -> DirectOutcome {
        let ends = Instant::now() + call.timeout + SLACK;
        let mut why = match self.attempt(question(false).timeout(call.timeout + SLACK)).await {
            Ok(Told::Outcome(outcome)) => return outcome,
            Ok(Told::TurnedAway(problem)) => return turned_away(problem).into(),
            Err(Lost::NotSent(why)) => return Invoked::NotSent(why).into(),
            Err(Lost::Unknown(why)) => why,
        };
        let mut pause = PAUSE;
        loop {
            if ends.saturating_duration_since(Instant::now()) <= pause {
                return Invoked::Unknown(why).into();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            let left = ends.saturating_duration_since(Instant::now());
            match self.attempt(question(true).timeout(left)).await {
                // It may be the very answer that was lost: nobody's repetition.
                Ok(Told::Outcome(outcome)) => return DirectOutcome { replayed: false, ..outcome },
                Ok(Told::TurnedAway(problem)) if problem.is_call_not_known() => {}
                // Whatever a door has against this question, the first one may have become a call.
                Ok(Told::TurnedAway(problem)) => why = problem.detail,
                Err(lost) => why = lost.why(),
            }
        }
    }

    /// Asks once.
    async fn attempt(&self, request: RequestBuilder) -> Result<Told, Lost> {
        let response = self.ask(request).await?;
        let status = response.status();
        if status.is_success() {
            let replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
            let answer: Result<CallAnswer> = read(response).await;
            let result = answer.map_err(|error| Lost::Unknown(error.message.into_owned()))?.result;
            return Ok(Told::Outcome(DirectOutcome { invoked: Invoked::Ok(result), replayed }));
        }
        let problem = match read::<Problem>(response).await {
            Ok(problem) => problem,
            // A proxy's own page, or an answer that broke off: what came before it, nobody knows.
            Err(_) => return Err(Lost::Unknown(format!("the tool registry at {} answered {status} without saying why", self.client.base))),
        };
        Ok(match CallOutcome::in_problem(&problem) {
            Some(outcome) => Told::Outcome(Invoked::from(outcome).into()),
            None => Told::TurnedAway(problem),
        })
    }
}

/// A call as the wire names it: the very contract that is meant.
fn question(call: &Invocation) -> CallRequest {
    CallRequest {
        agent: call.agent.to_string(),
        arguments: call.arguments.as_object().cloned().unwrap_or_default(),
        version: Some(format!("={}", call.tool.version)),
        contract: Some(call.tool.contract_hash()),
        tenant: Some(call.tenant.to_string()),
        timeout_ms: Some(in_ms(call.timeout).clamp(1, TIMEOUT_MS_MAX)),
        ..CallRequest::default()
    }
}

/// A problem that is not a call's outcome: the door refused the question before it became a call.
fn turned_away(problem: Problem) -> Invoked {
    let refused = |kind| Invoked::Refused(Refusal { kind, message: format!("the tool registry refuses the call: {}", problem.detail) });
    match problem.status {
        401 | 403 => refused(RefusalKind::Forbidden),
        404 => refused(RefusalKind::NotFound),
        400 | 413 | 422 => refused(RefusalKind::Arguments),
        429 => Invoked::Wait(problem.detail, Duration::from_secs(problem.retry_after.unwrap_or(1))),
        503 => Invoked::NotSent(problem.detail),
        // A bug of ours may have had it sent.
        _ => Invoked::Unknown(problem.detail),
    }
}
