//! `POST /run` and `POST /tasks`: asking an agent, and waiting for it or not.

use super::{
    Door,
    answer::{self, Refusal},
    auth::Who,
    events::{self, EventsQuery},
    idempotency,
    place::{Asked, Place},
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode, header};
use maniple_api::TaskRequest;
use maniple_core::{Principal, trace::TraceContext};
use maniple_runtime::desk::{Act, Submission};
use std::sync::Arc;

/// 200 when it has ended, 202 when it goes on, or its events.
pub(super) async fn run(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<EventsQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let submission = door.submission(&who, &place, &headers, body).await?;
    let desk = &door.desk;
    if wants_events(&headers) {
        let (created, reader) = desk.submit_and_follow(&who, submission).await?;
        let response = events::stream(&door, reader.with_reasoning(query.wants_reasoning()));
        return Ok(answer::replayed(answer::located(response, &created.result), created.replayed));
    }
    let agent = submission.request.agent.clone();
    let patience = desk.patience(&agent, door.closing.cancelled());
    let (created, result) = desk.submit_and_wait(&who, submission, patience).await?;
    let response = match result.status.is_final() {
        true => answer::located(answer::json(StatusCode::OK, &result), &result),
        false => answer::accepted(&result),
    };
    Ok(answer::replayed(response, created.replayed))
}

/// 202, once the task is durable.
pub(super) async fn submit(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let submission = door.submission(&who, &place, &headers, body).await?;
    let created = door.desk.submit(&who, submission).await?;
    Ok(answer::replayed(answer::accepted(&created.result), created.replayed))
}

impl Door {
    /// What a request submits, and to which agent.
    async fn submission(&self, who: &Principal, place: &Place, headers: &HeaderMap, body: Body) -> Result<Submission, Refusal> {
        let desk = &self.desk;
        Act::Submit.by(who)?;
        if place.agent.is_some() {
            // Before the body is read: it could not help.
            desk.agent_for(who, &place.addressee(None)?)?;
        }
        let key = idempotency::key(headers)?;
        let request = TaskRequest::read(&self.read_json(who, headers, body).await?)?;
        let agent = desk.agent_for(who, &place.addressee(request.agent.as_deref())?)?;
        Ok(Submission { request: request.to(&agent.name)?, key, trace: trace(headers) })
    }
}

/// The caller's trace.
pub(super) fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let states: Vec<&str> = headers.get_all("tracestate").iter().filter_map(|state| state.to_str().ok()).collect();
    let state = (!states.is_empty()).then(|| states.join(","));
    let parent = headers.get("traceparent").and_then(|parent| parent.to_str().ok())?;
    TraceContext::parse(parent, state.as_deref())
}

/// Whether `Accept` wishes for `text/event-stream`: names it, and not with `q=0`, which says that it is not acceptable
/// (RFC 9110, 12.4.2).
fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    accepted.into_iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_stream = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("text/event-stream"));
        let weight = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        is_stream && weight.is_none_or(|(_, weight)| weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}
