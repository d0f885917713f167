//! `POST /run` and `POST /tasks`: asking an agent, and waiting for it or not.

use super::{
    Shared,
    answer::{self, Refusal},
    auth::Who,
    events, idempotency,
    place::Place,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode, header};
use maniple_api::TaskRequest;
use maniple_core::{
    Principal, Scope, SessionId, TaskId,
    agent::AgentDefinition,
    ports::Idempotency,
    request::{Acceptance, Content},
    trace::TraceContext,
};
use maniple_runtime::desk::Submission;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// 200 when it has ended, 202 when it goes on, or its events.
pub(super) async fn run(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (submission, sync_run) = shared.submission(&who, &place, &headers, body).await?;
    if wants_events(&headers) {
        return events::of_submission(&shared, submission).await;
    }
    let closing = shared.door.closing.clone();
    let patience = async {
        tokio::select! {
            () = tokio::time::sleep(sync_run) => {}
            () = closing.cancelled() => {}
        }
    };
    let (created, result) = shared.door.desk.submit_and_wait(submission, patience).await?;
    let response = match result.status.is_final() {
        true => answer::located(answer::json(StatusCode::OK, &result), &result),
        false => answer::accepted(&result),
    };
    Ok(answer::replayed(response, created.replayed))
}

/// 202, once the task is durable.
pub(super) async fn submit(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (submission, _) = shared.submission(&who, &place, &headers, body).await?;
    let created = shared.door.desk.submit(submission).await?;
    Ok(answer::replayed(answer::accepted(&created.result), created.replayed))
}

impl Shared {
    /// The checked task of a request, and how long its agent lets a caller wait.
    async fn submission(&self, who: &Principal, place: &Place, headers: &HeaderMap, body: Body) -> Result<(Submission, Duration), Refusal> {
        who.may(Scope::Run)?;
        if place.agent.is_some() {
            // Before the body is read: it could not help.
            self.agent_for(who, place, None)?;
        }
        let key = idempotency::key(headers)?;
        let body = self.read_json(headers, body).await?;
        let request = TaskRequest::read(&body)?;
        let agent = self.agent_for(who, place, request.agent.as_deref())?;
        let sync_run = self.sync_run(&agent);
        Ok((self.task_of_request(who, &agent, request, key, trace(headers))?, sync_run))
    }

    /// How long this agent lets a caller wait.
    pub(super) fn sync_run(&self, agent: &AgentDefinition) -> Duration {
        agent.limits.sync_run_ms.map_or(self.door.sync_run, Duration::from_millis)
    }

    /// The checked task of a body, for one agent.
    pub(super) fn task_of(
        &self,
        who: &Principal,
        agent: &AgentDefinition,
        body: &Value,
        key: Option<String>,
        trace: TraceContext,
    ) -> Result<Submission, Refusal> {
        self.task_of_request(who, agent, TaskRequest::read(body)?, key, trace)
    }

    fn task_of_request(
        &self,
        who: &Principal,
        agent: &AgentDefinition,
        request: TaskRequest,
        key: Option<String>,
        trace: TraceContext,
    ) -> Result<Submission, Refusal> {
        let request = request.to(&agent.name)?;
        let content = Content::Asked(Box::new(request.clone()));
        let task = request.accept(Acceptance {
            agent_limits: &agent.limits,
            limits: self.door.task_limits,
            tenant: who.tenant.clone(),
            principal: who.name.clone(),
            trace: Some(trace),
            fresh_id: fresh_id(),
            fresh_session: SessionId::of_uuid(Uuid::now_v7()),
        })?;
        let scope = idempotency::TASKS.to_owned();
        let idempotency = key.map(|key| Idempotency { scope, key, body_hash: content.hash() });
        Ok(Submission { task, content, idempotency })
    }
}

/// An id for a task that brings none.
pub(super) fn fresh_id() -> TaskId {
    TaskId::of_uuid(Uuid::now_v7())
}

/// The caller's trace, or one that begins here.
pub(super) fn trace(headers: &HeaderMap) -> TraceContext {
    let states: Vec<&str> = headers.get_all("tracestate").iter().filter_map(|state| state.to_str().ok()).collect();
    let state = (!states.is_empty()).then(|| states.join(","));
    let parent = headers.get("traceparent").and_then(|parent| parent.to_str().ok());
    let honoured = parent.and_then(|parent| TraceContext::parse(parent, state.as_deref()));
    honoured.unwrap_or_else(|| TraceContext::begin(fastrand::u128(..), fastrand::u64(..)))
}

/// Whether `Accept` names `text/event-stream`.
fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    accepted.filter_map(|range| range.split(';').next()).any(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
}
