//! `POST /tools/{name}/invoke` and what is asked before and after a call.

use super::{
    super::{
        Door,
        answer::{self, Refusal},
        auth::Who,
        idempotency,
        run::trace,
    },
    Named, agent,
};
use crate::doors::told;
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::{
    Problem,
    tools::{AdmitAnswer, CallAnswer, CallOfRun, CallRequest, ProbeAnswer},
};
use maniple_core::{Error, Principal, Result, Tenant};
use maniple_runtime::desk::{Act, Called, Direct, IdempotencyKey, NoResult, OfRun, ToolCall};
use semver::VersionReq;
use std::{sync::Arc, time::Duration};

/// The result, or a problem that says how the call went.
pub(super) async fn invoke(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::UseTools.by(&who)?;
    let given = idempotency::key(&headers)?;
    let mut request = CallRequest::read(&door.read_json(&who, &headers, body).await?)?;
    if request.key.is_some() {
        return Err(Error::invalid("key is for probe: send it as the header Idempotency-Key").at("key").into());
    }
    let desk = &door.desk;
    let called = match (request.run.take(), given) {
        (Some(_), Some(_)) => {
            let told = "a run's call has its key in run.key: leave the header Idempotency-Key out";
            return Err(Error::invalid(told).at("Idempotency-Key").into());
        }
        (Some(CallOfRun { key, send, agreed, again: true }), None) => {
            let call = meant(&who, &named, request, &headers)?;
            desk.came_of(&who, &call, &OfRun { key, send, agreed }).await?.ok_or_else(Problem::call_not_known)?
        }
        (Some(CallOfRun { key, send, agreed, again: false }), None) => {
            desk.call_for_run(&who, meant(&who, &named, request, &headers)?, OfRun { key, send, agreed }).await?
        }
        (None, key) => {
            let direct = Direct { principal: request.principal.take(), key };
            desk.call(&who, meant(&who, &named, request, &headers)?, direct).await?
        }
    };
    let Called { result, version, replayed } = called;
    let answer = CallAnswer { result, tool: named.tool, version: version.to_string() };
    Ok(answer::replayed(answer::json(StatusCode::OK, &answer), replayed))
}

/// Whether a run's call may go now, under the tool's `rate_limit`.
pub(super) async fn admit(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::UseTools.by(&who)?;
    let key = idempotency::key(&headers)?;
    let mut request = CallRequest::read(&door.read_json(&who, &headers, body).await?)?;
    let Some(run) = request.run.take().map(of_run) else {
        return Err(Error::invalid("run is missing: only a run's call takes its place before it is made").at("run").into());
    };
    let (admission, was) = door.desk.admit(&who, meant(&who, &named, request, &headers)?, run, key).await?;
    Ok(answer::replayed(answer::json(StatusCode::OK, &AdmitAnswer::from(admission)), was.is_replay()))
}

/// Whether a call in doubt happened, as far as its tool can tell.
pub(super) async fn probe(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::UseTools.by(&who)?;
    let key = idempotency::key(&headers)?;
    let mut request = CallRequest::read(&door.read_json(&who, &headers, body).await?)?;
    let desk = &door.desk;
    let (probed, was) = match (request.run.take().map(of_run), request.key.take()) {
        (Some(run), None) => desk.probe_for_run(&who, meant(&who, &named, request, &headers)?, run, key).await?,
        (None, Some(of_call)) => {
            let direct = Direct { principal: request.principal.take(), key: Some(IdempotencyKey::parse(&of_call)?) };
            desk.probe(&who, meant(&who, &named, request, &headers)?, direct, key).await?
        }
        (None, None) => {
            return Err(Error::invalid("key is missing: send the Idempotency-Key of the call that is meant").at("key").into());
        }
        (Some(_), Some(_)) => return Err(Error::invalid("a run's call has its key in run.key: leave key out").at("key").into()),
    };
    Ok(answer::replayed(answer::json(StatusCode::OK, &ProbeAnswer::from(probed)), was.is_replay()))
}

fn of_run(CallOfRun { key, send, agreed, .. }: CallOfRun) -> OfRun {
    OfRun { key, send, agreed }
}

/// The call of a request.
fn meant(who: &Principal, named: &Named, request: CallRequest, headers: &HeaderMap) -> Result<ToolCall> {
    let agent = agent(Act::UseTools, who, &request.agent)?;
    let range = request.version.as_deref().unwrap_or("*");
    let no_range = |e| Error::invalid(format!("version `{range}` is no range such as ^1.2: {e}")).at("version");
    Ok(ToolCall {
        tool: named.tool.clone(),
        agent,
        range: VersionReq::parse(range).map_err(no_range)?,
        arguments: request.arguments,
        contract: request.contract,
        tenant: request.tenant.as_deref().map(Tenant::parse).transpose()?,
        timeout: request.timeout_ms.map(Duration::from_millis),
        trace: trace(headers),
        audience: None,
    })
}

impl From<NoResult> for Refusal {
    fn from(none: NoResult) -> Self {
        match none {
            NoResult::Refused(error) => error.into(),
            NoResult::Went(outcome) => told(outcome).into(),
        }
    }
}
