//! The one service behind every door: HTTP, gRPC, the command line and Kafka ask the same things here.
//!
//! ```text
//! submit ─► store.create ─► publish what was recorded ─► hint the workers
//! wait, events:  subscribe first, read the journal, then live; the bus only hints, so the journal is read again
//! ```
//! It holds nothing: any replica can answer for any task.

mod reader;
mod retry;
mod wait;

pub use reader::{Reader, Told};
pub use retry::Retry;

use crate::{
    ended,
    worker::{Started, Starter},
};
use maniple_core::{
    Error, Result, SessionKey, TaskId, TaskKey, Tenant,
    ports::{
        Approval, Bus, Conversation, Created, Decided, Decision, Hint, Idempotency, KeyWas, ListApprovals, ListTasks, Live, NewTask,
        Signalled, Tasks,
    },
    request::Content,
    settings::{Bound, Section},
    signal::{Signal, SignalKind},
    task::{AgentResult, Task},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// How much a desk takes in. It shares its section of the file with others: who reads that refuses unknown keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Tasks that may wait in one session, 1 to 10,000; beyond, 429. Default 100.
    pub session_waiting: u32,
    /// Unfinished tasks in the store, 1 to 100,000,000; beyond, 503. Default 1,000,000.
    pub unfinished_tasks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { session_waiting: 100, unfinished_tasks: 1_000_000 }
    }
}

impl Section for Limits {
    fn bounds(&self) -> Vec<Bound> {
        vec![
            Bound::of("session_waiting", self.session_waiting, 1..=10_000),
            Bound::of("unfinished_tasks", self.unfinished_tasks, 1..=100_000_000),
        ]
    }
}

/// How long a waiting reader trusts the bus before it looks into the journal; the pause doubles up to four times this
/// while nothing happens.
const POLL: Duration = Duration::from_secs(1);

/// Takes tasks in, tells how they are, and passes on what people want of them.
#[derive(Clone)]
pub struct Desk {
    tasks: Arc<dyn Tasks>,
    bus: Arc<dyn Bus>,
    limits: Limits,
    starter: Option<Starter>,
}

/// A checked task to accept.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The task.
    pub task: Task,
    /// What the same id, or the same key, is compared by.
    pub content: Content,
    /// The caller's Idempotency-Key.
    pub idempotency: Option<Idempotency>,
}

/// What became of a wish to cancel.
#[derive(Debug, Clone)]
pub enum Cancelled {
    /// It is asked to stop, or has stopped.
    Asked(AgentResult),
    /// It was final already; nothing changed.
    Final(AgentResult),
}

impl Desk {
    /// A desk over a store and a bus.
    pub fn new(tasks: Arc<dyn Tasks>, bus: Arc<dyn Bus>, limits: Limits) -> Self {
        Self { tasks, bus, limits, starter: None }
    }

    /// The same with a worker in this process, where tasks that can start at once do.
    pub fn with_starter(self, starter: Starter) -> Self {
        Self { starter: Some(starter), ..self }
    }

    /// Accepts a task. It is durable when this returns. Errors are those of [`Tasks::create`].
    pub async fn submit(&self, submission: Submission) -> Result<Created> {
        self.create(submission, None, None).await
    }

    async fn create(
        &self,
        submission: Submission,
        taken_over: Option<maniple_core::event::Event>,
        requeues: Option<TaskId>,
    ) -> Result<Created> {
        let Submission { task, content, idempotency } = submission;
        let tenant = task.tenant.clone();
        let new = NewTask {
            task,
            content,
            idempotency,
            taken_over,
            requeues,
            born: None,
            session_waiting_max: self.limits.session_waiting,
            unfinished_max: self.limits.unfinished_tasks,
        };
        let created = self.accept(new).await?;
        // Of a task that was born claimed, its worker has told.
        if created.fresh && created.claim.is_none() {
            let key = TaskKey { tenant, id: created.result.task_id.clone() };
            created.events.iter().for_each(|event| self.bus.publish(&key, Live::Event(event.clone())));
            self.bus.hint(Hint::Ready(created.result.agent.clone()));
        }
        Ok(created)
    }

    async fn accept(&self, new: NewTask) -> Result<Created> {
        let Some(starter) = &self.starter else { return self.tasks.create(new).await };
        match starter.start(new).await {
            Started::Asked(answer) => answer,
            Started::NotNow(new) => self.tasks.create(new).await,
        }
    }

