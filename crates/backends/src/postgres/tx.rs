//! Transactions: what must be known is asked in one go, then it is decided, then all that is written goes in one go with `COMMIT`.
//!
//! Several pieces of work may share one, each with questions and writes of its own: see [`super::batch`].

use super::{
    args::{Arg, args},
    failure::Refusal,
    link::{Link, query},
    writes::{Rows, Writes},
};
use deadpool_postgres::Object;
use futures::future::{try_join, try_join_all};
use maniple_core::{Result, Tenant, Time};
use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};
use tokio::sync::SetOnce;
use tokio_postgres::{Row as SqlRow, Statement};

/// The server's time in milliseconds, read anew each time it is asked.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// A question, to be asked together with others.
pub(super) struct Ask(pub(super) &'static str, pub(super) Vec<Arg>);

/// What is locked by its name, until the transaction ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LockName {
    pub(super) text: String,
    /// Keeps apart what different kinds of things are called.
    pub(super) kind: i64,
}

impl LockName {
    /// The question that takes it alone.
    pub(super) fn ask(self) -> Ask {
        Ask("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", args![self.text, self.kind])
    }
}

/// All that a piece of work locks.
#[derive(Debug, Default)]
pub(super) struct Locks {
    pub(super) names: Vec<LockName>,
    pub(super) task: Option<i64>,
}

/// A transaction. Dropped without a commit it is rolled back with its connection.
pub(super) struct Transaction<'a> {
    client: Option<Object>,
    /// How it begins, in one go with what is asked first.
    begin: &'a str,
    begun: AtomicBool,
    link: &'a Link,
    /// Whether the locks of [`Self::lock`] are asked for: whatever is asked from then on sees what was done under them before.
    locking: SetOnce<()>,
    /// The server's time once they were taken.
    locked_at: SetOnce<Time>,
}

impl<'a> Transaction<'a> {
    pub(super) async fn begin(link: &'a Link) -> Result<Self> {
        Self::begin_as(link, &link.begins[0]).await
    }
    pub(super) async fn begin_read(link: &'a Link) -> Result<Self> {
        Self::begin_as(link, &link.begins[1]).await
    }
    async fn begin_as(link: &'a Link, begin: &'a str) -> Result<Self> {
        let client = Some(link.client().await?);
        Ok(Self { client, begin, begun: AtomicBool::new(false), link, locking: SetOnce::new(), locked_at: SetOnce::new() })
    }

