//! Accepting a task.

use super::{append, claim, failure::Refusal, keys, row, writer::Tx};
use crate::{
    life::{self, Cradle, InSession, Room, Row, State},
    rules::{self, Draft},
};
use maniple_core::{
    Result, SessionKey, TaskId, TaskKey, Time,
    event::StoredEvent,
    ports::{Also, Born, Claim, Created, NewTask},
};
use rusqlite::{Connection, OptionalExtension, params};
use std::{sync::Arc, time::Duration};

/// A submission with its events written out, so that the writer need not.
pub(super) struct Submission {
    new: NewTask,
    accepted: Vec<Draft>,
    /// Under its claim, if it is born with one.
    begun: Vec<Draft>,
    /// What goes with that, as text.
    texts: Vec<String>,
    key: TaskKey,
    session: SessionKey,
    content_hash: String,
}

impl Submission {
    pub(super) fn of(new: NewTask) -> Result<Self> {
        let (accepted, begun) = rules::submitted(&new)?;
        let texts = new.born.iter().flat_map(|born| &born.also).map(rules::text).collect::<Result<_>>()?;
        Ok(Self { key: new.task.key(), session: new.task.session(), content_hash: new.content_hash(), new, accepted, begun, texts })
    }

    pub(super) fn create(&self, tx: &mut Tx) -> Result<Created, Refusal> {
        if let Some(replay) = self.replay(tx)? {
            return Ok(replay);
        }
        if let Some(known) = self.known(tx)? {
            return Ok(known);
        }
        let state = self.check(tx)?;

        if let Some(id) = &self.new.requeues {
            let mut take_out = tx.db.prepare_cached("UPDATE tasks SET dead = NULL WHERE tenant = ?1 AND id = ?2")?;
            take_out.execute((self.key.tenant.as_str(), id.as_str()))?;
        }
        keys::keep(tx, &self.key.tenant, self.new.idempotency.as_ref(), self.key.id.as_str())?;
        let is_born = life::is_born(&self.new, state, |born| self.cradle(tx, born))?;
        let (row, events) = self.insert(tx, state, is_born)?;
        let (result, claim) = (row.live(tx.now), is_born.then(|| claim_of(&row)));
        if is_born {
            tx.held.insert(self.key.clone(), row);
        }
        Ok(Created { result, fresh: true, replayed: false, events, claim })
    }

