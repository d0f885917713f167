//! A tool registry in another process: the same seam as the one in this, over HTTP.
//!
//! | what happens to the connection | then |
//! |---|---|
//! | none could be made | *not sent* |
//! | it broke, or no answer came in time | asked again under the same key: the registry waits for the call under way, or answers from its record |
//! | and still no answer | *unknown* |
//!
//! Asking again is harmless while the same process answers: it holds the call under its key. Another process may not know of
//! the first time, so the question says which process it is meant for, and every other one refuses it.

use super::{
    REGISTRY_HEADER,
    outcome::CallOutcome,
    wire::{AdmitAnswer, CallAnswer, CallRequest, ProbeAnswer, Removed, ResolveAnswer, ResolveRequest, ToolPage, in_ms},
};
use crate::{
    client::{Client, read},
    page::MAX_LIMIT,
    problem::Problem,
};
use async_trait::async_trait;
use maniple_core::{
    AgentName, Error, Kind, Result,
    ports::{Admission, Invocation, Invoked, Probed, Refusal, RefusalKind, Registrant, Registration, ToolRegistry, Tools},
    tool::{Offer, Registered, Source, ToolVersion, ToolWish},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use semver::{Version, VersionReq};
use serde::de::DeserializeOwned;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long a connection may take; less than [`SLACK`], so that what was never connected is never in doubt.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// What a call is given beyond its own time-out, for the way there and back.
const SLACK: Duration = Duration::from_secs(3);
/// How long any other question may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The first pause before a call is asked for again; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A registry behind HTTP.
pub struct RemoteTools {
    client: Client,
    /// The process that answered last.
    process: Mutex<Option<String>>,
}

/// Why a question has no answer.
enum Lost {
    /// No connection could be made: nothing was written.
    NotSent(String),
    /// The question, or a part of it, was written.
    Unknown(String),
    /// Another process than the one it was meant for read it, and did nothing.
    Elsewhere,
}

impl Lost {
    fn why(self) -> String {
        match self {
            Self::NotSent(why) | Self::Unknown(why) => why,
            Self::Elsewhere => "another process of the tool registry answered".into(),
        }
    }
}

impl RemoteTools {
    /// The registry at `url`, such as `http://registry:8080`. The token needs the scopes `tools`, and `admin` where calls are
    /// made on behalf of several tenants or after a person's consent.
    pub fn new(url: &str, token: Option<String>) -> Result<Self> {
        Ok(Self { client: Client::connecting_within(CONNECT_MAX, url, token)?, process: Mutex::default() })
    }

    /// Whether it answers. `Unavailable` where it does not.
    pub async fn ping(&self) -> Result<()> {
        let request = self.client.to(Method::GET, &["health"]).timeout(Duration::from_secs(2));
        match self.ask(request).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(Error::unavailable(format!("the tool registry at {} answers {}", self.client.base, response.status()))),
            Err(lost) => Err(Error::unavailable(lost.why())),
        }
    }

    fn process(&self) -> Option<String> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Response, Lost> {
        match request.send().await {
            Ok(response) => {
                let process = response.headers().get(REGISTRY_HEADER).and_then(|name| name.to_str().ok()).map(str::to_owned);
                if process.is_some() {
                    *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
                }
                Ok(response)
            }
            Err(error) => {
                let mut cause: &dyn std::error::Error = &error;
                while let Some(below) = cause.source() {
                    cause = below;
                }
                let why = format!("the tool registry at {} does not answer: {cause}", self.client.base);
                Err(if error.is_connect() || error.is_builder() { Lost::NotSent(why) } else { Lost::Unknown(why) })
            }
        }
    }

    /// An answer, or what was refused; `Unavailable` where nobody answers.
    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.said(request).await?;
        match response.status().is_success() {
            true => read(response).await,
            false => Err(refusal(response).await.into()),
        }
    }
    async fn said(&self, request: RequestBuilder) -> Result<Response> {
        self.ask(request.timeout(ANSWER_MAX)).await.map_err(|lost| Error::unavailable(lost.why()))
    }

    async fn offers(&self, question: &ResolveRequest) -> Result<Vec<Offer>> {
        let answer: ResolveAnswer = self.answer(self.client.to(Method::POST, &["tools", "resolve"]).json(question)).await?;
        Ok(answer.offers)
    }

    fn to_call(&self, call: &Invocation, what: &str) -> RequestBuilder {
        self.client.to(Method::POST, &["tools", &call.tool.name, what])
    }

    /// Asks once. `meant_for`: the only process that may answer.
    async fn attempt(&self, call: &Invocation, time: Duration, meant_for: Option<&str>) -> Result<Invoked, Lost> {
        let mut request = self.to_call(call, "invoke").json(&question(call)).header("Idempotency-Key", &call.key).timeout(time);
        if let Some(trace) = &call.trace {
            request = request.header("traceparent", &trace.traceparent);
            if let Some(state) = &trace.tracestate {
                request = request.header("tracestate", state);
            }
        }
        if let Some(process) = meant_for {
            request = request.header(REGISTRY_HEADER, process);
        }
        let response = self.ask(request).await?;
        let status = response.status();
        if status == StatusCode::PRECONDITION_FAILED {
            return Err(Lost::Elsewhere);
        }
        if status.is_success() {
            let answer: Result<CallAnswer> = read(response).await;
            return answer.map(|answer| Invoked::Ok(answer.result)).map_err(|error| Lost::Unknown(error.message.into_owned()));
        }
        let problem = match read::<Problem>(response).await {
            Ok(problem) => problem,
            // A proxy's own page, or an answer that broke off: what came before it, nobody knows.
            Err(_) => return Err(Lost::Unknown(format!("the tool registry at {} answered {status} without saying why", self.client.base))),
        };
        Ok(match CallOutcome::in_problem(&problem) {
            Some(outcome) => outcome.into(),
            None => turned_away(problem),
        })
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

async fn refusal(response: Response) -> Problem {
    let status = response.status();
    let silent = || Problem::from(Error::unavailable(format!("the tool registry answered {status} without saying why")));
    let problem: Problem = read(response).await.unwrap_or_else(|_| silent());
    match problem.status {
        401 => Problem { detail: format!("the tool registry: {}; set `registry_token` to one that it knows", problem.detail), ..problem },
        _ => problem,
    }
}

/// A call as the wire names it: the very contract that the run began with.
fn question(call: &Invocation) -> CallRequest {
    CallRequest {
        agent: call.agent.to_string(),
        arguments: call.arguments.as_object().cloned().unwrap_or_default(),
        version: Some(format!("={}", call.tool.version)),
        contract: Some(call.tool.contract_hash()),
        tenant: Some(call.tenant.to_string()),
        key: None,
        send: Some(call.send.clone()),
        timeout_ms: Some(in_ms(call.timeout).clamp(1, super::wire::TIMEOUT_MS_MAX)),
        approved: is_approved(call),
    }
}

/// Whether the call needs a person's consent, and the run's journal says that it has it.
fn is_approved(call: &Invocation) -> bool {
    call.journalled && call.tool.requires_approval
}

#[async_trait]
impl Tools for RemoteTools {
    async fn resolve(&self, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        let tools = wishes.iter().map(ToString::to_string).collect();
        self.offers(&ResolveRequest { agent: agent.to_string(), tools: Some(tools), pick: None }).await
    }

    async fn admit(&self, call: &Invocation) -> Admission {
        if call.tool.rate_limit.is_none() {
            return Admission::Now;
        }
        let question = CallRequest { key: Some(call.key.clone()), arguments: Default::default(), ..question(call) };
        let answer: Result<AdmitAnswer> = self.answer(self.to_call(call, "admit").json(&question)).await;
        // Where nobody answers, the call itself says so, and it is counted again there.
        answer.map_or(Admission::Now, Admission::from)
    }

    async fn invoke(&self, call: &Invocation) -> Invoked {
        let ends = Instant::now() + call.timeout + SLACK;
        // Meant for one process from the first time on: whoever is asked again must be the one that was asked before.
        let mut process = self.process();
        let mut first = self.attempt(call, call.timeout + SLACK, process.as_deref()).await;
        if matches!(first, Err(Lost::Elsewhere)) {
            // Another one took its place since the last answer, and said so.
            process = self.process();
            first = self.attempt(call, call.timeout + SLACK, process.as_deref()).await;
        }
        let mut why = match first {
            Ok(invoked) => return invoked,
            Err(lost @ (Lost::NotSent(_) | Lost::Elsewhere)) => return Invoked::NotSent(lost.why()),
            Err(Lost::Unknown(why)) => why,
        };
        let Some(process) = process else { return Invoked::Unknown(why) };
        let mut pause = PAUSE;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if left <= pause {
                return Invoked::Unknown(why);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            let left = ends.saturating_duration_since(Instant::now());
            match self.attempt(call, left, Some(&process)).await {
                Ok(invoked) => return invoked,
                Err(Lost::Elsewhere) => return Invoked::Unknown("the tool registry was started anew in the middle of the call".into()),
                Err(lost) => why = lost.why(),
            }
        }
    }

    async fn probe(&self, call: &Invocation) -> Probed {
        if call.tool.probe_url.is_none() {
            return Probed::Unknown;
        }
        let question = CallRequest { key: Some(call.key.clone()), ..question(call) };
        let answer: Result<ProbeAnswer> = self.answer(self.to_call(call, "probe").json(&question)).await;
        answer.map_or(Probed::Unknown, Probed::from)
    }
}

/// Who brings, withdraws or removes is the holder of the token, whoever the caller says it is.
#[async_trait]
impl ToolRegistry for RemoteTools {
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<ToolVersion>> {
        let (mut found, mut names, mut cursor) = (Vec::new(), 0, after.map(str::to_owned));
        while names < limit {
            let mut query = vec![("limit", (limit - names).min(MAX_LIMIT).to_string())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: ToolPage = self.answer(self.client.to(Method::GET, &["tools"]).query(&query)).await?;
            let mut of_page: Vec<&str> = page.tools.iter().map(|tool| tool.definition.name.as_str()).collect();
            of_page.dedup();
            names += of_page.len();
            found.extend(page.tools);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn versions(&self, name: &str) -> Result<Vec<ToolVersion>> {
        self.client.tool_versions(name).await
    }

    async fn granted(&self, agent: &AgentName) -> Result<Vec<Offer>> {
        self.offers(&ResolveRequest { agent: agent.to_string(), ..ResolveRequest::default() }).await
    }

    async fn pick(&self, agent: &AgentName, name: &str, range: &VersionReq) -> Result<Offer, Refusal> {
        let wish = ToolWish { name: name.to_owned(), range: range.clone() };
        let question = ResolveRequest { agent: agent.to_string(), tools: None, pick: Some(wish.to_string()) };
        let not_found = |message: String| Refusal { kind: RefusalKind::NotFound, message };
        let response = self.said(self.client.to(Method::POST, &["tools", "resolve"]).json(&question)).await;
        let response = response.map_err(|error| not_found(error.to_string()))?;
        if response.status().is_success() {
            let answer: Result<ResolveAnswer> = read(response).await;
            let offer = answer.map_err(|error| not_found(error.to_string()))?.offers.pop();
            return offer.ok_or_else(|| not_found(format!("there is no tool `{wish}`")));
        }
        let problem = refusal(response).await;
        match CallOutcome::in_problem(&problem) {
            Some(CallOutcome::Refused { reason, message }) => Err(Refusal { kind: reason, message }),
            _ => {
                let error = Error::from(problem);
                let kind = if error.kind == Kind::Denied { RefusalKind::Forbidden } else { RefusalKind::NotFound };
                Err(Refusal { kind, message: error.message.into_owned() })
            }
        }
    }

    async fn register(&self, registration: Registration) -> Result<Registered> {
        let mut query = Vec::new();
        query.extend((registration.source == Source::Added).then(|| ("source", "added".to_owned())));
        query.extend(registration.override_reason.map(|reason| ("override", reason)));
        self.answer(self.client.to(Method::POST, &["tools"]).query(&query).json(&registration.definition)).await
    }

    async fn withdraw(&self, name: &str, instance: &str, _principal: &Registrant) -> Result<()> {
        let response = self.said(self.client.to(Method::DELETE, &["tools", name, "instances", instance])).await?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(refusal(response).await.into()),
        }
    }

    async fn remove(&self, name: &str, version: Option<&Version>, _principal: &Registrant) -> Result<u64> {
        let query: Vec<(&str, String)> = version.map(|version| ("version", version.to_string())).into_iter().collect();
        let removed: Removed = self.answer(self.client.to(Method::DELETE, &["tools", name]).query(&query)).await?;
        Ok(removed.versions)
    }
}
