//! What a task costs a Postgres store: tasks a second and the database's own CPU, of two transactions (born claimed, end with a
//! fact), three (create, claim, end) and five (two facts recorded before the end); how many updates of what moves touch no index;
//! and how long a claim takes among many tenants, without and with a million finished tasks beside it.
//!
//! ```text
//! eval "$(scripts/services up)"
//! cargo run --release -p maniple-backends --example fleet_bench [-- SECONDS]
//! ```
//!
//! The server must run on this machine: its CPU is read from /proc. Load and server share the cores, so what is comparable are
//! CPU figures, and ratios within one run.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a report, run by hand

use maniple_backends::postgres::{Options, TaskStore};
use maniple_core::{
    AgentName, Tenant,
    ports::{Appended, Born, Claim, NewTask, Room, Tasks, Then, Work},
};
use maniple_testkit::{
    postgres::Database,
    store_suite::{append, completed, new, task_in, tool_finished},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, Semaphore};
use tokio_postgres::{Client, NoTls};

#[tokio::main]
async fn main() {
    let seconds: u64 = std::env::args().nth(1).map_or(5, |text| text.parse().expect("seconds"));
    println!("{:<34} {:>8} {:>16} {:>14}", "", "tasks/s", "database CPU", "HOT updates");
    for (transactions, clients) in [(2, 1), (2, 16), (2, 256), (3, 64), (5, 64), (5, 256)] {
        let world = World::new().await;
        let before = world.cpu().await;
        let (tasks, took) = drive(&world.store, transactions, clients, Duration::from_secs(seconds)).await;
        let cpu = (world.cpu().await - before).as_secs_f64() * 1_000.0 / tasks as f64;
        let what = format!("{transactions} transactions, {clients} clients:");
        println!("{what:<34} {:>8.0} {cpu:>8.3} ms a task {:>14}", tasks as f64 / took.as_secs_f64(), world.hot_share().await);
    }
    let world = World::new().await;
    let tenants = 1_000;
    for tenant in 0..tenants {
        let creates = (0..8).map(|number| {
            let mut task = task_in(&format!("{number}"), &format!("{number}"));
            task.tenant = Tenant::parse(&format!("tenant-{tenant:04}")).unwrap();
            world.store.create(NewTask { unfinished_max: 100_000, ..new(task) })
        });
        futures::future::join_all(creates).await.into_iter().for_each(|created| drop(created.unwrap()));
    }
    println!("a claim of 64 among {tenants} tenants: {:?} (median of 50)", world.claims().await);
    world.sql.batch_execute(FINISHED).await.unwrap();
    println!("the same beside 1,000,000 finished tasks: {:?}", world.claims().await);
}

/// A million tasks that have ended, as rows.
const FINISHED: &str = "INSERT INTO tasks (number, tenant, id, agent, session, priority, place, created_at, content_hash, state, finished_at, \
     last_seq, last_step) SELECT n, 'tenant-' || lpad((n % 1000)::text, 4, '0'), 'old-' || n, 'search', 'old-' || n, 5, n, n, '', 5, n, 3, 1 \
     FROM generate_series(10000000, 10999999) n; ANALYZE tasks";

/// A store with a database of its own, and a look past it.
struct World {
    store: Arc<TaskStore>,
    sql: Client,
    postmaster: u32,
    #[allow(dead_code)] // goes last
    database: Database,
}

impl World {
    async fn new() -> Self {
        let database = Database::empty();
        let options = Options { keeps_sessions: true, ..Options::default() };
        let store = Arc::new(TaskStore::new(&database.url(), &options).unwrap());
        store.migrate().await.unwrap();
        let (sql, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let backend: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let status = std::fs::read_to_string(format!("/proc/{backend}/status")).expect("the server runs on this machine");
        let postmaster = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
        Self { store, sql, postmaster, database }
    }

    /// What the server and all its processes have used, those that have ended included.
    async fn cpu(&self) -> Duration {
        let mut ticks = 0;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let fields: Vec<u64> = stat.rsplit_once(')').unwrap().1.split(' ').skip(2).map(|field| field.parse().unwrap_or(0)).collect();
            // Behind the name and the state: the parent, then from the eleventh on the four times.
            if pid == self.postmaster {
                ticks += fields[10] + fields[11] + fields[12] + fields[13];
            } else if fields[0] == u64::from(self.postmaster) {
                ticks += fields[10] + fields[11];
            }
        }
        Duration::from_millis(ticks * 10)
    }

