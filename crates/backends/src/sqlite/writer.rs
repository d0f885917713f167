//! The one writer: takes everything that is queued, does it in one transaction, and answers after the commit.
//!
//! A command is a closure over owned input that can run again: when SQLite refuses one, the whole batch is
//! rolled back and each command runs alone, so that a bad one fails by itself.

use super::{
    IoErrorPolicy,
    failure::{Refusal, failed, is_io},
};
use crate::{clock::Monotone, life::Row, rules::Turns};
use maniple_core::{AgentName, Error, Result, TaskKey, Tenant, Time};
use rusqlite::Connection;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};

/// The most commands in one transaction.
const BATCH_MAX: usize = 512;
/// The most commands that wait for it; callers wait beyond that.
const QUEUE_MAX: usize = 4_096;

/// A lease. Leases live in memory only: they end with the process, which voids all claims anyway.
pub(super) struct Lease {
    pub(super) epoch: u64,
    pub(super) until: Time,
    pub(super) agent: AgentName,
    /// The wish by which its task was born claimed; none once it was renewed.
    pub(super) born: Option<u128>,
}

/// Every running task's lease, by row.
#[derive(Default)]
pub(super) struct Leases(Mutex<BTreeMap<i64, Lease>>);

impl Leases {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the store counts; written with every transaction that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) clock: Time,
    pub(super) numbers: i64,
    pub(super) unfinished: i64,
}

impl Counters {
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        db.query_row("SELECT clock, numbers, unfinished FROM store", [], |row| {
            Ok(Self { clock: Time(row.get(0)?), numbers: row.get(1)?, unfinished: row.get(2)? })
        })
    }
    pub(super) fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut statement = db.prepare_cached("UPDATE store SET clock = ?1, numbers = ?2, unfinished = ?3")?;
        statement.execute((self.clock.0, self.numbers, self.unfinished)).map(drop)
    }
}

/// How many unfinished tasks each tenant has, counted when the store is opened.
pub(super) fn unfinished_of(db: &Connection) -> rusqlite::Result<HashMap<Tenant, i64>> {
    let mut all = HashMap::new();
    // Each has an index that begins with the tenant.
    for states in ["state = 0", "state = 1", "state >= 2 AND state <= 4"] {
        let mut select = db.prepare(&format!("SELECT tenant, count(*) FROM tasks WHERE {states} GROUP BY tenant"))?;
        let found = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        for tenant in found {
            let (name, count) = tenant?;
            // A name that is none is nobody's to count.
            Tenant::parse(&name).into_iter().for_each(|tenant| *all.entry(tenant).or_default() += count);
        }
    }
    Ok(all)
}

/// What a command works with.
pub(super) struct Tx<'a> {
    pub(super) db: &'a Connection,
    pub(super) now: Time,
    pub(super) counters: Counters,
    /// As they were before this transaction.
    pub(super) leases: &'a Leases,
    /// Leases to set or, with `None`, to take away once this is committed.
    pub(super) leased: HashMap<i64, Option<Lease>>,
    /// How many unfinished tasks each tenant had before this transaction.
    before: &'a HashMap<Tenant, i64>,
    /// How many more it has since.
    more: HashMap<Tenant, i64>,
    pub(super) turns: &'a mut Turns,
    /// Definitions that are stored, by hash; emptied whenever a row in it may be gone.
    pub(super) known: &'a mut HashMap<String, i64>,
    /// Rows of running tasks as they are in the file, so that their holders' appends need not read them.
    pub(super) held: &'a mut HashMap<TaskKey, Row>,
}

impl Tx<'_> {
    /// Whether a task is held under the claim that it was born with, by the wish of that token.
    pub(super) fn is_born_of(&self, row: i64, token: u128) -> bool {
        match self.leased.get(&row) {
            Some(changed) => changed.as_ref().is_some_and(|lease| lease.born == Some(token)),
            None => self.leases.lock().get(&row).is_some_and(|lease| lease.born == Some(token)),
        }
    }
    /// How many unfinished tasks a tenant has.
    pub(super) fn unfinished_of(&self, tenant: &Tenant) -> i64 {
        let of = |counts: &HashMap<Tenant, i64>| counts.get(tenant).copied().unwrap_or(0);
        of(self.before) + of(&self.more)
    }
    /// Counts a task that begins, or with -1 one that ends.
    pub(super) fn count(&mut self, tenant: &Tenant, more: i64) {
        self.counters.unfinished += more;
        match self.more.get_mut(tenant) {
            Some(count) => *count += more,
            None => drop(self.more.insert(tenant.clone(), more)),
        }
    }
    /// Writes what changes nothing, so that it is known whether writing still can be done.
    pub(super) fn touch(&self) -> Result<(), Refusal> {
        Ok(self.counters.write(self.db)?)
    }
    pub(super) fn number(&mut self) -> i64 {
        self.counters.numbers += 1;
        self.counters.numbers
    }
}

trait Command: Send {
    fn run(&mut self, tx: &mut Tx) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, outcome: Result<()>);
}

