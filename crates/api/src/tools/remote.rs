//! A tool registry in other processes: the same seam as the one in this, over HTTP. Behind its address there may be one process or
//! many, and a balancer that knows nothing of calls.

mod calling;

use super::{
    outcome::CallOutcome,
    wire::{AdmitAnswer, ProbeAnswer, Removed, ResolveAnswer, ResolveRequest, ToolPage},
};
use crate::{
    client::{Client, read},
    page::MAX_LIMIT,
    problem::Problem,
};
use async_trait::async_trait;
use calling::Lost;
use maniple_core::{
    AgentName, Error, Kind, Result, Tenant,
    ports::{
        Admission, DirectCall, DirectOutcome, Invoked, Probed, Refusal, RefusalKind, Registrant, Registration, RunCall, ToolRegistry, Tools,
    },
    tool::{LeftOut, Offer, Registered, Source, ToolVersion, ToolWish},
};
use reqwest::{Method, RequestBuilder, Response};
use semver::{Version, VersionReq};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a connection may take; less than what a call is given beyond its own time-out, so that what was never connected is
/// never in doubt.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long any question but a call may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long an answer to whether it is there may take.
const PING_MAX: Duration = Duration::from_secs(2);

/// A registry behind HTTP.
pub struct RemoteTools {
    client: Client,
}

impl RemoteTools {
    /// The registry at `url`, such as `http://registry:8080`. The token needs the scopes `tools` and `operator`: it speaks
    /// for runs, and for whichever tenant and principal ask here.
    pub fn new(url: &str, token: Option<String>) -> Result<Self> {
        Ok(Self { client: Client::connecting_within(CONNECT_MAX, url, token)? })
    }