    /// The task that has its id already.
    fn known(&self, tx: &Tx) -> Result<Option<Created>, Refusal> {
        if self.new.id_is_new() {
            return Ok(None);
        }
        let mut known = tx.db.prepare_cached("SELECT content_hash FROM tasks WHERE tenant = ?1 AND id = ?2")?;
        let known: Option<String> = known.query_row((self.key.tenant.as_str(), self.key.id.as_str()), |row| row.get(0)).optional()?;
        let Some(content_hash) = known else { return Ok(None) };
        if let Some(own) = self.born_before(tx, &self.key)? {
            return Ok(Some(own));
        }
        if !self.is_content_of(tx, &content_hash, &self.key)? {
            return Err(rules::other_content(&self.key.id).into());
        }
        let result = self.present(tx, &self.key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        keys::keep(tx, &self.key.tenant, self.new.idempotency.as_ref(), self.key.id.as_str())?;
        Ok(Some(Created { result, fresh: false, replayed: false, events: Vec::new(), claim: None }))
    }

    fn present(&self, tx: &Tx, key: &TaskKey) -> Result<Option<maniple_core::task::AgentResult>, Refusal> {
        let Some(row) = row::find(tx.db, key)? else { return Ok(None) };
        row::result(tx.db, &row, tx.now).map(Some)
    }

    fn replay(&self, tx: &Tx) -> Result<Option<Created>, Refusal> {
        let Some(idempotency) = &self.new.idempotency else { return Ok(None) };
        let Some(known) = keys::find(tx.db, &self.key.tenant, idempotency, tx.now)? else { return Ok(None) };
        let key = TaskKey { tenant: self.key.tenant.clone(), id: TaskId::parse(&known.made)? };
        if let Some(own) = self.born_before(tx, &key)? {
            return Ok(Some(own));
        }
        let other_body = || Refusal::from(rules::other_body());
        if known.body_hash != idempotency.body_hash && self.new.content.is_hash(&known.body_hash) == Some(false) {
            return Err(other_body());
        }
        let result = self.present(tx, &key)?.ok_or_else(rules::gone_with_key)?;
        if known.body_hash != idempotency.body_hash && !self.is_content_of(tx, &known.body_hash, &key)? {
            return Err(other_body());
        }
        Ok(Some(Created { result, fresh: false, replayed: true, events: Vec::new(), claim: None }))
    }

    /// Whether what is asked is what a known task was accepted for.
    fn is_content_of(&self, tx: &Tx, kept: &str, key: &TaskKey) -> Result<bool, Refusal> {
        if let Some(is) = self.new.content.is_hash(kept) {
            return Ok(is);
        }
        let row = row::find(tx.db, key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let first = row::events(tx.db, row.number, 0, 1, usize::MAX)?;
        Ok(self.new.content.is_of(&rules::accepted(first.first().map(|(_, event)| event))?))
    }

    /// The state it begins in, or why it is refused.
    fn check(&self, tx: &Tx) -> Result<State, Refusal> {
        let tenant = self.key.tenant.as_str();
        let mut taken = tx.db.prepare_cached("SELECT 1 FROM taken WHERE tenant = ?1 AND id = ?2 AND until > ?3")?;
        let mut dead = tx.db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND id = ?2 AND dead = 1")?;
        let room = Room {
            id_is_taken: !self.new.id_is_new() && taken.exists((tenant, self.key.id.as_str(), tx.now.0))?,
            dead_letter_is_there: match &self.new.requeues {
                Some(id) => dead.exists((tenant, id.as_str()))?,
                None => false,
            },
            unfinished: tx.counters.unfinished as u64,
            unfinished_of_tenant: tx.unfinished_of(&self.key.tenant) as u64,
        };
        life::accept(&self.new, &room, tx.now, || match self.new.session_is_new() {
            true => Ok(InSession::Nobody),
            false => in_session(tx, &self.session),
        })
    }

    /// What this very submission made when it came before and its reply was lost: its task, under its claim.
    fn born_before(&self, tx: &Tx, key: &TaskKey) -> Result<Option<Created>, Refusal> {
        let Some(born) = self.new.born.as_ref().filter(|_| *key == self.key) else { return Ok(None) };
        let Some(row) = row::find(tx.db, key)?.filter(|row| tx.is_born_of(row.number, born.token)) else { return Ok(None) };
        let events = row::events(tx.db, row.number, 0, self.accepted.len() + self.begun.len(), usize::MAX)?;
        let events = events.into_iter().map(|(_, event)| Arc::new(event)).collect();
        Ok(Some(Created { result: row.live(tx.now), fresh: true, replayed: false, events, claim: Some(claim_of(&row)) }))
    }

    fn cradle(&self, tx: &Tx, born: &Born) -> Result<Cradle, Refusal> {
        let last_place = if self.new.session_is_new() { 0 } else { last_place(tx.db, &self.session)? };
        Ok(Cradle { last_place, others_are_before: claim::is_any_before(tx, born, &self.new.task.tenant, self.new.task.priority)? })
    }

    fn insert(&self, tx: &mut Tx, state: State, is_born: bool) -> Result<(Row, Vec<Arc<StoredEvent>>), Refusal> {
        let (task, now) = (&self.new.task, tx.now);
        let mut row = Row::accepted(task, tx.number(), state, now);
        let mut events = Vec::with_capacity(self.accepted.len() + self.begun.len());
        for draft in &self.accepted {
            events.push(row::record(tx, &mut row, draft)?);
        }
        let mut definition = None;
        if let Some(born) = self.new.born.as_ref().filter(|_| is_born) {
            row.claimed(now);
            for draft in &self.begun {
                events.push(row::record(tx, &mut row, draft)?);
            }
            for (also, text) in born.also.iter().zip(&self.texts) {
                match also {
                    Also::Definitions(kept) => definition = Some(append::definition(tx, &kept.0, text)?),
                    // These are refused before.
                    Also::Ask { .. } | Also::Settle { .. } => {}
                }
            }
            row::lease_of_born(tx, &row, born.token);
        }
        let mut insert = tx.db.prepare_cached(
            "INSERT INTO tasks (row, tenant, id, agent, session, state, priority, place, last_seq, created_at, ready_at, not_before, deadline, \
             due, content_hash, trace_id, retry_of, epoch, last_step, started_at, definition) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        )?;
        insert.execute(params![
            row.number,
            task.tenant.as_str(),
            task.id.as_str(),
            task.agent.as_str(),
            task.session_id.as_str(),
            row.state as i64,
            task.priority,
            row.place,
            row.last_seq,
            now.0,
            row.not_before.map(ms),
            row.deadline.map(ms),
            row::due(&row),
            self.content_hash,
            row.header.trace_id,
            row.header.retry_of.as_ref().map(TaskId::as_str),
            row.epoch,
            row.last_step,
            row.header.started_at.map(ms),
            definition,
        ])?;
        tx.count(&self.key.tenant, 1);
        Ok((row, events))
    }
}

/// The claim of a task that is born with one.
fn claim_of(row: &Row) -> (Claim, Duration) {
    (Claim { key: row.key(), epoch: row.epoch as u64 }, rules::LEASE)
}

/// Who is in a session before one more.
fn in_session(tx: &Tx, session: &SessionKey) -> Result<InSession, Refusal> {
    if !has_head(tx, names(session))? {
        return Ok(InSession::Nobody);
    }
    let mut waiting = tx.db.prepare_cached("SELECT count(*) FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND state = 1")?;
    Ok(InSession::Head { waiting: waiting.query_row(names(session), |row| row.get(0))? })
}

pub(super) fn has_head(tx: &Tx, session: [&str; 3]) -> rusqlite::Result<bool> {
    let mut head =
        tx.db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND state >= 2 AND state <= 4")?;
    head.exists(session)
}

/// The place of a session's last task; 0 for a session without any.
pub(super) fn last_place(db: &Connection, session: &SessionKey) -> rusqlite::Result<u64> {
    let mut last = db.prepare_cached("SELECT max(place) FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3")?;
    let last: Option<i64> = last.query_row(names(session), |row| row.get(0))?;
    Ok(last.unwrap_or_default() as u64)
}

pub(super) fn names(session: &SessionKey) -> [&str; 3] {
    [session.tenant.as_str(), session.agent.as_str(), session.id.as_str()]
}

fn ms(time: Time) -> i64 {
    time.0
}
