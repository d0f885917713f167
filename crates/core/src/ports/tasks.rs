//! Tasks as they are taken in, told of, signalled, decided over and erased.

use super::{Also, Approval, Claim, Decided, Decision, ListApprovals, Publish};
use crate::{
    AgentName, Result, SessionId, SessionKey, TaskId, TaskKey, Tenant, Time,
    event::{Event, StoredEvent},
    request::Content,
    signal::Signal,
    task::{AgentResult, Task, TaskStatus},
};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};

/// A store of tasks as a desk knows it.
///
/// An [`Idempotency`] that goes with a call is written in the transaction of what the call does. Where it is known
/// already, the call does nothing and says so; under another body it is `Invalid`, field `Idempotency-Key`.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Accepts a task: row, `task.accepted`, place in the session and idempotency row in one transaction.
    ///
    /// The same id with the same content is the same task ([`Created::fresh`] is false). One that would be
    /// [`Born`] claimed is, where nothing stands against it, and is accepted like any other where something does.
    /// `Conflict` for an id with other content or of a task that is gone, `Exhausted` when too many wait in the
    /// session, `Unavailable` when the store holds too many unfinished.
    async fn create(&self, new: NewTask) -> Result<Created>;

    /// Leaves a fact for the holder, makes a parked task ready, and ends a task never claimed
    /// (for a cancel) at once. The same signal id twice is once. `NotFound` for no such task.
    async fn signal(&self, key: &TaskKey, signal: Signal, idempotency: Option<Idempotency>) -> Result<(Signalled, KeyWas)>;

    /// Requests for a person, oldest first by (requested_at, id). Those of tasks that ended are not there.
    async fn approvals(&self, query: &ListApprovals) -> Result<Vec<Approval>>;

    /// One request, open or decided. `None` for no such request.
    async fn approval(&self, tenant: &Tenant, id: &str) -> Result<Option<Approval>>;

    /// Decides over a request, in one transaction with the signal that tells the run. The same decision again is the
    /// same; `Conflict` for another one, for a request that has expired, and for a task that has ended; `NotFound` for no such request.
    async fn decide(&self, tenant: &Tenant, id: &str, decision: Decision, idempotency: Option<Idempotency>) -> Result<(Decided, KeyWas)>;

    /// A task as it is now.
    async fn get(&self, key: &TaskKey) -> Result<Option<AgentResult>>;

    /// Tasks, newest first by (created_at, id).
    async fn list(&self, query: &ListTasks) -> Result<Vec<AgentResult>>;

    /// What these tasks of a tenant were asked, in their order: the first `max_chars` characters each. `None` for one that is
    /// not there, and for all that come after 10,000 of them.
    async fn prompts(&self, tenant: &Tenant, tasks: &[TaskId], max_chars: usize) -> Result<Vec<Option<String>>>;

    /// Conversations, newest first by the (created_at, id) of the task that was accepted last in each.
    ///
    /// At most 10,000 tasks are looked through: a page may hold fewer than there are, none even, and name where the next begins.
    async fn sessions(&self, query: &ListSessions) -> Result<Sessions>;

    /// The events after `after`, oldest first: at most `limit`, and none more once those read weigh `max_bytes` or more by their
    /// [`StoredEvent::weight`]; so at least one, where there is one. `None` for no such task.
    async fn events(&self, key: &TaskKey, after: u64, limit: usize, max_bytes: usize) -> Result<Option<Vec<StoredEvent>>>;

    /// A conversation: its turns as [`super::Work::turns`] has them, and whether it stands still.
    async fn conversation(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Conversation>;

    /// Erases a conversation: its finished tasks go, their ids stay taken. `Conflict` while one is unfinished.
    /// Returns how many went.
    async fn erase(&self, session: &SessionKey) -> Result<u64>;

    /// Takes a task out of the dead letters; its record stays. `NotFound` where it is not there and the key is not known.
    async fn drop_dead_letter(&self, key: &TaskKey, idempotency: Option<Idempotency>) -> Result<KeyWas>;

    /// Remembers the key of a call whose doing is no task's: of one that made `made`, or did nothing durable at all.
    async fn remember(&self, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas>;

    /// What was made under a key, if it is known. `Invalid` under another body.
    async fn recall(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<String>>;
}

/// A task to accept.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The task.
    pub task: Task,
    /// What the same id with the same content is compared by.
    pub content: Content,
    /// The caller's Idempotency-Key. Its `body_hash` is the hash of `content`.
    pub idempotency: Option<Idempotency>,
    /// For a retry: [`Event::TakenOver`], recorded right after `task.accepted`.
    pub taken_over: Option<Event>,
    /// For a requeue: the dead letter that this takes out, in the same transaction.
    pub requeues: Option<TaskId>,
    /// How the outside is told of it, where it is: by stores that keep an [`super::Outbox`].
    pub publish: Option<Publish>,
    /// For a task that could start at once, in this very process.
    pub born: Option<Born>,
    /// How many tasks may wait in one session; 100.
    pub session_waiting_max: u32,
    /// How many unfinished tasks the store may hold; `Unavailable` above.
    pub unfinished_max: u64,
    /// How many of them may be its tenant's; `Exhausted` above.
    pub unfinished_each: u64,
}

/// A wish that a task be accepted, claimed and begun in one transaction.
///
/// It is, if the task is new and takes its place now, nobody stands before it in its session, whose turns were read to
/// their end, and nobody waits for the same worker whose turn is before its own. Otherwise it is accepted as
/// if this had not been wished.
#[derive(Debug, Clone)]
pub struct Born {
    /// Names this wish: the same `create` made again after a lost reply is answered with the claim it got.
    pub token: u128,
    /// Whether it is made again: then even an id that was made for it may be there.
    pub is_again: bool,
    /// The agents of the worker that wishes. Their ready tasks come first: those of its own tenant that have its priority or a
    /// higher one, and those of other tenants, which take turns with it.
    pub agents: Arc<[AgentName]>,
    /// The tenants of which that worker takes no more: what they have ready is in nobody's way.
    pub full: Vec<Tenant>,
    /// How far its session's turns were read: see [`Conversation::settled_at`].
    pub settled_at: u64,
    /// What is recorded under the claim, right after `task.accepted`: step and fact.
    pub events: Vec<(u32, Event)>,
    /// What goes with it. Nothing that can be refused.
    pub also: Vec<Also>,
}

impl NewTask {
    /// Whether its id was made for it and never sent to a store before, so that nothing can be known of it.
    pub fn id_is_new(&self) -> bool {
        let is_made = matches!(&self.content, Content::Asked(request) if request.id.is_none());
        is_made && self.born.as_ref().is_none_or(|born| !born.is_again)
    }
    /// Whether its session was made for it, so that nobody else is in it.
    pub fn session_is_new(&self) -> bool {
        matches!(&self.content, Content::Asked(request) if request.session_id.is_none())
    }
    /// What is kept of its content to compare by: nothing where nobody named it, as then it is compared by its
    /// event 1, should that ever be needed.
    pub fn content_hash(&self) -> String {
        let has_id = matches!(&self.content, Content::Asked(request) if request.id.is_some());
        if has_id || self.idempotency.is_some() { self.content.hash() } else { String::new() }
    }
}

/// An Idempotency-Key as it is remembered, in its tenant, for 24 h.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// `tasks` for submissions; the path for any other POST.
    pub scope: String,
    /// 1 to [`Self::KEY_MAX`] printable characters of ASCII.
    pub key: String,
    /// Hash of what is asked under it.
    pub body_hash: String,
}

