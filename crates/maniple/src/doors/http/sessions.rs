//! Conversations: their messages and their erasure.

use super::{
    Shared,
    answer::{self, Refusal},
    auth::Who,
    place::{Asked, Place, no_agent},
};
use axum::{extract::State, response::Response};
use http::StatusCode;
use maniple_api::{
    Malformed,
    page::{self, Erased, MessagePage},
};
use maniple_core::{AgentName, Kind, Principal, Result, Scope, SessionId, SessionKey, TaskId};
use serde::Deserialize;
use std::sync::Arc;

/// The most text of one page; a single turn may be larger.
const PAGE_BYTES: usize = 4 << 20;

/// The query of a conversation.
#[derive(Deserialize)]
pub(super) struct SessionQuery {
    agent: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn messages(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<SessionQuery>,
) -> Result<Response, Refusal> {
    who.may(Scope::Read)?;
    let limit = page::limit(query.limit.as_deref())?;
    let session = shared.session(&who, &place, query.agent.as_deref())?;
    let bad_cursor = || Malformed("cursor is not one of ours, or its task is gone: begin without one".into());
    let before = query.cursor.as_deref().map(|id| TaskId::parse(id).map_err(|_| bad_cursor())).transpose()?;
    let turns = match shared.door.desk.conversation(&session, before.as_ref(), limit, PAGE_BYTES).await {
        Err(error) if error.kind == Kind::NotFound && before.is_some() => return Err(bad_cursor().into()),
        other => other?.turns,
    };
    if turns.is_empty() {
        shared.exists(&session.agent)?;
    }
    let bytes: usize = turns.iter().map(|turn| turn.prompt.len() + turn.output.as_ref().map_or(0, String::len)).sum();
    let more = turns.len() >= limit || bytes >= PAGE_BYTES;
    Ok(answer::json(StatusCode::OK, &MessagePage::of(turns, more)))
}

pub(super) async fn erase(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<SessionQuery>,
) -> Result<Response, Refusal> {
    who.may(Scope::Admin)?;
    let session = shared.session(&who, &place, query.agent.as_deref())?;
    let tasks = shared.door.desk.erase(&session).await?;
    if tasks == 0 {
        shared.exists(&session.agent)?;
    }
    let erased = Erased { session_id: session.id.to_string(), agent: session.agent.to_string(), tasks };
    Ok(answer::json(StatusCode::OK, &erased))
}

impl Shared {
    /// The session at a place. Its agent may be gone: what it left can still be read and erased.
    fn session(&self, who: &Principal, place: &Place, named: Option<&str>) -> Result<SessionKey> {
        let agent = match (place.agent_name()?, named) {
            (Some(name), _) => name,
            (None, Some(name)) => AgentName::parse(name)?,
            (None, None) => self.agent_for(who, place, None)?.name.clone(),
        };
        who.may_use(&agent)?;
        Ok(SessionKey { tenant: who.tenant.clone(), agent, id: SessionId::parse(&place.id)? })
    }
    fn exists(&self, agent: &AgentName) -> Result<()> {
        self.door.agents.get(agent).map(|_| ()).ok_or_else(|| no_agent(agent.as_str()))
    }
}
