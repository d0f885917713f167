//! Both stores remember tools as the contract says.

use maniple_backends::{Clock, memory, sqlite};
use maniple_core::ports::ToolStore;
use maniple_testkit::{
    store_suite::ManualClock,
    tool_store_suite::{self, Place},
};
use std::sync::Arc;
use tempfile::TempDir;

fn reading(clock: &ManualClock) -> Arc<dyn Clock> {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

struct InMemory(Arc<memory::TaskStore>);

impl Place for InMemory {
    fn store(&self) -> Arc<dyn ToolStore> {
        self.0.clone()
    }
    fn reopen(&mut self) {
        self.0.restart();
    }
}

struct InFile {
    store: Option<Arc<sqlite::TaskStore>>,
    clock: ManualClock,
    folder: TempDir,
}

impl Place for InFile {
    fn store(&self) -> Arc<dyn ToolStore> {
        self.store.clone().expect("open")
    }
    fn reopen(&mut self) {
        self.store = None;
        // What is tested here is not the disk.
        let options = sqlite::Options { clock: reading(&self.clock), fsync: false, ..sqlite::Options::default() };
        self.store = Some(Arc::new(sqlite::TaskStore::open(self.folder.path().join("test.db"), options).expect("opens")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_remembers_tools_as_the_contract_says() {
    tool_store_suite::run(|clock| InMemory(Arc::new(memory::TaskStore::with_clock(reading(clock))))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_remembers_tools_as_the_contract_says() {
    tool_store_suite::run(|clock| {
        let mut place = InFile { store: None, clock: clock.clone(), folder: TempDir::new().expect("a folder") };
        place.reopen();
        place
    })
    .await;
}
