//! Workers that crash, hang, leave and rise again over one store, under a virtual clock, by seed.
//!
//! `MANIPLE_SEEDS` says how many seeds (300), `MANIPLE_SEED` which is the first (0). The same seed is the same trace.

use crate::world::{IDEMPOTENT, ONCE, PURE, Running, World, all_tools, task};
use fastrand::Rng;
use maniple_core::{
    SessionId, TaskKey, Time,
    settings::Period,
    task::AgentResult,
    tool::{OnInDoubt, ToolDefinition},
};
use maniple_testkit::{
    faults::{Fault, Faults, Point},
    ledger::Mode,
    model::Fickle,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;

const SEEDS: u64 = 300;
const WORKERS: usize = 3;
/// Longer than a lease: whoever waits this long is a zombie.
const STOPPED: Duration = Duration::from_secs(25);

#[test]
fn whatever_happens_to_its_workers_no_task_is_lost_and_nothing_is_done_twice() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first: u64 = number("MANIPLE_SEED", 0);
    let seeds = first..first + number("MANIPLE_SEEDS", SEEDS);
    println!("seeds {seeds:?}");
    let mut total = Tally::default();
    for seed in seeds {
        let told = std::panic::catch_unwind(|| simulate(seed));
        let Ok((_, tally)) = told else { panic!("seed {seed} failed: run it alone with MANIPLE_SEED={seed} MANIPLE_SEEDS=1") };
        total.add(&tally);
    }
    println!("{total:?}");
    // A simulation in which nothing happens shows nothing.
    assert!(
        total.crashes > 0
            && total.stopped > 0
            && total.left > 0
            && total.cancelled > 0
            && total.stale > 0
            && total.asked > 0
            && total.born > 0,
        "{total:?}"
    );
}

#[test]
fn the_same_seed_is_the_same_trace() {
    for seed in [1, 2, 3, 5, 8, 13, 21, 34] {
        let (first, _) = simulate(seed);
        let (second, _) = simulate(seed);
        let differ = first.iter().zip(&second).position(|(a, b)| a != b);
        assert_eq!((differ, first.len()), (None, second.len()), "seed {seed}: {:?}", differ.map(|at| (&first[at], &second[at])));
    }
}

/// What happened, so that a reader sees that something did.
#[derive(Debug, Default)]
struct Tally {
    tasks: usize,
    crashes: u64,
    stopped: u64,
    left: u64,
    cancelled: u64,
    stale: u64,
    poisoned: u64,
    asked: u64,
    born: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.crashes += other.crashes;
        self.stopped += other.stopped;
        self.left += other.left;
        self.cancelled += other.cancelled;
        self.stale += other.stale;
        self.poisoned += other.poisoned;
        self.asked += other.asked;
        self.born += other.born;
    }
}

fn simulate(seed: u64) -> (Vec<String>, Tally) {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(Simulation::run(seed))
}

struct Simulation {
    world: World,
    rng: Rng,
    workers: Vec<Running>,
    /// Stopped past their lease, or leaving: they still do what they can.
    ghosts: Vec<Running>,
    tasks: Vec<TaskKey>,
    finals: BTreeMap<TaskKey, AgentResult>,
    tally: Tally,
    stopped: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    _person: AbortOnDropHandle<()>,
}

/// The usual tools: some need an agreement, ask in doubt, can be probed, or are limited.
fn guarded(rng: &mut Rng) -> Vec<ToolDefinition> {
    let mut tools = all_tools();
    for tool in &mut tools {
        tool.requires_approval = rng.u8(0..4) == 0;
        tool.rate_limit = (rng.u8(0..4) == 0).then(|| rng.u32(2..8));
        if rng.bool() {
            tool.on_in_doubt = OnInDoubt::Ask;
        }
        tool.probe_url = (rng.u8(0..4) == 0).then(|| "builtin:probe".to_owned());
    }
    tools
}

