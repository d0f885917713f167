//! What a broker brings and what goes out to it. Both are kept in the store, so that nothing is lost or done twice.

use super::{Created, NewTask};
use crate::{AgentName, Result, TaskId, task::AgentResult};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the outside is told of a task: kept with it from its acceptance, so that whoever ends it tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Every event too, not only its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub steps: bool,
    /// Who asked, as it calls itself: whom the result is for.
    pub asked_by: String,
    /// The id its sender gave it, where it was admitted under another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_id: Option<String>,
}

/// A store that takes in what a broker delivers, each record once.
#[async_trait]
pub trait Ingest: Send + Sync {
    /// Accepts the task of a record with a row that remembers the record, in one transaction.
    ///
    /// The key of the record is (tenant, agent, [`Arrival::sent_id`]): its first arrival is [`Admitted::Created`], the same hash
    /// again is [`Admitted::Known`] and changes nothing, another hash is [`Admitted::Conflict`]. An id that another agent's task
    /// holds is no conflict: the task gets [`Arrival::other_id`]. The errors are those of [`super::Tasks::create`], but for `Conflict`.
    async fn admit(&self, arrival: &Arrival) -> Result<Admitted>;

    /// How many tasks of an agent are unfinished; counted to `most` at most.
    async fn pending(&self, agent: &AgentName, most: u64) -> Result<u64>;

    /// Forgets up to `limit` rows of records that lay before this offset, which the broker has no more. Returns how many went.
    async fn forget_before(&self, place: &Place, limit: usize) -> Result<u64>;
}

/// A record that asks for a task.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The task, under the id that its sender gave it.
    pub new: NewTask,
    /// That id.
    pub sent_id: String,
    /// The id it gets where that one is another agent's.
    pub other_id: TaskId,
    /// Of its fields.
    pub hash: String,
    /// Where it lay.
    pub place: Place,
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// What became of an arrival.
#[derive(Debug, Clone)]
pub enum Admitted {
    /// It is a task now.
    Created(Box<Created>),
    /// It was one before.
    Known,
    /// Something else arrived under its id before.
    Conflict,
}

/// A store that keeps what is to be sent until it was.
///
/// Rows lie in lines, one for each (topic, key). A line's rows are in the order in which they were committed, and whoever holds a
/// line sends them in that order. No row is behind a cursor: one whose transaction commits late is found like any other.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Takes up to `lines` lines that nobody holds and that are due, for `lease`, with up to `rows` of the oldest rows of each, and
    /// none more of one once they weigh `max_bytes`.
    async fn take(&self, holder: &str, lines: usize, rows: usize, max_bytes: usize, lease: Duration) -> Result<Vec<Line>>;

    /// Deletes rows that were acknowledged, and lets go of their line, which is due again after `pause`. A pause that follows a
    /// failure of the row itself, and not of the way, counts it.
    async fn settle(&self, holder: &str, settled: &Settled) -> Result<()>;

    /// How much waits, and how long the oldest row has.
    async fn backlog(&self) -> Result<Backlog>;
}

/// Rows that go out one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Where to.
    pub topic: String,
    /// What keeps its order there.
    pub key: String,
    /// How often its first row could not be sent.
    pub failures: u32,
    /// Oldest first.
    pub rows: Vec<OutboxRow>,
}

/// A fact to pass on to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Names the row.
    pub number: i64,
    /// `{task_id}:{event number}`: what its readers know a repetition by.
    pub event_id: String,
    /// The trace of its task.
    pub trace_id: Option<String>,
    /// What, as JSON: a [`ResultFact`], or the event.
    pub payload: String,
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub topic: String,
    /// Which.
    pub key: String,
    /// The rows that were acknowledged.
    pub sent: Vec<i64>,
    /// How long nobody takes the line again.
    pub pause: Duration,
    /// How often its first row could not be sent by now.
    pub failures: u32,
}

/// What waits in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Rows.
    pub rows: u64,
    /// How long the oldest has waited.
    pub oldest: Duration,
    /// Lines whose first row could not be sent.
    pub blocked: u64,
}

/// The topics of an agent.
impl AgentName {
    /// Where its tasks come from.
    pub fn tasks_topic(&self) -> String {
        format!("agent.tasks.{self}")
    }
    /// Where what could not be read as one goes.
    pub fn dead_letters_topic(&self) -> String {
        format!("agent.tasks.{self}.dlq")
    }
    /// Where its results go.
    pub fn results_topic(&self) -> String {
        format!("agent.results.{self}")
    }
    /// Where its events go.
    pub fn events_topic(&self) -> String {
        format!("agent.events.{self}")
    }
}

/// The end of a task, as it is told outside: the record `AgentResultEvent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultFact {
    /// The id its sender gave it.
    pub task_id: String,
    /// The agent that ran it.
    pub source_agent: String,
    /// Who asked.
    pub target_agent: String,
    /// The conversation.
    pub session_id: String,
    /// How it ended.
    pub status: String,
    /// The answer.
    pub output: Option<String>,
    /// Why it ended so.
    pub error: Option<String>,
    /// Model calls.
    pub steps_used: i32,
    /// Tokens.
    pub tokens_used: i32,
    /// Calls of tools.
    pub tool_calls: i32,
    /// From first claim to end.
    pub duration_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub finished_at: i64,
}

impl ResultFact {
    /// Of a task that ended.
    pub fn of(result: &AgentResult, publish: &Publish) -> Self {
        let small = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
        let code = |code| serde_json::to_value(code).ok().and_then(|code| code.as_str().map(str::to_owned));
        Self {
            task_id: publish.sent_id.clone().unwrap_or_else(|| result.task_id.to_string()),
            source_agent: result.agent.to_string(),
            target_agent: publish.asked_by.clone(),
            session_id: result.session_id.as_str().to_owned(),
            status: result.status.as_str().to_owned(),
            output: result.output.clone(),
            error: result.error.and_then(code),
            steps_used: small(result.steps_used.into()),
            tokens_used: small(result.tokens_used),
            tool_calls: small(result.tool_calls.into()),
            duration_ms: i64::try_from(result.duration_ms).unwrap_or(i64::MAX),
            finished_at: result.finished_at.map_or(0, |at| at.0),
        }
    }
}
