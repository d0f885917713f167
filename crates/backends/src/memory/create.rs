//! Accepting a task.

use super::table::{Row, State, Table};
use crate::rules::{self, Draft};
use maniple_core::{
    Result, TaskId, TaskKey, Tenant, Time,
    event::StoredEvent,
    ports::{Also, Born, Claim, Created, NewTask},
    task::{Header, Progress, Task},
};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

impl Table {
    pub(super) fn create(&mut self, new: NewTask, now: Time) -> Result<Created> {
        if let Some(replay) = self.replay(&new, now)? {
            return Ok(replay);
        }
        let key = new.task.key();
        if let Some(row) = self.find(&key) {
            if let Some(own) = born_before(&new, row, now) {
                return Ok(own);
            }
            if !is_content_of(&new, &row.content_hash, row)? {
                return Err(rules::other_content(&key.id));
            }
            let result = row.result(now);
            self.keep_key(&key.tenant, new.idempotency, key.id.as_str(), now);
            return Ok(Created { result, fresh: false, replayed: false, events: Vec::new(), claim: None });
        }
        self.check(&new, now)?;

        let (accepted, begun) = rules::submitted(&new)?;
        let last_place = self.sessions.get(&new.task.session()).and_then(|session| session.placed.keys().next_back().copied());
        if let Some(number) = new.requeues.as_ref().and_then(|id| self.number(&new, id)) {
            self.change(number, |row| row.dead = false);
        }
        self.keep_key(&key.tenant, new.idempotency.clone(), key.id.as_str(), now);
        let born = new
            .born
            .clone()
            .filter(|born| new.taken_over.is_none() && new.requeues.is_none() && self.could_be_born(&new.task, born, last_place));
        let number = self.insert(new, now);
        let mut events = self.record_all(number, 0, &accepted, now);
        let takes_place = self.rows[&number].not_before.is_none_or(|moment| moment <= now);
        let is_head = takes_place && self.take_place(number, now) == State::Ready;
        let mut claim = None;
        if let Some(born) = born.filter(|_| is_head) {
            let claimed = self.hand_out(number, now);
            self.change(number, |row| row.born = Some(born.token));
            events.extend(self.record_all(number, claimed.claim.epoch, &begun, now));
            for also in &born.also {
                match also {
                    Also::Definitions(kept) => self.keep_definitions(number, kept),
                    // The others are refused before.
                    Also::Ask { .. } | Also::Settle { .. } => {}
                }
            }
            claim = Some((claimed.claim, claimed.lease));
        }
        Ok(Created { result: self.rows[&number].result(now), fresh: true, replayed: false, events, claim })
    }

    fn record_all(&mut self, number: u64, epoch: u64, drafts: &[Draft], now: Time) -> Vec<Arc<StoredEvent>> {
        self.change(number, |row| drafts.iter().map(|draft| row.record(epoch, draft.numbered(row.last() + 1, now))).collect())
    }

    /// Whether nothing stands against it but what its session says: it knows all turns, and nobody else is to be served first.
    fn could_be_born(&self, task: &Task, born: &Born, last_place: Option<u64>) -> bool {
        let mut ready = born.agents.iter().filter_map(|agent| self.ready.get(agent)).flatten();
        let is_before = |(tenant, priorities): (&Tenant, &BTreeMap<Reverse<u8>, _>)| {
            let its_own = || priorities.keys().next().is_some_and(|Reverse(top)| *top >= task.priority);
            !born.full.contains(tenant) && (*tenant != task.tenant || its_own())
        };
        last_place.unwrap_or_default() == born.settled_at && !ready.any(is_before)
    }

    fn replay(&self, new: &NewTask, now: Time) -> Result<Option<Created>> {
        let Some(idempotency) = &new.idempotency else { return Ok(None) };
        let Some(known) = self.key(&new.task.tenant, idempotency, now) else { return Ok(None) };
        let own = self.find(&new.task.key()).filter(|row| row.key.id.as_str() == known.made);
        if let Some(own) = own.and_then(|row| born_before(new, row, now)) {
            return Ok(Some(own));
        }
        if known.body_hash != idempotency.body_hash && new.content.is_hash(&known.body_hash) == Some(false) {
            return Err(rules::other_body());
        }
        let number = self.number(new, &TaskId::parse(&known.made)?).ok_or_else(rules::gone_with_key)?;
        if known.body_hash != idempotency.body_hash && !is_content_of(new, &known.body_hash, &self.rows[&number])? {
            return Err(rules::other_body());
        }
        Ok(Some(Created { result: self.rows[&number].result(now), fresh: false, replayed: true, events: Vec::new(), claim: None }))
    }

