//! Callers that go on whatever happens to the node, and remember what it promised them.

use super::{
    node::{AGENTS, World},
    reader::{self, Door},
};
use fastrand::Rng;
use maniple_core::{
    TaskId,
    task::{AgentResult, ErrorCode, TaskStatus},
};
use maniple_testkit::checker::Checker;
use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// Callers at once.
const CALLERS: u64 = 6;
/// Accepted tasks that are not final: beyond, callers wait.
const UNFINISHED_MAX: usize = 24;
/// Event streams followed from the beginning to the end, through every death of the node.
const FOLLOWED: usize = 40;

/// What came of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub accepted: u64,
    pub failed: u64,
    pub poisoned: u64,
    pub arrivals: u64,
    pub doubted: u64,
    pub asked: u64,
    pub followed: u64,
    /// Requests of callers that broke off after a connection had been made, or were refused otherwise than by 503 or 429.
    pub broken_off: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.failed += other.failed;
        self.poisoned += other.poisoned;
        self.arrivals += other.arrivals;
        self.doubted += other.doubted;
        self.asked += other.asked;
        self.followed += other.followed;
        self.broken_off += other.broken_off;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, failed, poisoned, arrivals, doubted, asked, followed, broken_off } = self;
        write!(
            f,
            "{accepted} tasks accepted, {failed} failed, {poisoned} poisoned and requeued, {asked} model calls, {arrivals} tool calls arrived, {doubted} in doubt, {followed} streams followed, {broken_off} requests broken off"
        )
    }
}

/// What was accepted, and what was last seen of it.
type Known = Arc<Mutex<BTreeMap<TaskId, Option<AgentResult>>>>;

pub struct Load {
    known: Known,
    stop: CancellationToken,
    broken_off: Arc<AtomicU64>,
    callers: JoinSet<()>,
    followers: JoinSet<u64>,
}

impl Load {
    pub fn begin(world: &World, seed: u64) -> Self {
        Self::at(world, std::slice::from_ref(&world.door), seed)
    }
    /// The same at several apis, and a caller goes to the next where it is turned away; the world's own door leads to any of them.
    pub fn at(world: &World, doors: &[Door], seed: u64) -> Self {
        let (known, stop, broken_off) = (Known::default(), CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let (doors, rng) = (doors.to_vec(), Rng::with_seed(seed.wrapping_add(number)));
            let caller = Caller { number, doors, rng, known: known.clone(), broken_off: broken_off.clone() };
            callers.spawn(caller.call(stop.clone()));
        }
        callers.spawn(poll(world.door.clone(), known.clone(), stop.clone()));
        let mut load = Self { known, stop, broken_off, callers, followers: JoinSet::new() };
        load.followers.spawn(follow_some(world.door.clone(), load.known.clone(), load.stop.clone()));
        load
    }

    /// Lets everything accepted end, and checks it all.
    pub async fn settle(mut self, world: &World, patience: Duration) -> Tally {
        self.stop.cancel();
        while let Some(called) = self.callers.join_next().await {
            called.expect("no caller found anything wrong");
        }
        let mut checker = Checker::new();
        let mut tally = Tally { arrivals: world.ledger.arrivals().len() as u64, asked: world.model.asked(), ..Tally::default() };
        let mut accepted: VecDeque<TaskId> = self.known.lock().expect("no panic").keys().cloned().collect();
        let until = Instant::now() + patience;
        while let Some(id) = accepted.pop_front() {
            let result = reader::ended(&world.door, &id, until).await;
            let events = reader::events(&world.door, &id).await;
            if let Some(seen) = self.known.lock().expect("no panic").get(&id).cloned().flatten() {
                assert!(!seen.status.is_final() || Some(&seen) == result.as_ref(), "{id} was {seen:?} and is {result:?}");
            }
            tally.accepted += 1;
            match result.as_ref().map(|result| (result.status, result.error)) {
                Some((TaskStatus::Completed, _)) | None => {}
                // It lived through ten deaths of its process without getting anywhere: it may try again.
                Some((_, Some(ErrorCode::Poisoned))) => {
                    tally.poisoned += 1;
                    accepted.push_back(reader::requeue(&world.door, &id).await);
                }
                Some((status, error)) => {
                    tally.failed += 1;
                    eprintln!("{id} {}: {error:?}", status.as_str());
                }
            }
            tally.doubted += events.iter().filter(|event| event.data.get().contains("\"in_doubt\"")).count() as u64;
            checker.task(id, result, events);
        }
        while let Some(followed) = self.followers.join_next().await {
            tally.followed += followed.expect("no reader missed, repeated or reordered anything");
        }
        tally.broken_off = self.broken_off.load(Ordering::Relaxed);
        checker.ledger(&world.ledger);
        checker.one_clock(5);
        let findings = checker.check();
        findings.assert_clean(&format!("{tally}\n{}", world.log()));
        tally
    }
}

