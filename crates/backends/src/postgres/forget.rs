//! What goes: conversations that are erased, tasks past their time, and what nobody needs any more.

use super::{
    args::args,
    create::names,
    failure::Refusal,
    keys::Passing,
    link::Link,
    row,
    tx::{Tx, transact},
};
use crate::rules;
use maniple_core::{
    Result, SessionKey, TaskKey, Time,
    ports::{Idempotency, KeyWas},
};
use std::time::Duration;

/// The most tasks that go in one transaction: others have their turn in between.
const GONE_AT_ONCE: usize = 256;

/// What went of a conversation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Erased {
    pub(super) tasks: u64,
    /// Where the next transaction goes on, if anything is left.
    pub(super) below: Option<i64>,
}

/// Erases the newest tasks of a conversation below a number; all of them are finished. What is accepted meanwhile stays.
pub(super) async fn erase(tx: &mut Tx<'_>, session: &SessionKey, below: Option<i64>) -> Result<Erased, Refusal> {
    let [tenant, agent, name] = names(session);
    tx.under_locks(vec![row::session_lock(session).ask()]).await?;
    if below.is_none() {
        let unfinished = "SELECT 1 FROM live WHERE tenant = $1 AND agent = $2 AND session = $3 LIMIT 1";
        if tx.row(unfinished, args![tenant, agent, name]).await?.is_some() {
            return Err(rules::session_busy().into());
        }
    }
    let select = "SELECT number FROM tasks WHERE tenant = $1 AND agent = $2 AND session = $3 AND number < $4 AND gone_until IS NULL \
                  ORDER BY number DESC LIMIT $5";
    let rows = tx.rows(select, args![tenant, agent, name, below.unwrap_or(i64::MAX), GONE_AT_ONCE]).await?;
    let numbers: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let (tasks, last) = (numbers.len() as u64, numbers.last().copied().filter(|_| numbers.len() == GONE_AT_ONCE));
    remove(tx, numbers);
    Ok(Erased { tasks, below: last })
}

/// Removes ended tasks; nothing of them stays but that their ids are taken.
fn remove(tx: &mut Tx<'_>, numbers: Vec<i64>) {
    tx.write("DELETE FROM approvals WHERE task = ANY($1)", args![numbers.clone()]);
    tx.write("DELETE FROM events WHERE task = ANY($1)", args![numbers.clone()]);
    let gone = "UPDATE tasks SET gone_until = $2, agent = '', session = '', place = NULL, dead = false, definition = NULL, finished_at = NULL, trace_id = NULL, \
                content_hash = '' WHERE number = ANY($1)";
    tx.write(gone, args![numbers, tx.now.plus(rules::IDS_KEPT)]);
}

pub(super) async fn drop_dead_letter(tx: &mut Tx<'_>, key: &TaskKey, idempotency: Option<&Idempotency>) -> Result<KeyWas, Refusal> {
    tx.under_locks(Vec::new()).await?;
    let passing = Passing::look(tx, &key.tenant, idempotency).await?;
    if passing.was == KeyWas::Known {
        return Ok(KeyWas::Known);
    }
    let drop = "UPDATE tasks SET dead = false WHERE tenant = $1 AND id = $2 AND dead RETURNING 1";
    if tx.row(drop, args![key.tenant.as_str(), key.id.as_str()]).await?.is_none() {
        return Err(rules::not_dead(&key.id).into());
    }
    passing.keep(tx, key.id.as_str());
    Ok(KeyWas::New)
}

pub(super) async fn forget(link: &Link, keep: Duration, limit: usize) -> Result<u64> {
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let mut gone = 0;
    let limit = limit.min(rules::READ_MAX);
    while gone < limit {
        let batch = GONE_AT_ONCE.min(limit - gone);
        let old = "SELECT number FROM tasks WHERE finished_at <= $1 ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED";
        let removed = transact!(link, tx => remove_found(&mut tx, old, Some(keep), batch))?;
        gone += removed;
        if removed < batch {
            break;
        }
    }
    transact!(link, tx => forget_unneeded(&mut tx, limit.max(rules::SWEEP_MAX)))?;
    Ok(gone as u64)
}

