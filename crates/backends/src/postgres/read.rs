//! Looking without changing anything.

use super::{
    args::{Arg, args},
    create::{self, LAST_PLACE, names},
    failure::Refusal,
    row::{self, COLUMNS, columns, seen, tables},
    signal,
    tx::{Ask, Tx},
};
use crate::rules;
use maniple_core::{
    AgentName, Error, Result, SessionKey, TaskId, TaskKey, Time,
    agent::Definitions,
    event::StoredEvent,
    ports::{Conversation, ListTasks, Turn, Waiting},
    signal::Signal,
    task::{AgentResult, TaskStatus},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// How many tasks are read at once where what they weigh is bounded.
const PAGE: usize = 64;

pub(super) async fn signals(tx: &Tx<'_>, key: &TaskKey) -> Result<Vec<Signal>, Refusal> {
    let sql = "SELECT s.id, s.kind, s.data, s.at FROM tasks t JOIN signals s ON s.task = t.number \
               WHERE t.tenant = $1 AND t.id = $2 AND t.gone_until IS NULL AND NOT s.read ORDER BY s.n";
    signal::unread(&tx.rows(sql, args![key.tenant.as_str(), key.id.as_str()]).await?)
}

pub(super) async fn events(
    tx: &Tx<'_>,
    key: &TaskKey,
    after: u64,
    limit: usize,
    max_bytes: usize,
) -> Result<Option<Vec<StoredEvent>>, Refusal> {
    let number = "SELECT number FROM tasks WHERE tenant = $1 AND id = $2 AND gone_until IS NULL";
    let found = tx.rows(number, args![key.tenant.as_str(), key.id.as_str()]).await?;
    let Some(number) = create::first_number(&found) else { return Ok(None) };
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let events = row::events(tx, number, after, limit.min(rules::READ_MAX), max_bytes).await?;
    Ok(Some(events.into_iter().map(|(_, event)| event).collect()))
}

pub(super) async fn list(tx: &Tx<'_>, query: &ListTasks) -> Result<Vec<AgentResult>, Refusal> {
    let limit = query.limit.min(rules::READ_MAX);
    let (mut found, mut bytes, mut before) = (Vec::new(), 0, query.before.clone());
    // In pages where the weight counts, so that no more comes into memory than is wanted.
    let page = if query.max_bytes.is_some() { PAGE } else { rules::READ_MAX };
    while found.len() < limit {
        let wanted = page.min(limit - found.len());
        let rows = page_of(tx, query, before.as_ref(), wanted).await?;
        let count = rows.len();
        for row in &rows {
            let seen = seen(row)?;
            before = Some((seen.row.header.created_at, seen.row.header.id.clone()));
            let result = seen.result(tx.now)?;
            bytes += result.weight();
            found.push(result);
            if query.max_bytes.is_some_and(|most| bytes >= most) {
                return Ok(found);
            }
        }
        if count < wanted {
            break;
        }
    }
    Ok(found)
}

async fn page_of(
    tx: &Tx<'_>,
    query: &ListTasks,
    before: Option<&(Time, TaskId)>,
    limit: usize,
) -> Result<Vec<tokio_postgres::Row>, Refusal> {
    let mut sql = concat!("SELECT ", columns!(), " FROM ", tables!(), " WHERE t.tenant = $1 AND t.gone_until IS NULL").to_owned();
    let mut values: Vec<Arg> = args![query.tenant.as_str()];
    if !query.agents.is_empty() {
        values.push(Arg::from(query.agents.iter().map(ToString::to_string).collect::<Vec<_>>()));
        let _ = write!(sql, " AND t.agent = ANY(${})", values.len());
    }
    if let Some(session) = &query.session_id {
        values.push(Arg::from(session.as_str()));
        let _ = write!(sql, " AND t.session = ${}", values.len());
    }
    if let Some((at, id)) = before {
        values.extend(args![*at, id.as_str()]);
        let _ = write!(sql, " AND (t.created_at, t.id) < (${}, ${})", values.len() - 1, values.len());
    }
    sql.push_str(match query.status {
        None => "",
        Some(TaskStatus::Pending) => " AND t.state IS NULL AND l.started_at IS NULL",
        Some(TaskStatus::Running) => " AND t.state IS NULL AND l.started_at IS NOT NULL",
        Some(TaskStatus::Completed) => " AND t.state = 5",
        Some(TaskStatus::Failed) => " AND t.state = 6",
        Some(TaskStatus::Cancelled) => " AND t.state = 7",
    });
    if query.dead {
        sql.push_str(" AND t.dead");
    }
    values.push(Arg::from(limit));
    let _ = write!(sql, " ORDER BY t.created_at DESC, t.id DESC LIMIT ${}", values.len());
    tx.rows(&sql, values).await
}

/// What of `task.accepted` a turn needs.
#[derive(Deserialize)]
struct Asked {
    prompt: String,
}

pub(super) async fn turns(
    tx: &Tx<'_>,
    session: &SessionKey,
    before: Option<&TaskId>,
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<Turn>, Refusal> {
    let [tenant, agent, name] = names(session);
    let mut place = i64::MAX;
    if let Some(id) = before {
        let Ask(sql, values) = row::of_key(&TaskKey { tenant: session.tenant.clone(), id: id.clone() });
        let seen = row::found(&tx.rows(sql, values).await?)?.map(|seen| seen.row);
        let seen = seen.filter(|row| row.header.agent == session.agent && row.header.session_id == session.id);
        place = seen.ok_or_else(|| rules::no_task(id))?.place.unwrap_or(i64::MAX);
    }
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        ", a.data FROM ",
        tables!(),
        " JOIN events a ON a.task = t.number AND a.seq = 1 WHERE t.tenant = $1 AND t.agent = $2 AND t.session = $3 AND t.place < $4 \
          AND t.state = 5 AND t.gone_until IS NULL ORDER BY t.place DESC LIMIT $5"
    );
    let (mut turns, mut bytes) = (Vec::new(), 0);
    let limit = limit.min(rules::READ_MAX);
    while turns.len() < limit && bytes < max_bytes {
        let wanted = 16.min(limit - turns.len());
        let rows = tx.rows(SQL, args![tenant, agent, name, place, wanted]).await?;
        for found in &rows {
            let seen = seen(found)?;
            place = seen.row.place.unwrap_or_default();
            let id = &seen.row.header.id;
            let damaged =
                |e: serde_json::Error| Error::internal(format!("the journal of task `{id}` is damaged: restore a copy")).because(e);
            let asked: Asked = serde_json::from_str(found.try_get(COLUMNS)?).map_err(damaged)?;
            let result = seen.result(tx.now)?;
            bytes += asked.prompt.len() + result.output.as_ref().map_or(0, String::len);
            turns.push(Turn {
                task_id: id.clone(),
                asked_at: seen.row.header.created_at,
                answered_at: result.finished_at.unwrap_or(seen.row.header.created_at),
                prompt: asked.prompt,
                output: result.output,
            });
            if bytes >= max_bytes {
                return Ok(turns);
            }
        }
        if rows.len() < wanted {
            break;
        }
    }
    Ok(turns)
}

pub(super) async fn conversation(
    tx: &Tx<'_>,
    session: &SessionKey,
    before: Option<&TaskId>,
    limit: usize,
    max_bytes: usize,
) -> Result<Conversation, Refusal> {
    let [tenant, agent, name] = names(session);
    let turns = turns(tx, session, before, limit, max_bytes).await?;
    let under_way = "SELECT 1 FROM live WHERE tenant = $1 AND agent = $2 AND session = $3 AND state >= 1 LIMIT 1";
    let settled_at = match tx.row(under_way, args![tenant, agent, name]).await? {
        Some(_) => None,
        None => create::first_number(&tx.rows(LAST_PLACE, args![tenant, agent, name]).await?).map(|place| place as u64),
    };
    Ok(Conversation { turns, settled_at })
}

pub(super) async fn definitions(tx: &Tx<'_>, hash: &str) -> Result<Option<Definitions>, Refusal> {
    let Some(row) = tx.row("SELECT data FROM definitions WHERE hash = $1", args![hash]).await? else { return Ok(None) };
    let read = serde_json::from_str(row.try_get(0)?);
    Ok(Some(read.map_err(|e| Error::internal(format!("the definitions {hash} cannot be read")).because(e))?))
}

pub(super) async fn waiting(tx: &Tx<'_>) -> Result<Vec<Waiting>, Refusal> {
    let mut agents: BTreeMap<AgentName, Waiting> = BTreeMap::new();
    let nothing = |agent: AgentName| Waiting { agent, ready: 0, oldest: Duration::ZERO, running: 0 };
    for row in tx.rows("SELECT agent, count(*), min(ready_at) FROM ready GROUP BY agent", args![]).await? {
        let agent = AgentName::parse(row.try_get(0)?)?;
        let (ready, since) = (row.try_get::<_, i64>(1)? as u64, Time(row.try_get(2)?));
        agents.insert(agent.clone(), Waiting { ready, oldest: tx.now.since(since), ..nothing(agent) });
    }
    for row in tx.rows("SELECT agent, count(*) FROM live WHERE state = 3 GROUP BY agent", args![]).await? {
        let agent = AgentName::parse(row.try_get(0)?)?;
        agents.entry(agent.clone()).or_insert_with(|| nothing(agent)).running = row.try_get::<_, i64>(1)? as u64;
    }
    Ok(agents.into_values().collect())
}
