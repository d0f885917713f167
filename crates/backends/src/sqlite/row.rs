//! A task's row: read, and written as [`crate::life`] has changed it.

use super::{
    approval,
    failure::Refusal,
    writer::{Lease, Tx},
};
use crate::{
    life::{Ended, Row, State},
    rules::{self, Draft},
};
use maniple_core::{
    AgentName, Error, Result, SessionId, TaskId, TaskKey, Tenant, Time,
    event::StoredEvent,
    task::{AgentResult, Ending, Header, Progress, WaitingFor},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The columns of [`read`], in its order.
pub(super) const COLUMNS: &str = "row, tenant, id, agent, session, state, place, epoch, last_seq, last_step, progressed, barren_expired, \
     barren_open, signals, not_before, deadline, until, created_at, started_at, trace_id, retry_of, \
     steps_used, tokens_used, tool_calls, cost_usd, model, waiting_for";

/// A row of [`COLUMNS`].
pub(super) fn read(row: &rusqlite::Row) -> Result<Row, Refusal> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let time = |column: usize| row.get::<_, Option<i64>>(column).map(|time| time.map(Time));
    let damaged = || Error::internal("a task in the database is in no state there is: restore a copy");
    let retry_of = row.get_ref(20)?.as_str_or_null().map_err(rusqlite::Error::from)?.map(TaskId::parse).transpose()?;
    let waiting_for = row.get_ref(26)?.as_str_or_null().map_err(rusqlite::Error::from)?.and_then(WaitingFor::parse);
    Ok(Row {
        publish: None,
        number: row.get(0)?,
        tenant: Tenant::parse(text(1)?)?,
        header: Header {
            id: TaskId::parse(text(2)?)?,
            session_id: SessionId::parse(text(4)?)?,
            agent: AgentName::parse(text(3)?)?,
            created_at: Time(row.get(17)?),
            started_at: time(18)?,
            trace_id: row.get(19)?,
            retry_of,
            progress: Progress {
                steps_used: row.get(21)?,
                tokens_used: row.get::<_, i64>(22)? as u64,
                tool_calls: row.get(23)?,
                cost_usd: row.get(24)?,
                model: row.get(25)?,
            },
            waiting_for,
        },
        state: State::of(row.get(5)?).ok_or_else(damaged)?,
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

/// What names its session, as columns.
pub(super) fn session(row: &Row) -> [&str; 3] {
    [row.tenant.as_str(), row.header.agent.as_str(), row.header.session_id.as_str()]
}

/// The task as it is at `now`.
pub(super) fn result(db: &Connection, row: &Row, now: Time) -> Result<AgentResult, Refusal> {
    if !row.state.is_final() {
        return Ok(row.live(now));
    }
    let last = events(db, row.number, row.last_seq - 1, 1, usize::MAX)?;
    let result = last.first().and_then(|(_, event)| event.result());
    Ok(result.ok_or_else(|| Error::internal(format!("the last event of task `{}` cannot be read", row.header.id)))?)
}

/// Adds an event to the journal; the row itself is written by the caller.
pub(super) fn write_event(db: &Connection, row: &Row, event: &StoredEvent) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached("INSERT INTO events (id, epoch, at, step, name, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    insert.execute(params![row.number << 20 | event.seq as i64, row.epoch, event.at.0, event.step, event.name, event.data.get()])?;
    Ok(())
}

/// Records the next event of a task.
pub(super) fn record(tx: &Tx, row: &mut Row, draft: &Draft) -> rusqlite::Result<Arc<StoredEvent>> {
    let event = row.record(draft, tx.now);
    write_event(tx.db, row, &event)?;
    Ok(Arc::new(event))
}

/// The task is its session's head and anybody may claim it.
pub(super) fn make_ready(tx: &mut Tx, row: &mut Row) -> rusqlite::Result<()> {
    tx.held.remove(&row.key());
    row.made_ready();
    let mut update =
        tx.db.prepare_cached("UPDATE tasks SET state = 2, ready_at = ?2, until = NULL, waiting_for = NULL, due = ?3 WHERE row = ?1")?;
    update.execute((row.number, tx.now.0, due(row)))?;
    tx.leased.insert(row.number, None);
    Ok(())
}

/// When a sweep must look at it again.
pub(super) fn due(row: &Row) -> Option<i64> {
    row.due().map(|time| time.0)
}

/// The task ends. The last answer is whether the next of its session became ready by that.
pub(super) fn end(tx: &mut Tx, row: &mut Row, ending: &Ending) -> Result<(AgentResult, Arc<StoredEvent>, bool), Refusal> {
    tx.held.remove(&row.key());
    let Ended { event, result, frees_session, is_dead } = row.ended(ending, tx.now)?;
    write_event(tx.db, row, &event)?;
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
    if is_dead {
        tx.db.prepare_cached("UPDATE tasks SET dead = 1 WHERE row = ?1")?.execute([row.number])?;
    }
    if row.signals > 0 {
        tx.db.prepare_cached("DELETE FROM signals WHERE task = ?1")?.execute([row.number])?;
    }
    approval::close(tx, row)?;
    tx.leased.insert(row.number, None);
    tx.count(&row.tenant, -1);
    let released = frees_session && release_next(tx, row)?;
    Ok((result, Arc::new(event), released))
}

/// The next that waits in this task's session is ready.
fn release_next(tx: &mut Tx, row: &Row) -> Result<bool, Refusal> {
    let mut next = tx
        .db
        .prepare_cached("SELECT row FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND state = 1 ORDER BY place LIMIT 1")?;
    let Some(next) = next.query_row(session(row), |row| row.get(0)).optional()? else { return Ok(false) };
    let mut next = fetch(tx.db, next)?;
    make_ready(tx, &mut next)?;
    Ok(true)
}

/// Sets a lease, once this is committed.
pub(super) fn lease(tx: &mut Tx, row: &Row) {
    set_lease(tx, row, None);
}
/// The same for a task that is born claimed, by the wish of that token.
pub(super) fn lease_of_born(tx: &mut Tx, row: &Row, token: u128) {
    set_lease(tx, row, Some(token));
}
fn set_lease(tx: &mut Tx, row: &Row, born: Option<u128>) {
    let until = tx.now.plus(rules::LEASE);
    tx.leased.insert(row.number, Some(Lease { epoch: row.epoch as u64, until, agent: row.header.agent.clone(), born }));
}

/// The events after `after`, each with the epoch it was recorded under.
/// The events of the task `number` after `after`: at most `limit`, and none more once they weigh `max_bytes`.
pub(super) fn events(db: &Connection, number: i64, after: i64, limit: usize, max_bytes: usize) -> Result<Vec<(i64, StoredEvent)>, Refusal> {
    let mut select =
        db.prepare_cached("SELECT id, epoch, at, step, name, data FROM events WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3")?;
    let last = number << 20 | rules::EVENTS_MAX as i64;
    let mut rows =
        select.query((number << 20 | after.clamp(0, rules::EVENTS_MAX as i64), last, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while bytes < max_bytes || found.is_empty() {
        let Some(row) = rows.next()? else { break };
        let data = RawValue::from_string(row.get(5)?)
            .map_err(|e| Error::internal("an event in the database is damaged: restore a copy").because(e))?;
        let seq = (row.get::<_, i64>(0)? & rules::EVENTS_MAX as i64) as u64;
        let event = StoredEvent { seq, at: Time(row.get(2)?), step: row.get(3)?, name: row.get::<_, String>(4)?.into(), data, made: None };
        bytes += event.weight();
        found.push((row.get(1)?, event));
    }
    Ok(found)
}
