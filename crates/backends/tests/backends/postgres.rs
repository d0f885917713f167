//! Postgres keeps the contract, lives the same lives as the memory store, and is shared by several processes.
//!
//! `MANIPLE_TEST_POSTGRES` is the URL of a server that lets its user create databases: `scripts/services up` starts one and says it.

use maniple_backends::{Clock, memory, postgres};
use maniple_core::ports;
use maniple_testkit::{
    limiter_suite,
    store_suite::{
        self, Fixture, ManualClock,
        random::{self, Life},
    },
    tool_store_suite::{self, Place},
};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_postgres::NoTls;

/// A database of its own, that goes with it.
pub(crate) struct Database {
    server: String,
    name: String,
}

fn server() -> String {
    std::env::var("MANIPLE_TEST_POSTGRES")
        .expect("MANIPLE_TEST_POSTGRES must be the URL of a Postgres whose user may create databases: start one with `scripts/services up`")
}

/// Runs it to its end, on a thread of its own: fixtures are made where nothing may wait.
fn block<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work());
    std::thread::scope(|scope| scope.spawn(run).join().expect("it does not panic"))
}

async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server answers");
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    drop(client);
    let _ = connection.await;
}

impl Database {
    pub(crate) fn new() -> Self {
        static TEMPLATE: OnceLock<String> = OnceLock::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = server();
        let process = std::process::id();
        let template = TEMPLATE.get_or_init(|| {
            let name = format!("maniple_template_{process}");
            block(async || {
                execute(&server, &format!("DROP DATABASE IF EXISTS {name}")).await;
                execute(&server, &format!("CREATE DATABASE {name}")).await;
                let store = postgres::TaskStore::new(&within(&server, &name), &postgres::Options::default()).expect("legal");
                store.migrate().await.expect("migrated");
            });
            name
        });
        let name = format!("maniple_{process}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        block(async || execute(&server, &format!("DROP DATABASE IF EXISTS {name}")).await);
        block(async || execute(&server, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await);
        Self { server, name }
    }
    pub(crate) fn url(&self) -> String {
        within(&self.server, &self.name)
    }
    /// Says something to it.
    pub(crate) fn execute(&self, sql: &str) {
        block(async || execute(&self.url(), sql).await);
    }
    /// A store on it, as one process has it.
    pub(crate) fn store(&self, clock: Option<&ManualClock>) -> Arc<postgres::TaskStore> {
        let clock = clock.map(|clock| {
            let clock = clock.clone();
            Arc::new(move || clock.now()) as Arc<dyn Clock>
        });
        Arc::new(postgres::TaskStore::new(&self.url(), &postgres::Options { connections: 4, clock }).expect("legal"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        block(async || execute(&self.server, &sql).await);
    }
}

/// The server's URL with another database.
fn within(server: &str, database: &str) -> String {
    let (before, options) = server.split_once('?').map_or((server, String::new()), |(before, options)| (before, format!("?{options}")));
    let (root, _) = before.rsplit_once('/').expect("a URL with a database");
    format!("{root}/{database}{options}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postgres_store_keeps_the_contract() {
    store_suite::run(|| {
        let clock = ManualClock::new();
        let database = Database::new();
        Fixture { store: database.store(Some(&clock)), clock, keep: Box::new(database) }
    })
    .await;
}

struct InMemory(Arc<memory::TaskStore>);

impl Life for InMemory {
    fn store(&self) -> Arc<dyn ports::TaskStore> {
        self.0.clone()
    }
    /// A process that dies takes its claims with it only where it is the only one: here its leases hold on.
    fn restart(&mut self) {}
}

struct InDatabase {
    store: Arc<postgres::TaskStore>,
    #[allow(dead_code)] // dropped last, that is all
    database: Database,
}

impl Life for InDatabase {
    fn store(&self) -> Arc<dyn ports::TaskStore> {
        self.store.clone()
    }
    fn restart(&mut self) {}
}

/// `MANIPLE_STORE_SEEDS` says how many lives, `MANIPLE_STORE_SEED` with which to begin.
#[tokio::test(flavor = "multi_thread")]
async fn memory_and_postgres_live_the_same_random_lives() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number("MANIPLE_STORE_SEED", 1);
    for seed in first..first + number("MANIPLE_STORE_SEEDS", 20) {
        let clock = ManualClock::new();
        let read = clock.clone();
        let mut memory = InMemory(Arc::new(memory::TaskStore::with_clock(Arc::new(move || read.now()))));
        let database = Database::new();
        let mut stored = InDatabase { store: database.store(Some(&clock)), database };
        random::compare(seed, 200, &clock, &mut memory, &mut stored).await;
    }
}

impl Place for InDatabase {
    fn store(&self) -> Arc<dyn ports::ToolStore> {
        self.store.clone()
    }
    fn reopen(&mut self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postgres_store_remembers_tools_as_the_contract_says() {
    tool_store_suite::run(|clock| {
        let database = Database::new();
        InDatabase { store: database.store(Some(clock)), database }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limiter_over_postgres_keeps_the_contract() {
    let databases = std::sync::Mutex::new(Vec::new());
    limiter_suite::run(|| {
        let (clock, database) = (ManualClock::new(), Database::new());
        let limiter = Arc::new(postgres::Limiter::new(database.store(Some(&clock))));
        databases.lock().expect("nobody panicked").push(database);
        let pass = Box::new(move |by: Duration| -> futures::future::BoxFuture<'static, ()> {
            clock.advance(by);
            Box::pin(async {})
        });
        limiter_suite::Fixture { limiter, pass, window: Duration::from_secs(60) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limiter_over_postgres_is_exact_under_many_concurrent_calls() {
    let database = Database::new();
    limiter_suite::concurrent(Arc::new(postgres::Limiter::new(database.store(None)))).await;
    let _ = Handle::current();
}
