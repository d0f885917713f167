//! Every seam on one page: what the rest of the house promises the runtime.
//!
//! | seam | who uses it | promise | embedded | distributed |
//! |---|---|---|---|---|
//! | [`Tasks`] | the desk | tasks are taken in, told of, signalled, decided over, erased | memory, SQLite | later |
//! | [`Work`] | workers | who works on what, and what is recorded of it | memory, SQLite | later |
//! | [`Upkeep`] | jobs, probes | what time brings, what goes, what waits | memory, SQLite | later |
//! | [`Bus`] | desk, workers, jobs | hints: fast, may lose | in-process | later |
//! | [`Ingest`], [`Outbox`] | the door to a broker, its relay | a record is a task once; what ended is told until it was heard | | Postgres |
//! | [`Models`] / [`Model`] | workers | one attempt of a model call | any provider | the same |
//! | [`Tools`] | workers | what an agent may call, and one attempt of a call | the registry in-process | its client over HTTP |
//! | [`ToolRegistry`] | the desk, commands | the catalogue and who may change it | the registry in-process | its client over HTTP |
//! | [`ToolStore`] | the registry | versions only move compatibly; a key has one outcome | memory, SQLite | later |
//! | [`RateLimiter`] | the registry | a sliding count that all replicas share | in-process, and remembered by SQLite | later |
//!
//! [`Tasks`], [`Work`] and [`Upkeep`] are three views of one truth: a store is all of them ([`TaskStore`]).

mod approvals;
mod bus;
mod events;
mod models;
mod tasks;
mod tools;
mod upkeep;
mod work;

pub use approvals::{Approval, ApprovalState, Decided, Decision, ListApprovals};
pub use bus::{Bus, Delta, Hint, Live};
pub use events::{Admitted, Arrival, Backlog, Ingest, Line, Outbox, OutboxRow, Place, Publish, ResultFact, Settled};
pub use models::{Model, Models, OnText, Price, Server};
pub use tasks::{
    Born, Conversation, Created, Idempotency, KeyWas, ListSessions, ListTasks, NewTask, SessionSummary, Sessions, Signalled, Tasks, Turn,
};
pub use tools::*;
pub use upkeep::{Swept, Upkeep, Waiting};
pub use work::{Also, Append, Appended, Claim, Claimed, Recorded, Refused, Renewal, Room, Then, Work};

/// A store of tasks as a whole: for whoever opens one, and for tests.
///
/// Every write is durable when its call returns `Ok`. A call that returns an error may have been applied all the
/// same (its reply was lost): each can be made again, and says so. All times are the store's own clock. An
/// [`crate::Kind::Unavailable`] error means nothing was applied or nobody knows; try again.
pub trait TaskStore: Tasks + Work + Upkeep {}
impl<T: Tasks + Work + Upkeep> TaskStore for T {}
