//! A task's rows: read, and written as [`crate::life`] has changed it.

use super::{
    args::args,
    failure::Refusal,
    outbox,
    tx::{Ask, LockName, Tx},
    writes::Rows,
};
use crate::{
    life::{Ended, Row, State},
    rules::Draft,
};
use maniple_core::{
    AgentName, Error, Result, SessionId, SessionKey, TaskId, TaskKey, Tenant, Time,
    event::StoredEvent,
    task::{AgentResult, Ending, Header, Progress, WaitingFor},
};
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio_postgres::Row as SqlRow;

/// The columns of [`seen`], in its order.
macro_rules! columns {
    () => {
        "t.number, t.tenant, t.id, t.agent, t.session, coalesce(l.state, t.state), coalesce(l.place, t.place), l.epoch, \
         coalesce(l.last_seq, t.last_seq), coalesce(l.last_step, t.last_step), l.progressed, l.barren_expired, l.at, l.signals, \
         t.not_before, t.deadline, l.until, t.created_at, l.started_at, t.trace_id, t.retry_of, l.steps_used, l.tokens_used, \
         l.tool_calls, l.cost_usd, l.model, l.waiting_for, f.at, f.step, f.name, f.data, l.publish"
    };
}
/// How many they are: what else is asked for comes behind them.
pub(super) const COLUMNS: usize = 32;
/// Where they come from: a task, what moves of it, and its final event.
macro_rules! tables {
    () => {
        "tasks t LEFT JOIN live l ON l.task = t.number LEFT JOIN events f ON f.task = t.number AND f.seq = t.last_seq"
    };
}
pub(super) use {columns, tables};

/// A task as it was read.
pub(super) struct Seen {
    pub(super) row: Row,
    /// The time of its last event, while it is unfinished.
    pub(super) at: Time,
    /// Its final event.
    last: Option<StoredEvent>,
}

/// A row of [`columns`].
pub(super) fn seen(row: &SqlRow) -> Result<Seen, Refusal> {
    let text = |column: usize| row.try_get::<_, &str>(column);
    let number = |column: usize| row.try_get::<_, Option<i64>>(column).map(Option::unwrap_or_default);
    let time = |column: usize| row.try_get::<_, Option<i64>>(column).map(|time| time.map(Time));
    let small = |column: usize| number(column).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let damaged = || Error::internal("a task in the database is in no state there is: restore a copy");
    let last_seq = number(8)?;
    let last = match row.try_get::<_, Option<&str>>(30)? {
        Some(data) => Some(event(last_seq, number(27)?, number(28)?, row.try_get(29)?, data)?),
        None => None,
    };
    let task = Row {
        number: row.try_get(0)?,
        tenant: Tenant::parse(text(1)?)?,
        header: Header {
            id: TaskId::parse(text(2)?)?,
            session_id: SessionId::parse(text(4)?)?,
            agent: AgentName::parse(text(3)?)?,
            created_at: Time(row.try_get(17)?),
            started_at: time(18)?,
            trace_id: row.try_get(19)?,
            retry_of: row.try_get::<_, Option<&str>>(20)?.map(TaskId::parse).transpose()?,
            progress: Progress {
                steps_used: small(21)?,
                tokens_used: u64::try_from(number(22)?).unwrap_or_default(),
                tool_calls: small(23)?,
                cost_usd: row.try_get(24)?,
                model: row.try_get(25)?,
            },
            waiting_for: row.try_get::<_, Option<&str>>(26)?.and_then(WaitingFor::parse),
        },
        state: State::of(row.try_get::<_, Option<i64>>(5)?.ok_or_else(damaged)?).ok_or_else(damaged)?,
        place: row.try_get(6)?,
        epoch: number(7)?,
        last_seq,
        last_step: small(9)?,
        progressed: row.try_get::<_, Option<bool>>(10)?.unwrap_or_default(),
        barren_expired: small(11)?,
        // No claim is found open: it is another process's for as long as its lease holds.
        barren_open: 0,
        signals: number(13)?,
        not_before: time(14)?,
        deadline: time(15)?,
        until: time(16)?,
        publish: row.try_get::<_, Option<&str>>(31)?.map(outbox::read_publish).transpose()?,
    };
    Ok(Seen { row: task, at: Time(number(12)?), last })
}

impl Seen {
    /// The task as it is at `now`.
    pub(super) fn result(&self, now: Time) -> Result<AgentResult> {
        if !self.row.state.is_final() {
            return Ok(self.row.live(now));
        }
        let result = self.last.as_ref().and_then(StoredEvent::result);
        result.ok_or_else(|| Error::internal(format!("the last event of task `{}` cannot be read", self.row.header.id)))
    }
}

