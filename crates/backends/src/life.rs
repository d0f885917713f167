//! The rules of a task's life, pure: what is known of a task, what is asked, what was looked up, and the time make the
//! change. A SQL store loads, asks here, writes what came out, and commits; the memory store is written apart from this, as
//! the other opinion that the random suite compares with.
//!
//! | state | means | leaves by |
//! |---|---|---|
//! | scheduled | its `not_before` is to come | falls due → waiting or ready |
//! | waiting | behind another of its session | the other's end → ready |
//! | ready | head of its session, unclaimed | claim → running; a task born claimed is running from its first moment |
//! | running | claimed | append → parked, final; release, expiry → ready |
//! | parked | head of its session, waits for something from outside | signal, falls due → ready |
//! | final | ended: completed, failed or cancelled | never |
//!
//! One never claimed is also ended by the store itself: cancel, or a deadline that has passed.
//!
//! **Absences.** Much is decided by something that is *not* there, and must still not be there at the commit. With one
//! writer that is so by itself. A store with several needs a guard for each:
//!
//! | not there | kept so by |
//! |---|---|
//! | another head in the session; another that waits in it | a lock of the session's key, taken by accept, end, erase and falling due |
//! | a task of that id; an id that is taken | the unique (tenant, id), which tombstones keep |
//! | an Idempotency-Key | the unique (tenant, scope, key) |
//! | an unread signal, as a run parks; a decision, as a question expires | the lock of the task's row, which a signal takes too |
//! | a task that needs a definition, as it is forgotten | the reference of task to definition |

mod accept;
mod append;
mod due;
mod row;
mod signal;

pub(crate) use accept::{Cradle, InSession, Room, accept, is_born};
pub(crate) use append::{Recording, record, repeats, repeats_count};
pub(crate) use due::{Due, Next};
pub(crate) use row::{Ended, Row};
pub(crate) use signal::{Received, receive};

use maniple_core::task::QueuedFor;

/// Where a task is. The numbers are those that SQL stores write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Scheduled = 0,
    Waiting = 1,
    Ready = 2,
    Running = 3,
    Parked = 4,
    Completed = 5,
    Failed = 6,
    Cancelled = 7,
}

impl State {
    const ALL: [Self; 8] =
        [Self::Scheduled, Self::Waiting, Self::Ready, Self::Running, Self::Parked, Self::Completed, Self::Failed, Self::Cancelled];

    /// The state of that number.
    pub(crate) fn of(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|at| Self::ALL.get(at)).copied()
    }
    pub(crate) fn is_final(self) -> bool {
        self >= Self::Completed
    }
    /// What a task waits for in it while nobody works on it.
    fn queued_for(self) -> Option<QueuedFor> {
        match self {
            Self::Scheduled => Some(QueuedFor::NotBefore),
            Self::Waiting => Some(QueuedFor::Session),
            Self::Ready => Some(QueuedFor::Worker),
            Self::Running | Self::Parked | Self::Completed | Self::Failed | Self::Cancelled => None,
        }
    }
    /// Whether it is the one of its session whose turn it is.
    pub(crate) fn is_head(self) -> bool {
        matches!(self, Self::Ready | Self::Running | Self::Parked)
    }
}

#[cfg(test)]
mod tests;
