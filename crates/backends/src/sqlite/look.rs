//! What people look for: what was asked, and which conversations there are.

use super::{
    failure::Refusal,
    row::{self, COLUMNS},
};
use crate::{life::Row, rules};
use maniple_core::{
    Result, TaskId, Tenant, Time,
    ports::{ListSessions, SessionSummary, Sessions},
};
use rusqlite::{Connection, OptionalExtension, ToSql};

/// SQLite cuts the text, so that no more of it comes into memory than is wanted.
pub(super) fn prompts(db: &Connection, tenant: &Tenant, tasks: &[TaskId], max_chars: usize) -> Result<Vec<Option<String>>, Refusal> {
    let mut select = db.prepare_cached(
        "SELECT substr(json_extract(events.data, '$.prompt'), 1, ?3) FROM tasks JOIN events ON events.id = tasks.row << 20 | 1 \
         WHERE tasks.tenant = ?1 AND tasks.id = ?2",
    )?;
    let max_chars = i64::try_from(max_chars).unwrap_or(i64::MAX);
    let mut prompts = Vec::with_capacity(tasks.len());
    for id in tasks.iter().take(rules::READ_MAX) {
        prompts.push(select.query_row((tenant.as_str(), id.as_str(), max_chars), |row| row.get(0)).optional()?.flatten());
    }
    prompts.resize(tasks.len(), None);
    Ok(prompts)
}

/// Walks the tasks by age and keeps the last of each conversation, which two looks into an index tell.
pub(super) fn sessions(db: &Connection, query: &ListSessions, now: Time) -> Result<Sessions, Refusal> {
    let tenant = query.tenant.as_str();
    let before = query.before.as_ref().map(|(at, id)| (at.0, id.as_str()));
    let mut values: Vec<&dyn ToSql> = vec![&tenant];
    let mut sql = format!("SELECT {COLUMNS} FROM tasks WHERE tenant = ?");
    if let Some((at, id)) = &before {
        sql.push_str(" AND (created_at, id) < (?, ?)");
        values.extend([at as &dyn ToSql, id]);
    }
    sql.push_str(" ORDER BY created_at DESC, id DESC");
    let mut newest_first = db.prepare_cached(&sql)?;
    let mut rows = newest_first.query(values.as_slice())?;
    let (mut sessions, mut bytes, mut place) = (Sessions::default(), 0, None);
    for looked_at in 0.. {
        let Some(row) = rows.next()? else { break };
        if looked_at >= rules::READ_MAX || query.limit == 0 {
            sessions.next = place;
            break;
        }
        let row = row::read(row)?;
        let here = (row.header.created_at, row.header.id.clone());
        if (query.agents.is_empty() || query.agents.contains(&row.header.agent)) && is_last(db, &row)? {
            // This one only tells that there are more.
            if sessions.found.len() >= query.limit || (bytes >= query.max_bytes && !sessions.found.is_empty()) {
                sessions.next = place;
                break;
            }
            let last = row::result(db, &row, now)?;
            bytes += last.weight();
            let (id, agent) = (row.header.session_id.clone(), row.header.agent.clone());
            sessions.found.push(SessionSummary { id, agent, tasks: count(db, &row)?, last });
        }
        place = Some(here);
    }
    Ok(sessions)
}

/// Whether no task of its session was accepted after it. Rows are numbered as tasks are accepted, and a task that takes its place at
/// once has its row's number there; one that takes it later has a higher one, and until then none.
fn is_last(db: &Connection, row: &Row) -> Result<bool, Refusal> {
    let mut placed =
        db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND place > ?4 AND row > ?4 LIMIT 1")?;
    let mut scheduled =
        db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND place IS NULL AND row > ?4 LIMIT 1")?;
    let [tenant, agent, session] = row::session(row);
    Ok(!placed.exists((tenant, agent, session, row.number))? && !scheduled.exists((tenant, agent, session, row.number))?)
}

fn count(db: &Connection, row: &Row) -> Result<u64, Refusal> {
    let mut count =
        db.prepare_cached("SELECT count(*) FROM (SELECT 1 FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 LIMIT ?4)")?;
    let [tenant, agent, session] = row::session(row);
    let found: i64 = count.query_row((tenant, agent, session, rules::READ_MAX as i64), |row| row.get(0))?;
    Ok(found as u64)
}
