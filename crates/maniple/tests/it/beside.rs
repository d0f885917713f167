//! A fleet's other work goes on as if nothing were, beside something that takes long.
//!
//! Times of a shared machine say little: what is asserted is what happened, and the figures are printed. `scripts/chaos --neighbours` and
//! `--snapshot` let them take as long as they need to mean something.

use crate::survival::{
    fleet::Place,
    node::{Node, World},
    number,
    reader::{self, Door},
};
use maniple_core::{
    TaskId,
    task::{AgentResult, TaskStatus},
};
use maniple_testkit::postgres::Database;
use serde_json::json;
use std::time::Duration;
use tokio::{task::JoinSet, time::Instant};

const GENEROUS: Duration = Duration::from_secs(120);
/// Callers at once, who wait for each answer.
const CALLERS: usize = 64;

fn seconds(name: &str, otherwise: u64) -> Duration {
    Duration::from_secs(number(name).unwrap_or(otherwise))
}

async fn submit(door: &Door, task: &serde_json::Value) -> TaskId {
    let accepted = door.client.post(format!("{}/tasks", door.url)).json(task).send().await.expect("it answers");
    assert_eq!(accepted.status(), 202);
    accepted.json::<AgentResult>().await.expect("a task").task_id
}

/// A task whose one call of a tool has begun, and takes long.
async fn long_task(world: &World, id: &str) -> TaskId {
    let before = world.ledger.count("pay");
    let id = submit(&world.door, &json!({ "id": id, "agent": "payer", "prompt": "pay" })).await;
    while world.ledger.count("pay") == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    id
}

/// `MANIPLE_TOOL_SECONDS` says how long the tool takes (10).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tool_that_takes_long_keeps_none_of_a_hundred_other_sessions_waiting() {
    let takes = seconds("MANIPLE_TOOL_SECONDS", 10);
    let database = Database::empty();
    let world = World::over(&database.url()).await;
    world.has_a_payment_that_takes(takes);
    world.employs("other", "tools-2-x2", "look, put");
    let node = Node::start(&world);
    node.answers(&world, GENEROUS).await;
    let (began, long) = (Instant::now(), long_task(&world, "long").await);
    let mut others = JoinSet::new();
    for session in 0..100 {
        let door = world.door.clone();
        others.spawn(async move {
            let task = json!({ "agent": "other", "session_id": format!("s{session}"), "prompt": format!("MARK-{session}") });
            let id = submit(&door, &task).await;
            reader::ended(&door, &id, began + GENEROUS).await.expect("it ends")
        });
    }
    let others = others.join_all().await;
    assert!(others.iter().all(|result| result.status == TaskStatus::Completed && result.tool_calls == 4), "{others:?}");
    let (waited, now) = (began.elapsed(), reader::seen(&world.door, &long).await.expect("it is there"));
    assert_eq!(now.status, TaskStatus::Running, "the others took {waited:?}, the tool {takes:?}");
    println!("100 sessions beside a tool of {takes:?}: all were final after {waited:?}");
    let result = reader::ended(&world.door, &long, began + takes + GENEROUS).await.expect("it ends");
    assert_eq!(result.status, TaskStatus::Completed);
    node.leave(GENEROUS).await;
}

/// A fleet of an api and two workers over Postgres.
struct Fleet {
    world: World,
    database: Database,
    places: Vec<Place>,
}

impl Fleet {
    async fn start(prepared: impl FnOnce(&World)) -> Self {
        let database = Database::empty();
        let mut world = World::over(&database.url()).await;
        prepared(&world);
        let places: Vec<Place> = ["api", "worker", "worker"].map(|role| Place::of(&world, role)).into();
        world.door = Door::new(places[0].url());
        for place in &places {
            place.is_ready(&world, GENEROUS).await;
        }
        Self { world, database, places }
    }
    /// Callers ask for that long, each in one after the other of its own share of so many sessions.
    async fn drive(&self, name: &str, sessions: usize, time: Duration) -> Drive {
        let until = Instant::now() + time;
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (door, name) = (self.world.door.clone(), name.to_owned());
            callers.spawn(async move {
                let mut seen = Vec::new();
                for session in (caller..sessions).step_by(CALLERS).cycle() {
                    let asked = Instant::now();
                    if asked >= until {
                        break;
                    }
                    let task = json!({ "agent": "plain", "session_id": format!("{name}-{session}"), "prompt": "say something" });
                    let answer = door.client.post(format!("{}/run", door.url)).json(&task).send().await.expect("it answers");
                    let result: AgentResult = answer.json().await.expect("a result");
                    assert_eq!(result.status, TaskStatus::Completed, "{result:?}");
                    let claimed_after = result.started_at.expect("it ran").since(result.created_at);
                    seen.push((asked.elapsed(), claimed_after));
                }
                seen
            });
        }
        let began = Instant::now();
        let all: Vec<(Duration, Duration)> = callers.join_all().await.into_iter().flatten().collect();
        let took = began.elapsed();
        let (mut answers, mut claims): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        answers.sort_unstable();
        claims.sort_unstable();
        Drive { took, answers, claims }
    }
    async fn leave(mut self) {
        for place in &mut self.places {
            place.leave(GENEROUS).await;
        }
    }
}