/// An event as it is stored.
fn event(seq: i64, at: i64, step: i64, name: &str, data: &str) -> Result<StoredEvent> {
    let data = RawValue::from_string(data.to_owned())
        .map_err(|e| Error::internal("an event in the database is damaged: restore a copy").because(e))?;
    let step = u32::try_from(step).unwrap_or(u32::MAX);
    Ok(StoredEvent { seq: seq as u64, at: Time(at), step, name: name.to_owned().into(), data, made: None })
}

/// A question for a task's journal: see [`journal`].
pub(super) const JOURNAL: &str = "SELECT seq, epoch, at, step, name, data FROM events WHERE task = $1 AND seq > $2 ORDER BY seq LIMIT $3";

/// The events of a [`JOURNAL`], each with the epoch it was recorded under.
pub(super) fn journal(rows: &[SqlRow]) -> Result<Vec<(i64, StoredEvent)>, Refusal> {
    let read = |row: &SqlRow| {
        let read = event(row.try_get(0)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?)?;
        Ok((row.try_get(1)?, read))
    };
    rows.iter().map(read).collect()
}

/// A question for the task of a key: none that is gone.
pub(super) fn of_key(key: &TaskKey) -> Ask {
    const SQL: &str = concat!("SELECT ", columns!(), " FROM ", tables!(), " WHERE t.tenant = $1 AND t.id = $2 AND t.gone_until IS NULL");
    Ask(SQL, args![key.tenant.as_str(), key.id.as_str()])
}
/// A question for the task of a number.
pub(super) fn of_number(number: i64) -> Ask {
    const SQL: &str = concat!("SELECT ", columns!(), " FROM ", tables!(), " WHERE t.number = $1 AND t.gone_until IS NULL");
    Ask(SQL, args![number])
}
/// The task that one of those found.
pub(super) fn found(rows: &[SqlRow]) -> Result<Option<Seen>, Refusal> {
    rows.first().map(seen).transpose()
}

/// The lock of a session: accept, end, erase and falling due take it before anything else.
pub(super) fn session_lock(session: &SessionKey) -> LockName {
    LockName { text: format!("{}/{}/{}", session.tenant, session.agent, session.id), kind: 0 }
}
/// A lock of a task while it is unfinished.
pub(super) fn lock_task(key: &TaskKey) -> Ask {
    const SQL: &str = "SELECT 1 FROM live WHERE task = (SELECT number FROM tasks WHERE tenant = $1 AND id = $2) FOR UPDATE";
    Ask(SQL, args![key.tenant.as_str(), key.id.as_str()])
}

/// The task of a number, under locks that were taken before.
pub(super) async fn known(tx: &mut Tx<'_>, number: i64) -> Result<Option<Seen>, Refusal> {
    let answers = tx.under_locks(vec![of_number(number)]).await?;
    not_before(tx, found(answers.last().map_or(&[][..], Vec::as_slice))?)
}
/// What is done now is no earlier than what was done last.
fn not_before(tx: &mut Tx<'_>, seen: Option<Seen>) -> Result<Option<Seen>, Refusal> {
    if let Some(seen) = &seen {
        tx.now = tx.now.max(seen.at);
    }
    Ok(seen)
}

/// What names its session.
pub(super) fn session(row: &Row) -> SessionKey {
    SessionKey { tenant: row.tenant.clone(), agent: row.header.agent.clone(), id: row.header.session_id.clone() }
}

/// A task under its lock, and the session's where it may come to an end. `None` for no such task.
pub(super) async fn locked(tx: &mut Tx<'_>, key: &TaskKey, may_end: bool) -> Result<Option<Seen>, Refusal> {
    let mut locks = Vec::new();
    if may_end {
        let known = "SELECT agent, session FROM tasks WHERE tenant = $1 AND id = $2 AND gone_until IS NULL";
        let Some(found) = tx.row(known, args![key.tenant.as_str(), key.id.as_str()]).await? else { return Ok(None) };
        let (agent, id) = (AgentName::parse(found.try_get(0)?)?, SessionId::parse(found.try_get(1)?)?);
        locks.push(session_lock(&SessionKey { tenant: key.tenant.clone(), agent, id }).ask());
    }
    locks.extend([lock_task(key), of_key(key)]);
    let answers = tx.under_locks(locks).await?;
    not_before(tx, found(answers.last().map_or(&[][..], Vec::as_slice))?)
}

