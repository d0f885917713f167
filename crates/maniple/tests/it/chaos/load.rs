//! Callers over HTTP: they ask again where an answer is missing, elsewhere and under the same name, and remember what they were promised.

use super::fleet::{Counts, Doors, Fleet};
use crate::survival::{node::AGENTS, reader};
use fastrand::Rng;
use maniple_core::{TaskId, task::AgentResult};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

/// Callers at once.
const CALLERS: u64 = 6;
/// Conversations that they share.
const SESSIONS: u8 = 24;
/// Accepted tasks that are not final: beyond, callers wait.
const UNFINISHED_MAX: usize = 100;
/// Between two tasks of a caller.
const PACE_MS: std::ops::Range<u64> = 50..250;
/// The longest that an answer is waited for: a process may stand still.
pub const ANSWER_MAX: Duration = Duration::from_secs(6);
const AGAIN: Duration = Duration::from_millis(20);

/// What was accepted, and what was last seen of it.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<Promised>>);

#[derive(Default)]
struct Promised {
    /// Acknowledged by Kafka, and not seen in the store yet.
    sent: BTreeSet<TaskId>,
    open: BTreeMap<TaskId, Option<AgentResult>>,
    ended: BTreeMap<TaskId, AgentResult>,
}

impl Known {
    fn all(&self) -> MutexGuard<'_, Promised> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn accepted(&self, id: &TaskId) {
        let mut all = self.all();
        if !all.ended.contains_key(id) {
            all.open.entry(id.clone()).or_default();
        }
    }
    /// The same over Kafka: it comes into the store later.
    pub fn sent(&self, id: &TaskId) {
        self.all().sent.insert(id.clone());
    }
    fn arrived(&self, id: &TaskId) {
        let mut all = self.all();
        if all.sent.remove(id) {
            all.open.insert(id.clone(), None);
        }
    }
    fn on_the_way(&self) -> Vec<TaskId> {
        self.all().sent.iter().cloned().collect()
    }
    pub fn unfinished(&self) -> usize {
        let all = self.all();
        all.sent.len() + all.open.len()
    }
    pub fn ended(&self) -> usize {
        self.all().ended.len()
    }
    pub fn open(&self) -> Vec<TaskId> {
        self.all().open.keys().cloned().collect()
    }
    /// What has no end yet.
    pub fn unended(&self) -> Vec<TaskId> {
        let all = self.all();
        all.sent.iter().chain(all.open.keys()).cloned().collect()
    }
    pub fn everything(&self) -> Vec<TaskId> {
        let all = self.all();
        all.sent.iter().chain(all.open.keys()).chain(all.ended.keys()).cloned().collect()
    }
    /// A few that have ended, to look at again.
    fn some_ended(&self, dice: &mut Rng) -> Vec<TaskId> {
        let all = self.all();
        let number = all.ended.len();
        (0..number.min(2)).filter_map(|_| all.ended.keys().nth(dice.usize(0..number)).cloned()).collect()
    }
    /// What it is now. What was final and is another is told.
    pub fn saw(&self, result: AgentResult) -> Result<(), String> {
        let (mut all, id) = (self.all(), result.task_id.clone());
        if let Some(before) = all.ended.get(&id) {
            return if *before == result { Ok(()) } else { Err(format!("{id} ended as {before:?} and is {result:?}")) };
        }
        if result.status.is_final() {
            all.open.remove(&id);
            all.ended.insert(id, result);
        } else if let Some(seen) = all.open.get_mut(&id) {
            *seen = Some(result);
        }
        Ok(())
    }
}

/// Starts everybody. They end when they are told to stop.
pub fn begin(fleet: &Arc<Fleet>, known: &Known, dice: &mut Rng, stop: &CancellationToken) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for number in 0..CALLERS {
        let caller = Caller {
            number,
            doors: fleet.doors.clone(),
            dice: dice.fork(),
            known: known.clone(),
            counts: fleet.counts.clone(),
            fleet: fleet.clone(),
        };
        all.spawn(caller.call(stop.clone()));
    }
    all.spawn(look(fleet.clone(), known.clone(), dice.fork(), stop.clone()));
    all
}

struct Caller {
    number: u64,
    doors: Doors,
    dice: Rng,
    known: Known,
    counts: Counts,
    fleet: Arc<Fleet>,
}

