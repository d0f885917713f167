//! A task's row, and how it moves between its states. The table of states is in [`crate::memory`]'s `table.rs`.

use super::{
    approval,
    failure::Refusal,
    writer::{Lease, Tx},
};
use crate::rules;
use maniple_core::{
    AgentName, Error, Result, SessionId, TaskId, TaskKey, Tenant, Time,
    event::StoredEvent,
    task::{AgentResult, Ending, Header, Progress, TaskStatus, WaitingFor},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Where a task is. The numbers are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
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
    fn of(number: i64) -> Self {
        use State::*;
        [Scheduled, Waiting, Ready, Running, Parked, Completed, Failed]
            .into_iter()
            .find(|state| *state as i64 == number)
            .unwrap_or(Cancelled)
    }
    pub(super) fn is_final(self) -> bool {
        self >= Self::Completed
    }
}

/// A task's row.
pub(super) struct Row {
    pub(super) number: i64,
    pub(super) tenant: Tenant,
    pub(super) header: Header,
    pub(super) state: State,
    pub(super) place: Option<i64>,
    pub(super) epoch: i64,
    pub(super) last_seq: i64,
    pub(super) last_step: u32,
    pub(super) progressed: bool,
    pub(super) barren_expired: u32,
    pub(super) barren_open: u32,
    pub(super) signals: i64,
    pub(super) not_before: Option<Time>,
    pub(super) deadline: Option<Time>,
    pub(super) until: Option<Time>,
    pub(super) definition: Option<i64>,
}

/// The columns of [`read`], in its order.
pub(super) const COLUMNS: &str = "row, tenant, id, agent, session, state, place, epoch, last_seq, last_step, progressed, barren_expired, \
     barren_open, signals, not_before, deadline, until, definition, created_at, started_at, trace_id, retry_of, \
     steps_used, tokens_used, tool_calls, cost_usd, model, waiting_for";

/// A row of [`COLUMNS`].
pub(super) fn read(row: &rusqlite::Row) -> Result<Row, Refusal> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let time = |column: usize| row.get::<_, Option<i64>>(column).map(|time| time.map(Time));
    let retry_of = row.get_ref(21)?.as_str_or_null().map_err(rusqlite::Error::from)?.map(TaskId::parse).transpose()?;
    let waiting_for = row.get_ref(27)?.as_str_or_null().map_err(rusqlite::Error::from)?.and_then(waiting_named);
    Ok(Row {
        number: row.get(0)?,
        tenant: Tenant::parse(text(1)?)?,
        header: Header {
            id: TaskId::parse(text(2)?)?,
            session_id: SessionId::parse(text(4)?)?,
            agent: AgentName::parse(text(3)?)?,
            created_at: Time(row.get(18)?),
            started_at: time(19)?,
            trace_id: row.get(20)?,
            retry_of,
            progress: Progress {
                steps_used: row.get(22)?,
                tokens_used: row.get::<_, i64>(23)? as u64,
                tool_calls: row.get(24)?,
                cost_usd: row.get(25)?,
                model: row.get(26)?,
            },
            waiting_for,
        },
        state: State::of(row.get(5)?),
        place: row.get(6)?,
        epoch: row.get(7)?,
        last_seq: row.get(8)?,
        last_step: row.get(9)?,
        progressed: row.get(10)?,
        barren_expired: row.get(11)?,
        barren_open: row.get(12)?,
        signals: row.get(13)?,
        not_before: time(14)?,
        deadline: time(15)?,
        until: time(16)?,
        definition: row.get(17)?,
    })
}

/// The task of that key.
pub(super) fn find(db: &Connection, key: &TaskKey) -> Result<Option<Row>, Refusal> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE tenant = ?1 AND id = ?2"))?;
    let mut rows = statement.query((key.tenant.as_str(), key.id.as_str()))?;
    rows.next()?.map(read).transpose()
}

/// The task of that row.
pub(super) fn fetch(db: &Connection, number: i64) -> Result<Row, Refusal> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE row = ?1"))?;
    let mut rows = statement.query([number])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    read(row)
}

