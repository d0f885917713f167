//! Three apis, three workers and a registry of the built binary, and whoever starts what has left.

use super::servers::Servers;
use crate::survival::{
    fleet::Place,
    node::{World, port_of_its_own},
    reader::Door,
};
use fastrand::Rng;
use maniple_testkit::checker::Findings;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

pub const APIS: Range<usize> = 0..3;
pub const WORKERS: Range<usize> = 3..6;
pub const REGISTRY: usize = 6;
/// The agent that records of Kafka are for.
pub const COURIER: &str = "courier";
/// Whoever cannot start has left by then.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// The sessions of the same time-outs as elsewhere in the tests: a worker that is gone is not waited for 45 s.
const KAFKA: &str = "{ session.timeout.ms: \"6000\", heartbeat.interval.ms: \"500\" }";

/// What was counted, by its name.
#[derive(Clone, Default)]
pub struct Counts(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Counts {
    pub fn add(&self, what: &'static str, number: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += number;
    }
    pub fn one(&self, what: &'static str) {
        self.add(what, 1);
    }
    pub fn get(&self, what: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(what).copied().unwrap_or(0)
    }
}

/// The doors of the apis.
#[derive(Clone)]
pub struct Doors(Arc<Vec<Door>>);

impl Doors {
    pub fn any(&self, dice: &mut Rng) -> &Door {
        &self.0[dice.usize(0..self.0.len())]
    }
    /// Another one than the last, whose number is kept.
    pub fn other(&self, last: &mut usize, dice: &mut Rng) -> &Door {
        *last = (*last + dice.usize(1..self.0.len())) % self.0.len();
        &self.0[*last]
    }
}

/// Everything that is hurt, and what sees it from outside.
pub struct Fleet {
    pub world: World,
    pub servers: Servers,
    pub places: Vec<Arc<tokio::sync::Mutex<Place>>>,
    pub doors: Doors,
    pub counts: Counts,
    pub found: Mutex<Findings>,
    since: Instant,
}

impl Fleet {
    pub async fn start(servers: Servers) -> Arc<Self> {
        let world = World::over(servers.url("postgres")).await;
        let registry = port_of_its_own();
        world.sets(&format!("bus: {}\nevents: {}\n", servers.url("redis"), servers.url("kafka")));
        world.sets(&format!("kafka: {{ partitions: 3, retry_max: 2s, options: {KAFKA} }}\n"));
        world.has_its_tools_at(registry);
        world.employs(COURIER, "tools-1-x3", "look, put, pay");
        let mut places = vec![Place::with(&world, "registry", registry, &["--config", "registry.yaml"])];
        places[0].is_ready(&world, super::GENEROUS).await;
        let others = ["api", "api", "api", "worker", "worker", "worker"].map(|role| Place::of(&world, role));
        places.splice(0..0, others);
        let doors = Doors(Arc::new(APIS.map(|place| Door::new(places[place].url())).collect()));
        let places = places.into_iter().map(|place| Arc::new(tokio::sync::Mutex::new(place))).collect();
        let fleet =
            Arc::new(Self { world, servers, places, doors, counts: Counts::default(), found: Mutex::default(), since: Instant::now() });
        fleet.is_ready().await;
        fleet
    }
    /// Waits until every process says that it is.
    pub async fn is_ready(&self) {
        for place in &self.places {
            place.lock().await.is_ready(&self.world, super::GENEROUS).await;
        }
    }
    /// Tells whoever runs this what happens, and when.
    pub fn says(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.since.elapsed().as_secs_f64());
    }
    /// A promise that was broken.
    pub fn violated(&self, what: String) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).violated.push(what);
    }
    /// Starts every process again that leaves of its own, as whatever keeps services running does.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            for place in &self.places {
                // Whoever hurts it at the moment sees to it.
                let Ok(mut place) = place.try_lock() else { continue };
                if place.has_left() {
                    // One that finds no database at its start leaves at once; one that has found it stays.
                    if place.age() > STARTS_WITHIN {
                        self.violated(format!("a process left of its own after {:?}", place.age()));
                    }
                    self.counts.one("processes that left of their own");
                    place.revive(&self.world);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
