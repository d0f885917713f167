//! The durable store of a fleet: one Postgres database, as many processes as are wanted.
//!
//! ```text
//! calls ─► writer ─► BEGIN ─► locks, what must be known, the time ─► rules of life ─► what is written + COMMIT
//! ```
//!
//! **Locks** are taken in one order, so that nobody waits in a ring: what is locked by its name, by the names' hashes (the session's
//! for accept, end, erase and falling due; ids and keys as they are taken), then the worker's row, then the tasks' by their numbers.
//! A session's next task is only ever made ready under the session's lock.
//!
//! **Time** is the server's, read once the locks are held; an event is never earlier than the one before it.
//!
//! **What is acknowledged is committed** with the server's `synchronous_commit`. After an asynchronous standby has taken over, what
//! it had not received yet is gone with what was acknowledged of it: use a synchronous one where that may not be.

mod append;
mod approval;
mod args;
mod batch;
mod bus;
#[cfg(feature = "redis")]
mod census;
mod claim;
mod create;
mod examine;
mod failure;
mod forget;
mod here;
mod ingest;
mod keys;
mod limiter;
mod link;
mod look;
mod outbox;
mod read;
mod row;
mod schema;
mod signal;
mod sweep;
mod tools;
mod tx;
mod writes;

pub use bus::Bus;
pub(crate) use examine::examine;
pub use limiter::Limiter;

use crate::{Clock, rules};
use append::{Appending, Facts};
use async_trait::async_trait;
use batch::Writers;
use claim::Releasing;
use create::{Creating, Submission};
use link::Link;
use maniple_core::{
    AgentName, Error, Result, SessionKey, TaskId, TaskKey, Tenant, Time,
    agent::Definitions,
    event::{EVENT_VERSION, StoredEvent},
    ports::{
        self, Append, Appended, Approval, Claim, Claimed, Conversation, Created, Decided, Decision, Idempotency, KeyWas, ListApprovals,
        ListSessions, ListTasks, NewTask, Renewal, Room, Sessions, Signalled, Swept, Turn, Waiting,
    },
    signal::Signal,
    task::AgentResult,
};
use std::{fmt, sync::Arc, time::Duration};
use tx::{Ask, look, transact};

/// `Invalid`, field `store`, for a URL that cannot be read.
pub(crate) fn check_url(url: &str) -> Result<()> {
    link::config(url).map(drop)
}

/// Settings of a store.
#[derive(Clone)]
pub struct Options {
    /// The most connections of this process, LISTEN's own apart.
    pub connections: usize,
    /// What time it is, for tests; else the server says it.
    pub clock: Option<Arc<dyn Clock>>,
    /// Whether the URL is known to lead to the server itself, or through a pooler that keeps sessions: then statements are prepared
    /// once a connection. [`TaskStore::learn_the_way`] finds it out.
    pub keeps_sessions: bool,
    /// How long the database may take.
    pub times: Times,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 8, clock: None, keeps_sessions: false, times: Times::default() }
    }
}

/// How long a database may take, in whole milliseconds of at least 1. Beyond, what was asked is given up as `Unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A connection of the pool to be free, or to come about where the URL has no `connect_timeout` of its own.
    pub connect: Duration,
    /// One statement: Postgres' `statement_timeout`.
    pub statement: Duration,
    /// One lock: Postgres' `lock_timeout`. Of no use unless it is shorter than `statement`.
    pub lock: Duration,
    /// A transaction in which nothing is asked: Postgres' `idle_in_transaction_session_timeout`. It frees the locks of a process that stands still.
    pub idle: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), statement: seconds(30), lock: seconds(10), idle: seconds(30) }
    }
}

/// All tasks in one database, and what is remembered of tools.
pub struct TaskStore {
    link: Arc<Link>,
    writers: Arc<Writers>,
}

impl fmt::Debug for TaskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskStore").finish_non_exhaustive()
    }
}

impl TaskStore {
    /// The store of that URL, as libpq writes it. Nothing is asked of the database yet. `Invalid`, field `store`, for a URL that cannot be read.
    pub fn new(url: &str, options: &Options) -> Result<Self> {
        let config = link::config_within(url, options.times.connect)?;
        let link = Link::new(config, options.clock.clone(), options.connections, &options.times)?;
        if options.keeps_sessions {
            link.keeps_sessions();
        }
        let link = Arc::new(link);
        let writers = Writers::new(link.clone(), options.connections / 4);
        Ok(Self { link, writers })
    }

