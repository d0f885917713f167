//! Dead letters: tasks that kept killing their worker.

use super::{
    Shared,
    answer::{self, Refusal},
    auth::Who,
    idempotency,
    place::{Asked, Place},
    tasks::ListQuery,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_core::Scope;
use std::sync::Arc;

pub(super) async fn list(State(shared): State<Arc<Shared>>, Who(who): Who, Asked(query): Asked<ListQuery>) -> Result<Response, Refusal> {
    who.may(Scope::Read)?;
    shared.page(&who, &Place::default(), query, true).await
}

/// A retry that takes it out of the dead letters.
pub(super) async fn requeue(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    who.may(Scope::Run)?;
    let key = idempotency::of_path(&headers, &format!("/dead-letters/{}/requeue", place.id))?;
    shared.read_nothing(&headers, body).await?;
    shared.retry(&who, &place, &headers, key, true).await
}

/// Takes it out; its record stays.
pub(super) async fn drop(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    who.may(Scope::Admin)?;
    let idempotency = idempotency::of_path(&headers, &format!("/dead-letters/{}/drop", place.id))?;
    shared.read_nothing(&headers, body).await?;
    let (key, result) = shared.task(&who, &place).await?;
    let was = shared.door.desk.drop_dead_letter(&key, idempotency).await?;
    Ok(answer::replayed(answer::json(StatusCode::OK, &result), was.is_replay()))
}
