//! The store that forgets everything with its process: for tests, and for nodes that need no yesterday.
//!
//! One mutex around plain maps. It keeps every rule of [`ports::TaskStore`] and is the other opinion
//! against which the SQLite store is tested.

mod approval;
mod claim;
mod create;
mod keys;
mod look;
mod read;
mod signal;
mod sweep;
mod table;
mod tools;

use crate::{
    clock::{Clock, Monotone, SystemClock},
    rules,
};
use async_trait::async_trait;
use maniple_core::{
    AgentName, Result, SessionKey, TaskId, TaskKey, Tenant, Time,
    agent::Definitions,
    event::StoredEvent,
    ports::{
        self, Append, Appended, Approval, Claim, Claimed, Conversation, Created, Decided, Decision, Idempotency, KeyWas, ListApprovals,
        ListSessions, ListTasks, NewTask, Renewal, Room, Sessions, Signalled, Swept, Turn, Waiting,
    },
    signal::Signal,
    task::AgentResult,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use table::Table;

/// All tasks in one process's memory, and what is remembered of tools.
pub struct TaskStore {
    table: Mutex<Table>,
    tools: Mutex<tools::Tools>,
    clock: Monotone,
}

impl TaskStore {
    /// An empty store on the machine's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }
    /// An empty store on another clock, such as [`crate::TokioClock`].
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { table: Mutex::default(), tools: Mutex::default(), clock: Monotone::new(clock, Time::default()) }
    }
    /// What the death of its process would do to an embedded store: all claims are void, their tasks ready
    /// at once, and those that were found open ten times without progress are poisoned.
    pub fn restart(&self) {
        let (mut table, now) = self.locked();
        table.void_claims(now);
    }
    fn locked(&self) -> (MutexGuard<'_, Table>, Time) {
        // The table is only ever left whole: a panic under the lock is a bug elsewhere, not here.
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        (table, self.clock.now())
    }
}

impl Default for TaskStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ports::Tasks for TaskStore {
    async fn create(&self, new: NewTask) -> Result<Created> {
        let (mut table, now) = self.locked();
        table.create(new, now)
    }
    async fn signal(&self, key: &TaskKey, signal: Signal, idempotency: Option<Idempotency>) -> Result<(Signalled, KeyWas)> {
        rules::check_signal_id(&signal.id)?;
        let (mut table, now) = self.locked();
        table.signal(key, signal, idempotency, now)
    }
    async fn approvals(&self, query: &ListApprovals) -> Result<Vec<Approval>> {
        let (table, now) = self.locked();
        Ok(table.list_approvals(query, now))
    }
    async fn approval(&self, tenant: &Tenant, id: &str) -> Result<Option<Approval>> {
        let (table, now) = self.locked();
        Ok(table.approval(tenant, id, now))
    }
    async fn decide(&self, tenant: &Tenant, id: &str, decision: Decision, idempotency: Option<Idempotency>) -> Result<(Decided, KeyWas)> {
        let (mut table, now) = self.locked();
        table.decide(tenant, id, &decision, idempotency, now)
    }
    async fn get(&self, key: &TaskKey) -> Result<Option<AgentResult>> {
        let (table, now) = self.locked();
        Ok(table.find(key).map(|row| row.result(now)))
    }
    async fn list(&self, query: &ListTasks) -> Result<Vec<AgentResult>> {
        let (table, now) = self.locked();
        Ok(table.list(query, now))
    }
    async fn prompts(&self, tenant: &Tenant, tasks: &[TaskId], max_chars: usize) -> Result<Vec<Option<String>>> {
        let (table, _) = self.locked();
        table.prompts(tenant, tasks, max_chars)
    }
    async fn sessions(&self, query: &ListSessions) -> Result<Sessions> {
        let (table, now) = self.locked();
        Ok(table.list_sessions(query, now))
    }
    async fn events(&self, key: &TaskKey, after: u64, limit: usize, max_bytes: usize) -> Result<Option<Vec<StoredEvent>>> {
        let (table, _) = self.locked();
        Ok(table.events(key, after, limit, max_bytes))
    }
    async fn conversation(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Conversation> {
        let (table, _) = self.locked();
        Ok(Conversation { turns: table.turns(session, before, limit, max_bytes)?, settled_at: table.settled_at(session) })
    }
    async fn erase(&self, session: &SessionKey) -> Result<u64> {
        let (mut table, now) = self.locked();
        table.erase(session, now)
    }
    async fn drop_dead_letter(&self, key: &TaskKey, idempotency: Option<Idempotency>) -> Result<KeyWas> {
        let (mut table, now) = self.locked();
        table.drop_dead_letter(key, idempotency, now)
    }
    async fn remember(&self, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas> {
        let (mut table, now) = self.locked();
        table.remember(tenant, Some(idempotency.clone()), made, now)
    }
    async fn recall(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<String>> {
        let (table, now) = self.locked();
        table.recall(tenant, idempotency, now)
    }
}

#[async_trait]
impl ports::Work for TaskStore {
    async fn claim(&self, agents: &[AgentName], room: &Room) -> Result<Vec<Claimed>> {
        let (mut table, now) = self.locked();
        Ok(table.claim(agents, room, now))
    }
    async fn renew(&self, claims: &[Claim]) -> Result<Vec<Renewal>> {
        let (mut table, now) = self.locked();
        Ok(claims.iter().map(|claim| table.renew(claim, now)).collect())
    }
    async fn append(&self, append: Append) -> Result<Appended> {
        let drafts = rules::drafts(&append)?;
        let (mut table, now) = self.locked();
        table.append(&append, &drafts, now)
    }
    async fn release(&self, claim: &Claim) -> Result<()> {
        let (mut table, now) = self.locked();
        table.release(claim, now);
        Ok(())
    }
    async fn signals(&self, key: &TaskKey) -> Result<Vec<Signal>> {
        let (table, _) = self.locked();
        Ok(table.find(key).map(|row| row.unread()).unwrap_or_default())
    }
    async fn turns(&self, session: &SessionKey, before: Option<&TaskId>, limit: usize, max_bytes: usize) -> Result<Vec<Turn>> {
        let (table, _) = self.locked();
        table.turns(session, before, limit, max_bytes)
    }
    async fn definitions(&self, hash: &str) -> Result<Option<Definitions>> {
        let (table, _) = self.locked();
        Ok(table.definitions.get(hash).map(|kept| kept.1.clone()))
    }
    fn now(&self) -> Time {
        self.clock.now()
    }
}

#[async_trait]
impl ports::Upkeep for TaskStore {
    async fn sweep_leases_by(&self, moment: Time) -> Result<Swept> {
        let (mut table, now) = self.locked();
        table.sweep(now, moment)
    }
    async fn forget(&self, keep: Duration, limit: usize) -> Result<u64> {
        let (mut table, now) = self.locked();
        Ok(table.forget(keep, limit, now))
    }
    async fn forget_beyond(&self, max_bytes: u64, limit: usize) -> Result<u64> {
        let (mut table, now) = self.locked();
        Ok(table.forget_beyond(max_bytes, limit, now))
    }
    async fn waiting(&self) -> Result<Vec<Waiting>> {
        let (table, now) = self.locked();
        Ok(table.waiting(now))
    }
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}
