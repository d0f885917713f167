//! Dead letters: tasks that kept killing their worker.

use super::{
    Door,
    answer::{self, Refusal},
    auth::Who,
    place::{Asked, Place},
    run::trace,
    tasks::ListQuery,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_runtime::desk::Act;
use std::sync::Arc;

pub(super) async fn list(State(door): State<Arc<Door>>, Who(who): Who, Asked(query): Asked<ListQuery>) -> Result<Response, Refusal> {
    Act::Look.by(&who)?;
    let (with_prompts, query) = (query.includes_prompt()?, query.read(&who, &Place::default())?);
    door.page_of_tasks(&who, door.desk.dead_letters(&who, query).await?, with_prompts).await
}

/// A retry that takes it out of the dead letters.
pub(super) async fn requeue(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::Submit.by(&who)?;
    let key = door.read_key(&who, &headers, body).await?;
    let created = door.desk.requeue(&who, &place.task()?, key, trace(&headers)).await?;
    Ok(answer::replayed(answer::accepted(&created.result), created.replayed))
}

/// Takes it out; its record stays.
pub(super) async fn drop(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::Erase.by(&who)?;
    let key = door.read_key(&who, &headers, body).await?;
    let (result, was) = door.desk.drop_dead_letter(&who, &place.task()?, key).await?;
    Ok(answer::replayed(answer::json(StatusCode::OK, &result), was.is_replay()))
}