    /// Whether it answers, and lets this process speak for runs of every tenant. `Unavailable` where it does not answer, `Denied` where it
    /// does not know the token, or the token lacks a scope.
    pub async fn ping(&self) -> Result<()> {
        // No tools, for a tenant and an agent that need not be there: what is answered is who may ask.
        let nobody = ResolveRequest { agent: "ready".into(), tenant: Some("ready".into()), tools: Some(Vec::new()), pick: None };
        let request = self.client.to(Method::POST, &["tools", "resolve"]).json(&nobody).timeout(PING_MAX);
        let response = self.ask(request).await.map_err(|lost| Error::unavailable(lost.why()))?;
        match response.status().as_u16() {
            200..=299 => Ok(()),
            401 => Err(refusal(response).await.into()),
            403 => match refusal(response).await {
                // Scopes are looked at before agents: the token has them, for other agents than this.
                Problem { field: Some(field), .. } if field == "agent" => Ok(()),
                lacks => {
                    let told =
                        format!("the tool registry: {}; `registry_token` needs the scopes `tools` and `operator` there", lacks.detail);
                    Err(Error::denied(told))
                }
            },
            status => Err(Error::unavailable(format!("the tool registry at {} answers {status}", self.client.base))),
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Response, Lost> {
        request.send().await.map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(below) = cause.source() {
                cause = below;
            }
            let why = format!("the tool registry at {} does not answer: {cause}", self.client.base);
            if error.is_connect() || error.is_builder() { Lost::NotSent(why) } else { Lost::Unknown(why) }
        })
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
}

/// A question about an agent, on behalf of a tenant.
fn of(tenant: &Tenant, agent: &AgentName) -> ResolveRequest {
    ResolveRequest { agent: agent.to_string(), tenant: Some(tenant.to_string()), ..ResolveRequest::default() }
}

/// Who changes the catalogue, as the wire tells it.
fn for_whom(by: &Registrant) -> Vec<(&'static str, String)> {
    // Its tenant is told beside its name.
    let name = by.name.strip_prefix(&format!("{}/", by.tenant)).unwrap_or(&by.name);
    let scope = match by {
        Registrant { operator: true, .. } => Some("operator"),
        Registrant { admin: true, .. } => Some("admin"),
        Registrant { .. } => None,
    };
    let mut query = vec![("tenant", by.tenant.to_string()), ("principal", name.to_owned())];
    query.extend(scope.map(|scope| ("scope", scope.to_owned())));
    query
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

#[async_trait]
impl Tools for RemoteTools {
    async fn resolve(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        let tools = wishes.iter().map(ToString::to_string).collect();
        self.offers(&ResolveRequest { tools: Some(tools), ..of(tenant, agent) }).await
    }

    async fn admit(&self, call: &RunCall) -> Admission {
        if call.0.tool.rate_limit.is_none() {
            return Admission::Now;
        }
        let answer: Result<AdmitAnswer> = self.answer(self.of_run(call, "admit", false)).await;
        // Where nobody answers, the call itself says so, and it is counted again there.
        answer.map_or(Admission::Now, Admission::from)
    }

    async fn invoke(&self, call: &RunCall) -> Invoked {
        self.carried_out(&call.0, |again| self.of_run(call, "invoke", again)).await.invoked
    }

    async fn probe(&self, call: &RunCall) -> Probed {
        if call.0.tool.probe_url.is_none() {
            return Probed::Unknown;
        }
        let answer: Result<ProbeAnswer> = self.answer(self.of_run(call, "probe", false)).await;
        answer.map_or(Probed::Unknown, Probed::from)
    }
}

/// Who looks, brings, withdraws or removes is told, and believed where the token has the scope `operator`.
#[async_trait]
impl ToolRegistry for RemoteTools {
    async fn call(&self, call: &DirectCall) -> DirectOutcome {
        // Asked again it is the same question: the ledger knows whether it was sent.
        self.carried_out(call.invocation(), |_| self.direct(call)).await
    }

    async fn probe_call(&self, call: &DirectCall) -> Probed {
        if call.invocation().tool.probe_url.is_none() {
            return Probed::Unknown;
        }
        let answer: Result<ProbeAnswer> = self.answer(self.about_direct(call)).await;
        answer.map_or(Probed::Unknown, Probed::from)
    }

    /// The registry checks a run's call itself, when it gets it.
    async fn check(&self, _call: &RunCall) -> Result<(), Refusal> {
        Ok(())
    }

    async fn list(&self, tenant: &Tenant, after: Option<&str>, limit: usize) -> Result<Vec<ToolVersion>> {
        let (mut found, mut names, mut cursor) = (Vec::new(), 0, after.map(str::to_owned));
        while names < limit {
            let mut query = vec![("limit", (limit - names).min(MAX_LIMIT).to_string()), ("tenant", tenant.to_string())];
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

    async fn versions(&self, tenant: &Tenant, name: &str) -> Result<Vec<ToolVersion>> {
        self.client.tool_versions_for(name, Some(tenant)).await
    }

    async fn left_out(&self) -> Result<Vec<LeftOut>> {
        let page: ToolPage = self.answer(self.client.to(Method::GET, &["tools"]).query(&[("limit", "1")])).await?;
        Ok(page.left_out)
    }

    async fn granted(&self, tenant: &Tenant, agent: &AgentName) -> Result<Vec<Offer>> {
        self.offers(&of(tenant, agent)).await
    }

    async fn pick(&self, tenant: &Tenant, agent: &AgentName, name: &str, range: &VersionReq) -> Result<Offer, Refusal> {
        let wish = ToolWish { name: name.to_owned(), range: range.clone() };
        let question = ResolveRequest { pick: Some(wish.to_string()), ..of(tenant, agent) };
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
        let mut query = for_whom(&registration.by);
        query.extend((registration.source == Source::Added).then(|| ("source", "added".to_owned())));
        query.extend(registration.override_reason.map(|reason| ("override", reason)));
        self.answer(self.client.to(Method::POST, &["tools"]).query(&query).json(&registration.definition)).await
    }

    async fn withdraw(&self, name: &str, instance: &str, principal: &Registrant) -> Result<()> {
        let request = self.client.to(Method::DELETE, &["tools", name, "instances", instance]).query(&for_whom(principal));
        let response = self.said(request).await?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(refusal(response).await.into()),
        }
    }

    async fn remove(&self, name: &str, version: Option<&Version>, principal: &Registrant) -> Result<u64> {
        let mut query = for_whom(principal);
        query.extend(version.map(|version| ("version", version.to_string())));
        let removed: Removed = self.answer(self.client.to(Method::DELETE, &["tools", name]).query(&query)).await?;
        Ok(removed.versions)
    }
}