impl Caller {
    async fn call(mut self, stop: CancellationToken) {
        for count in 0.. {
            while self.known.unfinished() > UNFINISHED_MAX && !stop.is_cancelled() {
                sleep(AGAIN).await;
            }
            if stop.is_cancelled() {
                return;
            }
            self.ask(&format!("c{}-{count}", self.number)).await;
            sleep(Duration::from_millis(self.dice.u64(PACE_MS))).await;
        }
    }

    /// One task, named by its id or by its Idempotency-Key, until it is accepted; one in ten is delivered again.
    async fn ask(&mut self, name: &str) {
        let agent = AGENTS[self.dice.usize(0..AGENTS.len())].0;
        let mut task = json!({ "agent": agent, "prompt": format!("MARK-{name}"), "max_steps": 8 });
        if self.dice.bool() {
            task["session_id"] = format!("s{}", self.dice.u8(0..SESSIONS)).into();
        }
        let is_keyed = self.dice.bool();
        if !is_keyed {
            task["id"] = name.into();
        }
        let (id, _) = self.deliver(name, &task, is_keyed).await;
        self.known.accepted(&id);
        self.counts.one("tasks by HTTP");
        if self.dice.u8(0..10) == 0 {
            self.counts.one("requests delivered again");
            let (again, replayed) = self.deliver(name, &task, is_keyed).await;
            if again != id || (is_keyed && !replayed) {
                self.fleet.violated(format!("{name} was accepted as {id} and, asked again, as {again}; replayed: {replayed}"));
            }
        }
        if self.dice.u8(0..20) == 0 {
            sleep(Duration::from_millis(self.dice.u64(0..300))).await;
            self.counts.one("cancels");
            self.until_taken(|url| format!("{url}/tasks/{id}/cancel"), |request| request).await;
        }
    }

    /// The id under which it was accepted, and whether that is told as a repetition.
    async fn deliver(&mut self, name: &str, task: &Value, is_keyed: bool) -> (TaskId, bool) {
        let named = |request: RequestBuilder| match is_keyed {
            true => request.header("Idempotency-Key", name).json(task),
            false => request.json(task),
        };
        loop {
            let answer = self.until_taken(|url| format!("{url}/tasks"), named).await;
            let replayed = answer.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
            // Where it breaks off, it is asked again.
            if let Ok(result) = answer.json::<AgentResult>().await {
                return (result.task_id, replayed);
            }
        }
    }

    /// Asks at one api after the other until one says yes.
    async fn until_taken(&mut self, path: impl Fn(&str) -> String, with: impl Fn(RequestBuilder) -> RequestBuilder) -> Response {
        loop {
            let door = self.doors.any(&mut self.dice);
            match with(door.client.post(path(&door.url))).timeout(ANSWER_MAX).send().await {
                Ok(answer) if answer.status().is_success() => return answer,
                Ok(answer) if matches!(answer.status().as_u16(), 429 | 503) => {
                    self.counts.one(if answer.status() == 429 { "answers 429" } else { "answers 503" });
                    if !answer.headers().contains_key("retry-after") {
                        self.fleet.violated(format!("{} without Retry-After", answer.status()));
                    }
                }
                Ok(answer) => {
                    let (url, status) = (answer.url().clone(), answer.status());
                    self.fleet.violated(format!("{url} answered {status} {}", answer.text().await.unwrap_or_default()));
                }
                Err(_) => self.counts.one("requests without an answer"),
            }
            sleep(AGAIN).await;
        }
    }
}

/// Says every now and then how far everybody is.
pub async fn tell(fleet: Arc<Fleet>, known: Known, stop: CancellationToken) {
    while !stop.is_cancelled() {
        sleep(Duration::from_secs(2)).await;
        fleet.says(&format!("{} tasks have ended, {} have not", known.ended(), known.unfinished()));
    }
}

/// Looks at what was accepted, again and again: it is always there, and what is final stays as it is.
pub async fn look(fleet: Arc<Fleet>, known: Known, mut dice: Rng, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for id in known.on_the_way() {
            let door = fleet.doors.any(&mut dice);
            let looked = door.client.get(format!("{}/tasks/{id}", door.url)).timeout(ANSWER_MAX).send().await;
            if looked.is_ok_and(|answer| answer.status().is_success()) {
                known.arrived(&id);
            }
        }
        for id in known.open().into_iter().chain(known.some_ended(&mut dice)) {
            let door = fleet.doors.any(&mut dice).clone();
            let looked = tokio::time::timeout(ANSWER_MAX, reader::seen(&door, &id)).await;
            if let Some(Err(changed)) = looked.ok().flatten().map(|result| known.saw(result)) {
                fleet.violated(changed);
            }
        }
        sleep(AGAIN).await;
    }
}
