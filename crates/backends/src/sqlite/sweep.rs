//! What time brings, and what a restart finds.

use super::{
    failure::Refusal,
    row::{self, COLUMNS},
    signal,
    writer::Tx,
};
use crate::{
    clock::until,
    life::{Due, Next, Row, State},
    rules,
};
use maniple_core::{AgentName, Result, TaskKey, Time, event::StoredEvent, ports::Swept, signal::SignalKind, task::Ending};
use std::{collections::BTreeSet, sync::Arc};

/// What a sweep has found so far.
#[derive(Default)]
struct Found {
    ready: BTreeSet<AgentName>,
    ended: Vec<(TaskKey, Arc<StoredEvent>)>,
}

pub(super) fn sweep(tx: &mut Tx, leases_by: Time) -> Result<Swept, Refusal> {
    let mut found = Found::default();
    let now = tx.now;
    for number in due(tx)? {
        // Read now, not before: the end of one task changes the next of its session.
        let row = row::fetch(tx.db, number)?;
        fall_due(tx, row, &mut found)?;
    }
    for (number, epoch) in expired(tx, now.min(leases_by)) {
        let row = row::fetch(tx.db, number)?;
        if row.is_held_under(epoch) {
            expire(tx, row, &mut found)?;
        }
    }
    let next_due: Option<i64> =
        tx.db.prepare_cached("SELECT min(due) FROM tasks WHERE due IS NOT NULL")?.query_row([], |row| row.get(0))?;
    let next = next_due.map(Time).into_iter().chain(next_lease(tx)).min();
    Ok(Swept { ready: found.ready.into_iter().collect(), ended: found.ended, next: next.map(|at| until(now, at)) })
}

fn due(tx: &Tx) -> rusqlite::Result<Vec<i64>> {
    let mut due = tx.db.prepare_cached("SELECT row FROM tasks WHERE due <= ?1 ORDER BY due, row LIMIT ?2")?;
    due.query_map((tx.now.0, rules::SWEEP_MAX as i64), |row| row.get(0))?.collect()
}

/// Leases that have run out, what this very batch did to them considered.
fn expired(tx: &Tx, by: Time) -> Vec<(i64, u64)> {
    let leases = tx.leases.lock();
    let present = leases.iter().filter_map(|(row, lease)| match tx.leased.get(row) {
        Some(changed) => changed.as_ref().map(|lease| (*row, lease)),
        None => Some((*row, lease)),
    });
    present.filter(|(_, lease)| lease.until <= by).map(|(row, lease)| (row, lease.epoch)).take(rules::SWEEP_MAX).collect()
}

fn next_lease(tx: &Tx) -> Option<Time> {
    let leases = tx.leases.lock();
    let untouched = leases.iter().filter(|(row, _)| !tx.leased.contains_key(row)).map(|(_, lease)| lease.until);
    untouched.chain(tx.leased.values().flatten().map(|lease| lease.until)).min()
}

fn fall_due(tx: &mut Tx, mut row: Row, found: &mut Found) -> Result<(), Refusal> {
    match row.fell_due(tx.now) {
        Due::End(ending) => return end(tx, row, &ending, found),
        Due::TakePlace => take_place(tx, &mut row)?,
        Due::Timer(id) => signal::leave(tx, &mut row, &id, SignalKind::Timer, "null")?,
        Due::Ready => row::make_ready(tx, &mut row)?,
        Due::Nothing => {}
    }
    if row.state == State::Ready {
        found.ready.insert(row.header.agent);
    }
    Ok(())
}

/// The task takes its place: ready, or waiting behind the head of its session.
fn take_place(tx: &mut Tx, row: &mut Row) -> Result<(), Refusal> {
    let has_head = super::create::has_head(tx, row::session(row))?;
    row.placed(tx.number(), has_head);
    let mut update = tx.db.prepare_cached("UPDATE tasks SET state = ?2, place = ?3, ready_at = ?4, due = ?5 WHERE row = ?1")?;
    update.execute((row.number, row.state as i64, row.place, tx.now.0, row::due(row)))?;
    Ok(())
}

fn expire(tx: &mut Tx, mut row: Row, found: &mut Found) -> Result<(), Refusal> {
    let next = row.expired();
    tx.db.prepare_cached("UPDATE tasks SET barren_expired = ?2 WHERE row = ?1")?.execute((row.number, row.barren_expired))?;
    match next {
        Next::End(ending) => end(tx, row, &ending, found),
        Next::Ready => {
            row::make_ready(tx, &mut row)?;
            found.ready.insert(row.header.agent);
            Ok(())
        }
    }
}

fn end(tx: &mut Tx, mut row: Row, ending: &Ending, found: &mut Found) -> Result<(), Refusal> {
    let (_, event, released) = row::end(tx, &mut row, ending)?;
    found.ended.push((row.key(), event));
    if released {
        found.ready.insert(row.header.agent);
    }
    Ok(())
}

/// What is found running when the file is opened was held by a process that is gone: its claims are void.
pub(super) fn void_claims(tx: &mut Tx) -> Result<(), Refusal> {
    // By the index of those under way: a large file opens as fast as a small one.
    let mut open = tx.db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM tasks INDEXED BY tasks_head WHERE state >= 2 AND state <= 4 AND state = 3 ORDER BY row"
    ))?;
    for mut row in row::all(&mut open, [])? {
        let next = row.found_open();
        let mut update = tx.db.prepare_cached("UPDATE tasks SET epoch = ?2, barren_open = ?3 WHERE row = ?1")?;
        update.execute((row.number, row.epoch, row.barren_open))?;
        match next {
            Next::End(ending) => drop(row::end(tx, &mut row, &ending)?),
            Next::Ready => row::make_ready(tx, &mut row)?,
        }
    }
    Ok(())
}
