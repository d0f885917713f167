//! Postgres keeps the contract, and lives the same lives as the memory store.

use maniple_backends::{Clock, memory, postgres};
use maniple_core::ports;
use maniple_testkit::{
    limiter_suite, postgres as postgres_kit,
    store_suite::{
        self, Fixture, ManualClock,
        random::{self, Life},
    },
    tool_store_suite::{self, Place},
};
use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A database with the tables of this version.
pub(crate) struct Database(postgres_kit::Database);

impl Database {
    pub(crate) fn new() -> Self {
        static TEMPLATE: OnceLock<postgres_kit::Database> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let template = postgres_kit::Database::empty();
            let store = postgres::TaskStore::new(&template.url(), &postgres::Options::default()).expect("legal");
            postgres_kit::block(async || store.migrate().await.expect("migrated"));
            template
        });
        Self(postgres_kit::Database::like(template))
    }
    /// A store on it, as one process has it.
    pub(crate) fn store(&self, clock: Option<&ManualClock>) -> Arc<postgres::TaskStore> {
        let clock = clock.map(|clock| {
            let clock = clock.clone();
            Arc::new(move || clock.now()) as Arc<dyn Clock>
        });
        Arc::new(
            postgres::TaskStore::new(
                &self.url(),
                &postgres::Options { connections: 4, clock, keeps_sessions: true, ..postgres::Options::default() },
            )
            .expect("legal"),
        )
    }
}

impl Deref for Database {
    type Target = postgres_kit::Database;
    fn deref(&self) -> &postgres_kit::Database {
        &self.0
    }
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
}

/// What was read of tasks by any index so far, once the server's processes have told it: how often, and how many rows.
async fn read_of_tasks(database: &Database, at_least: i64) -> (i64, i64) {
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    let read = "SELECT coalesce(sum(idx_scan), 0)::bigint, coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes \
                WHERE relname = 'tasks'";
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let mut before = (0, 0);
    loop {
        // Each process tells what it has read some time after it did.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let row = client.query_one(read, &[]).await.expect("answers");
        let found = (row.get(0), row.get(1));
        if found == before && found.0 >= at_least {
            return found;
        }
        assert!(std::time::Instant::now() < until, "nothing is told: {found:?}");
        before = found;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_has_filled_is_not_read_whole_by_plans_that_were_made_while_it_was_empty() {
    const TASKS: i64 = 800;
    let database = Database::new();
    let store = database.store(None);
    let fill = async |from: i64| {
        for number in from..from + TASKS {
            let name = format!("t{number}");
            ports::Tasks::create(&*store, store_suite::new(store_suite::task_in(&name, &name))).await.expect("accepted");
        }
    };
    fill(0).await;
    let (scans, rows) = read_of_tasks(&database, TASKS).await;
    fill(TASKS).await;
    let (_, more) = read_of_tasks(&database, scans + TASKS).await;
    // All that there are for each of them would be a million. What is read too much until the next plans is a part of that.
    assert!(more - rows < TASKS * TASKS / 2, "{} rows were read for {TASKS} tasks", more - rows);
}
