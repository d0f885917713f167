//! Faults at every I/O point of a worker: before a call, and after it was applied but before its reply came.
//!
//! [`Faults`] is one worker's fate. [`Store`], [`Remembered`], [`Asked`] and [`Called`] put it on the worker's ports. A worker that
//! crashed gets no further answer from any of them: drop it.

use crate::checker::Witness;
use async_trait::async_trait;
use maniple_core::{
    AgentName, Error, Result, SessionKey, TaskId, TaskKey, Tenant, Time,
    agent::Definitions,
    event::StoredEvent,
    message::ModelReply,
    model::{Fault as ModelFault, FaultKind, ModelName, ModelRequest},
    ports::{
        Admission, Append, Appended, Approval, Claim, Claimed, Conversation, Created, Decided, Decision, Idempotency, Invoked, KeyWas,
        LedgerKey, ListApprovals, ListSessions, ListTasks, Model, Models, NewTask, OnText, Opened, Opening, Outcome, Price, Probed,
        Renewal, Room, RunCall, Sessions, Signalled, Swept, TaskStore, Tasks, ToolStore, Tools, Turn, Upkeep, Waiting, Work,
    },
    signal::Signal,
    task::AgentResult,
    tool::{Offer, Published, Realm, ToolWish},
};
use semver::Version;
use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Where in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nothing has happened yet.
    Before,
    /// It is done, and nobody has heard of it.
    After,
}

/// One side of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// 0, 1, 2 … in this worker's life.
    pub number: u64,
    /// `claim`, `append`, `model`, `tool` …
    pub call: &'static str,
    /// Which side.
    pub side: Side,
}

/// What happens at a [`Point`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The worker is dead from here on.
    Crash,
    /// The caller is told that it did not work: the truth before, a lost reply after.
    Unavailable,
    /// It takes this much longer.
    Delay(Duration),
}

type Plan = dyn Fn(&Point) -> Fault + Send + Sync;

/// What happens to one worker. Clones share it.
#[derive(Clone)]
pub struct Faults {
    plan: Arc<Plan>,
    passed: Arc<Mutex<Vec<Point>>>,
    crashed: watch::Sender<bool>,
}

impl Faults {
    /// What the closure says, asked once for each point, in order.
    pub fn new(plan: impl Fn(&Point) -> Fault + Send + Sync + 'static) -> Self {
        Self { plan: Arc::new(plan), passed: Arc::default(), crashed: watch::Sender::new(false) }
    }
    /// Nothing.
    pub fn none() -> Self {
        Self::new(|_| Fault::None)
    }
    /// This, at the point of that number.
    pub fn at(number: u64, fault: Fault) -> Self {
        Self::new(move |point| if point.number == number { fault } else { Fault::None })
    }
    /// All points so far.
    pub fn passed(&self) -> Vec<Point> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// The worker is dead from here on.
    pub fn crash(&self) {
        self.crashed.send_replace(true);
    }
    /// Whether the worker has crashed.
    pub fn has_crashed(&self) -> bool {
        *self.crashed.borrow()
    }
    /// Resolves when the worker has crashed.
    pub async fn crashed(&self) {
        // The sender is ours: it is there as long as we are.
        let _ = self.crashed.subscribe().wait_for(|crashed| *crashed).await;
    }

