//! What runs ask of people, and what people say.

use super::{Act, Addressee, Desk, IdempotencyKey, Page};
use maniple_core::{
    Error, Principal, Result, TaskId, Time,
    ports::{Approval, ApprovalState, Decided, Decision, Hint, KeyWas, ListApprovals},
};
use serde_json::{Value, json};

/// Which requests to list.
#[derive(Debug, Clone)]
pub struct ApprovalQuery {
    /// Of which agent's tasks; of all that the principal may use where nothing is said.
    pub of: Addressee,
    /// In this state only.
    pub state: Option<ApprovalState>,
    /// Of this task only.
    pub task: Option<TaskId>,
    /// Strictly newer than this (requested_at, id).
    pub after: Option<(Time, String)>,
    /// At most; not 0.
    pub limit: usize,
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether the call may be made; or, for a call in doubt, whether it happened.
    pub approve: bool,
    /// Why, at most 4,096 characters; the model reads it.
    pub reason: Option<String>,
}

impl Said {
    /// What the same key is compared by.
    fn content(&self) -> Value {
        let mut content = json!({ "decision": if self.approve { "approve" } else { "deny" } });
        if let Some(reason) = &self.reason {
            content["reason"] = reason.as_str().into();
        }
        content
    }
}

impl Desk {
    /// Requests for a person, oldest first; those of tasks that ended are not there.
    pub async fn approvals(&self, who: &Principal, query: ApprovalQuery) -> Result<Page<Approval, (Time, String)>> {
        Act::LookAtApprovals.by(who)?;
        let ApprovalQuery { of, state, task, after, limit } = query;
        let Some(agents) = self.agents_of(who, &of)? else { return Ok(Page::empty()) };
        let list = ListApprovals { tenant: who.tenant.clone(), agents, state, task, after, limit: limit + 1 };
        let found = self.parts.tasks.approvals(&list).await?;
        Ok(Page::of(found, limit, |approval| (approval.requested_at, approval.request.id.clone())))
    }

    /// One request. `NotFound` for none, and for one of another tenant or of an agent that the principal may not use.
    pub async fn approval(&self, who: &Principal, id: &str) -> Result<Approval> {
        Act::LookAtApprovals.by(who)?;
        self.request(who, id).await
    }

    /// Decides over a request and wakes its run. Errors are those of [`maniple_core::ports::Tasks::decide`].
    pub async fn decide(&self, who: &Principal, id: &str, said: Said, key: Option<IdempotencyKey>) -> Result<(Decided, KeyWas)> {
        Act::Decide.by(who)?;
        self.request(who, id).await?;
        let idempotency = key.map(|key| key.of_saying(format!("/approvals/{id}"), &said.content()));
        let decision = Decision { approve: said.approve, by: who.name.clone(), reason: said.reason };
        let (decided, was) = self.parts.tasks.decide(&who.tenant, id, decision, idempotency).await?;
        self.parts.bus.hint(Hint::Signalled(decided.approval.key.clone()));
        self.parts.bus.hint(Hint::Ready(decided.approval.agent.clone()));
        Ok((decided, was))
    }

    async fn request(&self, who: &Principal, id: &str) -> Result<Approval> {
        let found = self.parts.tasks.approval(&who.tenant, id).await?.filter(|approval| who.uses(&approval.agent));
        found.ok_or_else(|| Error::not_found(format!("there is no approval `{id}`")))
    }
}
