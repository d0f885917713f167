//! Both stores keep the contract, and live the same life.

use maniple_backends::{Clock, memory, sqlite};
use maniple_core::ports;
use maniple_testkit::store_suite::{
    self, Fixture, ManualClock,
    random::{self, Life},
};
use std::sync::Arc;
use tempfile::TempDir;

fn reading(clock: &ManualClock) -> Arc<dyn Clock> {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

fn sqlite_options(clock: &ManualClock) -> sqlite::Options {
    // What is tested here is not the disk.
    sqlite::Options { clock: reading(clock), fsync: false, ..sqlite::Options::default() }
}

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    store_suite::run(|| {
        let clock = ManualClock::new();
        Fixture { store: Arc::new(memory::TaskStore::with_clock(reading(&clock))), clock, keep: Box::new(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_keeps_the_contract() {
    store_suite::run(|| {
        let clock = ManualClock::new();
        let folder = TempDir::new().expect("a folder");
        let store = sqlite::TaskStore::open(folder.path().join("test.db"), sqlite_options(&clock)).expect("opens");
        Fixture { store: Arc::new(store), clock, keep: Box::new(folder) }
    })
    .await;
}

struct InMemory(Arc<memory::TaskStore>);

impl Life for InMemory {
    fn store(&self) -> Arc<dyn ports::TaskStore> {
        self.0.clone()
    }
    fn restart(&mut self) {
        self.0.restart();
    }
}

struct InFile {
    store: Option<Arc<sqlite::TaskStore>>,
    clock: ManualClock,
    folder: TempDir,
}

impl InFile {
    fn new(clock: &ManualClock) -> Self {
        let mut life = Self { store: None, clock: clock.clone(), folder: TempDir::new().expect("a folder") };
        life.restart();
        life
    }
}

impl Life for InFile {
    fn store(&self) -> Arc<dyn ports::TaskStore> {
        self.store.clone().expect("open")
    }
    fn restart(&mut self) {
        self.store = None;
        let path = self.folder.path().join("test.db");
        self.store = Some(Arc::new(sqlite::TaskStore::open(path, sqlite_options(&self.clock)).expect("opens")));
    }
}

/// `MANIPLE_STORE_SEEDS` says how many lives (60), `MANIPLE_STORE_SEED` with which to begin.
#[tokio::test(flavor = "multi_thread")]
async fn memory_and_sqlite_live_the_same_random_lives() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number("MANIPLE_STORE_SEED", 1);
    for seed in first..first + number("MANIPLE_STORE_SEEDS", 60) {
        let clock = ManualClock::new();
        let mut memory = InMemory(Arc::new(memory::TaskStore::with_clock(reading(&clock))));
        let mut file = InFile::new(&clock);
        random::compare(seed, 200, &clock, &mut memory, &mut file).await;
    }
}
