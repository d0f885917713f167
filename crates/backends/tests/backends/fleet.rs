//! Several processes on one database, each of which may die, stand still or lose a reply at any time.

use super::postgres::Database;
use maniple_backends::postgres::TaskStore;
use maniple_core::{
    SessionId, TaskId, TaskKey, Tenant,
    event::{Event, Resumed},
    ports::{Append, Appended, Claimed, NewTask, Room, Tasks as _, Then, Upkeep as _, Work as _},
    signal::{Signal, SignalKind},
    task::{Ending, Progress, Task, TaskStatus},
};
use maniple_testkit::store_suite::{ManualClock, agent, new, task_in};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

/// A look into the database past every store.
struct Auditor(tokio_postgres::Client);

impl Auditor {
    async fn new(database: &Database) -> Self {
        let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.expect("the server answers");
        tokio::spawn(connection);
        Self(client)
    }
    async fn count(&self, sql: &str) -> i64 {
        self.0.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }
    /// What must be true at every moment.
    async fn audit(&self) {
        for (broken, promise) in [
            (
                "SELECT count(*) FROM live w WHERE state = 1 AND NOT EXISTS (SELECT 1 FROM live h WHERE h.tenant = w.tenant \
                 AND h.agent = w.agent AND h.session = w.session AND h.is_head)",
                "who waits, waits behind somebody",
            ),
            (
                "SELECT count(*) FROM live l WHERE (state = 2) != EXISTS (SELECT 1 FROM ready r WHERE r.task = l.task)",
                "what is ready can be claimed, and nothing else",
            ),
            ("SELECT count(*) FROM ready r WHERE NOT EXISTS (SELECT 1 FROM live l WHERE l.task = r.task)", "what can be claimed is there"),
            ("SELECT count(*) FROM live WHERE is_head != (state BETWEEN 2 AND 4)", "heads are those whose turn it is"),
            ("SELECT count(*) FROM live WHERE (state = 3) != (lease_until IS NOT NULL)", "who runs has a lease, and nobody else"),
            (
                "SELECT count(*) FROM (SELECT l.task FROM live l WHERE l.last_seq != (SELECT count(*) FROM events e WHERE e.task = l.task \
                 AND e.seq BETWEEN 1 AND l.last_seq)) gaps",
                "journals have no gaps",
            ),
            (
                "SELECT count(*) FROM tasks t WHERE (t.state IS NULL) != EXISTS (SELECT 1 FROM live l WHERE l.task = t.number)",
                "a task is unfinished or final",
            ),
            (
                "SELECT count(*) FROM events e JOIN events b ON b.task = e.task AND b.seq = e.seq - 1 WHERE e.at < b.at",
                "no event is earlier than the one before it",
            ),
        ] {
            assert_eq!(self.count(broken).await, 0, "{promise}");
        }
    }
}

fn append(claimed: &Claimed, after: u64, events: Vec<Event>, then: Then) -> Append {
    Append {
        claim: claimed.claim.clone(),
        after,
        events: events.into_iter().map(|event| (1, event)).collect(),
        signals_read: claimed.signals.iter().map(|signal| signal.id.clone()).collect(),
        progress: Progress::default(),
        also: Vec::new(),
        then,
    }
}

fn fact() -> Event {
    Event::Resumed(Resumed { by: "a worker".into() })
}

/// What all processes of a fleet share.
struct Fleet {
    database: Database,
    clock: ManualClock,
    stop: AtomicBool,
    /// Workers that died with claims in their hands.
    died: AtomicU64,
}

