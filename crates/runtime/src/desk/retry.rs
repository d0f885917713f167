//! A retry: a new task that takes over a failed one's record.

use super::{Act, Desk, IdempotencyKey, Sought, intake, named::no_task};
use maniple_core::{
    Error, Principal, Result, TaskKey,
    event::{Event, StoredEvent},
    ports::{Created, NewTask},
    request::Content,
    run::take_over,
    task::Task,
    trace::TraceContext,
};

/// How many events one read of the old journal brings.
const PAGE: usize = 256;

impl Desk {
    /// Makes a new task of a failed one: the same request, its steps, tokens and deadline counted afresh,
    /// with the old record through the last step in which a tool call was started.
    ///
    /// `Conflict` for a task that did not fail, or whose agent is not served any more; `NotFound` for none, and for one that the
    /// principal may not see: its record becomes theirs.
    pub async fn retry(
        &self,
        who: &Principal,
        sought: &Sought,
        key: Option<IdempotencyKey>,
        trace: Option<TraceContext>,
    ) -> Result<Created> {
        self.again(who, sought, key.map(|key| (key, format!("/tasks/{}/retry", sought.id))), trace, false).await
    }

    /// A retry that takes the old task out of the dead letters; `NotFound` where it is not there.
    pub async fn requeue(
        &self,
        who: &Principal,
        sought: &Sought,
        key: Option<IdempotencyKey>,
        trace: Option<TraceContext>,
    ) -> Result<Created> {
        self.again(who, sought, key.map(|key| (key, format!("/dead-letters/{}/requeue", sought.id))), trace, true).await
    }

    async fn again(
        &self,
        who: &Principal,
        sought: &Sought,
        key: Option<(IdempotencyKey, String)>,
        trace: Option<TraceContext>,
        requeues: bool,
    ) -> Result<Created> {
        Act::Submit.by(who)?;
        let (old, result) = self.seen(who, sought).await?;
        let Some(agent) = self.parts.agents.get(&result.agent) else {
            let message = format!("the agent `{}` is not served here any more: put its file back, then retry", result.agent);
            return Err(Error::conflict(message).at("agent"));
        };
        let journal = self.journal(&old).await?;
        let taken_over = take_over(&journal)?;
        let task = Task {
            id: intake::fresh_id(),
            not_before: None, // its moment has been
            retry_of: Some(old.id.clone()),
            principal: who.name.clone(),
            trace: Some(intake::traced(trace)),
            ..asked(&journal)?
        };
        let new = NewTask {
            publish: self.publish(&agent, who),
            task,
            content: Content::Retry(old.id.clone()),
            idempotency: key.map(|(key, path)| key.of_act(path)),
            taken_over: Some(Event::TakenOver(taken_over)),
            requeues: requeues.then_some(old.id),
            born: None,
            session_waiting_max: self.terms.limits.session_waiting,
            unfinished_max: self.terms.limits.unfinished_tasks,
            unfinished_each: self.terms.unfinished_each(),
        };
        self.create(who, new).await
    }

    async fn journal(&self, key: &TaskKey) -> Result<Vec<StoredEvent>> {
        let mut journal: Vec<StoredEvent> = Vec::new();
        loop {
            let after = journal.last().map_or(0, |event| event.seq);
            let page = self.parts.tasks.events(key, after, PAGE, usize::MAX).await?.ok_or_else(|| no_task(key.id.as_str()))?;
            let is_last = page.len() < PAGE;
            journal.extend(page);
            if is_last {
                return Ok(journal);
            }
        }
    }
}

/// The task as it was accepted.
fn asked(journal: &[StoredEvent]) -> Result<Task> {
    match journal.first().map(StoredEvent::event).transpose()? {
        Some(Event::Accepted(task)) => Ok(task),
        _ => Err(Error::internal("a journal must begin with task.accepted")),
    }
}
