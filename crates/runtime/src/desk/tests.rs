//! The desk over the memory store, with a worker played by the test.

mod calling;
mod changing;
mod may;
mod reading;
mod waiting;

use super::*;
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use maniple_backends::{TokioClock, local, memory};
use maniple_core::{
    AgentName, Kind, Principal, Result, Scope, SessionId, TaskId, TaskKey, Tenant, Time,
    agent::{AgentDefinition, AgentLimits},
    event::{Event, ModelStarted, Parked, Resumed, StoredEvent, TakenOver},
    model::ModelName,
    ports::{Append, Appended, Claimed, Delta, Hint, KeyWas, Live, Recorded, Room, Then, Upkeep as _, Work as _},
    principal::Scopes,
    request::TaskRequest,
    run::Awaited,
    task::{Ending, ErrorCode, Progress, Task, TaskStatus, WaitingFor},
    trace::TraceContext,
};
use maniple_testkit::catalogue::{Fake, seen};
use serde_json::json;
use std::{sync::Mutex, time::Duration};

/// A node in small: a desk, its store and a worker played by the test.
struct Node {
    desk: Desk,
    registry: Arc<Fake>,
    store: Arc<memory::TaskStore>,
    bus: Arc<dyn Bus>,
}

fn node() -> Node {
    node_on(Arc::new(local::Bus::new()))
}

fn node_on(bus: Arc<dyn Bus>) -> Node {
    let clock = TokioClock::starting_at(Time::parse("2026-11-22T12:00:00Z").unwrap());
    let store = Arc::new(memory::TaskStore::with_clock(Arc::new(clock)));
    let agents = Agents::new([definition("search"), definition("write")]);
    let registry = Arc::new(Fake::with(&["pay@2.0.0", "pay@1.0.0"]));
    let parts = DeskParts {
        tasks: store.clone(),
        bus: bus.clone(),
        agents,
        registry: registry.clone(),
        aside: Default::default(),
        starter: None,
        tracing: Default::default(),
    };
    Node { desk: Desk::new(parts, Terms::default()), registry, store, bus }
}

fn definition(name: &str) -> AgentDefinition {
    AgentDefinition {
        publish: Default::default(),
        name: AgentName::parse(name).unwrap(),
        description: "For tests.".into(),
        version: "1.0.0".parse().unwrap(),
        model: ModelName::parse("fake/model").unwrap(),
        fallbacks: vec![],
        tools: vec![],
        limits: AgentLimits::default(),
        options: Default::default(),
        memory: Default::default(),
        output_schema: None,
        examples: vec![],
        prompt: "You are tested.".into(),
    }
}

fn agent() -> AgentName {
    AgentName::parse("search").unwrap()
}

fn me() -> Principal {
    Principal::local()
}

fn named(name: &str) -> Principal {
    Principal { name: name.into(), ..me() }
}

fn only(scope: Scope) -> Scopes {
    [scope].into_iter().collect()
}

fn sought(id: &str) -> Sought {
    TaskId::parse(id).unwrap().into()
}

fn key(id: &str) -> TaskKey {
    TaskKey { tenant: Tenant::default(), id: TaskId::parse(id).unwrap() }
}

fn submission(id: &str) -> Submission {
    let (id, session) = (TaskId::parse(id).unwrap(), SessionId::parse(id).unwrap());
    let request = TaskRequest { id: Some(id), session_id: Some(session), ..TaskRequest::new(agent(), "p".into()) };
    Submission { request, key: None, trace: None }
}

/// Every task, as a list asks for it.
fn all() -> TaskQuery {
    TaskQuery { of: Addressee::Unsaid, status: None, session_id: None, before: None, limit: 50 }
}

fn asked(attempt: u32) -> Event {
    Event::ModelStarted(ModelStarted { attempt, model: "a/b".into(), request_hash: String::new(), max_output_tokens: 64 })
}

impl Node {
    async fn claim(&self) -> Claimed {
        self.store.claim(&[agent()], &Room::of(1)).await.unwrap().pop().expect("a task is ready")
    }
    /// Records as a worker does, and tells the bus.
    async fn record(&self, claimed: &Claimed, after: u64, events: Vec<(u32, Event)>, then: Then) -> u64 {
        let append = Append {
            claim: claimed.claim.clone(),
            after,
            events,
            signals_read: Vec::new(),
            progress: Progress::default(),
            also: Vec::new(),
            then,
        };
        let Appended::Recorded(Recorded { events: recorded, .. }) = self.store.append(append).await.unwrap() else {
            panic!("the claim holds")
        };
        recorded.iter().for_each(|event| self.bus.publish(&claimed.claim.key, Live::Event(event.clone())));
        after + recorded.len() as u64
    }
    /// What is recorded of a task.
    async fn journal(&self, id: &TaskId) -> Vec<Event> {
        let key = TaskKey { tenant: Tenant::default(), id: id.clone() };
        let events = self.store.events(&key, 0, 100, usize::MAX).await.unwrap().unwrap();
        events.iter().map(|event: &StoredEvent| event.event().unwrap()).collect()
    }
    /// Lets the task that is ready kill its worker until it is a dead letter.
    async fn poison(&self) {
        for _ in 0..3 {
            self.claim().await;
            tokio::time::sleep(Duration::from_secs(11)).await;
            self.store.sweep().await.unwrap();
        }
    }
    async fn end(&self, claimed: &Claimed, after: u64) {
        self.record(claimed, after, vec![], Then::End(Ending::completed(Some("done".into())))).await;
    }
}

async fn numbers(reader: Reader) -> Vec<u64> {
    let told: Vec<Result<Told>> = reader.into_stream().collect().await;
    told.into_iter()
        .filter_map(|told| match told.unwrap() {
            Told::Event(event) => Some(event.seq),
            Told::Delta(_) => None,
        })
        .collect()
}

/// Nothing ever comes by it.
struct Deaf;
#[async_trait]
impl Bus for Deaf {
    fn hint(&self, _: Hint) {}
    fn hints(&self) -> BoxStream<'static, Hint> {
        futures::stream::pending().boxed()
    }
    fn publish(&self, _: &TaskKey, _: Live) {}
    async fn subscribe(&self, _: &TaskKey) -> BoxStream<'static, Live> {
        futures::stream::pending().boxed()
    }
}

/// Loses, repeats and reorders what a real bus may.
struct Faulty {
    inner: local::Bus,
    dice: Mutex<fastrand::Rng>,
    held: Mutex<Option<(TaskKey, Live)>>,
}
#[async_trait]
impl Bus for Faulty {
    fn hint(&self, hint: Hint) {
        self.inner.hint(hint);
    }
    fn hints(&self) -> BoxStream<'static, Hint> {
        self.inner.hints()
    }
    fn publish(&self, key: &TaskKey, live: Live) {
        match self.dice.lock().unwrap().u32(0..10) {
            0 | 1 => {}
            2 => (0..2).for_each(|_| self.inner.publish(key, live.clone())),
            3 => {
                if let Some((key, late)) = self.held.lock().unwrap().replace((key.clone(), live)) {
                    self.inner.publish(&key, late);
                }
            }
            4 => self.inner.publish(key, Live::Lagged),
            _ => self.inner.publish(key, live),
        }
    }
    async fn subscribe(&self, key: &TaskKey) -> BoxStream<'static, Live> {
        self.inner.subscribe(key).await
    }
}
