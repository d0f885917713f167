//! What every [`TaskStore`] promises, as tests any store can run.
//!
//! ```text
//! store_suite::run(|| Fixture { store, clock, keep }).await       // the contract, sentence by sentence
//! store_suite::random::compare(seed, steps, one, other).await     // two stores, the same random life
//! ```

mod accepting;
mod apart;
mod bearing;
mod deciding;
mod ending;
mod keying;
pub mod random;
mod reading;
mod working;

use futures::future::BoxFuture;
use maniple_core::{
    AgentName, Kind, Result, SessionId, SessionKey, TaskId, TaskKey, Tenant, Time,
    event::{Event, Parked, StoredEvent, ToolFinished, ToolStatus},
    ports::{Also, Append, Appended, Claim, Claimed, Created, NewTask, Room, Signalled, TaskStore, Then},
    request::{Content, TaskRequest},
    run::Awaited,
    signal::{Signal, SignalKind},
    task::{AgentResult, Ending, Progress, Task, WaitingFor},
};
use std::{
    any::Any,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// A clock that moves only when it is told to. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Some time in 2026.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_780_000_000_000)))
    }
    /// What it says.
    pub fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
    /// Sets it, backwards too.
    pub fn set(&self, time: Time) {
        self.0.store(time.0, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

/// An empty store on a manual clock.
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn TaskStore>,
    /// The clock it reads.
    pub clock: ManualClock,
    /// What must live as long as the store, such as its folder.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// Runs every test on a store of its own; panics with the names of those that failed.
pub async fn run(make: impl Fn() -> Fixture) {
    let mut failed = Vec::new();
    for case in cases() {
        let fixture = make();
        let world = World { store: fixture.store, clock: fixture.clock, keep: Arc::from(fixture.keep) };
        if tokio::spawn((case.run)(world)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{} promises are broken: {failed:#?}", failed.len());
}

fn cases() -> Vec<Case> {
    [
        accepting::cases(),
        apart::cases(),
        bearing::cases(),
        keying::cases(),
        working::cases(),
        deciding::cases(),
        ending::cases(),
        reading::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

struct Case {
    name: &'static str,
    run: Box<dyn Fn(World) -> BoxFuture<'static, ()> + Send + Sync>,
}

/// A test, called what its function is called.
fn case<F, R>(test: F) -> Case
where
    F: Fn(World) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let name = std::any::type_name::<F>().rsplit("::").next().unwrap_or_default();
    Case { name, run: Box::new(move |world| Box::pin(test(world))) }
}

/// What a test works with.
struct World {
    store: Arc<dyn TaskStore>,
    clock: ManualClock,
    #[allow(dead_code)] // dropped last, that is all
    keep: Arc<dyn Any + Send + Sync>,
}

/// A name.
pub fn agent(name: &str) -> AgentName {
    AgentName::parse(name).expect("legal")
}
fn id(name: &str) -> TaskId {
    TaskId::parse(name).expect("legal")
}
/// A task of the default tenant.
pub fn key(name: &str) -> TaskKey {
    TaskKey { tenant: Tenant::default(), id: id(name) }
}
/// A session of the agent `search`.
pub fn session(name: &str) -> SessionKey {
    SessionKey { tenant: Tenant::default(), agent: agent("search"), id: SessionId::parse(name).expect("legal") }
}
fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
fn days(n: u64) -> Duration {
    seconds(n * 24 * 3600)
}

/// A task of a session of its own.
fn task(name: &str) -> Task {
    task_in(name, &format!("session-of-{name}"))
}
/// A task for the agent `search`.
pub fn task_in(name: &str, session: &str) -> Task {
    Task {
        id: id(name),
        agent: agent("search"),
        session_id: SessionId::parse(session).expect("legal"),
        prompt: format!("prompt of {name}"),
        metadata: Default::default(),
        max_steps: 10,
        token_budget: 8_192,
        context: Default::default(),
        deadline_ms: None,
        priority: 5,
        not_before: None,
        output_schema: None,
        cost_budget_usd: None,
        tree_token_budget: None,
        parent_task_id: None,
        retry_of: None,
        tenant: Tenant::default(),
        principal: "local".into(),
        trace: None,
    }
}
/// What a caller asks who names that id and session.
pub fn asked(task: &Task) -> Content {
    Content::Asked(Box::new(TaskRequest {
        id: Some(task.id.clone()),
        session_id: Some(task.session_id.clone()),
        deadline_ms: task.deadline_ms.map(|ms| ms as i64),
        priority: Some(task.priority.into()),
        not_before: task.not_before,
        ..TaskRequest::new(task.agent.clone(), task.prompt.clone())
    }))
}
/// A submission with generous bounds.
pub fn new(task: Task) -> NewTask {
    NewTask {
        publish: None,
        content: asked(&task),
        task,
        idempotency: None,
        taken_over: None,
        requeues: None,
        born: None,
        session_waiting_max: 100,
        unfinished_max: 10_000,
        unfinished_each: 10_000,
    }
}
/// An event that is progress.
pub fn tool_finished(index: u32) -> Event {
    Event::ToolFinished(ToolFinished { index, name: "clock".into(), status: ToolStatus::Ok, result: "noon".into() })
}
/// An event that is no progress.
fn resumed() -> Event {
    Event::Resumed(maniple_core::event::Resumed { by: "somebody".into() })
}
fn parked(until: Option<Time>) -> Event {
    Event::Parked(Parked { waiting_for: WaitingFor::Timer, until })
}
fn signal(name: &str, kind: SignalKind) -> Signal {
    Signal { id: name.into(), kind, data: serde_json::json!({ "from": name }), at: Time::default() }
}
/// Facts of step 1 under a claim.
pub fn append(claim: &Claim, after: u64, events: Vec<Event>, then: Then) -> Append {
    let also = |(event, fact): (usize, &Event)| match fact {
        Event::ApprovalRequested(_) => Some(Also::Ask { event }),
        Event::ApprovalDecided(decided) => Some(Also::Settle { id: decided.id.clone(), answer: decided.answer }),
        _ => None,
    };
    let also = events.iter().enumerate().filter_map(also).collect();
    Append {
        claim: claim.clone(),
        after,
        events: events.into_iter().map(|event| (1, event)).collect(),
        signals_read: Vec::new(),
        progress: Progress { steps_used: 1, tokens_used: after, tool_calls: 2, cost_usd: Some(0.25), model: Some("lab/one".into()) },
        also,
        then,
    }
}
fn park(until: Option<Time>) -> Then {
    Then::Park(Awaited { what: WaitingFor::Timer, until })
}
/// The end with an answer.
pub fn completed(output: &str) -> Then {
    Then::End(Ending::completed(Some(output.into())))
}
fn recorded(appended: Appended) -> Vec<Arc<StoredEvent>> {
    match appended {
        Appended::Recorded(recorded) => recorded.events,
        Appended::Stale | Appended::Refused(_) => panic!("not recorded: {appended:?}"),
    }
}
fn kind<T>(result: Result<T>) -> Option<Kind> {
    result.err().map(|error| error.kind)
}

impl World {
    async fn accept(&self, task: Task) -> Created {
        self.store.create(new(task)).await.expect("accepted")
    }
    /// Ids of what a claim of `search` hands out.
    async fn claim(&self, limit: usize) -> Vec<Claimed> {
        self.store.claim(&[agent("search")], &Room::of(limit)).await.expect("answers")
    }
    async fn claim_ids(&self, limit: usize) -> Vec<String> {
        self.claim(limit).await.iter().map(|claimed| claimed.claim.key.id.to_string()).collect()
    }
    /// Accepts a task and claims it; nothing else may be ready.
    async fn running(&self, task: Task) -> Claim {
        let name = task.id.clone();
        self.accept(task).await;
        let claimed = self.claim(1).await.pop().expect("ready");
        assert_eq!(claimed.claim.key.id, name);
        claimed.claim
    }
    async fn append(&self, append: Append) -> Appended {
        self.store.append(append).await.expect("answers")
    }
    async fn complete(&self, claim: &Claim, after: u64, output: &str) {
        recorded(self.append(append(claim, after, vec![], completed(output))).await);
    }
    async fn get(&self, name: &str) -> AgentResult {
        self.store.get(&key(name)).await.expect("answers").expect("exists")
    }
    async fn signal(&self, name: &str, sent: Signal) -> Signalled {
        self.store.signal(&key(name), sent, None).await.expect("answers").0
    }
    async fn journal(&self, name: &str) -> Vec<StoredEvent> {
        self.store.events(&key(name), 0, 1_000, usize::MAX).await.expect("answers").expect("exists")
    }
    async fn names(&self, name: &str) -> Vec<String> {
        self.journal(name).await.iter().map(|event| event.name.to_string()).collect()
    }
    /// Lets every lease run out and be taken away.
    async fn expire(&self) -> maniple_core::ports::Swept {
        self.clock.advance(seconds(11));
        self.store.sweep().await.expect("answers")
    }
}
