//! Every seam on one page: what the rest of the house promises the runtime.
//!
//! | seam | promise | embedded | distributed |
//! |---|---|---|---|
//! | [`TaskStore`] | the truth, and who works on what | memory, SQLite | later |
//! | [`Bus`] | hints: fast, may lose | in-process | later |
//! | [`Models`] / [`Model`] | one attempt of a model call | any provider | the same |
//! | [`Tools`] | what an agent may call, and one attempt of a call | the registry in-process | its client over HTTP |
//! | [`ToolRegistry`] | the catalogue and who may change it | the registry in-process | its client over HTTP |
//! | [`ToolStore`] | versions only move compatibly; a key has one outcome | memory, SQLite | later |
//! | [`RateLimiter`] | a sliding count that all replicas share | in-process | later |

use crate::{
    AgentName, Result, SessionId, SessionKey, TaskId, TaskKey, Tenant, Time,
    agent::Definitions,
    event::{Event, StoredEvent},
    message::ModelReply,
    model::{Fault, ModelName, ModelRequest},
    signal::{Signal, SignalKind},
    task::{AgentResult, Ending, Progress, Task, TaskStatus, WaitingFor},
};
mod approvals;
mod tools;

pub use approvals::{Approval, ApprovalState, Decided, Decision, ListApprovals};
pub use tools::*;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// The truth: every task with its journal, and who may work on it.
///
/// Every write is durable when its call returns `Ok`. A call that returns an error may
/// have been applied all the same (its reply was lost): each can be made again, and says so.
/// All times are the store's own clock. An [`crate::Kind::Unavailable`] error means nothing
/// was applied or nobody knows; try again.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// Accepts a task: row, `task.accepted`, place in the session and idempotency row in one transaction.
    ///
    /// The same id with the same content is the same task ([`Created::fresh`] is false).
    /// `Conflict` for an id with other content or of a task that is gone, `Invalid` (field
    /// `Idempotency-Key`) for a key with another body, `Exhausted` when too many wait in the session, `Unavailable` when the store holds too many unfinished.
    async fn create(&self, new: NewTask) -> Result<Created>;

    /// The next ready tasks of `agents`, at most `limit`: higher priority first, tenants in turn, then oldest
    /// first; at most one a session. Each claim has a new epoch and a lease.
    async fn claim(&self, agents: &[AgentName], limit: usize) -> Result<Vec<Claimed>>;

    /// Extends leases that still hold; one answer for each claim, in order.
    async fn renew(&self, claims: &[Claim]) -> Result<Vec<Renewal>>;

    /// Records facts, conditional on the claim's epoch and the last number its holder knows.
    ///
    /// Recording the same again after a lost reply is a success with the same events. `approval.requested` opens a
    /// request for a person; `approval.decided`, the end of the task and its removal close it. One that says `expired`
    /// of a request that somebody has decided by then is [`Appended::SignalsUnread`]: what was decided in time holds.
    async fn append(&self, append: Append) -> Result<Appended>;

    /// Hands a claim over: the task is ready at once, and this does not count towards poison.
    async fn release(&self, claim: &Claim) -> Result<()>;

    /// Leaves a fact for the holder, makes a parked task ready, and ends a task never claimed
    /// (for a cancel) at once. The same signal id twice is once. `NotFound` for no such task.
    async fn signal(&self, key: &TaskKey, signal: Signal) -> Result<Signalled>;

    /// The signals nobody has folded in yet, oldest first.
    async fn signals(&self, key: &TaskKey) -> Result<Vec<Signal>>;

    /// Requests for a person, oldest first by (requested_at, id). Those of tasks that ended are not there.
    async fn approvals(&self, query: &ListApprovals) -> Result<Vec<Approval>>;

    /// One request, open or decided. `None` for no such request.
    async fn approval(&self, tenant: &Tenant, id: &str) -> Result<Option<Approval>>;

    /// Decides over a request, in one transaction with the signal that tells the run. The same decision again is the
    /// same; `Conflict` for another one, for a request that has expired, and for a task that has ended; `NotFound` for no such request.
    async fn decide(&self, tenant: &Tenant, id: &str, decision: Decision) -> Result<Decided>;

    /// A task as it is now.
    async fn get(&self, key: &TaskKey) -> Result<Option<AgentResult>>;

    /// Tasks, newest first by (created_at, id).
    async fn list(&self, query: &ListTasks) -> Result<Vec<AgentResult>>;

    /// The events after `after`, oldest first, at most `limit`. `None` for no such task.
    async fn events(&self, key: &TaskKey, after: u64, limit: usize) -> Result<Option<Vec<StoredEvent>>>;

    /// The newest turns of a session's completed tasks, newest first: at most `limit`, and no more once
    /// `max_bytes` of prompt and output are reached. `before` (a task of the session) leaves out that turn and newer ones.
    async fn turns(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Vec<Turn>>;

    /// Erases a conversation: its finished tasks go, their ids stay taken. `Conflict` while one is unfinished.
    /// Returns how many went.
    async fn erase(&self, session: &SessionKey) -> Result<u64>;

    /// Takes a task out of the dead letters; its record stays. `NotFound` where it is not there.
    async fn drop_dead_letter(&self, key: &TaskKey) -> Result<()>;

    /// Definitions by their hash.
    async fn definitions(&self, hash: &str) -> Result<Option<Definitions>>;

    /// What time brings: due tasks, expired leases, deadlines of tasks never claimed. Idempotent, bounded;
    /// any worker may run it at any time.
    async fn sweep(&self) -> Result<Swept>;

    /// Forgets up to `limit` tasks that ended more than `keep` ago (their ids stay taken for 30 days), and
    /// idempotency rows, taken ids and definitions nobody needs. Returns how many tasks went.
    async fn forget(&self, keep: Duration, limit: usize) -> Result<u64>;

    /// What waits, by agent.
    async fn waiting(&self) -> Result<Vec<Waiting>>;

    /// Whether it answers.
    async fn ping(&self) -> Result<()>;
}

