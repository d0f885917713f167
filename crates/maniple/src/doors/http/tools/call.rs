//! `POST /tools/{name}/invoke` and what is asked before and after a call.
//!
//! ```text
//! who? ─► body ─► which version, for this agent ─┬─ direct ─────────────────────────────► the registry: checks, key, way, tool
//!                                                └─ of a run elsewhere ─► does it fit? ─► the registry: way, tool
//! ```
//! What the registry answers is told by [`CallOutcome`]; a caller who leaves does not stop a call.

use super::{
    super::{
        Shared,
        answer::{self, Refusal},
        auth::Who,
        idempotency,
    },
    Named,
    run_calls::{SendName, broke_off},
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::{
    Problem,
    tools::{AdmitAnswer, CallAnswer, CallOfRun, CallOutcome, CallRequest, ProbeAnswer},
};
use maniple_core::{
    Error, Principal, Result, Scope,
    ports::{DirectCall, DirectOutcome, Idempotency, Invoked},
};
use maniple_runtime::desk::IdempotencyKey;
use std::sync::Arc;
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
        return Err(Error::invalid("key is for probe: send it as the header Idempotency-Key").at("key").into());
    }
    match request.run.clone() {
        Some(_) if given.is_some() => {
            let told = "a run's call has its key in run.key: leave the header Idempotency-Key out";
            Err(Error::invalid(told).at("Idempotency-Key").into())
        }
        Some(run) => shared.invoke_for_run(&who, &named.tool, request, run, &headers).await,
        None => shared.invoke_directly(&who, &named.tool, request, given, &headers).await,
    }
}

/// Whether a run's call may go now, under the tool's `rate_limit`.
pub(super) async fn admit(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Asked { request, replays } = shared.asked(&who, &named, "admit", &headers, body).await?;
    let Some(run) = request.run.clone() else {
        return Err(Error::invalid("run is missing: only a run's call takes its place before it is made").at("run").into());
    };
    let call = shared.run_call(&who, &named.tool, request, run, &headers).await?;
    let answered = AdmitAnswer::from(shared.door.registry.admit(&call).await);
    Ok(answer::replayed(answer::json(StatusCode::OK, &answered), shared.seen(&who, replays, &named.tool).await?))
}

/// Whether a call in doubt happened, as far as its tool can tell.
pub(super) async fn probe(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Asked { request, replays } = shared.asked(&who, &named, "probe", &headers, body).await?;
    let probed = match (request.run.clone(), request.key.clone()) {
        (Some(run), None) => {
            let call = shared.run_call(&who, &named.tool, request, run, &headers).await?;
            shared.door.registry.probe(&call).await
        }
        (None, Some(key)) => {
            let call = shared.direct_call(&who, &named.tool, request, key, &headers).await?;
            shared.door.registry.probe_call(&call).await
        }
        (None, None) => {
            return Err(Error::invalid("key is missing: send the Idempotency-Key of the call that is meant").at("key").into());
        }
        (Some(_), Some(_)) => return Err(Error::invalid("a run's call has its key in run.key: leave key out").at("key").into()),
    };
    let replayed = shared.seen(&who, replays, &named.tool).await?;
    Ok(answer::replayed(answer::json(StatusCode::OK, &ProbeAnswer::from(probed)), replayed))
}

/// A question beside a call, and the key under which it is asked itself.
struct Asked {
    request: CallRequest,
    replays: Option<Idempotency>,
}

impl Shared {
    async fn asked(&self, who: &Principal, named: &Named, what: &str, headers: &HeaderMap, body: Body) -> Result<Asked, Refusal> {
        who.may(Scope::Tools)?;
        let key = idempotency::key(headers)?;
        let body = self.read_json(headers, body).await?;
        let request = CallRequest::read(&body)?;
        let replays = self.keyed(who, key, &format!("/tools/{}/{what}", named.tool), &body).await?;
        Ok(Asked { request, replays })
    }

    async fn invoke_directly(
        &self,
        who: &Principal,
        tool: &str,
        request: CallRequest,
        given: Option<IdempotencyKey>,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let key = given.map_or_else(|| Uuid::now_v7().to_string(), |key| key.as_str().to_owned());
        let call = self.direct_call(who, tool, request, key, headers).await?;
        let version = call.invocation().tool.version.to_string();
        let DirectOutcome { invoked, replayed } = self.call(call).await;
        Ok(answer::replayed(answered(invoked, tool, version)?, replayed))
    }

    /// Carries a run's call out, or says what became of it. Nothing is sent for one that is asked about again.
    async fn invoke_for_run(
        &self,
        who: &Principal,
        tool: &str,
        request: CallRequest,
        run: CallOfRun,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let send = SendName {
            principal: (who.tenant.clone(), who.name.clone()),
            tenant: self.tenant(who, &request)?,
            tool: tool.to_owned(),
            key: run.key.clone(),
            send: run.send.clone(),
        };
        let taken = match self.runs.of(&send) {
            Some(taken) => taken,
            None if run.again => return Err(Problem::call_not_known().into()),
            None => {
                let call = self.run_call(who, tool, request, run, headers).await?;
                let fits = self.door.registry.check(&call).await;
                fits.map_err(|refusal| CallOutcome::from(refusal).problem())?;
                let (version, timeout) = (call.0.tool.version.to_string(), call.0.timeout);
                let (registry, desk) = (self.door.registry.clone(), self.door.desk.clone());
                self.runs.take(send, version, timeout, async move {
                    match desk.gate().call() {
                        Some(_seat) => registry.invoke(&call).await,
                        None => full(),
                    }
                })
            }
        };
        let version = taken.version.clone();
        answered(taken.outcome().await, tool, version)
    }

    /// Calls, and goes on although the caller leaves: nobody else would learn how it went.
    pub(in super::super) async fn call(&self, call: DirectCall) -> DirectOutcome {
        let Some(seat) = self.door.desk.gate().call() else { return full().into() };
        let registry = self.door.registry.clone();
        let work = tokio::spawn(async move {
            let outcome = registry.call(&call).await;
            drop(seat);
            outcome
        });
        work.await.unwrap_or_else(|_| broke_off().into())
    }
}

/// 200 with the result, or the problem that says how it went.
fn answered(invoked: Invoked, tool: &str, version: String) -> Result<Response, Refusal> {
    let result = CallOutcome::of(invoked).map_err(|outcome| outcome.problem())?;
    Ok(answer::json(StatusCode::OK, &CallAnswer { result, tool: tool.to_owned(), version }))
}

fn full() -> Invoked {
    Invoked::NotSent("this node has all the tool calls it takes at once".into())
}

impl From<CallOutcome> for Refusal {
    fn from(outcome: CallOutcome) -> Self {
        Problem::into(outcome.problem())
    }
}