/// Records the next events of a task.
pub(super) fn record(tx: &mut Tx<'_>, row: &mut Row, drafts: &[Draft]) -> Vec<Arc<StoredEvent>> {
    let events: Vec<_> = drafts.iter().map(|draft| Arc::new(row.record(draft, tx.now))).collect();
    write_events(tx, row, &events);
    events
}
/// Adds events to the journal; the rows themselves are written by the caller.
pub(super) fn write_events(tx: &mut Tx<'_>, row: &Row, events: &[Arc<StoredEvent>]) {
    if events.is_empty() {
        return;
    }
    for event in events {
        let (seq, name, data) = (event.seq, event.name.to_string(), event.data.get());
        tx.put(Rows::Events, args![row.number, row.epoch, tx.now, seq, event.step, name, data]);
    }
    outbox::tell_events(tx, row, events);
}

/// The task is its session's head and anybody may claim it.
pub(super) fn make_ready(tx: &mut Tx<'_>, row: &mut Row) {
    row.made_ready();
    tx.put(Rows::MadeReady, args![row.number, row.due(), tx.now]);
    put_in_ready(tx, row);
}
/// It waits for whoever claims it.
pub(super) fn put_in_ready(tx: &mut Tx<'_>, row: &Row) {
    tx.put(Rows::Ready, args![row.number, row.place, tx.now]);
}

/// The task ends, under the lock of its session. The last answer is whether the next of its session became ready by that.
pub(super) async fn end(tx: &mut Tx<'_>, row: &mut Row, ending: &Ending) -> Result<(AgentResult, Arc<StoredEvent>, bool), Refusal> {
    let was_ready = row.state == State::Ready;
    let Ended { event, result, frees_session, is_dead } = row.ended(ending, tx.now)?;
    let event = Arc::new(event);
    write_events(tx, row, std::slice::from_ref(&event));
    outbox::tell_end(tx, row, &result, &event);
    tx.put(Rows::Ended, args![row.number, row.state as i64, tx.now, row.last_seq, row.last_step, row.place, is_dead]);
    tx.put(Rows::NoLongerLive, args![row.number]);
    tx.put(Rows::NoLongerAsked, args![row.number]);
    if was_ready {
        tx.put(Rows::NoLongerReady, args![row.number]);
    }
    if row.signals > 0 {
        tx.write("DELETE FROM signals WHERE task = $1", args![row.number]);
    }
    tx.count(&row.tenant, -1);
    let released = frees_session && release_next(tx, row).await?;
    Ok((result, event, released))
}

/// The next that waits in this task's session is ready.
async fn release_next(tx: &mut Tx<'_>, row: &Row) -> Result<bool, Refusal> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM ",
        tables!(),
        " WHERE t.number = (SELECT task FROM live WHERE tenant = $1 AND agent = $2 AND session = $3 AND state = 1 ORDER BY place LIMIT 1)"
    );
    let session = session(row);
    let next = tx.row(SQL, args![session.tenant.as_str(), session.agent.as_str(), session.id.as_str()]).await?;
    let Some(mut next) = next.as_ref().map(seen).transpose()? else { return Ok(false) };
    tx.now = tx.now.max(next.at);
    make_ready(tx, &mut next.row);
    Ok(true)
}

/// What the next event of a task may weigh at most in one read of a journal.
pub(super) const CHUNK: usize = 512;

/// The events of a task after `after`: at most `limit`, and none more once they weigh `max_bytes`.
pub(super) async fn events(
    tx: &Tx<'_>,
    number: i64,
    mut after: i64,
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<(i64, StoredEvent)>, Refusal> {
    // What weighs too much is not even sent: each row comes with what those before it weigh.
    let sql = "SELECT seq, epoch, at, step, name, data FROM (\
                 SELECT *, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before \
                 FROM events WHERE task = $1 AND seq > $2 ORDER BY seq LIMIT $3) e WHERE before < $4 ORDER BY seq";
    let (mut all, mut bytes) = (Vec::new(), 0_usize);
    while all.len() < limit && (bytes < max_bytes || all.is_empty()) {
        let chunk = CHUNK.min(limit - all.len());
        let room = max_bytes.saturating_sub(bytes).clamp(1, 8 << 20);
        let rows = tx.rows(sql, args![number, after, chunk, room]).await?;
        let found = journal(&rows)?;
        let Some(last) = found.last().map(|(_, event)| event.seq as i64) else { break };
        after = last;
        for (epoch, event) in found {
            if bytes >= max_bytes && !all.is_empty() {
                return Ok(all);
            }
            bytes += event.weight();
            all.push((epoch, event));
        }
    }
    Ok(all)
}
