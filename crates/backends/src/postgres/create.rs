//! Accepting a task.

use super::{
    append,
    args::args,
    batch::Work,
    claim,
    failure::Refusal,
    keys, outbox,
    row::{self, Seen},
    tx::{Ask, LockName, Locks, Tx},
    writes::Rows,
};
use crate::{
    life::{self, Cradle, InSession, Room, Row, State},
    rules::{self, Draft},
};
use async_trait::async_trait;
use maniple_core::{
    Error, Result, SessionKey, TaskId, TaskKey, Tenant,
    event::StoredEvent,
    ports::{Also, Born, Claim, Created, NewTask},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio_postgres::Row as SqlRow;

/// A submission with its events written out.
pub(super) struct Submission {
    pub(super) new: NewTask,
    accepted: Vec<Draft>,
    /// Under its claim, if it is born with one.
    begun: Vec<Draft>,
    /// What goes with that, as text.
    texts: Vec<String>,
    key: TaskKey,
    session: SessionKey,
    content_hash: String,
}

/// What nobody else may be at while a task is accepted: its session, its id, the key of the call. What was made for it is nobody
/// else's.
pub(super) fn locks(new: &NewTask) -> Vec<LockName> {
    let session = (!new.session_is_new()).then(|| row::session_lock(&new.task.session()));
    let id = (!new.id_is_new()).then(|| id_lock(&new.task.tenant, &new.task.id));
    let key = new.idempotency.as_ref().map(|idempotency| keys::lock(&new.task.tenant, idempotency));
    let requeued = new.requeues.as_ref().map(|id| id_lock(&new.task.tenant, id));
    [session, id, key, requeued].into_iter().flatten().collect()
}
/// The lock of an id, be there a task of it or not.
pub(super) fn id_lock(tenant: &Tenant, id: &TaskId) -> LockName {
    LockName { text: format!("{tenant}/{id}"), kind: 3 }
}

/// A submission, and the worker it is born to.
pub(super) struct Creating {
    pub(super) submission: Submission,
    pub(super) worker: i64,
}

#[async_trait]
impl Work for Creating {
    type Answer = (Created, i64);
    fn locks(&self) -> Locks {
        Locks { names: locks(&self.submission.new), task: None }
    }
    async fn work(&self, tx: &mut Tx<'_>) -> Result<(Created, i64), Refusal> {
        self.submission.create(tx, self.worker).await
    }
}

/// What was asked in one go, under the locks.
struct Looked {
    number: i64,
    key: Option<keys::Known>,
    key_is_forgotten: bool,
    /// Of the task that has the id: what its content is compared by, and whether it is gone.
    known: Option<(String, Option<i64>)>,
    dead_letter_is_there: bool,
    in_session: InSession,
    cradle: Option<Cradle>,
}

impl Submission {
    pub(super) fn of(new: NewTask) -> Result<Self> {
        let (accepted, begun) = rules::submitted(&new)?;
        let texts = new.born.iter().flat_map(|born| &born.also).map(rules::text).collect::<Result<_>>()?;
        Ok(Self { key: new.task.key(), session: new.task.session(), content_hash: new.content_hash(), new, accepted, begun, texts })
    }

    /// With the task's number, under its locks.
    pub(super) async fn create(&self, tx: &mut Tx<'_>, worker: i64) -> Result<(Created, i64), Refusal> {
        let looked = self.look(tx).await?;
        if let Some(known) = &looked.key {
            return self.replay(tx, known, worker).await;
        }
        let is_gone = |until: i64| until > tx.now.0;
        let id_is_taken = match &looked.known {
            Some((_, Some(until))) if is_gone(*until) => true,
            Some((_, Some(_))) => {
                tx.write("DELETE FROM tasks WHERE tenant = $1 AND id = $2", args![self.key.tenant.as_str(), self.key.id.as_str()]);
                false
            }
            Some((content_hash, None)) => return self.known(tx, content_hash, looked.key_is_forgotten, worker).await,
            None => false,
        };
        let (unfinished, unfinished_of_tenant) = unfinished(tx, &self.key.tenant).await?;
        let room = Room { id_is_taken, dead_letter_is_there: looked.dead_letter_is_there, unfinished, unfinished_of_tenant };
        let state = life::accept(&self.new, &room, tx.now, || Ok::<_, Refusal>(looked.in_session))?;

        if let Some(id) = &self.new.requeues {
            tx.write("UPDATE tasks SET dead = false WHERE tenant = $1 AND id = $2", args![self.key.tenant.as_str(), id.as_str()]);
        }
        if let Some(idempotency) = &self.new.idempotency {
            keys::keep(tx, &self.key.tenant, idempotency, looked.key_is_forgotten, self.key.id.as_str());
        }
        let is_born = life::is_born(&self.new, state, |_| looked.cradle.ok_or_else(not_looked))?;
        let (row, events) = self.insert(tx, looked.number, state, is_born.then_some(worker))?;
        let claim = is_born.then(|| claim_of(&row));
        Ok((Created { result: row.live(tx.now), fresh: true, replayed: false, events, claim }, row.number))
    }

    /// All that is to be known, in one go. Of a session that was made for this task, and an id, nothing can be known.
    async fn look(&self, tx: &mut Tx<'_>) -> Result<Looked, Refusal> {
        let [tenant, agent, session] = names(&self.session);
        let mut asks = vec![Ask("SELECT nextval('numbers')", args![])];
        let in_session = "SELECT count(*) FILTER (WHERE is_head), count(*) FILTER (WHERE state = 1) FROM live \
                          WHERE tenant = $1 AND agent = $2 AND session = $3";
        let known = "SELECT content_hash, gone_until FROM tasks WHERE tenant = $1 AND id = $2";
        let dead = "SELECT 1 FROM tasks WHERE tenant = $1 AND id = $2 AND dead FOR UPDATE";
        let key = self.new.idempotency.as_ref().map(|idempotency| keys::of(&self.key.tenant, idempotency));
        let known = (!self.new.id_is_new()).then(|| Ask(known, args![tenant, self.key.id.as_str()]));
        let dead = self.new.requeues.as_ref().map(|id| Ask(dead, args![tenant, id.as_str()]));
        let in_session = (!self.new.session_is_new()).then(|| Ask(in_session, args![tenant, agent, session]));
        let last = in_session.is_some().then(|| Ask(LAST_PLACE, args![tenant, agent, session]));
        let before = self.new.born.as_ref().map(|born| claim::any_before(born, &self.key.tenant, self.new.task.priority));

        let optional = [key, dead, known, in_session, last, before];
        let there = optional.each_ref().map(Option::is_some);
        asks.extend(optional.into_iter().flatten());
        let mut answers = tx.under_locks(asks).await?.into_iter();
        let number = answers.next().and_then(|rows| first_number(&rows)).ok_or_else(not_looked)?;
        let [key, dead, known, in_session, last, before] =
            there.map(|is_there| if is_there { answers.next().unwrap_or_default() } else { Vec::new() });

        let (key, key_is_forgotten) = keys::found(&key, tx.now)?;
        let known = known.first().map(|row| Ok::<_, Refusal>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
        let in_session = match in_session.first() {
            Some(row) if row.try_get::<_, i64>(0)? > 0 => {
                InSession::Head { waiting: u32::try_from(row.try_get::<_, i64>(1)?).unwrap_or(u32::MAX) }
            }
            _ => InSession::Nobody,
        };
        let cradle = self.new.born.as_ref().map(|_| Cradle {
            last_place: first_number(&last).unwrap_or_default() as u64,
            others_are_before: before.first().is_some_and(|row| row.get(0)),
        });
        Ok(Looked { number, key, key_is_forgotten, known, dead_letter_is_there: !dead.is_empty(), in_session, cradle })
    }

    /// The task that has its id already.
    async fn known(&self, tx: &mut Tx<'_>, content_hash: &str, key_is_forgotten: bool, worker: i64) -> Result<(Created, i64), Refusal> {
        if let Some(own) = self.born_before(tx, &self.key, worker).await? {
            return Ok(own);
        }
        let seen = present(tx, &self.key).await?.ok_or_else(|| rules::id_taken(&self.key.id))?;
        if !self.is_content_of(tx, content_hash, &seen).await? {
            return Err(rules::other_content(&self.key.id).into());
        }
        if let Some(idempotency) = &self.new.idempotency {
            keys::keep(tx, &self.key.tenant, idempotency, key_is_forgotten, self.key.id.as_str());
        }
        Ok((Created { result: seen.result(tx.now)?, fresh: false, replayed: false, events: Vec::new(), claim: None }, seen.row.number))
    }

    async fn replay(&self, tx: &mut Tx<'_>, known: &keys::Known, worker: i64) -> Result<(Created, i64), Refusal> {
        let key = TaskKey { tenant: self.key.tenant.clone(), id: TaskId::parse(&known.made)? };
        if let Some(own) = self.born_before(tx, &key, worker).await? {
            return Ok(own);
        }
        let is_same = self.new.idempotency.as_ref().is_some_and(|asked| asked.body_hash == known.body_hash);
        if !is_same && self.new.content.is_hash(&known.body_hash) == Some(false) {
            return Err(rules::other_body().into());
        }
        let seen = present(tx, &key).await?.ok_or_else(rules::gone_with_key)?;
        if !is_same && !self.is_content_of(tx, &known.body_hash, &seen).await? {
            return Err(rules::other_body().into());
        }
        Ok((Created { result: seen.result(tx.now)?, fresh: false, replayed: true, events: Vec::new(), claim: None }, seen.row.number))
    }

    /// Whether what is asked is what a known task was accepted for.
    async fn is_content_of(&self, tx: &Tx<'_>, kept: &str, seen: &Seen) -> Result<bool, Refusal> {
        if let Some(is) = self.new.content.is_hash(kept) {
            return Ok(is);
        }
        let first = row::journal(&tx.rows(row::JOURNAL, args![seen.row.number, 0_i64, 1_i64]).await?)?;
        Ok(self.new.content.is_of(&rules::accepted(first.first().map(|(_, event)| event))?))
    }

    /// What this very submission made when it came before and its reply was lost: its task, under its claim.
    async fn born_before(&self, tx: &mut Tx<'_>, key: &TaskKey, worker: i64) -> Result<Option<(Created, i64)>, Refusal> {
        let Some(born) = self.new.born.as_ref().filter(|_| *key == self.key) else { return Ok(None) };
        let Some(seen) = present(tx, key).await?.filter(|seen| seen.row.state == State::Running) else { return Ok(None) };
        // Where somebody is at it, it is nobody's who still asks for it.
        let by = "SELECT 1 FROM live WHERE task = $1 AND born = $2 AND worker = $3 FOR UPDATE SKIP LOCKED";
        let is_its_own = tx.row(by, args![seen.row.number, token(born), worker]).await?.is_some();
        if !is_its_own || tx.link.here.claims().held.get(key).is_some_and(|held| held.is_renewed) {
            return Ok(None);
        }
        let count = self.accepted.len() + self.begun.len();
        let events = row::journal(&tx.rows(row::JOURNAL, args![seen.row.number, 0_i64, count]).await?)?;
        let events = events.into_iter().map(|(_, event)| Arc::new(event)).collect();
        let (result, claim) = (seen.row.live(tx.now), Some(claim_of(&seen.row)));
        Ok(Some((Created { result, fresh: true, replayed: false, events, claim }, seen.row.number)))
    }

    fn insert(&self, tx: &mut Tx<'_>, number: i64, state: State, born: Option<i64>) -> Result<(Row, Vec<Arc<StoredEvent>>), Refusal> {
        let (task, now) = (&self.new.task, tx.now);
        let mut row = Row { publish: self.new.publish.clone(), ..Row::accepted(task, number, state, now) };
        let mut drafts = self.accepted.iter().map(|draft| Arc::new(row.record(draft, now))).collect::<Vec<_>>();
        let accepted = Row { ..row.clone() };
        let mut definition = None;
        let wish = self.new.born.as_ref().filter(|_| born.is_some());
        row::write_events(tx, &accepted, &drafts);
        if let Some(wish) = wish {
            row.claimed(now);
            drafts.extend(row::record(tx, &mut row, &self.begun));
            for (also, text) in wish.also.iter().zip(&self.texts) {
                match also {
                    Also::Definitions(kept) => {
                        append::keep_definition(tx, &kept.0, text);
                        definition = Some(kept.0.clone());
                    }
                    // These are refused before.
                    Also::Ask { .. } | Also::Settle { .. } => {}
                }
            }
        }
        tx.put(
            Rows::Accepted,
            args![
                number,
                task.tenant.as_str(),
                task.id.as_str(),
                task.agent.as_str(),
                task.session_id.as_str(),
                task.priority,
                row.place,
                now,
                row.not_before,
                row.deadline,
                &self.content_hash,
                row.header.trace_id.clone(),
                row.header.retry_of.as_ref().map(TaskId::as_str),
            ],
        );
        tx.put(
            Rows::Live,
            args![
                number,
                task.tenant.as_str(),
                task.agent.as_str(),
                task.session_id.as_str(),
                row.state as i64,
                row.state.is_head(),
                row.place,
                row.due(),
                born,
                born.map(|_| now.plus(rules::LEASE)),
                row.epoch,
                wish.map(token),
                now,
                row.last_seq,
                row.last_step,
                row.header.started_at,
                definition,
                row.publish.as_ref().map(outbox::write_publish),
            ],
        );
        if row.state == State::Ready {
            row::put_in_ready(tx, &row);
        }
        tx.count(&self.key.tenant, 1);
        Ok((row, drafts))
    }
}

/// The place of a session's last task; 0 for a session without any.
pub(super) const LAST_PLACE: &str =
    "SELECT coalesce(max(place), 0) FROM tasks WHERE tenant = $1 AND agent = $2 AND session = $3 AND gone_until IS NULL";

pub(super) fn first_number(rows: &[SqlRow]) -> Option<i64> {
    rows.first().map(|row| row.get(0))
}

fn not_looked() -> Refusal {
    Error::internal("the store did not look what it was to look up").into()
}

fn token(born: &Born) -> String {
    format!("{:032x}", born.token)
}

/// The claim of a task that is born with one.
fn claim_of(row: &Row) -> (Claim, Duration) {
    (Claim { key: row.key(), epoch: row.epoch as u64 }, rules::LEASE)
}

async fn present(tx: &Tx<'_>, key: &TaskKey) -> Result<Option<Seen>, Refusal> {
    let Ask(sql, values) = row::of_key(key);
    row::found(&tx.rows(sql, values).await?)
}

/// How many tasks are unfinished, and how many of them are a tenant's: counted once a second, with what this process adds.
async fn unfinished(tx: &Tx<'_>, tenant: &Tenant) -> Result<(u64, u64), Refusal> {
    if let Some(known) = tx.link.here.unfinished(tenant) {
        return Ok(known);
    }
    let mut of = HashMap::new();
    for row in tx.rows("SELECT tenant, count(*) FROM live GROUP BY tenant", args![]).await? {
        of.insert(Tenant::parse(row.try_get(0)?)?, row.try_get(1)?);
    }
    tx.link.here.counted(of);
    Ok(tx.link.here.unfinished(tenant).unwrap_or_default())
}

pub(super) fn names(session: &SessionKey) -> [&str; 3] {
    [session.tenant.as_str(), session.agent.as_str(), session.id.as_str()]
}