    /// For a piece of work that takes its locks itself.
    pub(super) fn piece(&self) -> Tx<'_> {
        Tx { on: self, link: self.link, is_locked: false, now: self.link.now(), written: Written::default() }
    }
    /// For a piece of work whose locks are taken by [`Self::lock`].
    pub(super) fn locked_piece(&self) -> Tx<'_> {
        Tx { is_locked: true, ..self.piece() }
    }

    /// Takes the locks of several pieces of work, once a transaction: names in the order of their hashes, then tasks in that of
    /// their numbers, so that no two transactions wait for each other in a ring.
    pub(super) async fn lock(&self, names: Vec<LockName>, tasks: Vec<i64>) -> Result<(), Refusal> {
        const NAMES: &str = "SELECT pg_advisory_xact_lock(hash) FROM (SELECT DISTINCT hashtextextended(text, kind) AS hash \
                             FROM unnest($1::text[], $2::bigint[]) n(text, kind) ORDER BY hash) l";
        const TASKS: &str = "SELECT 1 FROM live WHERE task = ANY($1) ORDER BY task FOR UPDATE";
        let (names, kinds): (Vec<String>, Vec<i64>) = names.into_iter().map(|name| (name.text, name.kind)).unzip();
        let mut asks = Vec::new();
        if !names.is_empty() {
            asks.push(Ask(NAMES, args![names, kinds]));
        }
        if !tasks.is_empty() {
            asks.push(Ask(TASKS, args![tasks]));
        }
        self.with_clock(&mut asks);
        let statements = self.prepared(&asks).await?;
        let mut answers = pin!(self.send_all(&asks, &statements));
        // What is polled is sent.
        let sent = futures::poll!(answers.as_mut());
        let _ = self.locking.set(());
        let answers = match sent {
            std::task::Poll::Ready(answers) => answers?,
            std::task::Poll::Pending => answers.await?,
        };
        let _ = self.locked_at.set(self.clock_of(answers).1);
        Ok(())
    }

    /// Asks for the time behind everything else.
    fn with_clock(&self, asks: &mut Vec<Ask>) {
        if self.link.clock.is_none() {
            asks.push(Ask(CLOCK, args![]));
        }
    }
    /// The answers to what was asked before it, and the time.
    fn clock_of(&self, mut answers: Vec<Vec<SqlRow>>) -> (Vec<Vec<SqlRow>>, Time) {
        let now = match &self.link.clock {
            Some(clock) => clock.now(),
            None => {
                let server = Time(answers.pop().and_then(|rows| rows.first().map(|row| row.get(0))).unwrap_or(0));
                self.link.learn(server);
                server
            }
        };
        (answers, now)
    }

    fn client(&self) -> &Object {
        self.client.as_ref().expect("taken only as it ends")
    }
    async fn prepared(&self, asks: &[Ask]) -> Result<Vec<Option<Statement>>, Refusal> {
        let mut statements = Vec::with_capacity(asks.len());
        for Ask(sql, values) in asks {
            statements.push(self.link.prepared(self.client(), sql, values).await?);
        }
        Ok(statements)
    }
    async fn send_all(&self, asks: &[Ask], statements: &[Option<Statement>]) -> Result<Vec<Vec<SqlRow>>, Refusal> {
        try_join_all(asks.iter().zip(statements).map(|(Ask(sql, values), statement)| self.send(sql, values, statement.as_ref()))).await
    }
    /// Sent when it is first polled, in the order in which several are.
    async fn send(&self, sql: &str, values: &[Arg], statement: Option<&Statement>) -> Result<Vec<SqlRow>, Refusal> {
        let answer = self.link.answered(query(self.client(), sql, values, statement));
        Ok(try_join(self.begin_first(), answer).await?.1)
    }
    async fn begin_first(&self) -> Result<(), Refusal> {
        match self.begun.swap(true, Ordering::Relaxed) {
            true => Ok(()),
            false => self.link.answered(self.client().batch_execute(self.begin)).await,
        }
    }

    /// Sends what its pieces of work write and commits. After an error over the connection itself nobody knows whether it did.
    pub(super) async fn commit(mut self, written: impl IntoIterator<Item = Written>) -> Result<(), Refusal> {
        let began = Instant::now();
        let (mut writes, mut counted) = (Writes::default(), Vec::new());
        for piece in written {
            writes.add(piece.writes);
            counted.extend(piece.counted);
        }
        match self.send_and_commit(writes.into_statements()).await {
            Ok(()) => {
                metrics::histogram!("maniple_store_commit_seconds").record(began.elapsed().as_secs_f64());
                self.link.here.count(counted);
                // In order: the connection is clean again.
                drop(self.client.take());
                Ok(())
            }
            Err(refusal) => {
                self.abandon(&refusal).await;
                Err(refusal)
            }
        }
    }

    async fn send_and_commit(&self, writes: Vec<(String, Vec<Arg>)>) -> Result<(), Refusal> {
        let mut statements = Vec::with_capacity(writes.len());
        for (sql, values) in &writes {
            statements.push(self.link.prepared(self.client(), sql, values).await?);
        }
        // Polled in this order, so sent in this order; the server commits nothing of a transaction in which one failed.
        let written = writes.iter().zip(&statements).map(|((sql, values), statement)| self.send(sql, values, statement.as_ref()));
        let committed = self.link.answered(self.client().batch_execute("COMMIT"));
        try_join(try_join_all(written), committed).await.map(drop)
    }

    /// Gives up what was begun.
    pub(super) async fn abandon(mut self, refusal: &Refusal) {
        if refusal.ends_connection() {
            tracing::debug!(?refusal, "a connection to the database is given up");
            self.discard();
        } else {
            self.roll_back().await;
        }
    }
    async fn roll_back(&mut self) {
        let Some(client) = self.client.take() else { return };
        // Whatever is still under way on it comes first.
        if self.link.answered(client.batch_execute("ROLLBACK")).await.is_err() {
            drop(Object::take(client));
        }
    }
    fn discard(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Drop for Transaction<'_> {
    /// Whoever waited has left: with the connection goes what was begun on it.
    fn drop(&mut self) {
        self.discard();
    }
}

/// What a piece of work writes.
#[derive(Default)]
pub(super) struct Written {
    writes: Writes,
    /// How many unfinished tasks each tenant has more, once this is committed.
    counted: Vec<(Tenant, i64)>,
}

