//! What goes: conversations that are erased, tasks past their time, and what nobody needs any more.

use super::{approval, create, failure::Refusal, keys, writer::Tx};
use crate::rules;
use maniple_core::{
    Result, SessionKey, TaskKey,
    ports::{Idempotency, KeyWas},
};
use std::time::Duration;

/// The most tasks of a conversation that go in one transaction: others have their turn in between.
pub(super) const ERASED_AT_ONCE: usize = 256;

/// What went of a conversation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Erased {
    pub(super) tasks: u64,
    /// Where the next transaction goes on, if anything is left.
    pub(super) below: Option<i64>,
}

/// Erases the newest tasks of a conversation below a row; all of them are finished. What is accepted meanwhile stays.
pub(super) fn erase(tx: &mut Tx, session: &SessionKey, below: Option<i64>) -> Result<Erased, Refusal> {
    let [tenant, agent, name] = create::names(session);
    if below.is_none() {
        let mut unfinished = tx.db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND state < 5")?;
        if unfinished.exists((tenant, agent, name))? {
            return Err(rules::session_busy().into());
        }
    }
    let mut select = tx.db.prepare_cached(
        "SELECT row FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND row < ?4 ORDER BY row DESC LIMIT ?5",
    )?;
    let rows = select.query_map((tenant, agent, name, below.unwrap_or(i64::MAX), ERASED_AT_ONCE as i64), |row| row.get(0))?;
    let rows: Vec<i64> = rows.collect::<Result<_, _>>()?;
    for row in &rows {
        remove(tx, *row)?;
    }
    Ok(Erased { tasks: rows.len() as u64, below: rows.last().copied().filter(|_| rows.len() == ERASED_AT_ONCE) })
}

pub(super) fn drop_dead_letter(tx: &mut Tx, key: &TaskKey, idempotency: Option<&Idempotency>) -> Result<KeyWas, Refusal> {
    if keys::known(tx, &key.tenant, idempotency)? == KeyWas::Known {
        return Ok(KeyWas::Known);
    }
    let mut drop = tx.db.prepare_cached("UPDATE tasks SET dead = NULL WHERE tenant = ?1 AND id = ?2 AND dead = 1")?;
    match drop.execute((key.tenant.as_str(), key.id.as_str()))? {
        0 => return Err(rules::not_dead(&key.id).into()),
        _ => keys::keep(tx, &key.tenant, idempotency, key.id.as_str())?,
    }
    Ok(KeyWas::New)
}

pub(super) fn forget(tx: &mut Tx, keep: Duration, limit: usize) -> Result<u64, Refusal> {
    let limit = limit.min(rules::READ_MAX);
    let ended = old(tx, keep, limit)?;
    for row in &ended {
        remove(tx, *row)?;
    }
    let now = tx.now.0;
    let batch = limit.max(rules::SWEEP_MAX) as i64;
    let forgotten = now.saturating_sub(rules::KEYS_KEPT.as_millis() as i64);
    tx.db
        .prepare_cached(
            "DELETE FROM keys WHERE (tenant, scope, key) IN (SELECT tenant, scope, key FROM keys WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute((forgotten, batch))?;
    tx.db
        .prepare_cached("DELETE FROM taken WHERE (tenant, id) IN (SELECT tenant, id FROM taken WHERE until <= ?1 ORDER BY until LIMIT ?2)")?
        .execute((now, batch))?;
    let mut unneeded =
        tx.db.prepare_cached("DELETE FROM definitions WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE definition = definitions.row)")?;
    if unneeded.execute([])? > 0 {
        tx.known.clear();
    }
    Ok(ended.len() as u64)
}

/// Oldest first, until what is left fits: pages that are freed are there for what comes.
pub(super) fn forget_beyond(tx: &mut Tx, max_bytes: u64, limit: usize) -> Result<u64, Refusal> {
    if used_bytes(tx)? <= max_bytes {
        return Ok(0);
    }
    let mut select = tx.db.prepare_cached("SELECT row FROM tasks WHERE state >= 5 ORDER BY row LIMIT ?1")?;
    let ended: Vec<i64> = select.query_map([limit.min(rules::READ_MAX) as i64], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut gone = 0;
    for row in ended {
        remove(tx, row)?;
        gone += 1;
        if used_bytes(tx)? <= max_bytes {
            break;
        }
    }
    Ok(gone)
}

fn used_bytes(tx: &Tx) -> rusqlite::Result<u64> {
    let number = |pragma: &str| tx.db.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
    let used = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok(u64::try_from(used * number("PRAGMA page_size")?).unwrap_or_default())
}

/// Rows follow acceptance, so the search stops at the first task too young to have ended long ago.
fn old(tx: &Tx, keep: Duration, limit: usize) -> Result<Vec<i64>, Refusal> {
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let cutoff = tx.now.0.saturating_sub(keep);
    let mut select = tx.db.prepare_cached("SELECT row, created_at, finished_at FROM tasks ORDER BY row")?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(row) = rows.next()? else { break };
        if row.get::<_, i64>(1)? > cutoff {
            break;
        }
        if row.get::<_, Option<i64>>(2)?.is_some_and(|finished| finished <= cutoff) {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

/// Removes an ended task; its id stays taken.
fn remove(tx: &mut Tx, row: i64) -> Result<(), Refusal> {
    let until = tx.now.plus(rules::IDS_KEPT).0;
    tx.db
        .prepare_cached("INSERT OR REPLACE INTO taken (tenant, id, until) SELECT tenant, id, ?2 FROM tasks WHERE row = ?1")?
        .execute((row, until))?;
    approval::remove(tx, row)?;
    let events = (row << 20, row << 20 | rules::EVENTS_MAX as i64);
    tx.db.prepare_cached("DELETE FROM events WHERE id BETWEEN ?1 AND ?2")?.execute(events)?;
    tx.db.prepare_cached("DELETE FROM tasks WHERE row = ?1")?.execute([row])?;
    Ok(())
}