    /// Brings the database to this version. `Unavailable` where it cannot be reached or changed, `Invalid` for one that a newer version has written.
    pub async fn migrate(&self) -> Result<()> {
        let client = self.link.client().await?;
        schema::migrate(&client).await
    }

    /// Finds out whether a session is one on the way to the database: there a notification over one connection is heard on another,
    /// which a pooler in transaction mode does not pass on.
    pub(crate) async fn learn_the_way(self: Arc<Self>, url: String) {
        if examine::hears(&url).await.is_ok_and(|hears| hears) {
            self.link.keeps_sessions();
        }
    }

    /// This process as a worker: a row of its own, made when it first works.
    async fn worker(&self) -> Result<i64> {
        let known = self.link.here.claims().worker;
        if let Some(number) = known {
            return Ok(number);
        }
        // Its lease begins with its first renewal; what it claims before stands by itself.
        let insert = "INSERT INTO workers (event_version, until) VALUES ($1, 0) RETURNING number";
        let made = self.link.ask(insert, args::args![EVENT_VERSION]).await?;
        let made = create::first_number(&made).ok_or_else(|| Error::internal("the database made no row for this worker"))?;
        // Two that make one at once have two rows, of which one is used.
        Ok(*self.link.here.claims().worker.get_or_insert(made))
    }
}

#[async_trait]
impl ports::Tasks for TaskStore {
    async fn create(&self, new: NewTask) -> Result<Created> {
        let submission = Submission::of(new)?;
        let worker = if submission.new.born.is_some() { self.worker().await? } else { 0 };
        let session = row::session_lock(&submission.new.task.session());
        let (created, number) = self.writers.write(Creating { submission, worker }).await?;
        if let Some((claim, _)) = &created.claim {
            self.link.here.claims().hold(claim, number, session);
        }
        Ok(created)
    }

    async fn signal(&self, key: &TaskKey, signal: Signal, idempotency: Option<Idempotency>) -> Result<(Signalled, KeyWas)> {
        rules::check_signal_id(&signal.id)?;
        let data = serde_json::to_string(&signal.data).map_err(|e| Error::internal("a signal cannot be written").because(e))?;
        transact!(self.link, tx => signal::signal(&mut tx, key, &signal, &data, idempotency.as_ref()))
    }

    async fn approvals(&self, query: &ListApprovals) -> Result<Vec<Approval>> {
        look!(self.link, tx => approval::list(&tx, query))
    }

    async fn approval(&self, tenant: &Tenant, id: &str) -> Result<Option<Approval>> {
        look!(self.link, tx => approval::get(&tx, tenant, id))
    }

    async fn decide(&self, tenant: &Tenant, id: &str, decision: Decision, idempotency: Option<Idempotency>) -> Result<(Decided, KeyWas)> {
        transact!(self.link, tx => approval::decide(&mut tx, tenant, id, &decision, idempotency.as_ref()))
    }

    async fn get(&self, key: &TaskKey) -> Result<Option<AgentResult>> {
        // One statement sees one moment.
        let Ask(sql, values) = row::of_key(key);
        let found = row::found(&self.link.ask(sql, values).await?).map_err(Error::from)?;
        found.map(|seen| seen.result(self.link.now())).transpose()
    }

    async fn list(&self, query: &ListTasks) -> Result<Vec<AgentResult>> {
        look!(self.link, tx => read::list(&tx, query))
    }

    async fn prompts(&self, tenant: &Tenant, tasks: &[TaskId], max_chars: usize) -> Result<Vec<Option<String>>> {
        look!(self.link, tx => look::prompts(&tx, tenant, tasks, max_chars))
    }

    async fn sessions(&self, query: &ListSessions) -> Result<Sessions> {
        look!(self.link, tx => look::sessions(&tx, query))
    }

    async fn events(&self, key: &TaskKey, after: u64, limit: usize, max_bytes: usize) -> Result<Option<Vec<StoredEvent>>> {
        look!(self.link, tx => read::events(&tx, key, after, limit, max_bytes))
    }

