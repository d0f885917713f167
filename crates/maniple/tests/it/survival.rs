//! The built binary, killed again and again, against a model and tools outside it that forget nothing.
//!
//! `MANIPLE_KILLS` says how often (200); `scripts/kill-loop` goes on to 10,000. `MANIPLE_SEED` is printed by every run.

mod broker;
mod draining;
pub(crate) mod fleet;
mod load;
pub(crate) mod node;
pub(crate) mod reader;

use fleet::Place;
use load::Load;
use maniple_testkit::postgres::Database;
use node::{Node, World, port_of_its_own};
use reader::Door;
use std::time::Duration;

const KILLS: u64 = 200;
/// Kills of one project folder: what it holds is checked, and the next begins with an empty one.
const KILLS_A_ROUND: u64 = 200;
const GENEROUS: Duration = Duration::from_secs(120);

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
pub(crate) fn seed() -> u64 {
    let seed = number("MANIPLE_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed}");
    seed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_random_moments_it_loses_nothing_and_repeats_nothing() {
    let (kills, mut rng) = (number("MANIPLE_KILLS").unwrap_or(KILLS), fastrand::Rng::with_seed(seed()));
    let mut done = 0;
    let mut total = load::Tally::default();
    while done < kills {
        let world = World::new().await;
        let mut node = Node::start(&world);
        let load = Load::begin(&world, rng.u64(..));
        for _ in 0..KILLS_A_ROUND.min(kills - done) {
            // One in ten dies while it starts, the others at work.
            if rng.u8(0..10) > 0 {
                node.answers(&world, GENEROUS).await;
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(0..300))).await;
            node.kill();
            node = Node::start(&world);
            done += 1;
        }
        node.answers(&world, GENEROUS).await;
        let tally = load.settle(&world, GENEROUS).await;
        total.add(&tally);
        println!("{done} kills: {total}");
        node.leave(GENEROUS).await;
    }
    println!("{kills} kills, {total}: L = 0, D = 0, V = 0");
    assert_eq!(total.failed, 0, "{total}");
    assert!(total.accepted > kills / 4 && total.doubted > 0, "too little happened: {total}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopped_past_its_lease_it_goes_on_where_it_was() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let world = World::new().await;
    let node = Node::start(&world);
    node.answers(&world, GENEROUS).await;
    let load = Load::begin(&world, rng.u64(..));
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(rng.u64(500..1_000))).await;
        node.signal("STOP");
        tokio::time::sleep(Duration::from_secs(11)).await;
        node.signal("CONT");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tally = load.settle(&world, GENEROUS).await;
    assert_eq!((tally.failed, tally.poisoned), (0, 0), "{tally}");
    node.leave(GENEROUS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopped_past_its_lease_four_times_a_task_is_not_poisoned_and_its_one_call_not_in_doubt() {
    let world = World::new().await;
    world.has_a_payment_that_takes(Duration::from_secs(54));
    let node = Node::start(&world);
    node.answers(&world, GENEROUS).await;
    let asked = serde_json::json!({ "id": "slow", "prompt": "pay" });
    let accepted = world.door.client.post(format!("{}/agents/payer/tasks", world.door.url)).json(&asked).send().await.expect("it answers");
    assert_eq!(accepted.status(), 202);
    let id = maniple_core::TaskId::parse("slow").expect("an id");
    while world.ledger.arrivals().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        node.signal("STOP");
        tokio::time::sleep(Duration::from_secs(11)).await;
        node.signal("CONT");
    }
    let result = reader::ended(&world.door, &id, tokio::time::Instant::now() + GENEROUS).await.expect("it ends");
    assert_eq!((result.status.as_str(), result.error), ("completed", None), "{result:?}");
    assert_eq!(world.ledger.arrivals().len(), 1);
    let events = reader::events(&world.door, &id).await;
    let outcomes: Vec<&str> = events.iter().filter(|event| event.name == "tool.finished").map(|event| event.data.get()).collect();
    assert!(outcomes.len() == 1 && outcomes[0].contains("\"ok\""), "{outcomes:?}");
    node.leave(GENEROUS).await;
}

/// `MANIPLE_FLEET_DEATHS` says how often (10).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_killed_and_stopped_at_random_loses_nothing_and_repeats_nothing() {
    let (deaths, mut rng) = (number("MANIPLE_FLEET_DEATHS").unwrap_or(10), fastrand::Rng::with_seed(seed()));
    let database = Database::empty();
    let world = World::over(&database.url()).await;
    let mut places: Vec<Place> = ["api", "api", "worker", "worker", "worker"].map(|role| Place::of(&world, role)).into();
    fleet::balance(&world, &[&places[0], &places[1]]).await;
    for place in &places {
        place.is_ready(&world, GENEROUS).await;
    }
    let load = Load::begin(&world, rng.u64(..));
    for death in 0..deaths {
        tokio::time::sleep(Duration::from_millis(rng.u64(300..1_200))).await;
        let place = rng.usize(0..places.len());
        match death % 5 {
            // It stands still past its lease, and comes back as if nothing had been.
            3 => {
                places[place].signal("STOP");
                tokio::time::sleep(Duration::from_secs(12)).await;
                places[place].signal("CONT");
            }
            // The database lets go of everybody.
            4 => {
                database
                    .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()")
                    .await;
            }
            _ => places[place].kill(&world),
        }
    }
    for place in &places {
        place.is_ready(&world, GENEROUS).await;
    }
    let tally = load.settle(&world, GENEROUS).await;
    println!("{deaths} deaths in a fleet: {tally}");
    assert_eq!(tally.failed, 0, "{tally}");
    for place in &mut places {
        place.leave(GENEROUS).await;
    }
}

