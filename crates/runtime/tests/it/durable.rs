//! The same crashes over a store's file, which the next process opens anew.

use crate::world::{IDEMPOTENT, ONCE, PURE, World, agent, task};
use maniple_backends::sqlite;
use maniple_core::{TaskKey, ports::TaskStore, task::TaskStatus};
use maniple_testkit::{
    faults::{Fault, Faults},
    model::Fickle,
};
use std::{path::Path, sync::Arc, time::Duration};

/// Opens the file, as soon as the process before has let go of it.
async fn open(path: &Path) -> Arc<dyn TaskStore> {
    loop {
        // Real time: the store's threads know no paused clock. What a power cut does is tested with the store.
        match sqlite::TaskStore::open(path, sqlite::Options { fsync: false, ..sqlite::Options::default() }) {
            Ok(store) => return Arc::new(store),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// A process that crashes at a point, if it gets there, and one that goes on. Returns the points of the first.
async fn crash(tool: &str, point: u64) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("maniple.db");
    let mut world = World::new(Fickle::new(2, 2));
    world.agent = agent(&[tool]);
    world.store = open(&path).await;
    let key: TaskKey = world.submit(task("t")).await;
    let first = world.worker(Faults::at(point, Fault::Crash));
    tokio::select! {
        () = first.faults.crashed() => {}
        _ = world.finish(&key) => {}
    }
    let passed = first.faults.passed().len() as u64;
    first.kill();
    world.store = Arc::new(maniple_backends::memory::TaskStore::new());
    world.store = open(&path).await;
    let second = world.worker(Faults::none());
    let result = world.finish(&key).await;
    let about = format!("{tool}, crash at {point}");
    assert_eq!(result.status, TaskStatus::Completed, "{about}: {result:?}");
    second.leave().await;
    world.check(&about).await;
    passed
}

#[tokio::test]
async fn a_crash_at_any_point_is_survived_by_whoever_opens_the_file_next() {
    let every_point = async |tool| {
        let points = crash(tool, u64::MAX).await;
        assert!(points >= 30, "only {points} points");
        for point in 0..points {
            crash(tool, point).await;
        }
    };
    tokio::join!(every_point(PURE), every_point(IDEMPOTENT), every_point(ONCE));
}