/// What a statement's rows say, as tasks.
pub(super) fn all(statement: &mut CachedStatement, params: impl rusqlite::Params) -> Result<Vec<Row>, Refusal> {
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

impl Row {
    pub(super) fn key(&self) -> TaskKey {
        TaskKey { tenant: self.tenant.clone(), id: self.header.id.clone() }
    }
    pub(super) fn never_claimed(&self) -> bool {
        self.header.started_at.is_none() && !self.state.is_final()
    }
    pub(super) fn session(&self) -> [&str; 3] {
        [self.tenant.as_str(), self.header.agent.as_str(), self.header.session_id.as_str()]
    }
    /// When a sweep must look at it again.
    pub(super) fn due(&self) -> Option<i64> {
        due(self.state, self.not_before, self.until, self.deadline, self.header.started_at.is_some())
    }
    /// The task as it is at `now`.
    pub(super) fn result(&self, db: &Connection, now: Time) -> Result<AgentResult, Refusal> {
        if !self.state.is_final() {
            return Ok(self.header.live(now));
        }
        let last = events(db, self.number, self.last_seq - 1, 1)?;
        let result = last.first().and_then(|(_, event)| event.result());
        Ok(result.ok_or_else(|| Error::internal(format!("the last event of task `{}` cannot be read", self.header.id)))?)
    }
    /// Adds an event to the journal; the row itself is written by the caller.
    pub(super) fn record(&mut self, db: &Connection, event: StoredEvent) -> Result<Arc<StoredEvent>, Refusal> {
        let mut insert = db.prepare_cached("INSERT INTO events (id, epoch, at, step, name, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        insert.execute(params![self.number << 20 | event.seq as i64, self.epoch, event.at.0, event.step, event.name, event.data.get()])?;
        self.last_seq = event.seq as i64;
        self.last_step = self.last_step.max(event.step);
        Ok(Arc::new(event))
    }
}

/// When a sweep must look at a task again.
pub(super) fn due(state: State, not_before: Option<Time>, until: Option<Time>, deadline: Option<Time>, claimed: bool) -> Option<i64> {
    let earliest = |moment: Option<Time>| moment.into_iter().chain(deadline).min();
    let due = match state {
        State::Scheduled => earliest(not_before),
        State::Parked => earliest(until),
        State::Waiting | State::Ready => deadline.filter(|_| !claimed),
        State::Running | State::Completed | State::Failed | State::Cancelled => None,
    };
    due.map(|time| time.0)
}

/// The task is its session's head and anybody may claim it.
pub(super) fn make_ready(tx: &mut Tx, row: &mut Row) -> rusqlite::Result<()> {
    (row.state, row.until, row.header.waiting_for) = (State::Ready, None, None);
    let mut update =
        tx.db.prepare_cached("UPDATE tasks SET state = 2, ready_at = ?2, until = NULL, waiting_for = NULL, due = ?3 WHERE row = ?1")?;
    update.execute((row.number, tx.now.0, row.due()))?;
    tx.leased.insert(row.number, None);
    Ok(())
}

/// The task ends. The last answer is whether the next of its session became ready by that.
pub(super) fn end(tx: &mut Tx, row: &mut Row, ending: &Ending) -> Result<(AgentResult, Arc<StoredEvent>, bool), Refusal> {
    let (event, result) = rules::final_event(&row.header, ending, row.last_seq as u64 + 1, row.last_step, tx.now)?;
    let was_head = matches!(row.state, State::Ready | State::Running | State::Parked);
    let event = row.record(tx.db, event)?;
    row.state = match ending.status {
        TaskStatus::Failed => State::Failed,
        TaskStatus::Cancelled => State::Cancelled,
        TaskStatus::Pending | TaskStatus::Running | TaskStatus::Completed => State::Completed,
    };
    let progress = &row.header.progress;
    let mut update = tx.db.prepare_cached(
        "UPDATE tasks SET state = ?2, finished_at = ?3, last_seq = ?4, last_step = ?5, steps_used = ?6, tokens_used = ?7, tool_calls = ?8, \
         cost_usd = ?9, model = ?10, signals = 0, waiting_for = NULL, due = NULL WHERE row = ?1",
    )?;
    update.execute(params![
        row.number,
        row.state as i64,
        tx.now.0,
        row.last_seq,
        row.last_step,
        progress.steps_used,
        progress.tokens_used as i64,
        progress.tool_calls,
        progress.cost_usd,
        progress.model
    ])?;
    if rules::is_poisoned(ending) {
        tx.db.prepare_cached("UPDATE tasks SET dead = 1 WHERE row = ?1")?.execute([row.number])?;
    }
    if row.signals > 0 {
        tx.db.prepare_cached("DELETE FROM signals WHERE task = ?1")?.execute([row.number])?;
    }
    approval::close(tx, row)?;
    tx.leased.insert(row.number, None);
    tx.counters.unfinished -= 1;
    let released = was_head && release_next(tx, row)?;
    Ok((result, event, released))
}

/// The next that waits in this task's session is ready.
fn release_next(tx: &mut Tx, row: &Row) -> Result<bool, Refusal> {
    let mut next = tx
        .db
        .prepare_cached("SELECT row FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND state = 1 ORDER BY place LIMIT 1")?;
    let Some(next) = next.query_row(row.session(), |row| row.get(0)).optional()? else { return Ok(false) };
    let mut next = fetch(tx.db, next)?;
    make_ready(tx, &mut next)?;
    Ok(true)
}

/// Sets a lease, once this is committed.
pub(super) fn lease(tx: &mut Tx, row: &Row) {
    let until = tx.now.plus(rules::LEASE);
    tx.leased.insert(row.number, Some(Lease { epoch: row.epoch as u64, until, agent: row.header.agent.clone() }));
}

/// The events after `after`, each with the epoch it was recorded under.
pub(super) fn events(db: &Connection, number: i64, after: i64, limit: usize) -> Result<Vec<(i64, StoredEvent)>, Refusal> {
    let mut select =
        db.prepare_cached("SELECT id, epoch, at, step, name, data FROM events WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3")?;
    let last = number << 20 | rules::EVENTS_MAX as i64;
    let mut rows =
        select.query((number << 20 | after.clamp(0, rules::EVENTS_MAX as i64), last, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let data = RawValue::from_string(row.get(5)?)
            .map_err(|e| Error::internal("an event in the database is damaged: restore a copy").because(e))?;
        let seq = (row.get::<_, i64>(0)? & rules::EVENTS_MAX as i64) as u64;
        let event = StoredEvent { seq, at: Time(row.get(2)?), step: row.get(3)?, name: row.get::<_, String>(4)?.into(), data };
        found.push((row.get(1)?, event));
    }
    Ok(found)
}

pub(super) fn waiting_name(waiting: WaitingFor) -> &'static str {
    match waiting {
        WaitingFor::Approval => "approval",
        WaitingFor::Input => "input",
        WaitingFor::Children => "children",
        WaitingFor::Timer => "timer",
    }
}

fn waiting_named(name: &str) -> Option<WaitingFor> {
    use WaitingFor::*;
    [Approval, Input, Children, Timer].into_iter().find(|waiting| waiting_name(*waiting) == name)
}