    async fn hot_share(&self) -> String {
        // What each process of the server has counted is told once it is idle.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let counts = "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'live'";
        let counts = self.sql.query_one(counts, &[]).await.unwrap();
        let (hot, all): (i64, i64) = (counts.get(0), counts.get(1));
        if all == 0 { "none made".to_owned() } else { format!("{} % of {all}", hot * 100 / all) }
    }

    /// The median time of a claim of 64; what was claimed is let go of after each.
    async fn claims(&self) -> Duration {
        let agents = [AgentName::parse("search").unwrap()];
        let mut times = Vec::new();
        for _ in 0..50 {
            let began = Instant::now();
            let claimed = self.store.claim(&agents, &Room::of(64)).await.unwrap();
            times.push(began.elapsed());
            assert_eq!(claimed.len(), 64);
            let releases = claimed.iter().map(|claimed| self.store.release(&claimed.claim));
            futures::future::join_all(releases).await.into_iter().for_each(|released| released.unwrap());
        }
        times.sort_unstable();
        times[times.len() / 2]
    }
}

async fn drive(store: &Arc<TaskStore>, transactions: u32, clients: u64, length: Duration) -> (u64, Duration) {
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    let ready = Arc::new(Ready { some: Notify::new(), claims: Mutex::default(), places: Semaphore::new(0) });
    let dispatcher = tokio::spawn(ready.clone().hand_out(store.clone()));
    let live = |client| live(store.clone(), ready.clone(), transactions, client, done.clone(), stop.clone());
    let clients: Vec<_> = (0..clients).map(|client| tokio::spawn(live(client))).collect();
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    dispatcher.abort();
    (done.load(Ordering::Relaxed), began.elapsed())
}

/// What a worker of the bench claims for all clients, as many at once as there are.
struct Ready {
    some: Notify,
    claims: Mutex<VecDeque<Claim>>,
    places: Semaphore,
}

impl Ready {
    async fn hand_out(self: Arc<Self>, store: Arc<TaskStore>) {
        loop {
            self.some.notified().await;
            loop {
                let claimed = store.claim(&[AgentName::parse("search").unwrap()], &Room::of(64)).await.unwrap();
                let count = claimed.len();
                self.claims.lock().unwrap().extend(claimed.into_iter().map(|claimed| claimed.claim));
                self.places.add_permits(count);
                if count < 64 {
                    break;
                }
            }
        }
    }
    async fn next(&self) -> Claim {
        self.some.notify_one();
        self.places.acquire().await.unwrap().forget();
        self.claims.lock().unwrap().pop_front().expect("as many as places")
    }
}

/// One client: creates a task of a session of its own, claims whichever is next unless it was born claimed, records facts, ends it.
async fn live(store: Arc<TaskStore>, ready: Arc<Ready>, transactions: u32, client: u64, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let agent = [AgentName::parse("search").unwrap()];
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("018f-{client:04}-{number:012}");
        let new = new(task_in(&name, &name));
        let claim = if transactions == 2 {
            let (agents, token) = (agent.clone().into(), number.into());
            let born = Born { token, is_again: false, agents, full: vec![], settled_at: 0, events: vec![], also: vec![] };
            let created = store.create(NewTask { born: Some(born), ..new }).await.unwrap();
            created.claim.expect("nobody is before it").0
        } else {
            store.create(new).await.unwrap();
            ready.next().await
        };
        let facts = match transactions {
            2 | 3 => vec![append(&claim, 1, vec![tool_finished(0)], completed("done"))],
            _ => vec![
                append(&claim, 1, vec![tool_finished(0)], Then::Keep),
                append(&claim, 2, vec![tool_finished(1)], Then::Keep),
                append(&claim, 3, vec![], completed("done")),
            ],
        };
        for facts in facts {
            let appended = store.append(facts).await.unwrap();
            assert!(matches!(appended, Appended::Recorded(_)), "{name}: {appended:?}");
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}