async fn remove_found(tx: &mut Tx<'_>, sql: &str, keep: Option<i64>, limit: usize) -> Result<usize, Refusal> {
    tx.under_locks(Vec::new()).await?;
    let cutoff = keep.map_or(Time(i64::MAX), |keep| Time(tx.now.0.saturating_sub(keep)));
    let numbers: Vec<i64> = tx.rows(sql, args![cutoff, limit]).await?.iter().map(|row| row.get(0)).collect();
    let found = numbers.len();
    if found > 0 {
        remove(tx, numbers);
    }
    Ok(found)
}

async fn forget_unneeded(tx: &mut Tx<'_>, batch: usize) -> Result<(), Refusal> {
    tx.under_locks(Vec::new()).await?;
    let now = tx.now;
    let forgotten = now.0.saturating_sub(rules::KEYS_KEPT.as_millis() as i64);
    let keys = "DELETE FROM keys WHERE (tenant, scope, key) IN (SELECT tenant, scope, key FROM keys WHERE at <= $1 ORDER BY at LIMIT $2)";
    tx.write(keys, args![forgotten, batch]);
    let ids = "DELETE FROM tasks WHERE number IN (SELECT number FROM tasks WHERE gone_until <= $1 ORDER BY gone_until LIMIT $2)";
    tx.write(ids, args![now, batch]);
    let definitions = "DELETE FROM definitions d WHERE NOT EXISTS (SELECT 1 FROM live WHERE definition = d.hash) \
                       AND NOT EXISTS (SELECT 1 FROM tasks WHERE definition = d.hash)";
    tx.write(definitions, args![]);
    let workers = "DELETE FROM workers w WHERE until < $1 AND NOT EXISTS (SELECT 1 FROM live WHERE worker = w.number)";
    tx.write(workers, args![now.0.saturating_sub(DAY)]);
    tx.link.here.forget_definitions();
    Ok(())
}

/// How long the row of a worker that is gone stays.
const DAY: i64 = 24 * 3_600 * 1_000;

/// Oldest first, until what is left fits. Postgres frees the room for what comes as it vacuums, so what there is now is weighed and
/// not what its files hold: the journals, with a little for the rows beside them.
pub(super) async fn forget_beyond(link: &Link, max_bytes: u64, limit: usize) -> Result<u64> {
    let limit = limit.min(rules::READ_MAX);
    let mut gone = 0;
    while gone < limit as u64 {
        let removed = transact!(link, tx => remove_beyond(&mut tx, max_bytes, GONE_AT_ONCE.min(limit - gone as usize)))?;
        gone += removed as u64;
        if removed == 0 {
            break;
        }
    }
    Ok(gone)
}

async fn remove_beyond(tx: &mut Tx<'_>, max_bytes: u64, limit: usize) -> Result<usize, Refusal> {
    tx.under_locks(Vec::new()).await?;
    // The statistics say how much of the files is alive: an exact sum would read every journal.
    let used = "SELECT coalesce(sum(pg_total_relation_size(relid) * (n_live_tup + 1.0) / (n_live_tup + n_dead_tup + 1.0)), 0)::bigint \
                FROM pg_stat_user_tables WHERE relname IN ('events', 'tasks', 'live', 'signals', 'approvals')";
    let used: i64 = tx.row(used, args![]).await?.map_or(0, |row| row.get(0));
    let over = u64::try_from(used).unwrap_or(0).saturating_sub(max_bytes);
    if over == 0 {
        return Ok(0);
    }
    // Of the oldest as many as weigh what is too much.
    let oldest = "SELECT number FROM (SELECT number, sum(weight) OVER (ORDER BY number) - weight AS before FROM (\
                    SELECT t.number, (SELECT sum(octet_length(e.data) + 200) FROM events e WHERE e.task = t.number) + 500 AS weight \
                    FROM tasks t WHERE t.state IS NOT NULL AND t.gone_until IS NULL ORDER BY t.number LIMIT $2) w) o \
                  WHERE before < $1 ORDER BY number";
    let numbers: Vec<i64> = tx.rows(oldest, args![over, limit]).await?.iter().map(|row| row.get(0)).collect();
    let found = numbers.len();
    if found > 0 {
        remove(tx, numbers);
    }
    Ok(found)
}