    /// A task as it is now. `NotFound` for none, and for one of another tenant.
    pub async fn get(&self, key: &TaskKey) -> Result<AgentResult> {
        let found = self.tasks.get(key).await?;
        found.ok_or_else(|| no_task(&key.id))
    }

    /// Tasks, newest first.
    pub async fn list(&self, query: &ListTasks) -> Result<Vec<AgentResult>> {
        self.tasks.list(query).await
    }

    /// Asks a task to stop. What is recorded first, the cancel or the end, wins.
    pub async fn cancel(&self, key: &TaskKey, principal: &str, idempotency: Option<Idempotency>) -> Result<(Cancelled, KeyWas)> {
        // One id for all of them: a task is cancelled once, however often and by whomever it is asked.
        let signal = Signal { id: "cancel".into(), kind: SignalKind::Cancel, data: json!({ "by": principal }), at: Default::default() };
        let (signalled, remembered) = self.tasks.signal(key, signal, idempotency).await?;
        let cancelled = match signalled {
            Signalled::Recorded(result) => {
                self.bus.hint(Hint::Signalled(key.clone()));
                // It may have been parked: then it is ready now.
                self.bus.hint(Hint::Ready(result.agent.clone()));
                Cancelled::Asked(result)
            }
            Signalled::Ended(result, event) => {
                ended::count(&result.agent, result.status);
                self.bus.publish(key, Live::Event(event));
                // The next one of its session may be ready now.
                self.bus.hint(Hint::Ready(result.agent.clone()));
                Cancelled::Asked(result)
            }
            Signalled::Final(result) => Cancelled::Final(result),
        };
        Ok((cancelled, remembered))
    }

    /// Requests for a person, oldest first; those of tasks that ended are not there.
    pub async fn approvals(&self, query: &ListApprovals) -> Result<Vec<Approval>> {
        self.tasks.approvals(query).await
    }

    /// One request. `NotFound` for none, and for one of another tenant.
    pub async fn approval(&self, tenant: &Tenant, id: &str) -> Result<Approval> {
        let found = self.tasks.approval(tenant, id).await?;
        found.ok_or_else(|| Error::not_found(format!("there is no approval `{id}`")))
    }

    /// Decides over a request and wakes its run. Errors are those of [`Tasks::decide`].
    pub async fn decide(
        &self,
        tenant: &Tenant,
        id: &str,
        decision: Decision,
        idempotency: Option<Idempotency>,
    ) -> Result<(Decided, KeyWas)> {
        let (decided, remembered) = self.tasks.decide(tenant, id, decision, idempotency).await?;
        self.bus.hint(Hint::Signalled(decided.approval.key.clone()));
        self.bus.hint(Hint::Ready(decided.approval.agent.clone()));
        Ok((decided, remembered))
    }

    /// Takes a task out of the dead letters; its record stays. `NotFound` where it is not there.
    pub async fn drop_dead_letter(&self, key: &TaskKey, idempotency: Option<Idempotency>) -> Result<KeyWas> {
        self.tasks.drop_dead_letter(key, idempotency).await
    }

    /// The newest turns of a conversation; see [`Tasks::conversation`].
    pub async fn conversation(
        &self,
        session: &SessionKey,
        before: Option<&TaskId>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Conversation> {
        self.tasks.conversation(session, before, limit, max_bytes).await
    }

    /// Remembers the key of a call that does nothing to a task; see [`Tasks::remember`].
    pub async fn remember(&self, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas> {
        self.tasks.remember(tenant, idempotency, made).await
    }

    /// What was made under a key; see [`Tasks::recall`].
    pub async fn recall(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<String>> {
        self.tasks.recall(tenant, idempotency).await
    }

    /// Erases a conversation; returns how many tasks went. `Conflict` while one is unfinished.
    pub async fn erase(&self, session: &SessionKey) -> Result<u64> {
        self.tasks.erase(session).await
    }
}

fn no_task(id: &TaskId) -> Error {
    Error::not_found(format!("there is no task `{id}`"))
}

/// When to look into the journal though the bus said nothing: soon at first, then less often.
struct Pulse {
    pause: Duration,
    at: tokio::time::Instant,
}

impl Pulse {
    fn new() -> Self {
        Self { pause: POLL, at: tokio::time::Instant::now() + POLL }
    }
    /// Something came by the bus: it works.
    fn heard(&mut self) {
        self.pause = POLL;
        self.at = tokio::time::Instant::now() + self.pause;
    }
    /// Nothing came, and the journal was read.
    fn looked(&mut self) {
        self.pause = (self.pause * 2).min(POLL * 4);
        self.at = tokio::time::Instant::now() + self.pause;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
