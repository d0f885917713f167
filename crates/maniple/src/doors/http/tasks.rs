//! Tasks: as they are, listed, cancelled, retried.

use super::{
    Shared,
    answer::{self, Refusal},
    auth::Who,
    idempotency,
    place::{Asked, Place, no_agent},
    run,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::page::{self, Cursor, TaskPage};
use maniple_core::{
    AgentName, Error, Principal, Result, Scope, SessionId,
    ports::{Idempotency, ListTasks},
    task::TaskStatus,
};
use maniple_runtime::desk::{Cancelled, Retry};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

pub(super) async fn get(State(shared): State<Arc<Shared>>, Who(who): Who, place: Place) -> Result<Response, Refusal> {
    who.may(Scope::Read)?;
    let (_, result) = shared.task(&who, &place).await?;
    Ok(answer::json(StatusCode::OK, &result))
}

/// The query of a list of tasks.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    status: Option<String>,
    session_id: Option<String>,
    agent: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, Refusal> {
    who.may(Scope::Read)?;
    shared.page(&who, &place, query, false).await
}

impl Shared {
    /// A page of tasks, or of dead letters.
    pub(super) async fn page(&self, who: &Principal, place: &Place, query: ListQuery, dead: bool) -> Result<Response, Refusal> {
        let limit = page::limit(query.limit.as_deref())?;
        let cursor = query.cursor.as_deref().map(Cursor::decode).transpose()?;
        let in_path = place.agent_name()?;
        let agent = match (&in_path, query.agent.as_deref()) {
            (Some(name), _) => Some(name.clone()),
            (None, named) => named.map(AgentName::parse).transpose()?,
        };
        let list = ListTasks {
            tenant: who.tenant.clone(),
            agents: match agent {
                Some(agent) => {
                    who.may_use(&agent)?;
                    vec![agent]
                }
                None => match &who.agents {
                    // No agents would mean any to the store.
                    Some(agents) if agents.is_empty() => return Ok(answer::json(StatusCode::OK, &TaskPage::of(Vec::new(), limit))),
                    Some(agents) => agents.iter().cloned().collect(),
                    None => Vec::new(),
                },
            },
            status: query.status.as_deref().map(status).transpose()?,
            session_id: query.session_id.as_deref().map(SessionId::parse).transpose()?,
            dead,
            before: cursor.map(|cursor| (cursor.created_at, cursor.id)),
            limit: limit + 1,
        };
        let tasks = self.door.desk.list(&list).await?;
        // An agent that is gone may have left tasks; one that never was has none.
        if let Some(name) = in_path.filter(|name| tasks.is_empty() && self.door.agents.get(name).is_none()) {
            return Err(no_agent(name.as_str()).into());
        }
        Ok(answer::json(StatusCode::OK, &TaskPage::of(tasks, limit)))
    }
}

fn status(text: &str) -> Result<TaskStatus, Error> {
    let message = "status must be one of pending, running, completed, failed, cancelled";
    TaskStatus::parse(text).ok_or_else(|| Error::invalid(message).at("status"))
}

/// `DELETE`: as `POST …/cancel`, which takes a key.
pub(super) async fn delete(State(shared): State<Arc<Shared>>, Who(who): Who, place: Place) -> Result<Response, Refusal> {
    who.may(Scope::Cancel)?;
    shared.cancel(&who, &place, None).await
}

pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    who.may(Scope::Cancel)?;
    let key = idempotency::of_path(&headers, &format!("/tasks/{}/cancel", place.id))?;
    shared.read_nothing(&headers, body).await?;
    shared.cancel(&who, &place, key).await
}

impl Shared {
    async fn cancel(&self, who: &Principal, place: &Place, idempotency: Option<Idempotency>) -> Result<Response, Refusal> {
        let (key, _) = self.task(who, place).await?;
        let (cancelled, was) = self.door.desk.cancel(&key, &who.name, idempotency).await?;
        let response = match cancelled {
            Cancelled::Asked(result) => answer::accepted(&result),
            Cancelled::Final(result) => answer::json(StatusCode::OK, &result),
        };
        Ok(answer::replayed(response, was.is_replay()))
    }

    /// The key with its scope, for a POST with a body that makes no task; fails where it was used for another body.
    pub(super) async fn keyed(&self, who: &Principal, key: Option<String>, path: &str, body: &Value) -> Result<Option<Idempotency>> {
        let Some(idempotency) = idempotency::of_body(key, path, body) else { return Ok(None) };
        self.door.desk.recall(&who.tenant, &idempotency).await?;
        Ok(Some(idempotency))
    }

    /// Remembers the key of a call that made something of that name and is answered with 2xx; whether it was known.
    pub(super) async fn seen(&self, who: &Principal, key: Option<Idempotency>, made: &str) -> Result<bool> {
        match key {
            Some(key) => Ok(self.door.desk.remember(&who.tenant, &key, made).await?.is_replay()),
            None => Ok(false),
        }
    }
}

pub(super) async fn retry(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    who.may(Scope::Run)?;
    let key = idempotency::of_path(&headers, &format!("/tasks/{}/retry", place.id))?;
    shared.read_nothing(&headers, body).await?;
    shared.retry(&who, &place, &headers, key, false).await
}

impl Shared {
    /// A new task from a failed one's record; `requeues` takes the old one out of the dead letters.
    pub(super) async fn retry(
        &self,
        who: &Principal,
        place: &Place,
        headers: &HeaderMap,
        idempotency: Option<Idempotency>,
        requeues: bool,
    ) -> Result<Response, Refusal> {
        let (key, old) = self.task(who, place).await?;
        if self.door.agents.get(&old.agent).is_none() {
            let message = format!("the agent `{}` is not served here any more: put its file back, then retry", old.agent);
            return Err(Error::conflict(message).at("agent").into());
        }
        let trace = Some(run::trace(headers));
        let retry = Retry { fresh_id: run::fresh_id(), principal: who.name.clone(), trace, idempotency, requeues };
        let created = self.door.desk.retry(&key, retry).await?;
        Ok(answer::replayed(answer::accepted(&created.result), created.replayed))
    }
}
