//! What runs ask of people, and what people say.

use super::{
    Shared,
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
use maniple_core::{
    AgentName, Principal, Result, Scope, TaskId,
    ports::{self, ListApprovals},
};
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

pub(super) async fn list(State(shared): State<Arc<Shared>>, Who(who): Who, Asked(query): Asked<Query>) -> Result<Response, Refusal> {
    may_look(&who)?;
    let limit = page::limit(query.limit.as_deref())?;
    let agents = match (query.agent.as_deref().map(AgentName::parse).transpose()?, &who.agents) {
        (Some(agent), _) => {
            who.may_use(&agent)?;
            vec![agent]
        }
        // No agents would mean any to the store.
        (None, Some(agents)) if agents.is_empty() => return Ok(answer::json(StatusCode::OK, &ApprovalPage::of(Vec::new(), limit))),
        (None, Some(agents)) => agents.iter().cloned().collect(),
        (None, None) => Vec::new(),
    };
    let asked = ListApprovals {
        tenant: who.tenant.clone(),
        agents,
        state: query.state.as_deref().map(approvals::state).transpose()?,
        task: query.task_id.as_deref().map(TaskId::parse).transpose()?,
        after: query.cursor.as_deref().map(approvals::cursor).transpose()?,
        limit: limit + 1,
    };
    let found = shared.door.desk.approvals(&asked).await?;
    Ok(answer::json(StatusCode::OK, &ApprovalPage::of(found, limit)))
}

pub(super) async fn get(State(shared): State<Arc<Shared>>, Who(who): Who, place: Place) -> Result<Response, Refusal> {
    may_look(&who)?;
    let approval = shared.approval(&who, &place.id).await?;
    Ok(answer::json(StatusCode::OK, &Approval::from(approval)))
}

pub(super) async fn decide(
    State(shared): State<Arc<Shared>>,
    Who(who): Who,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    who.may(Scope::Approve)?;
    let key = idempotency::key(&headers)?;
    let body = shared.read_json(&headers, body).await?;
    let Decision { decision, reason } = Decision::read(&body)?;
    let key = idempotency::of_body(key, &format!("/approvals/{}", place.id), &body);
    shared.approval(&who, &place.id).await?;
    let decision = ports::Decision { approve: decision == Choice::Approve, by: who.name.clone(), reason };
    let (decided, was) = shared.door.desk.decide(&who.tenant, &place.id, decision, key).await?;
    Ok(answer::replayed(answer::json(StatusCode::OK, &Approval::from(decided.approval)), was.is_replay()))
}

impl Shared {
    /// A request of the tenant, for those who may use its agent.
    async fn approval(&self, who: &Principal, id: &str) -> Result<ports::Approval> {
        let approval = self.door.desk.approval(&who.tenant, id).await?;
        who.may_use(&approval.agent)?;
        Ok(approval)
    }
}

/// Who decides must see what about.
fn may_look(who: &Principal) -> Result<()> {
    who.may_either(Scope::Read, Scope::Approve)
}
