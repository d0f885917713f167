//! Hints and live steps.

use crate::{AgentName, Result, TaskKey, event::StoredEvent};
use async_trait::async_trait;
use futures::stream::BoxStream;
use std::sync::Arc;

/// Tells others that something happened, fast and without a promise.
///
/// May lose, repeat or reorder. It never decides who runs a task ([`super::Work::claim`] does), and a
/// reader who misses an event finds it in the journal.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Something of general interest happened.
    fn hint(&self, hint: Hint);
    /// All hints from now on.
    fn hints(&self) -> BoxStream<'static, Hint>;
    /// Something of a task happened.
    fn publish(&self, key: &TaskKey, live: Live);
    /// All of a task from the moment this returns, at most 1,024 and some KiB behind: a slow reader loses, deltas and events
    /// alike, and so does every reader of one that is larger than that. Where the bus does not answer, a stream that ends at once: the reader goes by the journal.
    async fn subscribe(&self, key: &TaskKey) -> BoxStream<'static, Live>;
    /// Whether other processes are reached now; where they are not, it is a bus of this one. `Unavailable` says why not.
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

/// A hint for workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// An agent has a ready task.
    Ready(AgentName),
    /// A task has an unread signal.
    Signalled(TaskKey),
    /// Hints were lost: look for work, and for signals.
    Missed,
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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
