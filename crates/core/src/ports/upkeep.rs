//! What time brings, what goes, and what waits.

use crate::{AgentName, Result, TaskKey, Time, event::StoredEvent};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};

/// A store of tasks as its jobs and probes know it. Any process may run any of it at any time.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// What time brings: due tasks, expired leases, deadlines of tasks never claimed. Idempotent, bounded.
    async fn sweep(&self) -> Result<Swept> {
        self.sweep_leases_by(Time(i64::MAX)).await
    }

    /// The same, but of leases only those that had run out by this moment of the store's time.
    ///
    /// A process that stood still is late with its renewals and with its sweep alike. It takes the time, renews what it holds,
    /// and sweeps by the time it took: then no moment at which it may stand still takes its own claims from it.
    async fn sweep_leases_by(&self, moment: Time) -> Result<Swept>;

    /// Forgets up to `limit` tasks that ended more than `keep` ago (their ids stay taken for 30 days), and
    /// idempotency rows, taken ids and definitions nobody needs. Returns how many tasks went.
    async fn forget(&self, keep: Duration, limit: usize) -> Result<u64>;

    /// Forgets up to `limit` of the tasks that ended, those accepted first before others, if what is kept weighs more than
    /// `max_bytes`. Returns how many went; 0 where it weighs no more, or nothing that ended is left.
    ///
    /// A store frees the room for what comes; its file keeps its length.
    async fn forget_beyond(&self, max_bytes: u64, limit: usize) -> Result<u64>;

    /// What waits, by agent.
    async fn waiting(&self) -> Result<Vec<Waiting>>;

    /// Whether it answers, and can write.
    async fn ping(&self) -> Result<()>;
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
