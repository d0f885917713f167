//! The way to the database: a bounded pool of connections, and its time.

use super::{
    Times,
    args::Arg,
    failure::{Refusal, failed},
    here::Here,
};
use crate::{Clock, clock::Monotone};
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Timeouts};
use maniple_core::{Error, Result, Time};
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

/// What a connection is told before its first prepared statement. The plan of one is kept for long: made while a table was all but
/// empty, it would read all of it, or take the wrong index, and go on to when there is much in it.
const SETTINGS: &str = "SET enable_seqscan = off; SET jit = off";
/// So often a connection is used at most before its plans are made anew, from what there is in the tables by then; a new one's sooner.
const PLANS_HOLD: usize = 32;
/// Renewals come before every sweep, and every third of a lease: one write a second is enough.
const SLACK: Duration = Duration::from_secs(1);

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
    /// Of a test; else the server says what time it is.
    pub(super) clock: Option<Monotone>,
    /// How far the server's clock is ahead of this machine's, in milliseconds.
    ahead: AtomicI64,
    pub(super) here: Here,
    /// Whether statements have names.
    names: AtomicBool,
    /// A lease that was renewed so short a time ago is not written again, and leases that were looked through then are not again.
    pub(super) slack: Duration,
    /// How a transaction begins, and one that only reads.
    pub(super) begins: [String; 2],
    /// How long an answer is waited for: longer than the server lets a statement take.
    patience: Duration,
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
            .pre_recycle(Hook::async_fn(|client, used| {
                Box::pin(async move {
                    let uses = used.recycle_count + 1;
                    if (uses.is_power_of_two() || uses % PLANS_HOLD == 0) && client.statement_cache.size() > 0 {
                        client.batch_execute("DISCARD PLANS").await.map_err(HookError::Backend)?;
                    }
                    Ok(())
                })
            }))
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
            patience: times.statement + times.connect,
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
    /// The server said what time it is.
    pub(super) fn learn(&self, server: Time) {
        self.ahead.store(server.0 - crate::SystemClock.now().0, Ordering::Relaxed);
    }

    /// From now on statements are prepared once a connection. Only for a way on which a session is one: behind a pooler in
    /// transaction mode a name may be another client's statement.
    pub(super) fn keeps_sessions(&self) {
        self.names.store(true, Ordering::Relaxed);
    }
    /// The statement by its name, where statements have one.
    pub(super) async fn prepared(&self, client: &Object, sql: &str, values: &[Arg]) -> Result<Option<Statement>, Refusal> {
        if !self.names.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // The first is prepared before its transaction begins, so this stays whatever becomes of that.
        if client.statement_cache.size() == 0 {
            self.answered(client.batch_execute(SETTINGS)).await?;
        }
        let kinds: Vec<Type> = values.iter().map(Arg::kind).collect();
        self.answered(client.prepare_typed_cached(sql, &kinds)).await.map(Some)
    }

    /// The answer, where it comes in time: a server that stands still keeps its connections.
    pub(super) async fn answered<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Refusal> {
        Ok(tokio::time::timeout(self.patience, answer).await.map_err(|_| Refusal::Silent)??)
    }

    /// One statement outside any transaction.
    pub(super) async fn ask(&self, sql: &str, values: Vec<Arg>) -> Result<Vec<SqlRow>> {
        let client = self.client().await?;
        let answer = match self.prepared(&client, sql, &values).await {
            Ok(statement) => self.answered(query(&client, sql, &values, statement.as_ref())).await,
            Err(refusal) => Err(refusal),
        };
        answer.map_err(|refusal| {
            if refusal.ends_connection() {
                drop(Object::take(client));
            }
            refusal.into()
        })
    }
}

/// One statement, by its name where it has one.
pub(super) async fn query(
    client: &Object,
    sql: &str,
    values: &[Arg],
    statement: Option<&Statement>,
) -> Result<Vec<SqlRow>, tokio_postgres::Error> {
    match statement {
        Some(statement) => client.query(statement, &values.iter().map(Arg::value).collect::<Vec<_>>()).await,
        None => client.query_typed(sql, &values.iter().map(Arg::pair).collect::<Vec<_>>()).await,
    }
}