/// `MANIPLE_RESTARTS` says how often (5); callers ask again where a connection is refused or the answer is 503, and nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_that_is_replaced_one_by_one_under_load_fails_no_task() {
    let restarts = number("MANIPLE_RESTARTS").unwrap_or(5) as usize;
    let mut rng = fastrand::Rng::with_seed(seed());
    let database = Database::empty();
    let world = World::over(&database.url()).await;
    let registry = port_of_its_own();
    world.has_its_tools_at(registry);
    let mut places = vec![Place::with(&world, "registry", registry, &["--config", "registry.yaml"])];
    places[0].is_ready(&world, GENEROUS).await;
    places.splice(0..0, ["api", "worker", "api", "worker"].map(|role| Place::of(&world, role)));
    for place in &places {
        place.is_ready(&world, GENEROUS).await;
    }
    fleet::balance(&world, &[&places[0], &places[2]]).await;
    let load = Load::at(&world, &[&places[0], &places[2]].map(|api| Door::new(api.url())), rng.u64(..));
    for restart in 0..restarts {
        tokio::time::sleep(Duration::from_millis(rng.u64(100..600))).await;
        let place = restart % places.len();
        places[place].replace(&world, GENEROUS).await;
    }
    let tally = load.settle(&world, GENEROUS).await;
    println!("{restarts} replaced in a fleet: {tally}");
    assert_eq!((tally.failed, tally.poisoned, tally.doubted, tally.broken_off), (0, 0, 0, 0), "{tally}");
    for place in &mut places {
        place.leave(GENEROUS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn restarted_under_load_it_fails_no_task() {
    let restarts = number("MANIPLE_RESTARTS").unwrap_or(5);
    let mut rng = fastrand::Rng::with_seed(seed());
    let world = World::new().await;
    let mut node = Node::start(&world);
    let load = Load::begin(&world, rng.u64(..));
    for _ in 0..restarts {
        node.answers(&world, GENEROUS).await;
        tokio::time::sleep(Duration::from_millis(rng.u64(100..600))).await;
        // The bound of a drain, and time to leave.
        node.leave(GENEROUS).await;
        node = Node::start(&world);
    }
    node.answers(&world, GENEROUS).await;
    let tally = load.settle(&world, GENEROUS).await;
    println!("{restarts} restarts: {tally}");
    assert_eq!((tally.failed, tally.poisoned, tally.doubted), (0, 0, 0), "{tally}");
    node.leave(GENEROUS).await;
}