/// A task to accept.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The task.
    pub task: Task,
    /// Hash of agent and request as the caller sent them: the same id with another is another task.
    pub content_hash: String,
    /// The caller's Idempotency-Key.
    pub idempotency: Option<Idempotency>,
    /// For a retry: [`Event::TakenOver`], recorded right after `task.accepted`.
    pub taken_over: Option<Event>,
    /// For a requeue: the dead letter that this takes out, in the same transaction.
    pub requeues: Option<TaskId>,
    /// How many tasks may wait in one session; 100.
    pub session_waiting_max: u32,
    /// How many unfinished tasks the store may hold; `Unavailable` above.
    pub unfinished_max: u64,
}

/// An Idempotency-Key as it is remembered, in its tenant, for 24 h.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// `tasks` for submissions; the path for any other POST.
    pub scope: String,
    /// 1–255 characters.
    pub key: String,
    /// Hash of the agent it goes to and the body in canonical form.
    pub body_hash: String,
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
}

/// The exclusive, expiring right to append to a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The task.
    pub key: TaskKey,
    /// Rises with every claim: what was appended under a lower one is stale.
    pub epoch: u64,
}

/// A claim with all its holder needs to go on.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The claim.
    pub claim: Claim,
    /// How long it holds from the moment `claim` was called.
    pub lease: Duration,
    /// The store's time.
    pub now: Time,
    /// When the task was accepted.
    pub created_at: Time,
    /// Everything recorded so far.
    pub journal: Vec<StoredEvent>,
    /// The signals nobody has folded in yet.
    pub signals: Vec<Signal>,
    /// Whether the session has earlier tasks, so that there may be a conversation to read.
    pub has_history: bool,
}

/// What became of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// It holds for another lease; these kinds of signals are unread.
    Held(Vec<SignalKind>),
    /// The claim is gone: stop at once, write nothing.
    Lost,
}

/// Facts to record, and what then becomes of the claim.
#[derive(Debug, Clone)]
pub struct Append {
    /// Under which claim.
    pub claim: Claim,
    /// The last number its holder knows: the first of `events` is `after + 1`.
    pub after: u64,
    /// Step and fact, in order. Not the final event: [`Then::End`] makes it.
    pub events: Vec<(u32, Event)>,
    /// The signals folded in by this append.
    pub signals_read: Vec<String>,
    /// How far the run has come.
    pub progress: Progress,
    /// Definitions to keep, for the append that records `task.started`.
    pub definitions: Option<Arc<(String, Definitions)>>,
    /// Rows for the relay, in the same transaction. Nothing relays them yet.
    pub outbox: Vec<OutboxRow>,
    /// What then.
    pub then: Then,
}

