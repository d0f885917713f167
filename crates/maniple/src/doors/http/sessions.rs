//! Conversations: which there are, their messages and their erasure.

use super::{
    Door,
    answer::{self, Refusal},
    auth::Who,
    place::{Asked, Place},
};
use axum::{extract::State, response::Response};
use http::StatusCode;
use maniple_api::{
    Malformed,
    page::{self, Erased, MessagePage, SessionPage},
};
use maniple_core::{Kind, SessionId, TaskId};
use maniple_runtime::desk::{self, Act, Page};
use serde::Deserialize;
use std::sync::Arc;

/// The query of a conversation.
#[derive(Deserialize)]
pub(super) struct SessionQuery {
    agent: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// The query of a list of conversations.
#[derive(Deserialize)]
pub(super) struct SessionsQuery {
    agent: Option<String>,
    include: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<SessionsQuery>,
) -> Result<Response, Refusal> {
    Act::Look.by(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    let includes_prompt = page::includes_prompt(query.include.as_deref())?;
    let before = query.cursor.as_deref().map(|text| page::read_cursor(text, |id| TaskId::parse(id).ok())).transpose()?;
    let with = place.addressee(query.agent.as_deref())?;
    Act::Look.about(&who, &with)?;
    let Page { mut items, next } = door.desk.sessions(&who, desk::SessionQuery { with, before, limit }).await?;
    if includes_prompt {
        door.desk.tell_beginnings(&who, items.iter_mut().map(|session| &mut session.last)).await?;
    }
    Ok(answer::json(StatusCode::OK, &SessionPage::of(items, next)))
}

pub(super) async fn messages(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<SessionQuery>,
) -> Result<Response, Refusal> {
    Act::Look.by(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    let with = place.addressee(query.agent.as_deref())?;
    Act::Look.about(&who, &with)?;
    let id = SessionId::parse(&place.id)?;
    let bad_cursor = || Malformed("cursor is not one of ours, or its task is gone: begin without one".into());
    let before = query.cursor.as_deref().map(|id| TaskId::parse(id).map_err(|_| bad_cursor())).transpose()?;
    let found = door.desk.conversation(&who, &with, id, before.as_ref(), limit).await;
    match found {
        Err(error) if error.kind == Kind::NotFound && error.field.as_deref() == Some("before") => Err(bad_cursor().into()),
        found => {
            let Page { items, next } = found?;
            Ok(answer::json(StatusCode::OK, &MessagePage::of(items, next)))
        }
    }
}

pub(super) async fn erase(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<SessionQuery>,
) -> Result<Response, Refusal> {
    Act::Erase.by(&who)?;
    let (with, id) = (place.addressee(query.agent.as_deref())?, SessionId::parse(&place.id)?);
    let (session, tasks) = door.desk.erase(&who, &with, id).await?;
    let erased = Erased { session_id: session.id.to_string(), agent: session.agent.to_string(), tasks };
    Ok(answer::json(StatusCode::OK, &erased))
}
