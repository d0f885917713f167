//! What is done to a fleet, at random from a seed.

use super::{
    fleet::{APIS, Fleet, REGISTRY, WORKERS},
    takeover::{self, Death},
};
use fastrand::Rng;
use maniple_testkit::postgres::execute;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    WorkerKilled,
    WorkerStoodStill,
    ApiKilled,
    ApiStoodStill,
    RegistryKilled,
    PostgresKilled,
    PostgresEnded,
    ConnectionsEnded,
    KafkaKilled,
    KafkaEnded,
    RedisKilled,
    RedisFlushed,
}

use Fault::*;

/// How often each is drawn, among all of them.
const WEIGHTS: [(Fault, u32); 12] = [
    (WorkerKilled, 6),
    (WorkerStoodStill, 3),
    (ApiKilled, 5),
    (ApiStoodStill, 2),
    (RegistryKilled, 2),
    (PostgresKilled, 2),
    (PostgresEnded, 1),
    (ConnectionsEnded, 2),
    (KafkaKilled, 1),
    (KafkaEnded, 1),
    (RedisKilled, 2),
    (RedisFlushed, 2),
];

impl Fault {
    pub const ALL: [Self; 12] = {
        let mut all = [WorkerKilled; 12];
        let mut number = 0;
        while number < all.len() {
            all[number] = WEIGHTS[number].0;
            number += 1;
        }
        all
    };
    /// What a report calls it.
    pub fn told(self) -> &'static str {
        match self {
            WorkerKilled => "a worker killed (SIGKILL)",
            WorkerStoodStill => "a worker stopped past its lease, 11 to 14 s, and woken (SIGSTOP, SIGCONT)",
            ApiKilled => "an api killed (SIGKILL)",
            ApiStoodStill => "an api stopped for 1 to 4 s, and woken",
            RegistryKilled => "the registry killed (SIGKILL)",
            PostgresKilled => "Postgres killed (SIGKILL) and started again",
            PostgresEnded => "Postgres stopped at once (SIGQUIT) and started again",
            ConnectionsEnded => "every connection to Postgres ended by the server",
            KafkaKilled => "Kafka killed (SIGKILL) and started again",
            KafkaEnded => "Kafka stopped (SIGTERM) and started again",
            RedisKilled => "Redis killed (SIGKILL) and started again, empty",
            RedisFlushed => "Redis emptied (FLUSHALL)",
        }
    }
    /// Whether tasks change hands, or cannot, because of it.
    pub fn leaves_workers_alone(self) -> bool {
        matches!(self, ApiKilled | ApiStoodStill | KafkaKilled | KafkaEnded | RedisKilled | RedisFlushed)
    }
    fn drawn(dice: &mut Rng) -> Self {
        let mut number = dice.u32(0..WEIGHTS.iter().map(|(_, weight)| weight).sum());
        for (fault, weight) in WEIGHTS {
            if number < weight {
                return fault;
            }
            number -= weight;
        }
        unreachable!("the number is below the sum")
    }
}

/// One fault that was: which, from when to when, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Was {
    pub fault: Fault,
    pub began_ms: i64,
    pub ended_ms: i64,
}

/// All that were.
#[derive(Default)]
pub struct Past {
    pub faults: Vec<Was>,
    pub deaths: Vec<Death>,
    /// What Postgres said of each deadlock in its log.
    pub deadlocks: Vec<String>,
}

/// What may be hurt once at a time.
#[derive(Default)]
struct Targets {
    postgres: Arc<Mutex<()>>,
    kafka: Arc<Mutex<()>>,
    redis: Arc<Mutex<()>>,
}

/// How long a dead worker's tasks may stand still, and some.
const TAKEN_OVER: Duration = Duration::from_secs(13);
const STORM: Duration = Duration::from_secs(40);

/// Hurts the fleet for so long, by turns: a worker dies while nobody does what would keep its tasks from going on elsewhere; then
/// anything happens to anybody. Everything is there again afterwards, or starting.
pub async fn rage(fleet: &Arc<Fleet>, mut dice: Rng, time: Duration) -> Past {
    let until = Instant::now() + time;
    let mut rage =
        Rage { fleet: fleet.clone(), targets: Targets::default(), past: Arc::default(), going_on: JoinSet::new(), brokers: JoinSet::new() };
    // Everybody has something to do by then.
    sleep(Duration::from_secs(2)).await;
    rage.hurt(WorkerKilled, dice.fork());
    rage.storm(&mut dice, until.min(Instant::now() + TAKEN_OVER), Fault::leaves_workers_alone).await;
    rage.storm(&mut dice, until.min(Instant::now() + STORM), |_| true).await;
    while Instant::now() + 3 * TAKEN_OVER < until {
        rage.rest().await;
        rage.storm(&mut dice, Instant::now() + TAKEN_OVER, Fault::leaves_workers_alone).await;
        rage.hurt(WorkerKilled, dice.fork());
        rage.storm(&mut dice, Instant::now() + TAKEN_OVER, Fault::leaves_workers_alone).await;
        rage.storm(&mut dice, until.min(Instant::now() + STORM), |_| true).await;
    }
    rage.end().await
}

