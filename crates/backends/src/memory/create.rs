//! Accepting a task.

use super::table::{Row, State, Table};
use crate::rules::{self, Draft};
use maniple_core::{
    Result, TaskId, TaskKey, Time,
    event::Event,
    ports::{Created, NewTask},
    task::{Header, Progress},
};

impl Table {
    pub(super) fn create(&mut self, new: NewTask, now: Time) -> Result<Created> {
        if let Some(replay) = self.replay(&new, now)? {
            return Ok(replay);
        }
        let key = new.task.key();
        if let Some(row) = self.find(&key) {
            if !is_content_of(&new, &row.content_hash, row)? {
                return Err(rules::other_content(&key.id));
            }
            let result = row.result(now);
            self.keep_key(&key.tenant, new.idempotency, key.id.as_str(), now);
            return Ok(Created { result, fresh: false, replayed: false, events: Vec::new() });
        }
        self.check(&new, now)?;

        let accepted = Draft::of(0, &Event::Accepted(new.task.clone()))?;
        let taken_over = new.taken_over.as_ref().map(|event| Draft::of(0, event)).transpose()?;
        if let Some(number) = new.requeues.as_ref().and_then(|id| self.number(&new, id)) {
            self.change(number, |row| row.dead = false);
        }
        self.keep_key(&key.tenant, new.idempotency.clone(), key.id.as_str(), now);
        let number = self.insert(new, now);
        let drafts = std::iter::once(accepted).chain(taken_over);
        let events = self.change(number, |row| drafts.map(|draft| row.record(0, draft.numbered(row.last() + 1, now))).collect());
        if self.rows[&number].not_before.is_none_or(|moment| moment <= now) {
            self.take_place(number, now);
        }
        Ok(Created { result: self.rows[&number].result(now), fresh: true, replayed: false, events })
    }

    fn replay(&self, new: &NewTask, now: Time) -> Result<Option<Created>> {
        let Some(idempotency) = &new.idempotency else { return Ok(None) };
        let Some(known) = self.key(&new.task.tenant, idempotency, now) else { return Ok(None) };
        if known.body_hash != idempotency.body_hash && new.content.is_hash(&known.body_hash) == Some(false) {
            return Err(rules::other_body());
        }
        let number = self.number(new, &TaskId::parse(&known.made)?).ok_or_else(rules::gone_with_key)?;
        if known.body_hash != idempotency.body_hash && !is_content_of(new, &known.body_hash, &self.rows[&number])? {
            return Err(rules::other_body());
        }
        Ok(Some(Created { result: self.rows[&number].result(now), fresh: false, replayed: true, events: Vec::new() }))
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
        };
        self.by_key.insert(row.key.clone(), number);
        self.by_age.insert((now, row.key.id.clone(), number));
        self.rows.insert(number, row);
        self.index(number);
        number
    }
}

/// Whether what is asked is what that task was accepted for.
fn is_content_of(new: &NewTask, kept: &str, row: &Row) -> Result<bool> {
    match new.content.is_hash(kept) {
        Some(is) => Ok(is),
        None => Ok(new.content.is_of(&rules::accepted(row.journal.first().map(|(_, event)| &**event))?)),
    }
}