impl Simulation {
    async fn run(seed: u64) -> (Vec<String>, Tally) {
        let mut rng = Rng::with_seed(seed);
        let model = Fickle::new(rng.usize(0..4), rng.usize(1..5)).slow(Duration::from_millis(rng.u64(0..4_000)));
        let mut world = World::new(model);
        world.settings.approval_expires = Period::seconds(rng.u64(5..120));
        world.tools.replace(guarded(&mut rng));
        let mut coin = Rng::with_seed(rng.u64(..));
        let asked = Arc::<AtomicU64>::default();
        let counted = asked.clone();
        let person = world.person(Duration::from_millis(rng.u64(500..20_000)), move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            coin.bool()
        });
        let mut simulation = Self {
            world,
            asked,
            _person: person,
            rng,
            workers: Vec::new(),
            ghosts: Vec::new(),
            tasks: Vec::new(),
            finals: BTreeMap::new(),
            tally: Tally::default(),
            stopped: Arc::default(),
        };
        for _ in 0..simulation.rng.usize(20..60) {
            simulation.something_happens().await;
            let pause = Duration::from_millis(simulation.rng.u64(0..3_000));
            tokio::time::sleep(pause).await;
            simulation.look().await;
        }
        simulation.settle(seed).await
    }

    async fn something_happens(&mut self) {
        self.bury();
        while self.workers.len() < WORKERS {
            let faults = self.fate();
            self.workers.push(self.world.worker(faults));
        }
        let chosen = self.rng.usize(0..self.workers.len());
        match self.rng.u8(0..10) {
            0..4 => self.submit().await,
            4 => self.tools_fail(),
            5 => self.cancel().await,
            6 => {
                self.workers.swap_remove(chosen).kill();
                self.tally.crashes += 1;
            }
            7 => {
                let leaving = self.workers.swap_remove(chosen);
                leaving.drain();
                self.ghosts.push(leaving);
                self.tally.left += 1;
            }
            _ => {}
        }
    }

    /// The dead are dead, but nobody is told: their claims run out.
    fn bury(&mut self) {
        let (crashed, living) = std::mem::take(&mut self.workers).into_iter().partition::<Vec<_>, _>(|worker| worker.faults.has_crashed());
        self.workers = living;
        self.tally.crashes += crashed.len() as u64;
        crashed.into_iter().for_each(Running::kill);
    }

    fn fate(&mut self) -> Faults {
        let rng = Mutex::new(Rng::with_seed(self.rng.u64(..)));
        let stopped = self.stopped.clone();
        Faults::new(move |_: &Point| {
            let mut rng = rng.lock().expect("no panic");
            match rng.u32(0..1_000) {
                0..5 => Fault::Crash,
                5..30 => Fault::Unavailable,
                30..60 => Fault::Delay(Duration::from_millis(rng.u64(0..2_000))),
                60..75 => {
                    stopped.fetch_add(1, Ordering::Relaxed);
                    Fault::Delay(STOPPED)
                }
                _ => Fault::None,
            }
        })
    }

    async fn submit(&mut self) {
        let mut task = task(&format!("t{}", self.tasks.len()));
        task.session_id = SessionId::parse(&format!("s{}", self.rng.u8(0..4))).expect("legal");
        task.priority = self.rng.u8(0..10);
        match self.rng.u8(0..8) {
            0 => task.deadline_ms = Some(self.rng.u64(1..30_000)),
            1 => task.token_budget = self.rng.u64(20..150),
            2 => task.max_steps = self.rng.u32(1..3),
            3 => {
                task.session_id = SessionId::parse(&format!("late-{}", self.tasks.len())).expect("legal");
                task.not_before = Some(Time(1_800_000_000_000).plus(Duration::from_millis(self.rng.u64(0..60_000))));
            }
            _ => {}
        }
        // Half of them where a worker is, so that they may start at once.
        let at = self.rng.bool().then(|| self.rng.usize(0..self.workers.len()));
        let key = match at {
            Some(at) => self.world.submit_to(&self.workers[at], task).await,
            None => self.world.submit(task).await,
        };
        self.tasks.push(key);
    }

    fn tools_fail(&mut self) {
        let tool = [PURE, IDEMPOTENT, ONCE][self.rng.usize(0..3)];
        let wait = Duration::from_millis(self.rng.u64(0..12_000));
        let modes = [Mode::Slow(wait), Mode::Reset, Mode::NotSent, Mode::Fail(500), Mode::Hang, Mode::Close];
        let count = self.rng.usize(1..4);
        let modes: Vec<Mode> = (0..count).map(|_| modes[self.rng.usize(0..modes.len())].clone()).collect();
        self.world.ledger.next(tool, modes);
    }

    /// Once, or twice with the same id.
    async fn cancel(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let key = self.tasks[self.rng.usize(0..self.tasks.len())].clone();
        for _ in 0..self.rng.u8(1..3) {
            self.world.cancel(&key, "cancel").await;
        }
        self.tally.cancelled += 1;
    }

    /// A final status never changes.
    async fn look(&mut self) {
        for key in &self.tasks {
            let result = self.world.result(key).await;
            if let Some(known) = self.finals.get(key) {
                assert_eq!(*known, result);
            } else if result.status.is_final() {
                self.finals.insert(key.clone(), result);
            }
        }
    }

    /// One worker that nothing happens to ends what is left, while the others go on haunting the store.
    async fn settle(mut self, seed: u64) -> (Vec<String>, Tally) {
        let last = self.world.worker(Faults::none());
        for key in self.tasks.clone() {
            self.world.finish(&key).await;
        }
        tokio::time::sleep(4 * STOPPED).await;
        self.look().await;
        self.world.check(&format!("seed {seed}")).await;
        self.tally.stopped = self.stopped.load(Ordering::Relaxed);
        self.tally.asked = self.asked.load(Ordering::Relaxed);
        self.tally.tasks = self.tasks.len();
        self.tally.stale = self.world.witness.stale_refused();
        self.tally.born = self.world.witness.trace().iter().filter(|line| line.starts_with("born ")).count() as u64;
        let poisoned = |result: &&AgentResult| result.error == Some(maniple_core::task::ErrorCode::Poisoned);
        self.tally.poisoned = self.finals.values().filter(poisoned).count() as u64;
        let mut trace = self.world.witness.trace();
        trace
            .extend(self.world.ledger.arrivals().iter().map(|arrival| format!("{} {:?} {}", arrival.tool, arrival.key, arrival.arguments)));
        std::mem::take(&mut self.workers).into_iter().chain(std::mem::take(&mut self.ghosts)).for_each(Running::kill);
        last.kill();
        (trace, self.tally)
    }
}