impl Fleet {
    /// A worker's life after another, until there is nothing to do.
    async fn work(self: Arc<Self>, mut dice: fastrand::Rng) {
        while !self.stop.load(Ordering::Relaxed) {
            let store = self.database.store(Some(&self.clock));
            let dies_after = dice.u32(5..60);
            for _ in 0..dies_after {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                let claimed = store.claim(&[agent("search")], &Room::of(dice.usize(1..8))).await.expect("answers");
                let claims: Vec<_> = claimed.iter().map(|claimed| claimed.claim.clone()).collect();
                for claimed in claimed {
                    self.drive(&store, claimed, &mut dice).await;
                }
                store.renew(&claims).await.expect("answers");
                tokio::time::sleep(Duration::from_millis(dice.u64(0..5))).await;
            }
            // It dies with some in its hands.
            let lost = store.claim(&[agent("search")], &Room::of(dice.usize(0..4))).await.expect("answers");
            self.died.fetch_add(lost.len() as u64, Ordering::Relaxed);
        }
    }

    async fn drive(&self, store: &TaskStore, claimed: Claimed, dice: &mut fastrand::Rng) {
        let mut after = claimed.journal.last().map_or(0, |event| event.seq);
        for _ in 0..dice.u32(0..3) {
            match store.append(append(&claimed, after, vec![fact()], Then::Keep)).await.expect("answers") {
                Appended::Recorded(recorded) => after += recorded.events.len() as u64,
                Appended::Stale => return,
                Appended::Refused(why) => panic!("{why:?}"),
            }
        }
        match dice.u32(0..10) {
            0 => store.release(&claimed.claim).await.expect("answers"),
            _ => {
                let end = append(&claimed, after, Vec::new(), Then::End(Ending::completed(Some("done".into()))));
                let first = store.append(end.clone()).await.expect("answers");
                // As after a lost reply.
                if dice.u32(0..4) == 0 && matches!(first, Appended::Recorded(_)) {
                    let again = store.append(end).await.expect("answers");
                    assert!(matches!(again, Appended::Recorded(_)), "{again:?}");
                }
            }
        }
    }
}