    async fn pass(&self, call: &'static str, side: Side) -> Result<()> {
        if *self.crashed.borrow() {
            return std::future::pending().await;
        }
        let point = {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let point = Point { number: passed.len() as u64, call, side };
            passed.push(point);
            point
        };
        match (self.plan)(&point) {
            Fault::None => Ok(()),
            Fault::Delay(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Fault::Unavailable => Err(Error::unavailable(format!("{call} was made to fail, {side:?}"))),
            Fault::Crash => {
                self.crash();
                std::future::pending().await
            }
        }
    }

    async fn around<T>(&self, call: &'static str, io: impl Future<Output = Result<T>>) -> Result<T> {
        self.pass(call, Side::Before).await?;
        let answer = io.await;
        self.pass(call, Side::After).await?;
        answer
    }
}

/// A store as a worker with such a fate sees it. What is done there is seen by the witness.
pub struct Store {
    /// The truth.
    pub inner: Arc<dyn TaskStore>,
    /// What happens to the worker.
    pub faults: Faults,
    /// Who watches what the store says.
    pub witness: Witness,
}

#[async_trait]
impl Tasks for Store {
    async fn create(&self, new: NewTask) -> Result<Created> {
        let creating = async {
            let created = self.inner.create(new).await?;
            self.witness.created(&created);
            Ok(created)
        };
        self.faults.around("create", creating).await
    }
    async fn signal(&self, key: &TaskKey, signal: Signal, idempotency: Option<Idempotency>) -> Result<(Signalled, KeyWas)> {
        self.faults.around("signal", self.inner.signal(key, signal, idempotency)).await
    }
    async fn approvals(&self, query: &ListApprovals) -> Result<Vec<Approval>> {
        self.inner.approvals(query).await
    }
    async fn approval(&self, tenant: &Tenant, id: &str) -> Result<Option<Approval>> {
        self.inner.approval(tenant, id).await
    }
    async fn decide(&self, tenant: &Tenant, id: &str, decision: Decision, idempotency: Option<Idempotency>) -> Result<(Decided, KeyWas)> {
        self.faults.around("decide", self.inner.decide(tenant, id, decision, idempotency)).await
    }
    async fn get(&self, key: &TaskKey) -> Result<Option<AgentResult>> {
        self.inner.get(key).await
    }
    async fn list(&self, query: &ListTasks) -> Result<Vec<AgentResult>> {
        self.inner.list(query).await
    }
    async fn prompts(&self, tenant: &Tenant, tasks: &[TaskId], max_chars: usize) -> Result<Vec<Option<String>>> {
        self.inner.prompts(tenant, tasks, max_chars).await
    }
    async fn sessions(&self, query: &ListSessions) -> Result<Sessions> {
        self.inner.sessions(query).await
    }
    async fn events(&self, key: &TaskKey, after: u64, limit: usize, max_bytes: usize) -> Result<Option<Vec<StoredEvent>>> {
        self.inner.events(key, after, limit, max_bytes).await
    }
    async fn conversation(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Conversation> {
        self.faults.around("conversation", self.inner.conversation(session, before, limit, max_bytes)).await
    }
    async fn erase(&self, session: &SessionKey) -> Result<u64> {
        self.inner.erase(session).await
    }
    async fn drop_dead_letter(&self, key: &TaskKey, idempotency: Option<Idempotency>) -> Result<KeyWas> {
        self.inner.drop_dead_letter(key, idempotency).await
    }
    async fn remember(&self, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas> {
        self.inner.remember(tenant, idempotency, made).await
    }
    async fn recall(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<String>> {
        self.inner.recall(tenant, idempotency).await
    }
}

#[async_trait]
impl Work for Store {
    async fn claim(&self, agents: &[AgentName], room: &Room) -> Result<Vec<Claimed>> {
        let claiming = async {
            let claimed = self.inner.claim(agents, room).await?;
            claimed.iter().for_each(|claimed| self.witness.claimed(claimed));
            Ok(claimed)
        };
        self.faults.around("claim", claiming).await
    }
    async fn renew(&self, claims: &[Claim]) -> Result<Vec<Renewal>> {
        self.faults.around("renew", self.inner.renew(claims)).await
    }
    async fn append(&self, append: Append) -> Result<Appended> {
        let appending = async {
            let appended = self.inner.append(append.clone()).await?;
            self.witness.appended(&append, &appended);
            Ok(appended)
        };
        self.faults.around("append", appending).await
    }
    async fn release(&self, claim: &Claim) -> Result<()> {
        self.faults.around("release", self.inner.release(claim)).await
    }
    async fn signals(&self, key: &TaskKey) -> Result<Vec<Signal>> {
        self.faults.around("signals", self.inner.signals(key)).await
    }
    async fn turns(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Vec<Turn>> {
        self.faults.around("turns", self.inner.turns(session, before, limit, max_bytes)).await
    }
    async fn definitions(&self, hash: &str) -> Result<Option<Definitions>> {
        self.faults.around("definitions", self.inner.definitions(hash)).await
    }
    fn now(&self) -> Time {
        self.inner.now()
    }
}

#[async_trait]
impl Upkeep for Store {
    async fn sweep_leases_by(&self, moment: Time) -> Result<Swept> {
        self.faults.around("sweep", self.inner.sweep_leases_by(moment)).await
    }
    async fn forget(&self, keep: Duration, limit: usize) -> Result<u64> {
        self.faults.around("forget", self.inner.forget(keep, limit)).await
    }
    async fn forget_beyond(&self, max_bytes: u64, limit: usize) -> Result<u64> {
        self.faults.around("forget_beyond", self.inner.forget_beyond(max_bytes, limit)).await
    }
    async fn waiting(&self) -> Result<Vec<Waiting>> {
        self.inner.waiting().await
    }
    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
}

/// What a registry remembers, as one with such a fate sees it.
pub struct Remembered {
    /// The truth.
    pub inner: Arc<dyn ToolStore>,
    /// What happens to the registry.
    pub faults: Faults,
}

#[async_trait]
impl ToolStore for Remembered {
    async fn publish(&self, version: Published) -> Result<Published> {
        self.faults.around("publish", self.inner.publish(version)).await
    }
    async fn published(&self) -> Result<Vec<Published>> {
        self.faults.around("published", self.inner.published()).await
    }
    async fn unpublish(&self, realm: &Realm, name: &str, version: Option<&Version>) -> Result<u64> {
        self.faults.around("unpublish", self.inner.unpublish(realm, name, version)).await
    }
    async fn open_call(&self, call: &LedgerKey, opening: &Opening) -> Result<Opened> {
        self.faults.around("open_call", self.inner.open_call(call, opening)).await
    }
    async fn renew_call(&self, call: &LedgerKey, holder: &str, lease: Duration) -> Result<bool> {
        self.faults.around("renew_call", self.inner.renew_call(call, holder, lease)).await
    }
    async fn close_call(&self, call: &LedgerKey, outcome: &Outcome) -> Result<()> {
        self.faults.around("close_call", self.inner.close_call(call, outcome)).await
    }
    async fn leave_call(&self, call: &LedgerKey, holder: &str) -> Result<()> {
        self.faults.around("leave_call", self.inner.leave_call(call, holder)).await
    }
    async fn drop_call(&self, call: &LedgerKey, holder: &str) -> Result<()> {
        self.faults.around("drop_call", self.inner.drop_call(call, holder)).await
    }
    async fn forget_calls(&self, keep: Duration, limit: usize) -> Result<u64> {
        self.faults.around("forget_calls", self.inner.forget_calls(keep, limit)).await
    }
}

/// Models as a worker with such a fate asks them.
pub struct Asked {
    /// Whom it asks.
    pub inner: Arc<dyn Models>,
    /// What happens to the worker.
    pub faults: Faults,
}

struct AskedOne {
    inner: Arc<dyn Model>,
    faults: Faults,
}

impl Models for Asked {
    fn model(&self, name: &ModelName) -> Result<Arc<dyn Model>> {
        let inner = self.inner.model(name)?;
        Ok(Arc::new(AskedOne { inner, faults: self.faults.clone() }))
    }
    fn price(&self, name: &ModelName) -> Option<Price> {
        self.inner.price(name)
    }
}

#[async_trait]
impl Model for AskedOne {
    async fn call(&self, request: &ModelRequest, text: &mut OnText<'_>) -> Result<ModelReply, ModelFault> {
        let cut = |kind| move |error: Error| ModelFault::new(kind, error.to_string());
        self.faults.pass("model", Side::Before).await.map_err(cut(FaultKind::CutBefore))?;
        let answer = self.inner.call(request, text).await;
        self.faults.pass("model", Side::After).await.map_err(cut(FaultKind::CutAfter))?;
        answer
    }
}

/// Tools as a worker with such a fate calls them.
pub struct Called {
    /// What it calls.
    pub inner: Arc<dyn Tools>,
    /// What happens to the worker.
    pub faults: Faults,
}

#[async_trait]
impl Tools for Called {
    async fn resolve(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<Offer>> {
        self.faults.around("resolve", self.inner.resolve(tenant, agent, wishes)).await
    }
    fn offers_now(&self, tenant: &Tenant, agent: &AgentName, wishes: &[ToolWish]) -> Option<Vec<Offer>> {
        (!self.faults.has_crashed()).then(|| self.inner.offers_now(tenant, agent, wishes)).flatten()
    }
    async fn admit(&self, call: &RunCall) -> Admission {
        if self.faults.pass("admit", Side::Before).await.is_err() {
            return Admission::After(Duration::from_millis(50));
        }
        let admission = self.inner.admit(call).await;
        match self.faults.pass("admit", Side::After).await {
            Ok(()) => admission,
            Err(_) => Admission::After(Duration::from_millis(50)),
        }
    }
    async fn probe(&self, call: &RunCall) -> Probed {
        if self.faults.pass("probe", Side::Before).await.is_err() {
            return Probed::Unknown;
        }
        let probed = self.inner.probe(call).await;
        match self.faults.pass("probe", Side::After).await {
            Ok(()) => probed,
            Err(_) => Probed::Unknown,
        }
    }
    async fn invoke(&self, call: &RunCall) -> Invoked {
        if let Err(error) = self.faults.pass("tool", Side::Before).await {
            return Invoked::NotSent(error.to_string());
        }
        let invoked = self.inner.invoke(call).await;
        match self.faults.pass("tool", Side::After).await {
            Ok(()) => invoked,
            Err(error) => Invoked::Unknown(error.to_string()),
        }
    }
}