/// What callers saw: how long each answer took, and how long each task waited to be claimed.
struct Drive {
    took: Duration,
    answers: Vec<Duration>,
    claims: Vec<Duration>,
}

impl Drive {
    fn rate(&self) -> f64 {
        self.answers.len() as f64 / self.took.as_secs_f64()
    }
}

/// 99 % were no longer.
fn p99(sorted: &[Duration]) -> f64 {
    sorted[(sorted.len() - 1) * 99 / 100].as_secs_f64() * 1_000.0
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// `MANIPLE_NEIGHBOURS_SECONDS` says how long a turn takes (1), and `MANIPLE_NEIGHBOURS_TURNS` how many there are of each (1).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_task_leaves_its_neighbours_as_they_are() {
    const SESSIONS: usize = 1_000;
    let (turn, turns) = (seconds("MANIPLE_NEIGHBOURS_SECONDS", 1), number("MANIPLE_NEIGHBOURS_TURNS").unwrap_or(1));
    let takes = turn + Duration::from_secs(2);
    let fleet = Fleet::start(|world| world.has_a_payment_that_takes(takes)).await;
    fleet.drive("warm", SESSIONS, turn.min(Duration::from_secs(10))).await;
    let mut ratios = Vec::new();
    for number in 0..turns {
        let alone = fleet.drive(&format!("alone{number}"), SESSIONS, turn).await;
        let long = long_task(&fleet.world, &format!("long-{number}")).await;
        let beside = fleet.drive(&format!("beside{number}"), SESSIONS, turn).await;
        let still = reader::seen(&fleet.world.door, &long).await.expect("it is there");
        assert_eq!(still.status, TaskStatus::Running, "it was there all the time");
        let ended = reader::ended(&fleet.world.door, &long, Instant::now() + takes + GENEROUS).await.expect("it ends");
        assert_eq!(ended.status, TaskStatus::Completed);
        let (alone_ms, beside_ms) = (p99(&alone.answers), p99(&beside.answers));
        ratios.push(beside_ms / alone_ms);
        println!(
            "turn {number} of {turn:?}: alone {:.0} tasks/s, p99 {alone_ms:.1} ms; beside a task of {takes:?} {:.0} tasks/s, p99 {beside_ms:.1} ms",
            alone.rate(),
            beside.rate()
        );
    }
    println!("{SESSIONS} sessions, {turns} turns of {turn:?} each: p99 beside / alone, median: {:.2} (goal: at most 1.2)", median(&ratios));
    fleet.leave().await;
}

/// `MANIPLE_SNAPSHOT_SECONDS` says how long it is held (3).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_that_somebody_holds_open_slows_nobody_down() {
    const SESSIONS: usize = 1_000;
    let held = seconds("MANIPLE_SNAPSHOT_SECONDS", 3);
    let measured = held / 3;
    let fleet = Fleet::start(|_| {}).await;
    fleet.drive("warm", SESSIONS, measured.min(Duration::from_secs(20))).await;
    let before = fleet.drive("before", SESSIONS, measured).await;

    let (client, connection) = tokio_postgres::connect(&fleet.database.url(), tokio_postgres::NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM live").await.expect("it may");
    fleet.drive("held", SESSIONS, held - measured).await;
    // What has grown in the meantime is there now.
    let during = fleet.drive("last", SESSIONS, measured).await;
    client.batch_execute("COMMIT").await.expect("it was held to the end");
    drop(client);
    fleet.drive("rest", SESSIONS, measured.min(Duration::from_secs(20))).await;
    let after = fleet.drive("after", SESSIONS, measured).await;

    let figures = |what: &str, drive: &Drive| {
        println!(
            "{what}: {:.0} tasks/s over {:.0?}, claimed within {:.1} ms (p99), answered within {:.1} ms (p99)",
            drive.rate(),
            drive.took,
            p99(&drive.claims),
            p99(&drive.answers)
        );
    };
    figures("before", &before);
    figures(&format!("the last third of {held:?} with a snapshot held"), &during);
    figures("after", &after);
    // Before and after, so that what the machine does meanwhile weighs less.
    let without = |figure: fn(&Drive) -> f64| f64::midpoint(figure(&before), figure(&after));
    let claims = |drive: &Drive| p99(&drive.claims).max(1.0);
    println!(
        "beside before and after, rate: {:.0} % (goal: at least 95 %), p99 of claims: {:.2} x (goal: at most 2 x)",
        during.rate() / without(Drive::rate) * 100.0,
        claims(&during) / without(claims)
    );
    fleet.leave().await;
}
