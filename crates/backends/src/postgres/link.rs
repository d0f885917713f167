//! The way to the database: a bounded pool, and transactions on it.
//!
//! A transaction asks what it must know in one go, decides, and sends all that it writes in one go with its `COMMIT`.

use super::{
    Times,
    args::{Arg, args},
    failure::{Refusal, ends_connection, failed},
    here::Here,
};
use crate::{Clock, clock::Monotone};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Timeouts};
use futures::future::{try_join, try_join_all};
use maniple_core::{Error, Result, Tenant, Time};
use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_postgres::{
    Config, NoTls, Row as SqlRow, Statement,
    config::{SslMode, TargetSessionAttrs},
    types::Type,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Renewals come before every sweep, and every third of a lease: one write a second is enough.
const SLACK: Duration = Duration::from_secs(1);
/// The server's time in milliseconds, read anew each time it is asked.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// How a transaction begins, and one that only reads. Settings of the session would be lost behind a PgBouncer in transaction mode, and
/// options of the start are refused there.
fn begins(times: &Times) -> [String; 2] {
    let set = |name: &str, time: Duration| format!("; SET LOCAL {name} = '{}ms'", time.as_millis());
    let bounds = set("statement_timeout", times.statement) + &set("idle_in_transaction_session_timeout", times.idle);
    let lock = set("lock_timeout", times.lock);
    [format!("BEGIN{bounds}{lock}"), format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{bounds}")]
}

/// What is asked of a URL: the driver's settings, with ours where it says nothing.
pub(super) fn config(url: &str) -> Result<Config> {
    config_within(url, Times::default().connect)
}
/// The same with another time for a connection to come about.
pub(super) fn config_within(url: &str, connect: Duration) -> Result<Config> {
    let wrong = |e: tokio_postgres::Error| Error::invalid(format!("the store's URL cannot be read: {}", said(&e))).at("store");
    let mut config = Config::from_str(url).map_err(wrong)?;
    if config.get_options().is_none() && config.get_application_name().is_none() {
        config.application_name("maniple");
    }
    // A standby answers too, and everything that is written fails there.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(connect);
    }
    config.keepalives_idle(Duration::from_secs(30));
    config.tcp_user_timeout(Duration::from_secs(30));
    Ok(config)
}

/// The driver's words without the URL, which may hold a password.
fn said(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// TLS as the URL's `sslmode` asks for it: `disable` never, `prefer` (the default) where the server can, `require` always. Its
/// certificate must be known to the system, or to the file that SSL_CERT_FILE names.
pub(super) fn tls() -> Result<MakeRustlsConnect> {
    let mut known = rustls::RootCertStore::empty();
    known.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("TLS cannot be set up").because(e))?;
    Ok(MakeRustlsConnect::new(settings.with_root_certificates(known).with_no_client_auth()))
}

/// The pool, the clock, and what this process knows.
pub(super) struct Link {
    pool: Pool,
    clock: Option<Monotone>,
    /// How far the server's clock is ahead of this machine's, in milliseconds.
    ahead: AtomicI64,
    pub(super) here: Here,
    /// Whether statements have names.
    names: AtomicBool,
    /// A lease that was renewed so short a time ago is not written again.
    pub(super) slack: Duration,
    begins: [String; 2],
}

impl Link {
    pub(super) fn new(config: Config, clock: Option<Arc<dyn Clock>>, connections: usize, times: &Times) -> Result<Self> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match config.get_ssl_mode() {
            SslMode::Disable => Manager::from_config(config, NoTls, recycling),
            _ => Manager::from_config(config, tls()?, recycling),
        };
        let within = Some(times.connect);
        let timeouts = Timeouts { wait: within, create: within, recycle: within };
        let pool = Pool::builder(manager)
            .max_size(connections.max(1))
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .timeouts(timeouts)
            .build()
            .map_err(|e| Error::internal("the pool of connections cannot be made").because(e))?;
        let slack = if clock.is_some() { Duration::ZERO } else { SLACK };
        let clock = clock.map(|clock| Monotone::new(clock, Time(0)));
        Ok(Self {
            pool,
            clock,
            ahead: AtomicI64::new(0),
            here: Here::default(),
            names: AtomicBool::new(false),
            slack,
            begins: begins(times),
        })
    }

    pub(super) async fn client(&self) -> Result<Object> {
        let began = Instant::now();
        let client = self.pool.get().await.map_err(|error| match error {
            deadpool_postgres::PoolError::Backend(error) => failed(error),
            deadpool_postgres::PoolError::Timeout(kind) => Error::unavailable(match kind {
                deadpool_postgres::TimeoutType::Wait => {
                    "all connections to the database are in use: it is slow, or store_connections is too small for this node"
                }
                _ => "the database does not answer: is Postgres up, and can this node reach it?",
            }),
            error => Error::unavailable("the database cannot be reached").because(error),
        })?;
        metrics::histogram!("maniple_store_connection_wait_seconds").record(began.elapsed().as_secs_f64());
        Ok(client)
    }

    /// The store's time as this process knows it.
    pub(super) fn now(&self) -> Time {
        match &self.clock {
            Some(clock) => clock.now(),
            None => Time(crate::SystemClock.now().0 + self.ahead.load(Ordering::Relaxed)),
        }
    }
    fn learn(&self, server: Time) {
        self.ahead.store(server.0 - crate::SystemClock.now().0, Ordering::Relaxed);
    }

    pub(super) async fn begin(&self) -> Result<Tx<'_>, Refusal> {
        self.begin_as(&self.begins[0], Time(0)).await
    }
    pub(super) async fn begin_read(&self) -> Result<Tx<'_>, Refusal> {
        self.begin_as(&self.begins[1], self.now()).await
    }
    async fn begin_as<'a>(&'a self, begin: &'a str, now: Time) -> Result<Tx<'a>, Refusal> {
        let client = Some(self.client().await?);
        Ok(Tx { client, begin, begun: AtomicBool::new(false), link: self, now, writes: Vec::new(), counted: Vec::new() })
    }

    /// From now on statements are prepared once a connection. Only for a way on which a session is one: behind a pooler in
    /// transaction mode a name may be another client's statement.
    pub(super) fn keeps_sessions(&self) {
        self.names.store(true, Ordering::Relaxed);
    }
    async fn prepared(&self, client: &Object, sql: &str, values: &[Arg]) -> Result<Option<Statement>, tokio_postgres::Error> {
        if !self.names.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let kinds: Vec<Type> = values.iter().map(Arg::kind).collect();
        client.prepare_typed_cached(sql, &kinds).await.map(Some)
    }

    /// One statement outside any transaction.
    pub(super) async fn ask(&self, sql: &str, values: Vec<Arg>) -> Result<Vec<SqlRow>> {
        let client = self.client().await?;
        let answer = match self.prepared(&client, sql, &values).await {
            Ok(statement) => query(&client, sql, &values, statement.as_ref()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &answer
            && ends_connection(error)
        {
            drop(Object::take(client));
        }
        answer.map_err(failed)
    }
}

/// One statement, by its name where it has one.
async fn query(client: &Object, sql: &str, values: &[Arg], statement: Option<&Statement>) -> Result<Vec<SqlRow>, tokio_postgres::Error> {
    match statement {
        Some(statement) => client.query(statement, &values.iter().map(Arg::value).collect::<Vec<_>>()).await,
        None => client.query_typed(sql, &values.iter().map(Arg::pair).collect::<Vec<_>>()).await,
    }
}

/// A question, to be asked together with others.
pub(super) struct Ask(pub(super) &'static str, pub(super) Vec<Arg>);

/// A transaction. Dropped without a commit it is rolled back with its connection.
pub(super) struct Tx<'a> {
    client: Option<Object>,
    /// How it begins, in one go with what is asked first.
    begin: &'a str,
    begun: AtomicBool,
    pub(super) link: &'a Link,
    /// The time of everything this transaction does; read after its locks were taken.
    pub(super) now: Time,
    /// What is written with the commit.
    writes: Vec<(String, Vec<Arg>)>,
    /// How many unfinished tasks each tenant has more, once this is committed.
    counted: Vec<(Tenant, i64)>,
}

impl Tx<'_> {
    fn client(&self) -> &Object {
        self.client.as_ref().expect("taken only as it ends")
    }

    /// What a statement finds.
    pub(super) async fn rows(&self, sql: &str, values: Vec<Arg>) -> Result<Vec<SqlRow>, Refusal> {
        let statement = self.link.prepared(self.client(), sql, &values).await?;
        Ok(self.send(sql, &values, statement.as_ref()).await?)
    }
    /// Sent when it is first polled, in the order in which several are.
    async fn send(&self, sql: &str, values: &[Arg], statement: Option<&Statement>) -> Result<Vec<SqlRow>, tokio_postgres::Error> {
        Ok(try_join(self.begin_first(), query(self.client(), sql, values, statement)).await?.1)
    }
    async fn begin_first(&self) -> Result<(), tokio_postgres::Error> {
        match self.begun.swap(true, Ordering::Relaxed) {
            true => Ok(()),
            false => self.client().batch_execute(self.begin).await,
        }
    }
    /// The first row of it.
    pub(super) async fn row(&self, sql: &str, values: Vec<Arg>) -> Result<Option<SqlRow>, Refusal> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }
    /// Several questions in one go: each sees what those before it waited for.
    pub(super) async fn all(&self, asks: Vec<Ask>) -> Result<Vec<Vec<SqlRow>>, Refusal> {
        // All are prepared before the first is sent, so that they go in their order.
        let mut statements = Vec::with_capacity(asks.len());
        for Ask(sql, values) in &asks {
            statements.push(self.link.prepared(self.client(), sql, values).await?);
        }
        let sent = asks.iter().zip(&statements).map(|(Ask(sql, values), statement)| self.send(sql, values, statement.as_ref()));
        Ok(try_join_all(sent).await?)
    }

    /// Questions whose first ones are locks, and what time it is once they are taken.
    pub(super) async fn under_locks(&mut self, mut asks: Vec<Ask>) -> Result<Vec<Vec<SqlRow>>, Refusal> {
        if self.link.clock.is_none() {
            asks.push(Ask(CLOCK, args![]));
        }
        let mut found = self.all(asks).await?;
        let now = match &self.link.clock {
            Some(clock) => clock.now(),
            None => {
                let server = Time(found.pop().and_then(|rows| rows.first().map(|row| row.get(0))).unwrap_or(0));
                self.link.learn(server);
                server
            }
        };
        // A second reading, after more locks, is never earlier.
        self.now = self.now.max(now);
        Ok(found)
    }

    /// Writes, with the commit at the latest.
    pub(super) fn write(&mut self, sql: impl Into<String>, values: Vec<Arg>) {
        self.writes.push((sql.into(), values));
    }
    /// Counts a task that begins, or with -1 one that ends.
    pub(super) fn count(&mut self, tenant: &Tenant, more: i64) {
        self.counted.push((tenant.clone(), more));
    }

    /// Sends what is to be written and commits. After an error over the connection itself nobody knows whether it did.
    pub(super) async fn commit(mut self) -> Result<(), Refusal> {
        let began = Instant::now();
        let writes = std::mem::take(&mut self.writes);
        match self.send_and_commit(&writes).await {
            Ok(_) => {
                metrics::histogram!("maniple_store_commit_seconds").record(began.elapsed().as_secs_f64());
                self.link.here.count(std::mem::take(&mut self.counted));
                // In order: the connection is clean again.
                drop(self.client.take());
                Ok(())
            }
            Err(error) => {
                self.end(&error).await;
                Err(error.into())
            }
        }
    }

    async fn send_and_commit(&self, writes: &[(String, Vec<Arg>)]) -> Result<(), tokio_postgres::Error> {
        let mut statements = Vec::with_capacity(writes.len());
        for (sql, values) in writes {
            statements.push(self.link.prepared(self.client(), sql, values).await?);
        }
        // Polled in this order, so sent in this order; the server commits nothing of a transaction in which one failed.
        let written = writes.iter().zip(&statements).map(|((sql, values), statement)| self.send(sql, values, statement.as_ref()));
        try_join(try_join_all(written), self.client().batch_execute("COMMIT")).await.map(drop)
    }

    /// Gives up what was begun.
    pub(super) async fn abandon(mut self, refusal: &Refusal) {
        match refusal {
            Refusal::Sql(error) if ends_connection(error) => self.discard(error),
            Refusal::Sql(error) => self.end(error).await,
            Refusal::Says(_) => self.roll_back().await,
        }
    }
    async fn end(&mut self, error: &tokio_postgres::Error) {
        if ends_connection(error) {
            self.discard(error);
        } else {
            self.roll_back().await;
        }
    }
    async fn roll_back(&mut self) {
        let Some(client) = self.client.take() else { return };
        // Whatever is still under way on it comes first.
        if client.batch_execute("ROLLBACK").await.is_err() {
            drop(Object::take(client));
        }
    }
    fn discard(&mut self, error: &tokio_postgres::Error) {
        tracing::debug!(%error, "a connection to the database is given up");
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Drop for Tx<'_> {
    /// Whoever waited has left: with the connection goes what was begun on it.
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// The most often a transaction is made that others were in the way of.
pub(super) const TRIES: u32 = 5;

/// Does something in a transaction, and again where others were in its way.
macro_rules! transact {
    ($link:expr, $tx:ident => $work:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            let mut $tx = match $link.begin().await {
                Ok(tx) => tx,
                Err(refusal) => break Err(maniple_core::Error::from(refusal)),
            };
            let outcome = match $work.await {
                Ok(answer) => $tx.commit().await.map(|()| answer),
                Err(refusal) => {
                    $tx.abandon(&refusal).await;
                    Err(refusal)
                }
            };
            match outcome {
                Ok(answer) => break Ok(answer),
                Err($crate::postgres::failure::Refusal::Sql(error))
                    if tries < $crate::postgres::link::TRIES && $crate::postgres::failure::is_passing(&error) =>
                {
                    $link.here.forget_definitions();
                    tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(0..20))).await;
                }
                Err(refusal) => break Err(refusal.into()),
            }
        }
    }};
}
/// Looks at what was true at one moment.
macro_rules! look {
    ($link:expr, $tx:ident => $work:expr) => {{
        match $link.begin_read().await {
            Err(refusal) => Err(maniple_core::Error::from(refusal)),
            Ok($tx) => match $work.await {
                Ok(answer) => $tx.commit().await.map(|()| answer).map_err(maniple_core::Error::from),
                Err(refusal) => {
                    $tx.abandon(&refusal).await;
                    Err(refusal.into())
                }
            },
        }
    }};
}
pub(super) use {look, transact};