struct Rage {
    fleet: Arc<Fleet>,
    targets: Targets,
    past: Arc<std::sync::Mutex<Past>>,
    going_on: JoinSet<()>,
    /// A broker takes its time to come back, and keeps no worker from its work meanwhile.
    brokers: JoinSet<()>,
}

impl Rage {
    /// One fault after the other, of those that may be.
    async fn storm(&mut self, dice: &mut Rng, until: Instant, may: impl Fn(Fault) -> bool) {
        while Instant::now() < until {
            sleep(Duration::from_millis(dice.u64(200..1_600))).await;
            let (fault, own) = (Fault::drawn(dice), dice.fork());
            if may(fault) {
                self.hurt(fault, own);
            }
        }
    }
    /// Begins one; where its target is hurt already, that is enough.
    fn hurt(&mut self, fault: Fault, dice: Rng) {
        let (fleet, past) = (self.fleet.clone(), self.past.clone());
        let lock = match fault {
            PostgresKilled | PostgresEnded | ConnectionsEnded => &self.targets.postgres,
            KafkaKilled | KafkaEnded => &self.targets.kafka,
            RedisKilled | RedisFlushed => &self.targets.redis,
            WorkerKilled | WorkerStoodStill | ApiKilled | ApiStoodStill | RegistryKilled => {
                self.going_on.spawn(hurt_process(fleet, fault, dice, past));
                return;
            }
        };
        let Ok(held) = lock.clone().try_lock_owned() else { return };
        let all = if matches!(fault, KafkaKilled | KafkaEnded) { &mut self.brokers } else { &mut self.going_on };
        all.spawn(async move {
            let began_ms = now_ms();
            hurt_server(&fleet, fault, dice, &past).await;
            past.lock().expect("no panic").faults.push(Was { fault, began_ms, ended_ms: now_ms() });
            drop(held);
        });
    }
    /// Waits until everything that was begun is over, but for brokers.
    async fn rest(&mut self) {
        while let Some(done) = self.going_on.join_next().await {
            done.expect("the fault could be made");
        }
    }
    /// And for those.
    async fn end(mut self) -> Past {
        self.rest().await;
        while let Some(done) = self.brokers.join_next().await {
            done.expect("the fault could be made");
        }
        std::mem::take(&mut *self.past.lock().expect("no panic"))
    }
}

async fn hurt_process(fleet: Arc<Fleet>, fault: Fault, mut dice: Rng, past: Arc<std::sync::Mutex<Past>>) {
    let number = match fault {
        WorkerKilled | WorkerStoodStill => dice.usize(WORKERS),
        ApiKilled | ApiStoodStill => dice.usize(APIS),
        _ => REGISTRY,
    };
    let Ok(mut place) = fleet.places[number].try_lock() else { return };
    // One that has just left of its own is started by whoever keeps it.
    if place.has_left() {
        return;
    }
    fleet.says(fault.told());
    let looked = if fault == WorkerKilled { takeover::look(fleet.servers.url("postgres")).await } else { None };
    let began_ms = now_ms();
    match fault {
        WorkerStoodStill | ApiStoodStill => {
            place.signal("STOP");
            let longest = if fault == WorkerStoodStill { 11_000..14_000 } else { 1_000..4_000 };
            sleep(Duration::from_millis(dice.u64(longest))).await;
            place.signal("CONT");
        }
        _ => {
            place.die();
            sleep(Duration::from_millis(dice.u64(0..2_000))).await;
            place.revive(&fleet.world);
        }
    }
    let mut past = past.lock().expect("no panic");
    past.faults.push(Was { fault, began_ms, ended_ms: now_ms() });
    past.deaths.extend(looked.map(|held| Death { at_ms: began_ms, held }));
}

async fn hurt_server(fleet: &Fleet, fault: Fault, mut dice: Rng, past: &std::sync::Mutex<Past>) {
    fleet.says(fault.told());
    let away = Duration::from_millis(dice.u64(0..3_000));
    let (name, signal) = match fault {
        PostgresKilled => ("postgres", "KILL"),
        PostgresEnded => ("postgres", "QUIT"),
        KafkaKilled => ("kafka", "KILL"),
        KafkaEnded => ("kafka", "TERM"),
        RedisKilled => ("redis", "KILL"),
        RedisFlushed => return flush(fleet.servers.url("redis")).await,
        _ => {
            let others =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()";
            return execute(fleet.servers.url("postgres"), others).await;
        }
    };
    let said = fleet.servers.end(name, signal).await;
    if name == "postgres" {
        past.lock().expect("no panic").deadlocks.extend(deadlocks_in(&said));
    }
    sleep(away).await;
    fleet.servers.start_again(name).await;
}

/// What a log of Postgres says of each deadlock: who waited for whom, and over what.
pub fn deadlocks_in(said: &str) -> Vec<String> {
    let lines: Vec<&str> = said.lines().collect();
    let begins = lines.iter().enumerate().filter(|(_, line)| line.contains("deadlock detected"));
    begins.map(|(number, _)| lines[number..].iter().take(20).copied().collect::<Vec<_>>().join("\n")).collect()
}

async fn flush(url: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = url.strip_prefix("redis://").expect("a URL of Redis");
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("it listens");
    connection.write_all(b"FLUSHALL\r\nQUIT\r\n").await.expect("said");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("+OK"), "{answer}");
}

pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