/// `MANIPLE_FLEET_SECONDS` says how long (6), `MANIPLE_FLEET_SEED` with which dice.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_workers_die_loses_no_task_and_keeps_every_session_in_order() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, seed) = (number("MANIPLE_FLEET_SECONDS", 6), number("MANIPLE_FLEET_SEED", 1));
    let mut dice = fastrand::Rng::with_seed(seed);
    let fleet =
        Arc::new(Fleet { database: Database::new(), clock: ManualClock::new(), stop: AtomicBool::new(false), died: AtomicU64::new(0) });
    let auditor = Auditor::new(&fleet.database).await;
    let mut working = JoinSet::new();
    for _ in 0..3 {
        working.spawn(fleet.clone().work(dice.fork()));
    }
    // Time passes forty times as fast; two processes sweep.
    for _ in 0..2 {
        let fleet = fleet.clone();
        working.spawn(async move {
            let store = fleet.database.store(Some(&fleet.clock));
            while !fleet.stop.load(Ordering::Relaxed) {
                fleet.clock.advance(Duration::from_millis(200));
                store.sweep().await.expect("answers");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    // Two doors take tasks in and cancel some.
    let ends = Instant::now() + Duration::from_secs(seconds);
    let mut doors = JoinSet::new();
    for door in 0..2 {
        let (fleet, mut dice) = (fleet.clone(), dice.fork());
        doors.spawn(async move {
            let store = fleet.database.store(Some(&fleet.clock));
            let mut accepted: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let mut number = 0;
            while Instant::now() < ends {
                let (name, session) = (format!("{door}-{number}"), format!("s{}", dice.u32(0..12)));
                number += 1;
                store.create(new(task_in(&name, &session))).await.expect("accepted");
                accepted.entry(session).or_default().push(name.clone());
                if dice.u32(0..8) == 0 {
                    let cancel =
                        Signal { id: "cancel".into(), kind: SignalKind::Cancel, data: serde_json::Value::Null, at: fleet.clock.now() };
                    store.signal(&key(&name), cancel, None).await.expect("answers");
                }
                tokio::time::sleep(Duration::from_millis(dice.u64(0..8))).await;
            }
            accepted
        });
    }
    while Instant::now() < ends {
        auditor.audit().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let doors: Vec<BTreeMap<String, Vec<String>>> = doors.join_all().await;
    let patience = Instant::now() + Duration::from_secs(60);
    while auditor.count("SELECT count(*) FROM live").await > 0 {
        assert!(Instant::now() < patience, "{} tasks are lost", auditor.count("SELECT count(*) FROM live").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fleet.stop.store(true, Ordering::Relaxed);
    while let Some(worker) = working.join_next().await {
        worker.expect("no worker panicked");
    }
    auditor.audit().await;

    let store = fleet.database.store(Some(&fleet.clock));
    let mut at: HashMap<String, u64> = HashMap::new();
    for (ended, (session, name)) in doors.iter().flatten().flat_map(|(s, names)| names.iter().map(move |name| (s, name))).enumerate() {
        let result = store.get(&key(name)).await.expect("answers").expect("accepted");
        assert!(result.status == TaskStatus::Completed || result.status == TaskStatus::Cancelled, "{session}: {result:?}");
        at.insert(name.clone(), ended as u64);
    }
    // A session's tasks end in the order of their places.
    let disorder = "SELECT count(*) FROM tasks a JOIN tasks b ON a.session = b.session AND a.place < b.place \
                    AND a.state = 5 AND b.state = 5 AND a.finished_at > b.finished_at";
    assert_eq!(auditor.count(disorder).await, 0, "a session went on before its head had ended");
    assert_eq!(
        auditor.count("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await,
        0,
        "nobody waits in a ring"
    );
    assert!(fleet.died.load(Ordering::Relaxed) > 0 && at.len() > 20, "{} died, {} tasks", fleet.died.load(Ordering::Relaxed), at.len());
}

fn key(name: &str) -> TaskKey {
    TaskKey { tenant: Tenant::default(), id: TaskId::parse(name).expect("legal") }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_submit_under_one_id_or_key_at_once_one_makes_the_task() {
    let database = Database::new();
    let stores = [database.store(None), database.store(None)];
    let one = |by: usize| {
        let store = stores[by % 2].clone();
        async move {
            let task = Task { session_id: SessionId::parse("s").expect("legal"), ..task_in("t", "s") };
            let asked = new(task);
            let idempotency = (by >= 20).then(|| maniple_core::ports::Idempotency {
                scope: "tasks".into(),
                key: "k".into(),
                body_hash: asked.content.hash(),
            });
            store.create(NewTask { idempotency, ..asked }).await.expect("the task")
        }
    };
    let all = futures::future::join_all((0..40).map(one)).await;
    assert_eq!(all.iter().filter(|created| created.fresh).count(), 1);
    assert!(all.iter().all(|created| created.result.task_id.as_str() == "t"));
    assert_eq!(Auditor::new(&database).await.count("SELECT count(*) FROM tasks").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_contend_share_the_work_and_take_nothing_twice() {
    let database = Database::new();
    let door = database.store(None);
    for number in 0..400 {
        door.create(new(task_in(&format!("t{number}"), &format!("s{number}")))).await.expect("accepted");
    }
    let work = |store: Arc<TaskStore>| async move {
        let mut done = Vec::new();
        loop {
            let claimed = store.claim(&[agent("search")], &Room::of(4)).await.expect("answers");
            if claimed.is_empty() {
                return done;
            }
            for claimed in claimed {
                let end = append(&claimed, 1, Vec::new(), Then::End(Ending::completed(None)));
                assert!(matches!(store.append(end).await.expect("answers"), Appended::Recorded(_)));
                done.push(claimed.claim.key.id.to_string());
            }
        }
    };
    let (one, other) = tokio::join!(tokio::spawn(work(database.store(None))), tokio::spawn(work(database.store(None))));
    let (one, other) = (one.expect("no panic"), other.expect("no panic"));
    let all: std::collections::BTreeSet<&String> = one.iter().chain(&other).collect();
    assert_eq!((one.len() + other.len(), all.len()), (400, 400));
    assert!(one.len() > 40 && other.len() > 40, "{} and {}", one.len(), other.len());
}
