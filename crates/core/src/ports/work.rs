//! Who works on what, and what is recorded of it.

use super::Turn;
use crate::{
    AgentName, Result, SessionKey, TaskId, TaskKey, Tenant, Time,
    agent::Definitions,
    event::{Answer, Event, StoredEvent},
    run::Awaited,
    signal::{Signal, SignalKind},
    task::{Ending, Progress},
};
use async_trait::async_trait;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A store of tasks as a worker knows it.
#[async_trait]
pub trait Work: Send + Sync {
    /// The next ready tasks of `agents`, as many as there is room for: tenants in turn, of each the highest priority first,
    /// then the oldest; at most one a session. Each claim has a new epoch and a lease.
    async fn claim(&self, agents: &[AgentName], room: &Room) -> Result<Vec<Claimed>>;

    /// Extends leases that still hold; one answer for each claim, in order.
    async fn renew(&self, claims: &[Claim]) -> Result<Vec<Renewal>>;

    /// Records facts, conditional on the claim's epoch and the last number its holder knows.
    ///
    /// Recording the same again after a lost reply is a success with the same events. What goes with the facts
    /// ([`Append::also`], [`Append::then`]) can be refused; then nothing is written.
    async fn append(&self, append: Append) -> Result<Appended>;

    /// Hands a claim over: the task is ready at once, and this does not count towards poison.
    async fn release(&self, claim: &Claim) -> Result<()>;

    /// The signals nobody has folded in yet, oldest first.
    async fn signals(&self, key: &TaskKey) -> Result<Vec<Signal>>;

    /// The newest turns of a session's completed tasks, newest first: at most `limit`, and no more once
    /// `max_bytes` of prompt and output are reached. `before` (a task of the session) leaves out that turn and newer ones.
    async fn turns(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Vec<Turn>>;

    /// Definitions by their hash.
    async fn definitions(&self, hash: &str) -> Result<Option<Definitions>>;

    /// The store's time as this process knows it, without asking: for what is shown, never for what is decided.
    fn now(&self) -> Time;
}

/// How many more tasks a worker takes, in all and of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub places: usize,
    /// Of a tenant that is not named in [`Room::left`].
    pub of_each: usize,
    /// Of those that have some of their places taken.
    pub left: BTreeMap<Tenant, usize>,
    /// Of all places, so many are for tenants that have none.
    pub kept: usize,
}

impl Room {
    /// So many, of whichever tenants.
    pub fn of(places: usize) -> Self {
        Self { places, of_each: usize::MAX, left: BTreeMap::new(), kept: 0 }
    }
    /// How many of all places a tenant may come to, by whether it has any or was handed one.
    pub fn places_of(&self, tenant: &Tenant, handed_out: usize) -> usize {
        let has_any = handed_out > 0 || self.left.contains_key(tenant);
        self.places.saturating_sub(if has_any { self.kept } else { 0 })
    }
    /// How many more of a tenant.
    pub fn left_of(&self, tenant: &Tenant) -> usize {
        self.left.get(tenant).copied().unwrap_or(self.of_each).min(self.places)
    }
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

/// Facts to record, what goes with them, and what then becomes of the claim.
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
    /// What goes with the facts, in the same transaction.
    pub also: Vec<Also>,
    /// What then.
    pub then: Then,
}

/// What goes with facts, in their transaction. A store does this and guesses nothing from the facts themselves.
#[derive(Debug, Clone, PartialEq)]
pub enum Also {
    /// Keeps the definitions that the run will end on, under their hash, until no task needs them.
    Definitions(Arc<(String, Definitions)>),
    /// Puts the question of the event at this place of [`Append::events`], an `approval.requested`, to people. It
    /// is open until it is settled, its task ends or its task goes; the same id asked again changes nothing.
    Ask {
        /// From 0.
        event: usize,
    },
    /// Closes a question. One that is said to have expired although somebody has decided it is
    /// [`Refused::Decided`]: what was decided in time holds.
    Settle {
        /// The question.
        id: String,
        /// What was said, or that nobody said anything.
        answer: Answer,
    },
}

/// What becomes of the claim after an append.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// The holder goes on.
    Keep,
    /// The run is parked; [`Refused::SignalsUnread`] if a signal is unread. The caller has put [`Event::Parked`] last.
    Park(Awaited),
    /// The task ends; the store adds the times and the final event with the task's last step.
    End(Ending),
}

/// What became of an append.
#[derive(Debug, Clone)]
pub enum Appended {
    /// It is durable.
    Recorded(Recorded),
    /// The claim is gone or the numbers do not follow: nothing was written. Stop.
    Stale,
    /// Something that was to go with it cannot: nothing was written. Read the signals and decide again.
    Refused(Refused),
}

/// What an append recorded.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The events with their numbers, the final one included.
    pub events: Vec<Arc<StoredEvent>>,
    /// Whether another task became ready by it: the next of the session of one that ended. Unknown after a lost reply,
    /// which counts as yes.
    pub readied: bool,
}

/// Why what was to go with an append cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The run may not park: signals are unread.
    SignalsUnread,
    /// The question of that id was decided in time, so it has not expired.
    Decided(String),
}