struct Caller {
    number: u64,
    doors: Vec<Door>,
    broken_off: Arc<AtomicU64>,
    rng: Rng,
    known: Known,
}

impl Caller {
    async fn call(mut self, stop: CancellationToken) {
        for count in 0.. {
            if stop.is_cancelled() {
                return;
            }
            let unfinished = |known: &Known| known.lock().expect("no panic").values().filter(|seen| !is_final(seen)).count();
            while unfinished(&self.known) > UNFINISHED_MAX && !stop.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.submit(&format!("c{}-{count}", self.number), &stop).await;
        }
    }

    /// The same task again and again until it is accepted: its id makes it one.
    async fn submit(&mut self, id: &str, stop: &CancellationToken) {
        let agent = AGENTS[self.rng.usize(0..AGENTS.len())].0;
        let mut task = json!({ "id": id, "agent": agent, "prompt": format!("MARK-{id}"), "max_steps": 8 });
        if self.rng.bool() {
            task["session_id"] = format!("s{}", self.rng.u8(0..6)).into();
        }
        while !stop.is_cancelled() {
            let door = &self.doors[self.rng.usize(0..self.doors.len())];
            match door.client.post(format!("{}/tasks", door.url)).json(&task).send().await {
                Ok(answer) if answer.status() == 202 => {
                    let id = TaskId::parse(id).expect("legal");
                    self.known.lock().expect("no panic").entry(id).or_default();
                    return;
                }
                Ok(answer) if matches!(answer.status().as_u16(), 429 | 503) => {}
                Ok(answer) => panic!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) if error.is_connect() => {}
                // It died before its answer came.
                Err(error) => {
                    self.broken_off.fetch_add(1, Ordering::Relaxed);
                    // Of a fleet that is not killed, each is a surprise.
                    if self.doors.len() > 1 {
                        eprintln!("{id} broke off: {error:?}");
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn is_final(seen: &Option<AgentResult>) -> bool {
    seen.as_ref().is_some_and(|result| result.status.is_final())
}

/// Looks at what was accepted, again and again: it is always there, and what is final stays as it is.
async fn poll(door: Door, known: Known, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let open: Vec<TaskId> = known
            .lock()
            .expect("no panic")
            .iter()
            .filter(|(_, seen)| !is_final(seen) || fastrand::u8(..) == 0)
            .map(|(id, _)| id.clone())
            .collect();
        for id in open {
            let Some(result) = reader::seen(&door, &id).await else { continue };
            let mut known = known.lock().expect("no panic");
            let before = known.insert(id.clone(), Some(result.clone())).flatten();
            assert!(!is_final(&before) || before.as_ref() == Some(&result), "{id} was {before:?} and is {result:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Follows some tasks from their first event to their last. Returns how many.
async fn follow_some(door: Door, known: Known, stop: CancellationToken) -> u64 {
    let mut following = JoinSet::new();
    let mut begun = Vec::new();
    while begun.len() < FOLLOWED && !stop.is_cancelled() {
        let fresh =
            known.lock().expect("no panic").iter().find(|(id, seen)| !is_final(seen) && !begun.contains(*id)).map(|(id, _)| id.clone());
        if let Some(id) = fresh {
            begun.push(id.clone());
            following.spawn(reader::follow(door.clone(), id));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    following.join_all().await.len() as u64
}
