//! What runs ask of people, and what people say.

use super::{
    Door,
    answer::{self, Refusal},
    auth::Who,
    idempotency,
    place::{Asked, Place},
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::{
    approvals::{self, Approval, ApprovalPage, Choice, Decision},
    page,
};
use maniple_core::{AgentName, TaskId};
use maniple_runtime::desk::{Act, Addressee, ApprovalQuery, Page, Said};
use serde::Deserialize;
use std::sync::Arc;

/// The query of a list of requests.
#[derive(Deserialize)]
pub(super) struct Query {
    state: Option<String>,
    agent: Option<String>,
    task_id: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn list(State(door): State<Arc<Door>>, Who(who): Who, Asked(query): Asked<Query>) -> Result<Response, Refusal> {
    Act::LookAtApprovals.by(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    let of = query.agent.as_deref().map(AgentName::parse).transpose()?.map_or(Addressee::Unsaid, Addressee::Named);
    Act::LookAtApprovals.about(&who, &of)?;
    let query = ApprovalQuery {
        limit,
        of,
        state: query.state.as_deref().map(approvals::state).transpose()?,
        task: query.task_id.as_deref().map(TaskId::parse).transpose()?,
        after: query.cursor.as_deref().map(|text| page::read_cursor(text, |id| Some(id.to_owned()))).transpose()?,
    };
    let Page { items, next } = door.desk.approvals(&who, query).await?;
    Ok(answer::json(StatusCode::OK, &ApprovalPage::of(items, next)))
}

pub(super) async fn get(State(door): State<Arc<Door>>, Who(who): Who, place: Place) -> Result<Response, Refusal> {
    let approval = door.desk.approval(&who, &place.id).await?;
    Ok(answer::json(StatusCode::OK, &Approval::from(approval)))
}

pub(super) async fn decide(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::Decide.by(&who)?;
    let key = idempotency::key(&headers)?;
    let Decision { decision, reason } = Decision::read(&door.read_json(&who, &headers, body).await?)?;
    let said = Said { approve: decision == Choice::Approve, reason };
    let (decided, was) = door.desk.decide(&who, &place.id, said, key).await?;
    Ok(answer::replayed(answer::json(StatusCode::OK, &Approval::from(decided.approval)), was.is_replay()))
}
