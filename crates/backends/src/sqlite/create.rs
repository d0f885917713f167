//! Accepting a task.

use super::{
    State,
    failure::Refusal,
    row::{self, Row},
    writer::Tx,
};
use crate::rules::{self, Draft};
use maniple_core::{
    Result, SessionKey, TaskId, TaskKey, Time,
    event::{Event, StoredEvent},
    ports::{Created, NewTask},
    task::{Header, Progress},
};
use rusqlite::{OptionalExtension, params};
use std::sync::Arc;

/// A submission with its events written out, so that the writer need not.
pub(super) struct Submission {
    new: NewTask,
    drafts: Vec<Draft>,
    key: TaskKey,
    session: SessionKey,
}

impl Submission {
    pub(super) fn of(new: NewTask) -> Result<Self> {
        let mut drafts = vec![Draft::of(0, &Event::Accepted(new.task.clone()))?];
        if let Some(event) = &new.taken_over {
            drafts.push(Draft::of(0, event)?);
        }
        Ok(Self { key: new.task.key(), session: new.task.session(), new, drafts })
    }

    pub(super) fn create(&self, tx: &mut Tx) -> Result<Created, Refusal> {
        if let Some(replay) = self.replay(tx)? {
            return Ok(replay);
        }
        let mut known = tx.db.prepare_cached("SELECT content_hash FROM tasks WHERE tenant = ?1 AND id = ?2")?;
        let known: Option<String> = known.query_row((self.key.tenant.as_str(), self.key.id.as_str()), |row| row.get(0)).optional()?;
        if let Some(content_hash) = known {
            if content_hash != self.new.content_hash {
                return Err(rules::other_content(&self.key.id).into());
            }
            let result = self.present(tx, &self.key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            self.remember(tx)?;
            return Ok(Created { result, fresh: false, replayed: false, events: Vec::new() });
        }
        let state = self.check(tx)?;

        if let Some(id) = &self.new.requeues {
            let mut take_out = tx.db.prepare_cached("UPDATE tasks SET dead = NULL WHERE tenant = ?1 AND id = ?2")?;
            take_out.execute((self.key.tenant.as_str(), id.as_str()))?;
        }
        self.remember(tx)?;
        let (row, events) = self.insert(tx, state)?;
        Ok(Created { result: row.header.live(tx.now), fresh: true, replayed: false, events })
    }

    fn present(&self, tx: &Tx, key: &TaskKey) -> Result<Option<maniple_core::task::AgentResult>, Refusal> {
        let Some(row) = row::find(tx.db, key)? else { return Ok(None) };
        row.result(tx.db, tx.now).map(Some)
    }

    fn replay(&self, tx: &Tx) -> Result<Option<Created>, Refusal> {
        let Some(idempotency) = &self.new.idempotency else { return Ok(None) };
        let mut known =
            tx.db.prepare_cached("SELECT body_hash, task FROM keys WHERE tenant = ?1 AND scope = ?2 AND key = ?3 AND at > ?4")?;
        let forgotten = tx.now.0.saturating_sub(rules::KEYS_KEPT.as_millis() as i64);
        let name = (self.key.tenant.as_str(), &idempotency.scope, &idempotency.key, forgotten);
        let known: Option<(String, String)> = known.query_row(name, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((body_hash, task)) = known else { return Ok(None) };
        if body_hash != idempotency.body_hash {
            return Err(rules::other_body().into());
        }
        let key = TaskKey { tenant: self.key.tenant.clone(), id: TaskId::parse(&task)? };
        let result = self.present(tx, &key)?.ok_or_else(rules::gone_with_key)?;
        Ok(Some(Created { result, fresh: false, replayed: true, events: Vec::new() }))
    }

    /// The state it begins in, or why it is refused.
    fn check(&self, tx: &Tx) -> Result<State, Refusal> {
        let tenant = self.key.tenant.as_str();
        let mut taken = tx.db.prepare_cached("SELECT 1 FROM taken WHERE tenant = ?1 AND id = ?2 AND until > ?3")?;
        if taken.exists((tenant, self.key.id.as_str(), tx.now.0))? {
            return Err(rules::id_taken(&self.key.id).into());
        }
        if let Some(id) = &self.new.requeues {
            let mut dead = tx.db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND id = ?2 AND dead = 1")?;
            if !dead.exists((tenant, id.as_str()))? {
                return Err(rules::not_dead(id).into());
            }
        }
        if tx.counters.unfinished as u64 >= self.new.unfinished_max {
            return Err(rules::node_full(self.new.unfinished_max).into());
        }
        if self.new.task.not_before.is_some_and(|moment| moment > tx.now) {
            return Ok(State::Scheduled);
        }
        if !has_head(tx, &self.session)? {
            return Ok(State::Ready);
        }
        let mut waiting =
            tx.db.prepare_cached("SELECT count(*) FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND state = 1")?;
        let waiting: u32 = waiting.query_row(names(&self.session), |row| row.get(0))?;
        if waiting >= self.new.session_waiting_max {
            return Err(rules::session_full(self.new.session_waiting_max).into());
        }
        Ok(State::Waiting)
    }

    fn remember(&self, tx: &Tx) -> Result<(), Refusal> {
        let Some(idempotency) = &self.new.idempotency else { return Ok(()) };
        let mut remember = tx
            .db
            .prepare_cached("INSERT OR REPLACE INTO keys (tenant, scope, key, body_hash, task, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let Self { key, .. } = self;
        let (scope, name, body_hash) = (&idempotency.scope, &idempotency.key, &idempotency.body_hash);
        remember.execute((key.tenant.as_str(), scope, name, body_hash, key.id.as_str(), tx.now.0))?;
        Ok(())
    }

    fn insert(&self, tx: &mut Tx, state: State) -> Result<(Row, Vec<Arc<StoredEvent>>), Refusal> {
        let (task, now, number) = (&self.new.task, tx.now, tx.number());
        let mut row = Row {
            number,
            tenant: task.tenant.clone(),
            header: Header {
                id: task.id.clone(),
                session_id: task.session_id.clone(),
                agent: task.agent.clone(),
                created_at: now,
                started_at: None,
                trace_id: task.trace.as_ref().map(|trace| trace.trace_id().to_owned()),
                retry_of: task.retry_of.clone(),
                progress: Progress::default(),
                waiting_for: None,
            },
            state,
            // Rows and places are counted together: a task that takes its place at once has its row's number.
            place: (state != State::Scheduled).then_some(number),
            epoch: 0,
            last_seq: 0,
            last_step: 0,
            progressed: false,
            barren_expired: 0,
            barren_open: 0,
            signals: 0,
            not_before: task.not_before,
            deadline: task.deadline(now),
            until: None,
            definition: None,
        };
        let mut events = Vec::with_capacity(self.drafts.len());
        for draft in &self.drafts {
            events.push(row.record(tx.db, draft.numbered(row.last_seq as u64 + 1, now))?);
        }
        let mut insert = tx.db.prepare_cached(
            "INSERT INTO tasks (row, tenant, id, agent, session, state, priority, place, last_seq, created_at, ready_at, not_before, deadline, \
             due, content_hash, trace_id, retry_of) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?;
        insert.execute(params![
            number,
            task.tenant.as_str(),
            task.id.as_str(),
            task.agent.as_str(),
            task.session_id.as_str(),
            state as i64,
            task.priority,
            row.place,
            row.last_seq,
            now.0,
            row.not_before.map(ms),
            row.deadline.map(ms),
            row.due(),
            self.new.content_hash,
            row.header.trace_id,
            row.header.retry_of.as_ref().map(TaskId::as_str),
        ])?;
        tx.counters.unfinished += 1;
        Ok((row, events))
    }
}

pub(super) fn has_head(tx: &Tx, session: &SessionKey) -> rusqlite::Result<bool> {
    let mut head =
        tx.db.prepare_cached("SELECT 1 FROM tasks WHERE tenant = ?1 AND agent = ?2 AND session = ?3 AND state >= 2 AND state <= 4")?;
    head.exists(names(session))
}

pub(super) fn names(session: &SessionKey) -> [&str; 3] {
    [session.tenant.as_str(), session.agent.as_str(), session.id.as_str()]
}

fn ms(time: Time) -> i64 {
    time.0
}
