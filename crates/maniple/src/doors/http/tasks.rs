//! Tasks: as they are, listed, cancelled, retried.

use super::{
    Door,
    answer::{self, Refusal},
    auth::Who,
    place::{Asked, Place},
    run::trace,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::page::{self, TaskPage};
use maniple_core::{Error, Principal, SessionId, TaskId, ports::KeyWas, task::TaskStatus};
use maniple_runtime::desk::{self, Act, Cancelled, Page, TaskQuery};
use serde::Deserialize;
use std::sync::Arc;

/// The query of a task.
#[derive(Deserialize)]
pub(super) struct TaskQueried {
    include: Option<String>,
}

pub(super) async fn get(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<TaskQueried>,
) -> Result<Response, Refusal> {
    Act::Follow.by(&who)?;
    let sought = place.task()?;
    let result = match page::includes_prompt(query.include.as_deref())? {
        true => door.desk.get_with_prompt(&who, &sought).await?,
        false => door.desk.get(&who, &sought).await?,
    };
    Ok(answer::json(StatusCode::OK, &result))
}

/// The query of a list of tasks.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    status: Option<String>,
    session_id: Option<String>,
    agent: Option<String>,
    include: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

impl ListQuery {
    /// Whether the beginnings of prompts are wished for.
    pub(super) fn includes_prompt(&self) -> Result<bool, Error> {
        page::includes_prompt(self.include.as_deref())
    }

    /// What is asked for at this place.
    pub(super) fn read(&self, who: &Principal, place: &Place) -> Result<TaskQuery, Refusal> {
        let limit = page::limit(self.limit.as_deref())?;
        let before = self.cursor.as_deref().map(|text| page::read_cursor(text, |id| TaskId::parse(id).ok())).transpose()?;
        let of = place.addressee(self.agent.as_deref())?;
        Act::Look.about(who, &of)?;
        Ok(TaskQuery {
            of,
            status: self.status.as_deref().map(status).transpose()?,
            session_id: self.session_id.as_deref().map(SessionId::parse).transpose()?,
            before,
            limit,
        })
    }
}

fn status(text: &str) -> Result<TaskStatus, Error> {
    let message = "status must be one of pending, running, completed, failed, cancelled";
    TaskStatus::parse(text).ok_or_else(|| Error::invalid(message).at("status"))
}

impl Door {
    /// A page of tasks, with the beginnings of their prompts where they are wished for.
    pub(super) async fn page_of_tasks(&self, who: &Principal, found: desk::TaskPage, with_prompts: bool) -> Result<Response, Refusal> {
        let Page { mut items, next } = found;
        if with_prompts {
            self.desk.tell_beginnings(who, items.iter_mut()).await?;
        }
        Ok(answer::json(StatusCode::OK, &TaskPage::of(items, next)))
    }
}

pub(super) async fn list(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, Refusal> {
    Act::Look.by(&who)?;
    let (with_prompts, query) = (query.includes_prompt()?, query.read(&who, &place)?);
    door.page_of_tasks(&who, door.desk.list(&who, query).await?, with_prompts).await
}

/// `DELETE`: as `POST …/cancel`, which takes a key.
pub(super) async fn delete(State(door): State<Arc<Door>>, Who(who): Who, place: Place) -> Result<Response, Refusal> {
    Act::Cancel.by(&who)?;
    Ok(cancelled(door.desk.cancel(&who, &place.task()?, None).await?))
}

pub(super) async fn cancel(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::Cancel.by(&who)?;
    let key = door.read_key(&who, &headers, body).await?;
    Ok(cancelled(door.desk.cancel(&who, &place.task()?, key).await?))
}

fn cancelled((cancelled, was): (Cancelled, KeyWas)) -> Response {
    let response = match cancelled {
        Cancelled::Asked(result) => answer::accepted(&result),
        Cancelled::Final(result) => answer::json(StatusCode::OK, &result),
    };
    answer::replayed(response, was.is_replay())
}

/// A new task from a failed one's record.
pub(super) async fn retry(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Act::Submit.by(&who)?;
    let key = door.read_key(&who, &headers, body).await?;
    let created = door.desk.retry(&who, &place.task()?, key, trace(&headers)).await?;
    Ok(answer::replayed(answer::accepted(&created.result), created.replayed))
}
