//! What time brings. Each task that it brings something has a transaction of its own, so that no two wait for each other in a ring.

use super::{
    args::args,
    claim::LEASE_OF,
    failure::Refusal,
    link::Link,
    row, signal,
    tx::{Ask, Tx, transact},
};
use crate::{
    clock::until,
    life::{Due, Next, Row, State},
    rules,
};
use maniple_core::{
    AgentName, Result, SessionId, SessionKey, TaskKey, Tenant, Time, event::StoredEvent, ports::Swept, signal::SignalKind, task::Ending,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio_postgres::Row as SqlRow;

/// A task that is to be looked at.
struct Item {
    number: i64,
    session: SessionKey,
    worker: Option<i64>,
}

const ITEM: &str = "l.task, l.tenant, l.agent, l.session, l.worker";

fn item(row: &SqlRow) -> Result<Item, Refusal> {
    let (tenant, agent) = (Tenant::parse(row.try_get(1)?)?, AgentName::parse(row.try_get(2)?)?);
    let session = SessionKey { tenant, agent, id: SessionId::parse(row.try_get(3)?)? };
    Ok(Item { number: row.try_get(0)?, session, worker: row.try_get(4)? })
}

/// What was found, and what became of it.
#[derive(Default)]
struct Moved {
    ready: Option<AgentName>,
    ended: Option<(TaskKey, Arc<StoredEvent>)>,
}

pub(super) async fn sweep(link: &Link, leases_by: Time) -> Result<Swept> {
    let (mut ready, mut ended) = (BTreeSet::new(), Vec::new());
    let mut take = |moved: Moved| {
        ready.extend(moved.ready);
        ended.extend(moved.ended);
    };
    let due = "l.due <= $1 ORDER BY l.due, l.task LIMIT $2";
    for item in list(link, due, Time(i64::MAX)).await? {
        take(transact!(link, tx => fall_due(&mut tx, &item))?);
    }
    // Of those attached to a worker that is there, its lease counts too.
    let looks_through = transact!(link, tx => may_look_through(&mut tx))?;
    let expired = "l.lease_until <= $1 AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.number = l.worker AND w.until > $1) \
                   ORDER BY l.task LIMIT $2";
    if looks_through {
        for item in list(link, expired, leases_by).await? {
            take(transact!(link, tx => expire(&mut tx, &item, leases_by))?);
        }
    }
    if link.here.may_repair() {
        let headless = "l.state = 1 AND $1 >= 0 AND NOT EXISTS (SELECT 1 FROM live h WHERE h.tenant = l.tenant AND h.agent = l.agent \
                        AND h.session = l.session AND h.is_head) ORDER BY l.task LIMIT $2";
        for item in list(link, headless, Time(i64::MAX)).await? {
            let moved = transact!(link, tx => give_head(&mut tx, &item))?;
            if moved.ready.is_some() {
                metrics::counter!("maniple_store_sessions_repaired_total").increment(1);
                tracing::error!(session = %item.session.id, agent = %item.session.agent, "a session waited for nobody: its next task is ready now");
            }
            take(moved);
        }
    }
    let next = transact!(link, tx => next(&mut tx, looks_through))?;
    Ok(Swept { ready: ready.into_iter().collect(), ended, next })
}

/// Up to [`rules::SWEEP_MAX`] tasks, by the store's time or an earlier moment.
async fn list(link: &Link, which: &str, by: Time) -> Result<Vec<Item>> {
    let sql = format!("SELECT {ITEM} FROM live l WHERE {which}");
    transact!(link, tx => async {
        tx.under_locks(Vec::new()).await?;
        tx.rows(&sql, args![tx.now.min(by), rules::SWEEP_MAX]).await?.iter().map(item).collect::<Result<Vec<_>, Refusal>>()
    })
}

/// Whether all leases are to be looked through now, and by this process: one of all does, [`Link::slack`] after it was done last or as
/// the first of them ends.
async fn may_look_through(tx: &mut Tx<'_>) -> Result<bool, Refusal> {
    tx.under_locks(Vec::new()).await?;
    // Whoever is at it has the row, and is not waited for. What is further away was written before the clock was set back.
    let mine = "UPDATE maniple SET leases_at = $2 WHERE ctid IN (\
                  SELECT ctid FROM maniple WHERE leases_at <= $1 OR leases_at > $2 FOR UPDATE SKIP LOCKED) RETURNING 1";
    Ok(tx.row(mine, args![tx.now, tx.now.plus(tx.link.slack)]).await?.is_some())
}

/// When there is something to do again. Whoever has looked through the leases says when that is to be done again.
async fn next(tx: &mut Tx<'_>, looked_through: bool) -> Result<Option<std::time::Duration>, Refusal> {
    tx.under_locks(Vec::new()).await?;
    if !looked_through {
        let sql = "SELECT least((SELECT min(due) FROM live), (SELECT leases_at FROM maniple))";
        let next: Option<i64> = tx.row(sql, args![]).await?.and_then(|row| row.get(0));
        return Ok(next.map(|at| until(tx.now, Time(at))));
    }
    // A claim's lease is its own moment or its worker's, whichever is later: of a worker's claims the first to end is that of the earliest.
    let sql = "SELECT (SELECT min(due) FROM live), (SELECT min(greatest(h.first, coalesce(w.until, 0))) FROM \
                 (SELECT worker, min(lease_until) AS first FROM live WHERE lease_until IS NOT NULL GROUP BY worker) h \
                 LEFT JOIN workers w ON w.number = h.worker)";
    let Some(row) = tx.row(sql, args![]).await? else { return Ok(None) };
    let (due, ends): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    if let Some(ends) = ends {
        tx.write("UPDATE maniple SET leases_at = least(leases_at, greatest($1, $2))", args![ends, tx.now]);
    }
    let next = due.into_iter().chain(ends).min();
    Ok(next.map(|at| until(tx.now, Time(at))))
}

/// The task under all its locks.
async fn locked(tx: &mut Tx<'_>, item: &Item) -> Result<Option<Row>, Refusal> {
    let mut asks = vec![row::session_lock(&item.session).ask()];
    // A renewal under way is waited for: what it says counts.
    asks.extend(item.worker.map(|worker| Ask("SELECT 1 FROM workers WHERE number = $1 FOR SHARE", args![worker])));
    asks.push(Ask("SELECT 1 FROM live WHERE task = $1 FOR UPDATE", args![item.number]));
    asks.push(row::of_number(item.number));
    let answers = tx.under_locks(asks).await?;
    let Some(seen) = row::found(answers.last().map_or(&[][..], Vec::as_slice))? else { return Ok(None) };
    tx.now = tx.now.max(seen.at);
    Ok(Some(seen.row))
}

async fn fall_due(tx: &mut Tx<'_>, item: &Item) -> Result<Moved, Refusal> {
    let mut moved = Moved::default();
    let Some(mut row) = locked(tx, item).await?.filter(|row| row.due().is_some()) else { return Ok(moved) };
    // What was due when it was listed may have changed since.
    if row.due().is_some_and(|due| due > tx.now) {
        return Ok(moved);
    }
    match row.fell_due(tx.now) {
        Due::End(ending) => return end(tx, row, &ending).await,
        Due::TakePlace => take_place(tx, &mut row).await?,
        Due::Timer(id) => signal::leave(tx, &mut row, &id, SignalKind::Timer, "null"),
        Due::Ready => row::make_ready(tx, &mut row),
        Due::Nothing => {}
    }
    if row.state == State::Ready {
        moved.ready = Some(row.header.agent);
    }
    Ok(moved)
}

/// The task takes its place: ready, or waiting behind the head of its session.
async fn take_place(tx: &mut Tx<'_>, row: &mut Row) -> Result<(), Refusal> {
    let session = row::session(row);
    let head = "SELECT nextval('numbers'), EXISTS (SELECT 1 FROM live WHERE tenant = $1 AND agent = $2 AND session = $3 AND is_head)";
    let names = args![session.tenant.as_str(), session.agent.as_str(), session.id.as_str()];
    let Some(found) = tx.row(head, names).await? else { return Ok(()) };
    row.placed(found.try_get(0)?, found.try_get(1)?);
    let update = "UPDATE live SET state = $2, is_head = $3, place = $4, due = $5, at = $6 WHERE task = $1";
    tx.write(update, args![row.number, row.state as i64, row.state.is_head(), row.place, row.due(), tx.now]);
    tx.write("UPDATE tasks SET place = $2 WHERE number = $1", args![row.number, row.place]);
    if row.state == State::Ready {
        row::put_in_ready(tx, row);
    }
    Ok(())
}

async fn expire(tx: &mut Tx<'_>, item: &Item, leases_by: Time) -> Result<Moved, Refusal> {
    let Some(mut row) = locked(tx, item).await?.filter(|row| row.state == State::Running) else { return Ok(Moved::default()) };
    let expired = format!("SELECT {LEASE_OF} <= $2 FROM live l WHERE l.task = $1");
    let is_expired = tx.row(&expired, args![row.number, tx.now.min(leases_by)]).await?;
    if !is_expired.is_some_and(|found| found.get(0)) {
        return Ok(Moved::default());
    }
    let next = row.expired();
    tx.write("UPDATE live SET barren_expired = $2 WHERE task = $1", args![row.number, row.barren_expired]);
    match next {
        Next::End(ending) => end(tx, row, &ending).await,
        Next::Ready => {
            row::make_ready(tx, &mut row);
            Ok(Moved { ready: Some(row.header.agent), ended: None })
        }
    }
}

/// A task that waits though nobody is before it: two transactions missed each other. No known way leads there.
async fn give_head(tx: &mut Tx<'_>, item: &Item) -> Result<Moved, Refusal> {
    let Some(mut row) = locked(tx, item).await?.filter(|row| row.state == State::Waiting) else { return Ok(Moved::default()) };
    let session = row::session(&row);
    let before = "SELECT 1 FROM live WHERE tenant = $1 AND agent = $2 AND session = $3 AND (is_head OR state = 1 AND place < $4) LIMIT 1";
    let names = args![session.tenant.as_str(), session.agent.as_str(), session.id.as_str(), row.place];
    if tx.row(before, names).await?.is_some() {
        return Ok(Moved::default());
    }
    row::make_ready(tx, &mut row);
    Ok(Moved { ready: Some(row.header.agent), ended: None })
}

async fn end(tx: &mut Tx<'_>, mut row: Row, ending: &Ending) -> Result<Moved, Refusal> {
    let (_, event, released) = row::end(tx, &mut row, ending).await?;
    let key = row.key();
    Ok(Moved { ready: released.then_some(row.header.agent), ended: Some((key, event)) })
}
