//! Looking without changing anything, on a reader's connection.

use super::{
    create,
    failure::Refusal,
    row::{self, COLUMNS},
    writer::Leases,
};
use crate::{
    life::{Row, State},
    rules,
};
use maniple_core::{
    AgentName, Error, Result, SessionKey, TaskId, TaskKey, Time,
    agent::Definitions,
    event::StoredEvent,
    ports::{Conversation, ListTasks, Turn, Waiting},
    signal::Signal,
    task::{AgentResult, TaskStatus},
};
use rusqlite::{Connection, OptionalExtension, ToSql};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write, time::Duration};

pub(super) fn get(db: &Connection, key: &TaskKey, now: Time) -> Result<Option<AgentResult>, Refusal> {
    let Some(row) = row::find(db, key)? else { return Ok(None) };
    row::result(db, &row, now).map(Some)
}

pub(super) fn signals(db: &Connection, key: &TaskKey) -> Result<Vec<Signal>, Refusal> {
    let Some(row) = row::find(db, key)? else { return Ok(Vec::new()) };
    super::signal::unread(db, row.number)
}

pub(super) fn events(
    db: &Connection,
    key: &TaskKey,
    after: u64,
    limit: usize,
    max_bytes: usize,
) -> Result<Option<Vec<StoredEvent>>, Refusal> {
    let mut number = db.prepare_cached("SELECT row FROM tasks WHERE tenant = ?1 AND id = ?2")?;
    let number = number.query_row((key.tenant.as_str(), key.id.as_str()), |row| row.get(0)).optional()?;
    let Some(number) = number else { return Ok(None) };
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let events = row::events(db, number, after, limit.min(rules::READ_MAX), max_bytes)?;
    Ok(Some(events.into_iter().map(|(_, event)| event).collect()))
}

pub(super) fn list(db: &Connection, query: &ListTasks, now: Time) -> Result<Vec<AgentResult>, Refusal> {
    let tenant = query.tenant.as_str();
    let agents: Vec<&str> = query.agents.iter().map(AgentName::as_str).collect();
    let session = query.session_id.as_ref().map(|id| id.as_str());
    let before = query.before.as_ref().map(|(at, id)| (at.0, id.as_str()));
    let limit = query.limit.min(rules::READ_MAX) as i64;

    let mut values: Vec<&dyn ToSql> = vec![&tenant];
    let mut sql = format!("SELECT {COLUMNS} FROM tasks WHERE tenant = ?");
    if !agents.is_empty() {
        let marks = vec!["?"; agents.len()].join(", ");
        let _ = write!(sql, " AND agent IN ({marks})");
        values.extend(agents.iter().map(|agent| agent as &dyn ToSql));
    }
    if let Some(session) = &session {
        sql.push_str(" AND session = ?");
        values.push(session);
    }
    if let Some((at, id)) = &before {
        sql.push_str(" AND (created_at, id) < (?, ?)");
        values.extend([at as &dyn ToSql, id]);
    }
    sql.push_str(match query.status {
        None => "",
        Some(TaskStatus::Pending) => " AND state < 5 AND started_at IS NULL",
        Some(TaskStatus::Running) => " AND state < 5 AND started_at IS NOT NULL",
        Some(TaskStatus::Completed) => " AND state = 5",
        Some(TaskStatus::Failed) => " AND state = 6",
        Some(TaskStatus::Cancelled) => " AND state = 7",
    });
    if query.dead {
        sql.push_str(" AND dead = 1");
    }
    // One session is found by its own index and sorted; anything else is read in the order it is wanted.
    sql.push_str(match (session, agents.is_empty()) {
        (Some(_), false) => " ORDER BY +created_at DESC, +id DESC LIMIT ?",
        _ => " ORDER BY created_at DESC, id DESC LIMIT ?",
    });
    values.push(&limit);

    let rows = row::all(&mut db.prepare_cached(&sql)?, values.as_slice())?;
    rules::within(query.max_bytes, AgentResult::weight, rows.iter().map(|row| row::result(db, row, now)))
}

/// What of `task.accepted` a turn needs.
#[derive(Deserialize)]
struct Asked {
    prompt: String,
}

