//! Handing out work: claim, renew, release.

use super::{failure::Refusal, row, signal, writer::Tx};
use crate::{life::Row, rules};
use maniple_core::{
    AgentName, Result, Tenant, Time,
    ports::{Born, Claim, Claimed, Renewal, Room},
    signal::SignalKind,
};
use rusqlite::OptionalExtension;
use std::{cmp::Reverse, collections::VecDeque};

/// A journal longer than this is read by a reader after the commit, not by the writer.
const SHORT: i64 = 16;

/// A claim whose journal is still to be read.
pub(super) struct HandedOut {
    pub(super) claimed: Claimed,
    pub(super) number: i64,
    pub(super) journal_missing: bool,
}

pub(super) fn claim(tx: &mut Tx, agents: &[AgentName], room: &Room) -> Result<Vec<HandedOut>, Refusal> {
    let picked = in_turn(tx, agents, &Room { places: room.places.min(rules::CLAIM_MAX), ..room.clone() })?;
    let mut handed_out = Vec::with_capacity(picked.len());
    for (tenant, number) in picked {
        handed_out.push(hand_out(tx, number)?);
        tx.turns.served(agents, tenant);
    }
    Ok(handed_out)
}

/// Whether a worker of these agents could claim a task whose turn is before that of a new one of this tenant and priority.
pub(super) fn is_any_before(tx: &Tx, born: &Born, tenant: &Tenant, priority: u8) -> rusqlite::Result<bool> {
    // Mostly nobody waits at all.
    if !tx.db.prepare_cached("SELECT 1 FROM tasks INDEXED BY tasks_ready WHERE state = 2 LIMIT 1")?.exists([])? {
        return Ok(false);
    }
    let is_full = |name: &str| born.full.iter().any(|full| full.as_str() == name);
    let mut its_own =
        tx.db.prepare_cached("SELECT 1 FROM tasks WHERE state = 2 AND agent = ?1 AND tenant = ?2 AND priority >= ?3 LIMIT 1")?;
    let mut after = String::new();
    while let Some(found) = next_tenant(tx, &born.agents, &after, END)? {
        if !is_full(&found) {
            if found != tenant.as_str() {
                return Ok(true);
            }
            for agent in born.agents.iter() {
                if its_own.exists((agent.as_str(), tenant.as_str(), priority))? {
                    return Ok(true);
                }
            }
        }
        after = found;
    }
    Ok(false)
}

/// The next tasks: tenants in turn, of each the highest priority first, then the lowest place.
fn in_turn(tx: &Tx, agents: &[AgentName], room: &Room) -> Result<Vec<(Tenant, i64)>, Refusal> {
    let mut queues = VecDeque::new();
    for tenant in tenants(tx, agents, room)? {
        let queue = queue(tx, agents, &tenant, room.left_of(&tenant))?;
        queues.push_back((tenant, queue));
    }
    let mut picked: Vec<(Tenant, i64)> = Vec::new();
    while picked.len() < room.places {
        let Some((tenant, mut places)) = queues.pop_front() else { break };
        let own = picked.iter().filter(|(other, _)| *other == tenant).count();
        if picked.len() >= room.places_of(&tenant, own) {
            continue;
        }
        if let Some(number) = places.pop_front() {
            picked.push((tenant.clone(), number));
            queues.push_back((tenant, places));
        }
    }
    Ok(picked)
}

/// Beyond every tenant's name.
const END: &str = "~";

/// The tenants that have ready tasks and room for one, once around from the one served last.
fn tenants(tx: &Tx, agents: &[AgentName], room: &Room) -> Result<Vec<Tenant>, Refusal> {
    let last = tx.turns.last(agents).map_or("", Tenant::as_str);
    let mut found = Vec::new();
    for (from, to) in [(last, END), ("", last)] {
        let mut after = from.to_owned();
        // Those that have some may be passed over for the last place.
        while found.len() < room.places + room.left.len() {
            let Some(name) = next_tenant(tx, agents, &after, to)? else { break };
            let tenant = Tenant::parse(&name)?;
            if room.left_of(&tenant) > 0 {
                found.push(tenant);
            }
            after = name;
        }
    }
    Ok(found)
}

