//! What time brings, and what goes with it.

use super::table::{Row, State, Table};
use crate::{clock::until, rules};
use maniple_core::{
    AgentName, Result, SessionKey, TaskKey, Time,
    event::StoredEvent,
    ports::{Idempotency, KeyWas, Swept},
    signal::{Signal, SignalKind},
    task::Ending,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// What a sweep has found so far.
#[derive(Default)]
struct Found {
    ready: BTreeSet<AgentName>,
    ended: Vec<(TaskKey, Arc<StoredEvent>)>,
}

impl Table {
    pub(super) fn sweep(&mut self, now: Time, leases_by: Time) -> Result<Swept> {
        let mut found = Found::default();
        let due: Vec<u64> = self.due.iter().take_while(|(at, _)| *at <= now).take(rules::SWEEP_MAX).map(|(_, number)| *number).collect();
        for number in due {
            self.fall_due(number, now, &mut found)?;
        }
        let expired: Vec<u64> = self.expired(now.min(leases_by)).take(rules::SWEEP_MAX).collect();
        for number in expired {
            self.expire(number, now, &mut found)?;
        }
        let leases = self.running.iter().map(|number| self.rows[number].lease_until);
        let next = self.due.first().map(|(at, _)| *at).into_iter().chain(leases).min();
        Ok(Swept { ready: found.ready.into_iter().collect(), ended: found.ended, next: next.map(|at| until(now, at)) })
    }

    fn expired(&self, now: Time) -> impl Iterator<Item = u64> {
        self.running.iter().copied().filter(move |number| self.rows[number].lease_until <= now)
    }

    fn fall_due(&mut self, number: u64, now: Time, found: &mut Found) -> Result<()> {
        let row = &self.rows[&number];
        let agent = row.session.agent.clone();
        let overdue = row.deadline.is_some_and(|deadline| deadline <= now);
        match row.state {
            State::Scheduled | State::Waiting | State::Ready if overdue => {
                self.end_it(number, &rules::overdue(), now, found)?;
            }
            State::Scheduled => {
                if self.take_place(number, now) == State::Ready {
                    found.ready.insert(agent);
                }
            }
            State::Parked if row.until.is_some_and(|until| until <= now) => {
                let id = format!("timer:{}", row.last());
                self.leave(number, Signal { id, kind: SignalKind::Timer, data: Default::default(), at: now }, now);
                found.ready.insert(agent);
            }
            State::Parked => {
                self.make_ready(number, now);
                found.ready.insert(agent);
            }
            State::Waiting | State::Ready | State::Running | State::Final => {}
        }
        Ok(())
    }

    fn expire(&mut self, number: u64, now: Time, found: &mut Found) -> Result<()> {
        let barren = self.change(number, |row| {
            row.barren_expired += u32::from(!row.progressed);
            row.barren_expired
        });
        if barren >= rules::BARREN_EXPIRED_MAX {
            return self.end_it(number, &rules::poisoned_by_expiry(), now, found);
        }
        self.make_ready(number, now);
        found.ready.insert(self.rows[&number].session.agent.clone());
        Ok(())
    }

    fn end_it(&mut self, number: u64, ending: &Ending, now: Time, found: &mut Found) -> Result<()> {
        let (event, released) = self.end(number, ending, now)?;
        let row = &self.rows[&number];
        found.ended.push((row.key.clone(), event));
        if released {
            found.ready.insert(row.session.agent.clone());
        }
        Ok(())
    }

    /// What a restart does: see [`super::TaskStore::restart`].
    pub(super) fn void_claims(&mut self, now: Time) {
        self.turns = rules::Turns::default();
        let open: Vec<u64> = self.running.iter().copied().collect();
        for number in open {
            let barren = self.change(number, |row| {
                row.barren_open += u32::from(!row.progressed);
                row.epoch += 1;
                row.barren_open
            });
            let poisoned = barren >= rules::BARREN_OPEN_MAX && self.end(number, &rules::poisoned_at_open(), now).is_ok();
            if !poisoned {
                self.make_ready(number, now);
            }
        }
    }

    pub(super) fn erase(&mut self, key: &SessionKey, now: Time) -> Result<u64> {
        let Some(session) = self.sessions.get(key) else { return Ok(0) };
        let numbers: Vec<u64> = session.placed.values().chain(&session.scheduled).copied().collect();
        if numbers.iter().any(|number| self.rows[number].state != State::Final) {
            return Err(rules::session_busy());
        }
        numbers.iter().for_each(|number| self.remove(*number, now));
        Ok(numbers.len() as u64)
    }

    pub(super) fn drop_dead_letter(&mut self, key: &TaskKey, idempotency: Option<Idempotency>, now: Time) -> Result<KeyWas> {
        if self.knows(&key.tenant, idempotency.as_ref(), now)? == KeyWas::Known {
            return Ok(KeyWas::Known);
        }
        let number = self.by_key.get(key).copied().filter(|number| self.rows[number].dead);
        let number = number.ok_or_else(|| rules::not_dead(&key.id))?;
        self.change(number, |row| row.dead = false);
        self.keep_key(&key.tenant, idempotency, key.id.as_str(), now);
        Ok(KeyWas::New)
    }

    pub(super) fn forget(&mut self, keep: Duration, limit: usize, now: Time) -> u64 {
        let old = |at: Option<Time>| at.is_some_and(|at| at.plus(keep) <= now);
        let ended = self.rows.iter().filter(|(_, row)| old(row.result.as_ref().and_then(|result| result.finished_at)));
        let numbers: Vec<u64> = ended.take(limit.min(rules::READ_MAX)).map(|(number, _)| *number).collect();
        numbers.iter().for_each(|number| self.remove(*number, now));
        self.keys.retain(|_, known| known.at.plus(rules::KEYS_KEPT) > now);
        self.taken.retain(|_, until| *until > now);
        self.definitions.retain(|_, kept| kept.0 > 0);
        numbers.len() as u64
    }

    pub(super) fn forget_beyond(&mut self, max_bytes: u64, limit: usize, now: Time) -> u64 {
        let weight = |row: &Row| row.journal.iter().map(|(_, event)| event.weight() as u64).sum::<u64>();
        let mut bytes: u64 = self.rows.values().map(weight).sum();
        let mut numbers = Vec::new();
        for (number, row) in self.rows.iter().filter(|(_, row)| row.state == State::Final) {
            if bytes <= max_bytes || numbers.len() >= limit.min(rules::READ_MAX) {
                break;
            }
            bytes -= weight(row);
            numbers.push(*number);
        }
        numbers.iter().for_each(|number| self.remove(*number, now));
        numbers.len() as u64
    }
}