pub(super) fn turns(
    db: &Connection,
    session: &SessionKey,
    before: Option<&TaskId>,
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<Turn>, Refusal> {
    let place = match before {
        None => None,
        Some(id) => {
            let row = row::find(db, &TaskKey { tenant: session.tenant.clone(), id: id.clone() })?;
            let row = row.filter(|row| row.header.agent == session.agent && row.header.session_id == session.id);
            row.ok_or_else(|| rules::no_task(id))?.place
        }
    };
    let mut completed = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND place < ?4 AND +state = 5 ORDER BY place DESC"
    ))?;
    let [tenant, agent, name] = create::names(session);
    let mut rows = completed.query((tenant, agent, name, place.unwrap_or(i64::MAX)))?;
    let (mut turns, mut bytes) = (Vec::new(), 0);
    while turns.len() < limit.min(rules::READ_MAX) && bytes < max_bytes {
        let Some(row) = rows.next()? else { break };
        let row = row::read(row)?;
        let turn = turn(db, &row)?;
        bytes += turn.prompt.len() + turn.output.as_ref().map_or(0, String::len);
        turns.push(turn);
    }
    Ok(turns)
}

pub(super) fn conversation(
    db: &Connection,
    session: &SessionKey,
    before: Option<&TaskId>,
    limit: usize,
    max_bytes: usize,
) -> Result<Conversation, Refusal> {
    let turns = turns(db, session, before, limit, max_bytes)?;
    let mut under_way =
        db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND state >= 1 AND state <= 4 LIMIT 1")?;
    let settled_at = if under_way.exists(create::names(session))? { None } else { Some(create::last_place(db, session)?) };
    Ok(Conversation { turns, settled_at })
}

fn turn(db: &Connection, row: &Row) -> Result<Turn, Refusal> {
    let damaged = || Error::internal(format!("the journal of task `{}` is damaged: restore a copy", row.header.id));
    let first = row::events(db, row.number, 0, 1, usize::MAX)?;
    let (_, accepted) = first.first().ok_or_else(damaged)?;
    let asked: Asked = serde_json::from_str(accepted.data.get()).map_err(|e| damaged().because(e))?;
    let result = row::result(db, row, row.header.created_at)?;
    Ok(Turn {
        task_id: row.header.id.clone(),
        asked_at: row.header.created_at,
        answered_at: result.finished_at.unwrap_or(row.header.created_at),
        prompt: asked.prompt,
        output: result.output,
    })
}

pub(super) fn definitions(db: &Connection, hash: &str) -> Result<Option<Definitions>, Refusal> {
    let mut data = db.prepare_cached("SELECT data FROM definitions WHERE hash = ?1")?;
    let data: Option<String> = data.query_row([hash], |row| row.get(0)).optional()?;
    let read = data.map(|data| serde_json::from_str(&data)).transpose();
    Ok(read.map_err(|e| Error::internal(format!("the definitions {hash} cannot be read")).because(e))?)
}

pub(super) fn waiting(db: &Connection, leases: &Leases, now: Time) -> Result<Vec<Waiting>, Refusal> {
    let mut agents = BTreeMap::new();
    let nothing = |agent: AgentName| Waiting { agent, ready: 0, oldest: Duration::ZERO, running: 0 };
    let mut ready = db.prepare_cached("SELECT agent, count(*), min(ready_at) FROM tasks WHERE state = 2 GROUP BY agent")?;
    let mut rows = ready.query([])?;
    while let Some(row) = rows.next()? {
        let agent = AgentName::parse(&row.get::<_, String>(0)?)?;
        let (ready, since) = (row.get::<_, i64>(1)? as u64, Time(row.get(2)?));
        agents.insert(agent.clone(), Waiting { ready, oldest: now.since(since), ..nothing(agent) });
    }
    for lease in leases.lock().values() {
        agents.entry(lease.agent.clone()).or_insert_with(|| nothing(lease.agent.clone())).running += 1;
    }
    Ok(agents.into_values().collect())
}

pub(super) fn ping(db: &Connection) -> Result<(), Refusal> {
    Ok(db.prepare_cached("SELECT clock FROM store")?.query_row([], |_| Ok(()))?)
}

// `State::Completed` and the numbers above are one: see `schema.rs`.
const _: () = assert!(State::Failed as i64 == 6 && State::Cancelled as i64 == 7);
