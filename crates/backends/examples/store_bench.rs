//! How many tasks a second the SQLite store takes: of two commits (born claimed, end with a fact), of three (create, claim,
//! end with a fact), and of four (the fact recorded before the end, as a run does before it acts).
//!
//! ```text
//! cargo run --release -p maniple-backends --example store_bench [-- SECONDS [FOLDER]]
//! ```
//!
//! Every client is one task at a time and waits for each commit, as a worker does. Absolute figures follow
//! the disk's fsync, which the first line measures; a folder in memory (/dev/shm) shows what is left of the
//! cost without it.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a report, run by hand

use maniple_backends::sqlite;
use maniple_core::{
    AgentName,
    ports::{Appended, Born, NewTask, Room, Tasks, Then, Work},
};
use maniple_testkit::store_suite::{append, completed, new, task_in, tool_finished};
use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(5, |text| text.parse().expect("seconds"));
    let folder = arguments.next().map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    println!("fsync: {:?} (median of 200 appends of 4 KiB)", fsync(folder.path()));
    for (commits, clients) in [(2, 1), (2, 256), (3, 1), (3, 64), (3, 256), (4, 64), (4, 256)] {
        let path = folder.path().join(format!("{commits}-{clients}.db"));
        let store = Arc::new(sqlite::TaskStore::open(&path, sqlite::Options::default()).unwrap());
        let (tasks, took) = drive(store, commits, clients, Duration::from_secs(seconds)).await;
        let size = std::fs::metadata(&path).unwrap().len();
        let rate = tasks as f64 / took.as_secs_f64();
        let commands = rate * f64::from(commits);
        println!(
            "{commits} commits, {clients:>3} clients: {rate:>6.0} tasks/s, {commands:>6.0} commands/s, {} bytes a task",
            size / tasks.max(1)
        );
    }
}

async fn drive(store: Arc<sqlite::TaskStore>, commits: u32, clients: u64, length: Duration) -> (u64, Duration) {
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    let clients: Vec<_> =
        (0..clients).map(|client| tokio::spawn(live(store.clone(), commits, client, done.clone(), stop.clone()))).collect();
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    (done.load(Ordering::Relaxed), began.elapsed())
}

/// One client: creates a task of a session of its own, claims whichever is next unless it was born claimed, records a fact, ends it.
async fn live(store: Arc<sqlite::TaskStore>, commits: u32, client: u64, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let agent = [AgentName::parse("search").unwrap()];
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("018f-{client:04}-{number:012}");
        let new = new(task_in(&name, &name));
        let claim = if commits == 2 {
            let born = Born {
                token: number.into(),
                is_again: false,
                agents: agent.clone().into(),
                full: vec![],
                settled_at: 0,
                events: vec![],
                also: vec![],
            };
            let created = store.create(NewTask { born: Some(born), ..new }).await.unwrap();
            created.claim.expect("nobody is before it").0
        } else {
            store.create(new).await.unwrap();
            store.claim(&agent, &Room::of(1)).await.unwrap().pop().expect("as many tasks as claims").claim
        };
        let facts = match commits {
            2 | 3 => vec![append(&claim, 1, vec![tool_finished(0)], completed("done"))],
            _ => vec![append(&claim, 1, vec![tool_finished(0)], Then::Keep), append(&claim, 2, vec![], completed("done"))],
        };
        for facts in facts {
            let appended = store.append(facts).await.unwrap();
            assert!(matches!(appended, Appended::Recorded(_)), "{name}: {appended:?}");
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn fsync(folder: &std::path::Path) -> Duration {
    let mut file = std::fs::File::create(folder.join("fsync")).unwrap();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            file.write_all(&[0; 4096]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