/// A piece of work in a transaction.
pub(super) struct Tx<'a> {
    on: &'a Transaction<'a>,
    pub(super) link: &'a Link,
    /// Whether its locks are those of [`Transaction::lock`].
    is_locked: bool,
    /// The time of everything this does; read after its locks were taken.
    pub(super) now: Time,
    written: Written,
}

impl Tx<'_> {
    /// What a statement finds.
    pub(super) async fn rows(&self, sql: &str, values: Vec<Arg>) -> Result<Vec<SqlRow>, Refusal> {
        let statement = self.link.prepared(self.on.client(), sql, &values).await?;
        self.on.send(sql, &values, statement.as_ref()).await
    }
    /// The first row of it.
    pub(super) async fn row(&self, sql: &str, values: Vec<Arg>) -> Result<Option<SqlRow>, Refusal> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }
    /// Several questions in one go: each sees what those before it waited for.
    pub(super) async fn all(&self, asks: Vec<Ask>) -> Result<Vec<Vec<SqlRow>>, Refusal> {
        // All are prepared before the first is sent, so that they go in their order.
        let statements = self.on.prepared(&asks).await?;
        self.on.send_all(&asks, &statements).await
    }

    /// Questions of which the first are the locks it takes itself, and what time it is once all locks are taken.
    pub(super) async fn under_locks(&mut self, mut asks: Vec<Ask>) -> Result<Vec<Vec<SqlRow>>, Refusal> {
        let (found, now) = if self.is_locked {
            self.on.locking.wait().await;
            let found = self.all(asks).await?;
            (found, *self.on.locked_at.wait().await)
        } else {
            self.on.with_clock(&mut asks);
            self.on.clock_of(self.all(asks).await?)
        };
        // A second reading, after more locks, is never earlier.
        self.now = self.now.max(now);
        Ok(found)
    }

    /// Writes, with the commit at the latest and before every [`Self::put`].
    pub(super) fn write(&mut self, sql: impl Into<String>, values: Vec<Arg>) {
        self.written.writes.write(sql.into(), values);
    }
    /// Writes a row, with the commit at the latest.
    pub(super) fn put(&mut self, rows: Rows, values: Vec<Arg>) {
        self.written.writes.put(rows, values);
    }
    /// Counts a task that begins, or with -1 one that ends.
    pub(super) fn count(&mut self, tenant: &Tenant, more: i64) {
        self.written.counted.push((tenant.clone(), more));
    }
    /// All that is to be written with the commit.
    pub(super) fn into_written(self) -> Written {
        self.written
    }
}

/// The most often a transaction is made that others were in the way of.
pub(super) const TRIES: u32 = 5;

/// Lets those that were in the way have done.
pub(super) async fn step_aside(link: &Link) {
    link.here.forget_definitions();
    tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(0..20))).await;
}

/// Does something in a transaction, and again where others were in its way.
macro_rules! transact {
    ($link:expr, $tx:ident => $work:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            let transaction = match $crate::postgres::tx::Transaction::begin(&$link).await {
                Ok(transaction) => transaction,
                Err(error) => break Err(error),
            };
            let mut $tx = transaction.piece();
            let outcome = match $work.await {
                Ok(answer) => {
                    let written = $tx.into_written();
                    transaction.commit([written]).await.map(|()| answer)
                }
                Err(refusal) => {
                    drop($tx);
                    transaction.abandon(&refusal).await;
                    Err(refusal)
                }
            };
            match outcome {
                Ok(answer) => break Ok(answer),
                Err($crate::postgres::failure::Refusal::Sql(error))
                    if tries < $crate::postgres::tx::TRIES && $crate::postgres::failure::is_passing(&error) =>
                {
                    $crate::postgres::tx::step_aside(&$link).await;
                }
                Err(refusal) => break Err(refusal.into()),
            }
        }
    }};
}
/// Looks at what was true at one moment.
macro_rules! look {
    ($link:expr, $tx:ident => $work:expr) => {{
        match $crate::postgres::tx::Transaction::begin_read(&$link).await {
            Err(error) => Err(error),
            Ok(transaction) => {
                let $tx = transaction.piece();
                let found = $work.await;
                drop($tx);
                match found {
                    Ok(answer) => transaction.commit([]).await.map(|()| answer).map_err(maniple_core::Error::from),
                    Err(refusal) => {
                        transaction.abandon(&refusal).await;
                        Err(refusal.into())
                    }
                }
            }
        }
    }};
}
pub(super) use {look, transact};
