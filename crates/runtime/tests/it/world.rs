//! A store, a ledger and as many workers as a test wants, in one process.

use maniple_backends::{TokioClock, local, memory};
use maniple_core::{
    AgentName, SessionId, TaskId, TaskKey, Tenant, Time,
    agent::AgentDefinition,
    event::{Event, StoredEvent},
    ports::{Approval, ApprovalState, Bus, Created, Decided, Decision, Hint, ListApprovals, Models, NewTask, Signalled, TaskStore},
    signal::{Signal, SignalKind},
    task::{AgentResult, Task, TaskStatus},
    tool::{Effect, ToolDefinition},
};
use maniple_runtime::{Agents, ModelHealth, Parts, Starter, Worker, WorkerSettings, jobs, spans, worker::Started};
use maniple_testkit::{
    checker::{Checker, Witness},
    faults::{Asked, Called, Faults, Store},
    ledger::{self, Ledger, Tools},
    store_suite::new,
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub const PURE: &str = "look";
pub const IDEMPOTENT: &str = "put";
pub const ONCE: &str = "pay";

/// Where all workers of a test meet.
pub struct World {
    pub store: Arc<dyn TaskStore>,
    pub bus: Arc<local::Bus>,
    pub ledger: Ledger,
    pub tools: Tools,
    pub witness: Witness,
    pub models: Arc<dyn Models>,
    pub agent: AgentDefinition,
    pub settings: WorkerSettings,
    accepted: Mutex<Vec<TaskKey>>,
}

/// A worker and its sweep.
pub struct Running {
    pub faults: Faults,
    pub agents: Agents,
    pub health: Arc<ModelHealth>,
    pub starter: Starter,
    stop: CancellationToken,
    working: JoinHandle<()>,
    sweeping: JoinHandle<()>,
}

impl World {
    /// One agent, `worker`, with a tool of each effect class.
    pub fn new(models: impl Models + 'static) -> Self {
        let ledger = Ledger::new();
        let clock = TokioClock::starting_at(Time(1_800_000_000_000));
        Self {
            store: Arc::new(memory::TaskStore::with_clock(Arc::new(clock))),
            bus: Arc::new(local::Bus::new()),
            tools: Tools::new(ledger.clone(), all_tools()),
            witness: Witness::new(ledger.clone()),
            ledger,
            models: Arc::new(models),
            agent: agent(&[PURE, IDEMPOTENT, ONCE]),
            settings: WorkerSettings::default(),
            accepted: Mutex::default(),
        }
    }
    /// The same, its agent changed.
    pub fn with(mut self, change: impl FnOnce(&mut AgentDefinition)) -> Self {
        change(&mut self.agent);
        self
    }

    /// A new worker with such a fate: it knows nothing but the store.
    pub fn worker(&self, faults: Faults) -> Running {
        let inner = self.store.clone();
        let agents = Agents::new([self.agent.clone()]);
        let health = Arc::new(ModelHealth::default());
        let store = Arc::new(Store { inner, faults: faults.clone(), witness: self.witness.clone() });
        let parts = Parts {
            work: store.clone(),
            bus: self.bus.clone(),
            models: Arc::new(Asked { inner: self.models.clone(), faults: faults.clone() }),
            tools: Arc::new(Called { inner: Arc::new(self.tools.clone()), faults: faults.clone() }),
            agents: agents.clone(),
            health: health.clone(),
            aside: Default::default(),
            tracing: spans::Tracing::default(),
        };
        let stop = CancellationToken::new();
        let worker = Worker::new(parts, self.settings, stop.clone());
        let starter = worker.starter(store.clone());
        let sweeping = tokio::spawn(jobs::sweep(store, self.bus.clone(), worker.holds(), stop.clone()));
        let working = tokio::spawn(worker.work());
        Running { faults, agents, health, starter, stop, working, sweeping }
    }

    /// Accepts a task.
    pub async fn submit(&self, task: Task) -> TaskKey {
        self.accept(task, None).await
    }
    /// Accepts a task that takes over another's record.
    pub async fn submit_retry(&self, task: Task, taken_over: Event) -> TaskKey {
        self.accept(task, Some(taken_over)).await
    }
    async fn accept(&self, task: Task, taken_over: Option<Event>) -> TaskKey {
        let key = task.key();
        let created = self.create(task, taken_over).await;
        assert!(created.fresh);
        self.accepted.lock().expect("no panic").push(key.clone());
        key
    }
    /// Accepts a task where a worker is, so that it may start at once. A caller who hears nothing, or that nobody knows,
    /// sends it again elsewhere.
    pub async fn submit_to(&self, running: &Running, task: Task) -> TaskKey {
        let key = task.key();
        self.accepted.lock().expect("no panic").push(key.clone());
        let started = tokio::select! {
            biased;
            started = running.starter.start(new(task.clone())) => Some(started),
            () = running.faults.crashed() => None,
        };
        if !matches!(started, Some(Started::Asked(Ok(created))) if created.claim.is_some()) {
            self.store.create(new(task)).await.expect("accepted");
            self.bus.hint(Hint::Ready(self.agent.name.clone()));
        }
        key
    }
    async fn create(&self, task: Task, taken_over: Option<Event>) -> Created {
        let agent = task.agent.clone();
        let new = NewTask { taken_over, ..new(task) };
        let created = self.store.create(new).await.expect("accepted");
        self.bus.hint(Hint::Ready(agent));
        created
    }
    /// Asks a task to stop.
    pub async fn cancel(&self, key: &TaskKey, id: &str) -> Signalled {
        let signal = Signal { id: id.into(), kind: SignalKind::Cancel, data: Value::Null, at: Time::default() };
        let signalled = self.store.signal(key, signal, None).await.expect("taken").0;
        self.bus.hint(Hint::Signalled(key.clone()));
        self.bus.hint(Hint::Ready(self.agent.name.clone()));
        signalled
    }

    /// Its tools, changed by name.
    pub fn change_tool(&self, name: &str, change: impl FnOnce(&mut ToolDefinition)) {
        let mut tools = all_tools();
        change(tools.iter_mut().find(|tool| tool.name == name).expect("one of all"));
        self.tools.replace(tools);
    }
    /// A person decides, as the desk would pass it on.
    pub async fn decide(&self, id: &str, approve: bool) -> maniple_core::Result<Decided> {
        let decision = Decision { approve, by: "ann".into(), reason: None };
        let (decided, _) = self.store.decide(&Tenant::default(), id, decision, None).await?;
        self.bus.hint(Hint::Signalled(decided.approval.key.clone()));
        self.bus.hint(Hint::Ready(decided.approval.agent.clone()));
        Ok(decided)
    }
    /// The ids of all requests that are open, once there are so many.
    pub async fn asked(&self, count: usize) -> Vec<String> {
        let query = ListApprovals { state: Some(ApprovalState::Open), limit: 100, ..ListApprovals::default() };
        for _ in 0..100_000 {
            let open = self.store.approvals(&query).await.expect("it answers");
            if open.len() >= count {
                return open.into_iter().map(|approval| approval.request.id).collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody was asked {count} times");
    }
    /// Somebody who looks every so often and decides everything as the closure says.
    pub fn person(&self, every: Duration, mut says: impl FnMut(&Approval) -> bool + Send + 'static) -> AbortOnDropHandle<()> {
        let (store, bus) = (self.store.clone(), self.bus.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let query = ListApprovals { state: Some(ApprovalState::Open), limit: 100, ..ListApprovals::default() };
            loop {
                tokio::time::sleep(every).await;
                for approval in store.approvals(&query).await.expect("it answers") {
                    let decision = Decision { approve: says(&approval), by: "ann".into(), reason: None };
                    // It may have expired or ended by now.
                    let _ = store.decide(&Tenant::default(), &approval.request.id, decision, None).await;
                    bus.hint(Hint::Signalled(approval.key.clone()));
                    bus.hint(Hint::Ready(approval.agent.clone()));
                }
            }
        }))
    }

    /// What a sweep of some other worker would do now.
    pub async fn store_sweeps(&self) {
        self.store.sweep().await.expect("it answers");
    }
    pub async fn result(&self, key: &TaskKey) -> AgentResult {
        self.store.get(key).await.expect("it answers").expect("it is there")
    }
    pub async fn events(&self, key: &TaskKey) -> Vec<StoredEvent> {
        self.store.events(key, 0, usize::MAX, usize::MAX).await.expect("it answers").expect("it is there")
    }
    /// The names of its events, in order.
    pub async fn names(&self, key: &TaskKey) -> Vec<String> {
        self.events(key).await.iter().map(|event| event.name.to_string()).collect()
    }
    /// The outcomes of its tool calls: step, index, status, result.
    pub async fn outcomes(&self, key: &TaskKey) -> Vec<(u32, u32, &'static str, Value)> {
        let events = self.events(key).await;
        let outcome = |stored: &StoredEvent| match stored.event().expect("known") {
            Event::ToolFinished(finished) => Some((stored.step, finished.index, finished.status.as_str(), finished.result)),
            _ => None,
        };
        events.iter().filter_map(outcome).collect()
    }
    /// Waits for a task's end, at most two hours of its time.
    pub async fn finish(&self, key: &TaskKey) -> AgentResult {
        for _ in 0..144_000 {
            let result = self.result(key).await;
            if result.status.is_final() {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("task {} does not end: {:?}", key.id, self.names(key).await);
    }
    /// Waits until the journal has such an event.
    pub async fn until(&self, key: &TaskKey, name: &str) {
        for _ in 0..200_000 {
            if self.names(key).await.iter().any(|known| known == name) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("task {} never has {name}: {:?}", key.id, self.names(key).await);
    }
    /// Nothing that must never happen has happened to any accepted task.
    #[track_caller]
    pub fn check(&self, about: &str) -> impl Future<Output = ()> {
        let location = std::panic::Location::caller();
        async move {
            let mut checker = Checker::new();
            let accepted = self.accepted.lock().expect("no panic").clone();
            checker.read(&*self.store, &accepted).await.expect("it answers");
            checker.ledger(&self.ledger);
            checker.guarded(self.tools.guarded());
            checker.check().assert_clean(&format!("{about} ({location})"));
            assert_eq!(self.witness.stale_written(), Vec::<String>::new(), "{about} ({location})");
        }
    }
}

impl Running {
    /// Kills it: it does nothing more, and hands nothing over.
    pub fn kill(self) {
        self.faults.crash();
        self.working.abort();
        self.sweeping.abort();
    }
    /// Asks it to leave and waits until it has.
    pub async fn leave(self) {
        self.stop.cancel();
        self.working.await.expect("it does not panic");
        self.sweeping.await.expect("it does not panic");
    }
    /// Asks it to leave.
    pub fn drain(&self) {
        self.stop.cancel();
    }
}

pub fn all_tools() -> Vec<ToolDefinition> {
    [(PURE, Effect::Pure), (IDEMPOTENT, Effect::Idempotent), (ONCE, Effect::AtMostOnce)]
        .map(|(name, effect)| ledger::definition(name, effect, "builtin:none"))
        .to_vec()
}

pub fn agent(tools: &[&str]) -> AgentDefinition {
    let definition = json!({
        "name": "worker", "description": "works", "version": "1.0.0", "model": "test/first", "tools": tools, "prompt": "You work.",
    });
    serde_json::from_value(definition).expect("an agent")
}

/// A task whose prompt, its mark, is its id.
pub fn task(id: &str) -> Task {
    Task {
        id: TaskId::parse(id).expect("legal"),
        agent: AgentName::parse("worker").expect("legal"),
        session_id: SessionId::parse(&format!("session-of-{id}")).expect("legal"),
        prompt: format!("MARK-{id}"),
        metadata: Default::default(),
        max_steps: 10,
        token_budget: 100_000,
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

/// A whole call of one of the tools.
pub fn arguments(place: &str) -> Value {
    json!({ "mark": "m", "place": place, "nonce": 0 })
}

pub fn ended(result: &AgentResult) -> (TaskStatus, Option<maniple_core::task::ErrorCode>, Option<&str>) {
    (result.status, result.error, result.output.as_deref())
}