/// The first tenant after `after`, up to and with `to`, that has a ready task.
fn next_tenant(tx: &Tx, agents: &[AgentName], after: &str, to: &str) -> rusqlite::Result<Option<String>> {
    let mut first: Option<String> = None;
    for agent in agents {
        let mut select = tx.db.prepare_cached(
            "SELECT tenant FROM tasks WHERE state = 2 AND agent = ?1 AND tenant > ?2 AND tenant <= ?3 ORDER BY tenant LIMIT 1",
        )?;
        let found: Option<String> = select.query_row((agent.as_str(), after, to), |row| row.get(0)).optional()?;
        first = first.into_iter().chain(found).min();
    }
    Ok(first)
}

/// A tenant's ready tasks, the highest priority first, then the lowest place.
fn queue(tx: &Tx, agents: &[AgentName], tenant: &Tenant, limit: usize) -> rusqlite::Result<VecDeque<i64>> {
    let mut places: Vec<(Reverse<i64>, i64, i64)> = Vec::new();
    for agent in agents {
        let mut select = tx.db.prepare_cached(
            "SELECT priority, place, row FROM tasks WHERE state = 2 AND agent = ?1 AND tenant = ?2 ORDER BY priority DESC, place LIMIT ?3",
        )?;
        let found = select
            .query_map((agent.as_str(), tenant.as_str(), limit as i64), |row| Ok((Reverse(row.get(0)?), row.get(1)?, row.get(2)?)))?;
        for place in found {
            places.push(place?);
        }
    }
    places.sort_unstable();
    Ok(places.into_iter().take(limit).map(|(_, _, row)| row).collect())
}

fn hand_out(tx: &mut Tx, number: i64) -> Result<HandedOut, Refusal> {
    let mut row = row::fetch(tx.db, number)?;
    row.claimed(tx.now);
    let mut update =
        tx.db.prepare_cached("UPDATE tasks SET state = 3, epoch = ?2, started_at = ?3, progressed = 0, due = NULL WHERE row = ?1")?;
    update.execute((number, row.epoch, row.header.started_at.map(|Time(ms)| ms)))?;
    row::lease(tx, &row);
    let journal_missing = row.last_seq > SHORT;
    let journal = if journal_missing { Vec::new() } else { row::events(tx.db, number, 0, SHORT as usize, usize::MAX)? };
    let mut earlier =
        tx.db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND place < ?4 LIMIT 1")?;
    let [tenant, agent, session] = row::session(&row);
    let has_history = earlier.exists((tenant, agent, session, row.place))?;
    let claimed = Claimed {
        claim: Claim { key: row.key(), epoch: row.epoch as u64 },
        lease: rules::LEASE,
        now: tx.now,
        created_at: row.header.created_at,
        journal: journal.into_iter().map(|(_, event)| event).collect(),
        signals: if row.signals > 0 { signal::unread(tx.db, number)? } else { Vec::new() },
        has_history,
    };
    tx.held.insert(row.key(), row);
    Ok(HandedOut { claimed, number, journal_missing })
}

/// The task, if this claim holds.
pub(super) fn held(tx: &Tx, claim: &Claim) -> Result<Option<Row>, Refusal> {
    let row = row::find(tx.db, &claim.key)?;
    Ok(row.filter(|row| row.is_held_under(claim.epoch)))
}

pub(super) fn renew(tx: &mut Tx, claim: &Claim) -> Result<Renewal, Refusal> {
    let Some(row) = held(tx, claim)? else { return Ok(Renewal::Lost) };
    row::lease(tx, &row);
    let signals = if row.signals > 0 { signal::unread(tx.db, row.number)? } else { Vec::new() };
    let mut kinds: Vec<SignalKind> = signals.iter().map(|signal| signal.kind).collect();
    kinds.sort_unstable_by_key(|kind| kind.as_str());
    kinds.dedup();
    Ok(Renewal::Held(kinds))
}

pub(super) fn release(tx: &mut Tx, claim: &Claim) -> Result<(), Refusal> {
    if let Some(mut row) = held(tx, claim)? {
        row::make_ready(tx, &mut row)?;
    }
    Ok(())
}