impl Idempotency {
    /// How long a key may be.
    pub const KEY_MAX: usize = 255;
}

/// What an Idempotency-Key was when a call came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyWas {
    /// Not known, or there was none: the call did what it does, and wrote it.
    New,
    /// Written by an earlier call, so this one did nothing.
    Known,
}

impl KeyWas {
    /// Whether the answer is a replay.
    pub fn is_replay(self) -> bool {
        self == Self::Known
    }
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub struct Created {
    /// The task in its present state.
    pub result: AgentResult,
    /// Whether this call created it.
    pub fresh: bool,
    /// Whether an Idempotency-Key was found: the answer is a replay.
    pub replayed: bool,
    /// The events this call recorded, for the bus.
    pub events: Vec<Arc<StoredEvent>>,
    /// The claim of a task that was born claimed, its epoch 1, and how long it holds from the moment `create` was
    /// first called.
    pub claim: Option<(Claim, Duration)>,
}

/// What became of a signal.
#[derive(Debug, Clone)]
pub enum Signalled {
    /// It waits for the holder.
    Recorded(AgentResult),
    /// The task was never claimed, so the store ended it.
    Ended(AgentResult, Arc<StoredEvent>),
    /// The task was final already; nothing changed.
    Final(AgentResult),
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct ListTasks {
    /// Whose.
    pub tenant: Tenant,
    /// Of these agents only; empty means any.
    pub agents: Vec<AgentName>,
    /// In this state only.
    pub status: Option<TaskStatus>,
    /// Of this session only.
    pub session_id: Option<SessionId>,
    /// In the dead letters only.
    pub dead: bool,
    /// Strictly older than this (created_at, id).
    pub before: Option<(Time, TaskId)>,
    /// At most.
    pub limit: usize,
    /// None more once those read weigh so much by their [`AgentResult::weight`]; at least one, where there is one.
    pub max_bytes: Option<usize>,
}

/// Which conversations to list.
#[derive(Debug, Clone, Default)]
pub struct ListSessions {
    /// Whose.
    pub tenant: Tenant,
    /// With these agents only; empty means any.
    pub agents: Vec<AgentName>,
    /// Their last task is strictly older than this (created_at, id).
    pub before: Option<(Time, TaskId)>,
    /// At most.
    pub limit: usize,
    /// None more once their last tasks weigh so much by their [`AgentResult::weight`]; at least one, where there is one.
    pub max_bytes: usize,
}

/// A part of the conversations there are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sessions {
    /// Newest first.
    pub found: Vec<SessionSummary>,
    /// Where the next ones begin: what to ask for as [`ListSessions::before`]. `None` after the last.
    pub next: Option<(Time, TaskId)>,
}

/// A conversation in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSummary {
    /// Which.
    pub id: SessionId,
    /// With whom.
    pub agent: AgentName,
    /// How many tasks of it there are, counted to 10,000.
    pub tasks: u64,
    /// The one that was accepted last.
    pub last: AgentResult,
}

/// What one completed task left in the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The task.
    pub task_id: TaskId,
    /// When it was accepted.
    pub asked_at: Time,
    /// When it was answered.
    pub answered_at: Time,
    /// What was asked.
    pub prompt: String,
    /// What was answered, in full or in part.
    pub output: Option<String>,
}

/// A conversation as it was at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    /// Newest first.
    pub turns: Vec<Turn>,
    /// The place of its last task, 0 without any; `None` while one of them runs or waits its turn. As long as a
    /// session has no other last place and no task under way, its turns are these.
    pub settled_at: Option<u64>,
}