    fn number(&self, new: &NewTask, id: &TaskId) -> Option<u64> {
        self.by_key.get(&TaskKey { tenant: new.task.tenant.clone(), id: id.clone() }).copied()
    }

    fn check(&self, new: &NewTask, now: Time) -> Result<()> {
        let key = new.task.key();
        if self.taken.get(&key).is_some_and(|until| *until > now) {
            return Err(rules::id_taken(&key.id));
        }
        if let Some(id) = &new.requeues
            && !self.number(new, id).is_some_and(|number| self.rows[&number].dead)
        {
            return Err(rules::not_dead(id));
        }
        if self.unfinished >= new.unfinished_max {
            return Err(rules::node_full(new.unfinished_max));
        }
        if self.unfinished_of.get(&key.tenant).copied().unwrap_or(0) >= new.unfinished_each {
            return Err(rules::tenant_full(&key.tenant, new.unfinished_each));
        }
        let joins = new.task.not_before.is_none_or(|moment| moment <= now);
        let session = self.sessions.get(&new.task.session());
        let waiting = session.filter(|session| session.head.is_some()).map(|session| session.waiting.len());
        match waiting {
            Some(waiting) if joins && waiting >= new.session_waiting_max as usize => Err(rules::session_full(new.session_waiting_max)),
            _ => Ok(()),
        }
    }

    fn insert(&mut self, new: NewTask, now: Time) -> u64 {
        self.rows_made += 1;
        self.unfinished += 1;
        *self.unfinished_of.entry(new.task.tenant.clone()).or_default() += 1;
        let content_hash = new.content_hash();
        let (number, task) = (self.rows_made, new.task);
        let header = Header {
            id: task.id.clone(),
            session_id: task.session_id.clone(),
            agent: task.agent.clone(),
            created_at: now,
            started_at: None,
            trace_id: task.trace.as_ref().map(|trace| trace.trace_id().to_owned()),
            retry_of: task.retry_of.clone(),
            progress: Progress::default(),
            waiting_for: None,
        };
        let row = Row {
            key: task.key(),
            session: task.session(),
            header,
            priority: task.priority,
            content_hash,
            state: State::Scheduled,
            place: None,
            not_before: task.not_before,
            deadline: task.deadline(now),
            until: None,
            ready_at: now,
            epoch: 0,
            lease_until: now,
            progressed: false,
            barren_expired: 0,
            barren_open: 0,
            journal: Vec::new(),
            step: 0,
            signals: Vec::new(),
            approvals: Vec::new(),
            definitions: None,
            result: None,
            dead: false,
            born: None,
        };
        self.by_key.insert(row.key.clone(), number);
        self.by_age.insert((now, row.key.id.clone(), number));
        self.rows.insert(number, row);
        self.index(number);
        number
    }
}

/// What this very submission made when it came before and its reply was lost: its task, under its claim.
fn born_before(new: &NewTask, row: &Row, now: Time) -> Option<Created> {
    let born = new.born.as_ref().filter(|born| row.state == State::Running && row.born == Some(born.token))?;
    let count = 1 + born.events.len();
    let events = row.journal.iter().take(count).map(|(_, event)| event.clone()).collect();
    let claim = Claim { key: row.key.clone(), epoch: row.epoch };
    Some(Created { result: row.result(now), fresh: true, replayed: false, events, claim: Some((claim, rules::LEASE)) })
}

/// Whether what is asked is what that task was accepted for.
fn is_content_of(new: &NewTask, kept: &str, row: &Row) -> Result<bool> {
    match new.content.is_hash(kept) {
        Some(is) => Ok(is),
        None => Ok(new.content.is_of(&rules::accepted(row.journal.first().map(|(_, event)| &**event))?)),
    }
}
