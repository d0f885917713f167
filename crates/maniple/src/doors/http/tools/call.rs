//! `POST /tools/{name}/invoke`, and what a runtime asks before and after a call.
//!
//! ```text
//! who? ─► body ─► which version, for this agent ─► the registry: arguments ─► grant ─► key ─► rate ─► … ─► tool
//! ```
//! What the registry answers is told by [`CallOutcome`]; a caller who leaves does not stop a call.

use super::{
    super::{
        Shared,
        answer::{self, Refusal},
        auth::Who,
        idempotency, run,
    },
    Named, agent,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::{
    Problem,
    tools::{AdmitAnswer, CallAnswer, CallOutcome, CallRequest, ProbeAnswer},
};
use maniple_core::{
    Error, Principal, Result, Scope, Tenant,
    ports::{Idempotency, Invocation, Invoked, RefusalKind},
    tool::{Offer, ToolState, ToolVersion},
};
use maniple_runtime::desk;
use semver::VersionReq;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// The result, or a problem that says how the call went.
pub(super) async fn invoke(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    who.may(Scope::Tools)?;
    let given = idempotency::key(&headers)?;
    let request = CallRequest::read(&shared.read_json(&headers, body).await?)?;
    if request.key.is_some() {
        return Err(Error::invalid("key is for admit and probe: send it as the header Idempotency-Key").at("key").into());
    }
    let key = given.as_ref().map(|key| key.as_str().to_owned());
    let call = shared.invocation(&who, &named.tool, request, key, &headers).await?;
    let (tool, version, tenant) = (call.tool.name.clone(), call.tool.version.to_string(), call.tenant.clone());
    // The registry compares what is called; here is only remembered that it was answered, under a key that somebody can use again.
    let named = given.map(|key| Idempotency { scope: tool.clone(), key: key.as_str().to_owned(), body_hash: String::new() });
    match CallOutcome::of(shared.carried_out(call).await) {
        Ok(result) => {
            let is_known = named.is_some_and(|named| shared.results.seen(&tenant, &named));
            Ok(answer::replayed(answer::json(StatusCode::OK, &CallAnswer { result, tool, version }), is_known))
        }
        Err(outcome) => Err(outcome.problem().into()),
    }
}

/// Whether the call may go now, under the tool's `rate_limit`.
pub(super) async fn admit(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (call, key) = shared.about(&who, &named, "admit", &headers, body).await?;
    let answered = AdmitAnswer::from(shared.door.registry.admit(&call).await);
    Ok(answer::replayed(answer::json(StatusCode::OK, &answered), shared.seen(&who, key, &named.tool).await?))
}

/// Whether a call in doubt happened, as far as its tool can tell.
pub(super) async fn probe(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (call, key) = shared.about(&who, &named, "probe", &headers, body).await?;
    let answered = ProbeAnswer::from(shared.door.registry.probe(&call).await);
    Ok(answer::replayed(answer::json(StatusCode::OK, &answered), shared.seen(&who, key, &named.tool).await?))
}

impl Shared {
    /// The call that a question is about.
    async fn about(
        &self,
        who: &Principal,
        named: &Named,
        what: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Invocation, Option<Idempotency>), Refusal> {
        who.may(Scope::Tools)?;
        let key = idempotency::key(headers)?;
        let body = self.read_json(headers, body).await?;
        let request = CallRequest::read(&body)?;
        let Some(of_call) = request.key.clone() else {
            return Err(Error::invalid("key is missing: send the Idempotency-Key of the call that is meant").at("key").into());
        };
        let key = self.keyed(who, key, &format!("/tools/{}/{what}", named.tool), &body).await?;
        Ok((self.invocation(who, &named.tool, request, Some(of_call), headers).await?, key))
    }

    /// The call that is asked for, of the version that the agent gets or that the caller means.
    async fn invocation(
        &self,
        who: &Principal,
        name: &str,
        request: CallRequest,
        key: Option<String>,
        headers: &HeaderMap,
    ) -> Result<Invocation, Refusal> {
        let agent = agent(who, &request.agent)?;
        let tenant = request.tenant.as_deref().map(Tenant::parse).transpose()?.unwrap_or_else(|| who.tenant.clone());
        if tenant != who.tenant || request.approved {
            let field = if request.approved { "approved" } else { "tenant" };
            who.may(Scope::Admin).map_err(|denied| denied.at(field))?;
        }
        let range = request.version.as_deref().unwrap_or("*");
        let range = VersionReq::parse(range)
            .map_err(|e| Error::invalid(format!("version `{range}` is no range such as ^1.2: {e}")).at("version"))?;
        let picked = self.door.registry.pick(&agent, name, &range).await;
        let offer = match &request.contract {
            None => match picked {
                Err(refusal) if refusal.kind == RefusalKind::NotFound => Err(self.missing(name, &range, refusal).await),
                other => other.map_err(CallOutcome::from),
            },
            Some(contract) => match picked {
                Ok(offer) if offer.definition.contract_hash() == *contract => Ok(offer),
                Err(refusal) if refusal.kind == RefusalKind::NotGranted => Err(refusal.into()),
                _ => self.of_contract(name, contract).await,
            },
        };
        let Offer { definition, trusted } = offer.map_err(|outcome| outcome.problem())?;
        let own = Duration::from_millis(definition.timeout_ms);
        Ok(Invocation {
            timeout: request.timeout_ms.map_or(own, |ms| Duration::from_millis(ms).min(own)),
            tool: Arc::new(definition),
            trusted,
            arguments: Value::Object(request.arguments),
            key: key.unwrap_or_else(|| Uuid::now_v7().to_string()),
            send: request.send.unwrap_or_else(|| Uuid::now_v7().to_string()),
            agent,
            tenant,
            trace: Some(desk::traced(run::trace(headers))),
            journalled: false,
            approved: request.approved,
        })
    }

    /// A tool that is there and not well may be tried again; one that is not there may not.
    async fn missing(&self, name: &str, range: &VersionReq, refusal: maniple_core::ports::Refusal) -> CallOutcome {
        let versions = self.door.registry.versions(name).await.unwrap_or_default();
        let waits =
            |known: &ToolVersion| matches!(known.state, ToolState::Unhealthy | ToolState::Gone) && range.matches(&known.definition.version);
        match versions.iter().any(waits) {
            true => CallOutcome::NotSent { message: refusal.message },
            false => refusal.into(),
        }
    }

    /// The version with this very contract, served well or not: the registry says which when it is called.
    async fn of_contract(&self, name: &str, contract: &str) -> Result<Offer, CallOutcome> {
        let not_found = |message: String| CallOutcome::Refused { reason: RefusalKind::NotFound, message };
        let versions = self.door.registry.versions(name).await.map_err(|error| not_found(error.to_string()))?;
        let found = versions.into_iter().find(|known| known.contract == contract);
        let found = found.ok_or_else(|| not_found(format!("there is no version of `{name}` with that contract any more")))?;
        Ok(Offer { trusted: found.source.is_operators(), definition: found.definition })
    }

    /// Calls, and goes on although the caller leaves: nobody else would learn how it went.
    pub(in super::super) async fn carried_out(&self, call: Invocation) -> Invoked {
        let Some(seat) = self.door.desk.gate().call() else {
            return Invoked::NotSent("this node has all the tool calls it takes at once".into());
        };
        let registry = self.door.registry.clone();
        let work = tokio::spawn(async move {
            let outcome = registry.invoke(&call).await;
            drop(seat);
            outcome
        });
        work.await.unwrap_or_else(|_| Invoked::Unknown("the call ran into a bug of ours: the log says where".into()))
    }
}

impl From<CallOutcome> for Refusal {
    fn from(outcome: CallOutcome) -> Self {
        Problem::into(outcome.problem())
    }
}
