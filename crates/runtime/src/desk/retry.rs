//! A retry: a new task that takes over a failed one's record.

use super::{Desk, Submission, no_task};
use maniple_core::{
    Error, Result, TaskId, TaskKey,
    event::{Event, StoredEvent},
    ports::{Created, Idempotency},
    request::Content,
    run::take_over,
    task::Task,
    trace::TraceContext,
};

/// How many events one read of the old journal brings.
const PAGE: usize = 256;

/// Who retries, and under which name.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The new task's id.
    pub fresh_id: TaskId,
    /// Who asks.
    pub principal: String,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The caller's Idempotency-Key, with the path as scope.
    pub idempotency: Option<Idempotency>,
    /// Whether it takes the old task out of the dead letters; `NotFound` where it is not there.
    pub requeues: bool,
}

impl Desk {
    /// Makes a new task of a failed one: the same request, its steps, tokens and deadline counted afresh,
    /// with the old record through the last step in which a tool call was started.
    ///
    /// `Conflict` for a task that did not fail, `NotFound` for none.
    pub async fn retry(&self, key: &TaskKey, retry: Retry) -> Result<Created> {
        let journal = self.journal(key).await?;
        let taken_over = take_over(&journal)?;
        let Retry { fresh_id, principal, trace, idempotency, requeues } = retry;
        let task = Task {
            id: fresh_id,
            not_before: None, // its moment has been
            retry_of: Some(key.id.clone()),
            principal,
            trace,
            ..asked(&journal)?
        };
        let submission = Submission { task, content: Content::Retry(key.id.clone()), idempotency };
        self.create(submission, Some(Event::TakenOver(taken_over)), requeues.then(|| key.id.clone())).await
    }

    async fn journal(&self, key: &TaskKey) -> Result<Vec<StoredEvent>> {
        let mut journal: Vec<StoredEvent> = Vec::new();
        loop {
            let after = journal.last().map_or(0, |event| event.seq);
            let page = self.tasks.events(key, after, PAGE).await?.ok_or_else(|| no_task(&key.id))?;
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