/// What becomes of the claim after an append.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// The holder goes on.
    Keep,
    /// The run is parked; fails with [`Appended::SignalsUnread`] if a signal is unread.
    /// The caller has put [`Event::Parked`] last.
    Park {
        /// What for.
        waiting_for: WaitingFor,
        /// When it is due at the latest.
        until: Option<Time>,
    },
    /// The task ends; the store adds the times and the final event with the task's last step.
    End(Ending),
}

/// A fact to pass on to the outside by a relay.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Where to.
    pub topic: String,
    /// What keeps its order there.
    pub key: String,
    /// What.
    pub payload: Value,
}

/// What became of an append.
#[derive(Debug, Clone)]
pub enum Appended {
    /// It is durable. These are the events with their numbers, the final one included.
    Recorded(Vec<Arc<StoredEvent>>),
    /// The claim is gone or the numbers do not follow: nothing was written. Stop.
    Stale,
    /// Signals are unread, so the run may not park, or not say that nobody decided: nothing was written. Read them
    /// and decide again.
    SignalsUnread,
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

/// What a sweep did.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// Agents that have newly ready tasks.
    pub ready: Vec<AgentName>,
    /// Tasks the store itself ended, with their final events.
    pub ended: Vec<(TaskKey, Arc<StoredEvent>)>,
    /// When the next thing is due, from now.
    pub next: Option<Duration>,
}

/// What waits for an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The agent.
    pub agent: AgentName,
    /// Ready tasks that nobody has claimed.
    pub ready: u64,
    /// How long the oldest of them has been ready.
    pub oldest: Duration,
    /// Claimed tasks.
    pub running: u64,
}

/// Tells others that something happened, fast and without a promise.
///
/// May lose, repeat or reorder. It never decides who runs a task ([`TaskStore::claim`] does), and a
/// reader who misses an event finds it in the journal.
pub trait Bus: Send + Sync {
    /// Something of general interest happened.
    fn hint(&self, hint: Hint);
    /// All hints from now on.
    fn hints(&self) -> BoxStream<'static, Hint>;
    /// Something of a task happened.
    fn publish(&self, key: &TaskKey, live: Live);
    /// All of a task from now on, at most 1,024 behind: a slow reader loses, deltas and events alike.
    fn subscribe(&self, key: &TaskKey) -> BoxStream<'static, Live>;
}

/// A hint for workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// An agent has a ready task.
    Ready(AgentName),
    /// A task has an unread signal.
    Signalled(TaskKey),
}

/// What readers of a task see live.
#[derive(Debug, Clone)]
pub enum Live {
    /// A recorded event.
    Event(Arc<StoredEvent>),
    /// A piece of a model's text; never recorded.
    Delta(Delta),
    /// The reader lost something here: read the journal.
    Lagged,
}

/// A piece of a model's text.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Delta {
    /// Which step.
    pub step: u32,
    /// Which attempt of it: a higher one voids the pieces of lower ones.
    pub attempt: u32,
    /// 0, 1, 2 … within the attempt.
    pub index: u32,
    /// The piece.
    pub text: String,
}

/// The models of this node, by name.
pub trait Models: Send + Sync {
    /// The model of that name. `Invalid` names the providers there are.
    fn model(&self, name: &ModelName) -> Result<Arc<dyn Model>>;
    /// What it costs, where that is configured.
    fn price(&self, name: &ModelName) -> Option<Price>;
}

/// What a model costs, in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// For input.
    pub input: f64,
    /// For input from the provider's cache.
    pub cached_input: f64,
    /// For output.
    pub output: f64,
}

impl Price {
    /// What that many tokens cost.
    pub fn of(&self, usage: &crate::message::Usage) -> f64 {
        let fresh = usage.input_tokens.saturating_sub(usage.cached_input_tokens);
        (fresh as f64 * self.input + usage.cached_input_tokens as f64 * self.cached_input + usage.output_tokens as f64 * self.output) / 1e6
    }
}

/// Hears a model's text as it comes, piece by piece.
///
/// A name of its own, because `async_trait` would tie a bare `dyn FnMut(&str)` to one lifetime of text.
pub type OnText<'a> = dyn FnMut(&str) + Send + 'a;

/// One model of one provider: one attempt of a call, no retries of its own.
#[async_trait]
pub trait Model: Send + Sync {
    /// Asks once, inside `request.times`. Text is passed to `text` as it comes; only a whole, terminated
    /// answer is a reply. Dropping the future aborts the call.
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, Fault>;
}