struct Work<T, F> {
    work: F,
    answer: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: Fn(&mut Tx) -> Result<T, Refusal> + Send> Command for Work<T, F> {
    fn run(&mut self, tx: &mut Tx) -> rusqlite::Result<()> {
        self.answer = Some(match (self.work)(tx) {
            Ok(answer) => Ok(answer),
            Err(Refusal::Says(error)) => Err(error),
            Err(Refusal::Sql(error)) => return Err(error),
        });
        Ok(())
    }
    fn answer(self: Box<Self>, outcome: Result<()>) {
        let answer = match (outcome, self.answer) {
            (Ok(()), Some(answer)) => answer,
            (Ok(()), None) => Err(Error::internal("the store did not run a command")),
            (Err(error), _) => Err(error),
        };
        // Nobody waits any more: the command was applied all the same, as a lost reply is.
        let _ = self.reply.send(answer);
    }
}

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Queue(mpsc::Sender<Box<dyn Command>>);

impl Queue {
    /// Runs a command in the next transaction; durable when this returns `Ok`.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl Fn(&mut Tx) -> Result<T, Refusal> + Send + 'static) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let command = Box::new(Work { work, answer: None, reply });
        self.0.send(command).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn closed() -> Error {
    Error::unavailable("the store is closed")
}

/// The thread's state.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) clock: Arc<Monotone>,
    pub(super) counters: Counters,
    pub(super) leases: Arc<Leases>,
    pub(super) on_io_error: IoErrorPolicy,
    #[cfg(test)]
    pub(super) commit_fault: super::CommitFault,
    unfinished_of: HashMap<Tenant, i64>,
    turns: Turns,
    known: HashMap<String, i64>,
    held: HashMap<TaskKey, Row>,
    broken: bool,
    queue: mpsc::Receiver<Box<dyn Command>>,
}

impl Writer {
    pub(super) fn new(
        db: Connection,
        clock: Arc<Monotone>,
        (counters, unfinished_of): (Counters, HashMap<Tenant, i64>),
        leases: Arc<Leases>,
        options: &super::Options,
    ) -> (Self, Queue) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let writer = Self {
            db,
            clock,
            counters,
            leases,
            on_io_error: options.on_io_error.clone(),
            #[cfg(test)]
            commit_fault: options.commit_fault.clone(),
            unfinished_of,
            turns: Turns::default(),
            known: HashMap::new(),
            held: HashMap::new(),
            broken: false,
            queue,
        };
        (writer, Queue(sender))
    }

    /// Does one thing before the thread begins.
    pub(super) fn now(&mut self, work: impl Fn(&mut Tx) -> Result<(), Refusal> + Send) -> Result<()> {
        let (reply, mut answer) = oneshot::channel();
        self.alone(Box::new(Work { work, answer: None, reply }));
        answer.try_recv().map_err(|_| closed())?
    }

    /// Until the store is dropped and its queue is empty.
    pub(super) fn work(mut self) {
        let mut batch = Vec::new();
        while self.queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
            metrics::histogram!("maniple_store_commit_batch_size").record(batch.len() as f64);
            let outcome = self.transaction(&mut batch);
            match outcome {
                Ok(()) => batch.drain(..).for_each(|command| command.answer(Ok(()))),
                Err(_) => batch.drain(..).for_each(|command| self.alone(command)),
            }
        }
    }

    fn alone<'a>(&mut self, command: Box<dyn Command + 'a>) {
        let mut batch = [command];
        let outcome = self.transaction(&mut batch).map_err(failed);
        let [command] = batch;
        if let Err(error) = &outcome {
            tracing::error!(error = ?error.source, "the store could not write");
        }
        command.answer(outcome);
    }

    /// All of it or nothing.
    fn transaction(&mut self, batch: &mut [Box<dyn Command + '_>]) -> rusqlite::Result<()> {
        if self.broken {
            return Err(io_error());
        }
        let outcome = self.attempt(batch);
        if let Err(error) = &outcome {
            self.known.clear();
            self.held.clear();
            if !self.db.is_autocommit() {
                // SQLite may have rolled back by itself; a rollback that fails leaves no transaction either.
                let _ = self.db.execute_batch("ROLLBACK");
            }
            if is_io(error) {
                self.broken = true;
                (self.on_io_error)(error);
            }
        }
        outcome
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Command + '_>]) -> rusqlite::Result<()> {
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let changes_before = self.db.total_changes();
        let mut tx = Tx {
            db: &self.db,
            now: self.clock.now(),
            counters: self.counters,
            leases: &self.leases,
            leased: HashMap::new(),
            before: &self.unfinished_of,
            more: HashMap::new(),
            turns: &mut self.turns,
            known: &mut self.known,
            held: &mut self.held,
        };
        for command in batch {
            command.run(&mut tx)?;
        }
        let (mut counters, leased, more, now) = (tx.counters, tx.leased, tx.more, tx.now);
        if self.db.total_changes() != changes_before {
            counters.clock = now;
            counters.write(&self.db)?;
        }
        self.commit()?;
        self.counters = counters;
        for (tenant, more) in more {
            *self.unfinished_of.entry(tenant).or_default() += more;
        }
        let mut leases = self.leases.lock();
        for (row, lease) in leased {
            match lease {
                Some(lease) => drop(leases.insert(row, lease)),
                None => drop(leases.remove(&row)),
            }
        }
        Ok(())
    }

    fn commit(&self) -> rusqlite::Result<()> {
        let began = Instant::now();
        #[cfg(test)]
        if let Some(error) = (self.commit_fault)() {
            return Err(error);
        }
        self.db.prepare_cached("COMMIT")?.execute([])?;
        metrics::histogram!("maniple_store_commit_seconds").record(began.elapsed().as_secs_f64());
        Ok(())
    }
}

fn io_error() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR),
        Some("an earlier write failed in the disk: the store writes no more".into()),
    )
}