    async fn conversation(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Conversation> {
        look!(self.link, tx => read::conversation(&tx, session, before, limit, max_bytes))
    }

    async fn erase(&self, session: &SessionKey) -> Result<u64> {
        let (mut tasks, mut below) = (0, None);
        loop {
            let erased = transact!(self.link, tx => forget::erase(&mut tx, session, below))?;
            tasks += erased.tasks;
            below = erased.below;
            if below.is_none() {
                return Ok(tasks);
            }
        }
    }

    async fn drop_dead_letter(&self, key: &TaskKey, idempotency: Option<Idempotency>) -> Result<KeyWas> {
        transact!(self.link, tx => forget::drop_dead_letter(&mut tx, key, idempotency.as_ref()))
    }

    async fn remember(&self, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas> {
        transact!(self.link, tx => keys::remember(&mut tx, tenant, idempotency, made))
    }

    async fn recall(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<String>> {
        look!(self.link, tx => keys::recall(&tx, tenant, idempotency))
    }
}

#[async_trait]
impl ports::Work for TaskStore {
    async fn claim(&self, agents: &[AgentName], room: &Room) -> Result<Vec<Claimed>> {
        let agents = rules::agents_of(agents);
        let worker = self.worker().await?;
        let mut handed_out = transact!(self.link, tx => claim::claim(&mut tx, &agents, room, worker))?;
        claim::served(&self.link, &agents, &handed_out);
        {
            let mut claims = self.link.here.claims();
            for out in &handed_out {
                claims.hold(&out.claimed.claim, out.number, out.session.clone());
            }
        }
        // Only the holder appends, so what is found now is what there was when it was claimed.
        for out in handed_out.iter_mut().filter(|out| out.journal_missing) {
            let events = look!(self.link, tx => row::events(&tx, out.number, 0, rules::EVENTS_MAX as usize, usize::MAX))?;
            out.claimed.journal = events.into_iter().map(|(_, event)| event).collect();
        }
        Ok(handed_out.into_iter().map(|out| out.claimed).collect())
    }

    async fn renew(&self, claims: &[Claim]) -> Result<Vec<Renewal>> {
        let worker = self.worker().await?;
        let renewed = transact!(self.link, tx => claim::renew(&mut tx, claims, worker))?;
        renewed.remember(&self.link);
        for (number, epoch) in renewed.strays {
            tracing::warn!("a claim whose reply was lost is handed back");
            transact!(self.link, tx => claim::hand_back(&mut tx, number, epoch))?;
        }
        Ok(renewed.renewals)
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let facts = Arc::new(Facts::of(append)?);
        let held = self.link.here.claims().get(&facts.append.claim).cloned();
        let appended = match held {
            Some(held) => self.writers.write(Appending { facts: facts.clone(), held }).await?,
            None => transact!(self.link, tx => facts.find_and_record(&mut tx))?,
        };
        if facts.lets_go() && matches!(appended, Appended::Recorded(_)) {
            let claim = &facts.append.claim;
            self.link.here.claims().let_go(&claim.key, claim.epoch);
        }
        Ok(appended)
    }

    async fn release(&self, claim: &Claim) -> Result<()> {
        let held = self.link.here.claims().get(claim).cloned();
        match held {
            Some(held) => self.writers.write(Releasing(held)).await?,
            None => transact!(self.link, tx => claim::release(&mut tx, claim))?,
        }
        self.link.here.claims().let_go(&claim.key, claim.epoch);
        Ok(())
    }

    async fn signals(&self, key: &TaskKey) -> Result<Vec<Signal>> {
        look!(self.link, tx => read::signals(&tx, key))
    }

    async fn turns(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Vec<Turn>> {
        look!(self.link, tx => read::turns(&tx, session, before, limit, max_bytes))
    }

    async fn definitions(&self, hash: &str) -> Result<Option<Definitions>> {
        look!(self.link, tx => read::definitions(&tx, hash))
    }

    fn now(&self) -> Time {
        self.link.now()
    }
}

#[async_trait]
impl ports::Upkeep for TaskStore {
    async fn sweep_leases_by(&self, moment: Time) -> Result<Swept> {
        sweep::sweep(&self.link, moment).await
    }

    async fn forget(&self, keep: Duration, limit: usize) -> Result<u64> {
        forget::forget(&self.link, keep, limit).await
    }

    async fn forget_beyond(&self, max_bytes: u64, limit: usize) -> Result<u64> {
        forget::forget_beyond(&self.link, max_bytes, limit).await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>> {
        look!(self.link, tx => read::waiting(&tx))
    }

    async fn ping(&self) -> Result<()> {
        // Writes what changes nothing, so that it is known whether writing still can be done.
        self.link.ask("UPDATE maniple SET event_version = event_version", args::args![]).await.map(drop)
    }
}
