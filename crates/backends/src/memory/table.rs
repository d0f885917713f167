//! The maps, and how a task moves between its states.
//!
//! | state | means | leaves by |
//! |---|---|---|
//! | scheduled | its `not_before` is to come | sweep → waiting or ready |
//! | waiting | behind another of its session | the other's end → ready |
//! | ready | head of its session, unclaimed | claim → running |
//! | running | claimed | append → parked, final; release, expiry → ready |
//! | parked | head of its session, waits for a signal or a moment | signal, sweep → ready |
//! | final | ended | never |
//!
//! One never claimed is also ended by the store itself: cancel, or a deadline that has passed.

use crate::rules;
use maniple_core::{
    AgentName, SessionKey, TaskId, TaskKey, Tenant, Time,
    agent::Definitions,
    event::StoredEvent,
    ports::{Approval, ApprovalState},
    signal::Signal,
    task::{AgentResult, Ending, Header, QueuedFor, TaskStatus},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Scheduled,
    Waiting,
    Ready,
    Running,
    Parked,
    Final,
}

/// A task.
pub(super) struct Row {
    pub(super) key: TaskKey,
    pub(super) session: SessionKey,
    pub(super) header: Header,
    pub(super) priority: u8,
    pub(super) content_hash: String,
    pub(super) state: State,
    /// Its number in the order of all tasks; given when it is accepted or made due.
    pub(super) place: Option<u64>,
    pub(super) not_before: Option<Time>,
    pub(super) deadline: Option<Time>,
    /// Until when it is parked at most.
    pub(super) until: Option<Time>,
    pub(super) ready_at: Time,
    pub(super) epoch: u64,
    pub(super) lease_until: Time,
    /// Whether a model or a tool answered under the present claim.
    pub(super) progressed: bool,
    pub(super) barren_expired: u32,
    pub(super) barren_open: u32,
    /// The journal, each event with the epoch it was recorded under.
    pub(super) journal: Vec<(u64, Arc<StoredEvent>)>,
    pub(super) step: u32,
    /// Each signal and whether it was read; kept until the end, so that one sent twice is once.
    pub(super) signals: Vec<(Signal, bool)>,
    /// Requests for a person, in the order they were made.
    pub(super) approvals: Vec<Approval>,
    pub(super) definitions: Option<String>,
    pub(super) result: Option<AgentResult>,
    pub(super) dead: bool,
    /// The wish by which it was born claimed, while that claim holds and was not renewed.
    pub(super) born: Option<u128>,
}

impl Row {
    pub(super) fn last(&self) -> u64 {
        self.journal.len() as u64
    }
    pub(super) fn unread(&self) -> Vec<Signal> {
        self.signals.iter().filter(|(_, read)| !read).map(|(signal, _)| signal.clone()).collect()
    }
    pub(super) fn result(&self, now: Time) -> AgentResult {
        let queued_for = match self.state {
            _ if !self.never_claimed() => None,
            State::Scheduled => Some(QueuedFor::NotBefore),
            State::Waiting => Some(QueuedFor::Session),
            State::Ready => Some(QueuedFor::Worker),
            State::Running | State::Parked | State::Final => None,
        };
        self.result.clone().unwrap_or_else(|| AgentResult { queued_for, ..self.header.live(now) })
    }
    pub(super) fn status(&self) -> TaskStatus {
        match (&self.result, self.header.started_at) {
            (Some(result), _) => result.status,
            (None, Some(_)) => TaskStatus::Running,
            (None, None) => TaskStatus::Pending,
        }
    }
    pub(super) fn never_claimed(&self) -> bool {
        self.header.started_at.is_none() && self.state != State::Final
    }
    /// When the sweep must look at it again.
    fn due(&self) -> Option<Time> {
        let earliest = |moment: Option<Time>| moment.into_iter().chain(self.deadline).min();
        match self.state {
            State::Scheduled => earliest(self.not_before),
            State::Parked => earliest(self.until),
            State::Waiting | State::Ready => self.deadline.filter(|_| self.header.started_at.is_none()),
            State::Running | State::Final => None,
        }
    }
    pub(super) fn record(&mut self, epoch: u64, event: StoredEvent) -> Arc<StoredEvent> {
        let event = Arc::new(event);
        self.step = self.step.max(event.step);
        self.journal.push((epoch, event.clone()));
        event
    }
}

type ByPlace = BTreeMap<u64, u64>;
/// Of each tenant its priorities, the highest first.
type ByTenant = BTreeMap<Tenant, BTreeMap<Reverse<u8>, ByPlace>>;

/// What a session holds.
#[derive(Default)]
pub(super) struct Session {
    /// Its ready, running or parked task.
    pub(super) head: Option<u64>,
    pub(super) waiting: ByPlace,
    /// All that have a place.
    pub(super) placed: ByPlace,
    pub(super) scheduled: BTreeSet<u64>,
}

/// A remembered Idempotency-Key.
pub(super) struct Known {
    pub(super) body_hash: String,
    /// The id of what was made.
    pub(super) made: String,
    pub(super) at: Time,
}

/// Everything there is. Tasks are known by the number of their row.
#[derive(Default)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<u64, Row>,
    pub(super) by_key: HashMap<TaskKey, u64>,
    pub(super) by_age: BTreeSet<(Time, TaskId, u64)>,
    pub(super) sessions: HashMap<SessionKey, Session>,
    pub(super) ready: HashMap<AgentName, ByTenant>,
    pub(super) running: BTreeSet<u64>,
    pub(super) due: BTreeSet<(Time, u64)>,
    pub(super) unfinished: u64,
    pub(super) unfinished_of: HashMap<Tenant, u64>,
    pub(super) rows_made: u64,
    pub(super) places_given: u64,
    pub(super) keys: HashMap<(Tenant, String, String), Known>,
    pub(super) taken: HashMap<TaskKey, Time>,
    /// By hash, with how many tasks need them.
    pub(super) definitions: HashMap<String, (u64, Definitions)>,
    /// Which task asked, by the request.
    pub(super) approvals: HashMap<(Tenant, String), u64>,
    pub(super) turns: rules::Turns,
}

impl Table {
    pub(super) fn find(&self, key: &TaskKey) -> Option<&Row> {
        self.rows.get(self.by_key.get(key)?)
    }

    /// Changes a row and keeps the indexes over it.
    pub(super) fn change<T>(&mut self, number: u64, change: impl FnOnce(&mut Row) -> T) -> T {
        self.unindex(number);
        let answer = change(self.rows.get_mut(&number).expect("a row is only removed by `remove`"));
        self.index(number);
        answer
    }

    pub(super) fn index(&mut self, number: u64) {
        let row = &self.rows[&number];
        if let Some(due) = row.due() {
            self.due.insert((due, number));
        }
        let session = self.sessions.entry(row.session.clone()).or_default();
        match (row.state, row.place) {
            (State::Scheduled, _) | (_, None) => {
                session.scheduled.insert(number);
            }
            (state, Some(place)) => {
                session.placed.insert(place, number);
                match state {
                    State::Waiting => drop(session.waiting.insert(place, number)),
                    State::Ready | State::Running | State::Parked => session.head = Some(number),
                    State::Scheduled | State::Final => {}
                }
            }
        }
        match (row.state, row.place) {
            (State::Ready, Some(place)) => {
                let tenants = self.ready.entry(row.session.agent.clone()).or_default();
                let priorities = tenants.entry(row.key.tenant.clone()).or_default();
                priorities.entry(Reverse(row.priority)).or_default().insert(place, number);
            }
            (State::Running, _) => drop(self.running.insert(number)),
            _ => {}
        }
    }

    fn unindex(&mut self, number: u64) {
        let row = &self.rows[&number];
        if let Some(due) = row.due() {
            self.due.remove(&(due, number));
        }
        if let Some(session) = self.sessions.get_mut(&row.session) {
            session.scheduled.remove(&number);
            if let Some(place) = row.place {
                session.waiting.remove(&place);
                session.placed.remove(&place);
            }
            session.head = session.head.filter(|head| *head != number);
            if session.head.is_none() && session.placed.is_empty() && session.scheduled.is_empty() {
                self.sessions.remove(&row.session);
            }
        }
        self.running.remove(&number);
        if row.state == State::Ready {
            self.unready(number);
        }
    }

    fn unready(&mut self, number: u64) {
        let row = &self.rows[&number];
        let (agent, priority, tenant) = (&row.session.agent, Reverse(row.priority), &row.key.tenant);
        let (Some(tenants), Some(place)) = (self.ready.get_mut(agent), row.place) else { return };
        let Some(priorities) = tenants.get_mut(tenant) else { return };
        let Some(places) = priorities.get_mut(&priority) else { return };
        places.remove(&place);
        if places.is_empty() {
            priorities.remove(&priority);
        }
        if priorities.is_empty() {
            tenants.remove(tenant);
        }
        if tenants.is_empty() {
            self.ready.remove(agent);
        }
    }

    /// The task takes its place: ready, or waiting behind the head of its session.
    pub(super) fn take_place(&mut self, number: u64, now: Time) -> State {
        self.places_given += 1;
        let place = self.places_given;
        let session = self.sessions.get(&self.rows[&number].session);
        let state = if session.is_some_and(|session| session.head.is_some()) { State::Waiting } else { State::Ready };
        self.change(number, |row| {
            row.place = Some(place);
            row.state = state;
            row.ready_at = now;
        });
        state
    }

    /// The task is its session's head and anybody may claim it.
    pub(super) fn make_ready(&mut self, number: u64, now: Time) {
        self.change(number, |row| {
            row.state = State::Ready;
            row.ready_at = now;
            row.until = None;
            row.header.waiting_for = None;
        });
    }

    /// The task ends. The second answer is whether the next of its session became ready by that.
    pub(super) fn end(&mut self, number: u64, ending: &Ending, now: Time) -> maniple_core::Result<(Arc<StoredEvent>, bool)> {
        let row = &self.rows[&number];
        let (event, result) = rules::final_event(&row.header, ending, row.last() + 1, row.step, now)?;
        let event = self.change(number, |row| {
            row.state = State::Final;
            row.header.waiting_for = None;
            row.result = Some(result);
            row.dead = rules::is_poisoned(ending);
            row.signals = Vec::new();
            for approval in row.approvals.iter_mut().filter(|approval| approval.state == ApprovalState::Open) {
                approval.state = ApprovalState::Expired;
            }
            row.record(row.epoch, event)
        });
        self.unfinished -= 1;
        *self.unfinished_of.get_mut(&self.rows[&number].key.tenant).expect("it was counted") -= 1;
        Ok((event, self.release_next(number, now)))
    }

    /// Makes the next of this task's session ready, if none is head.
    fn release_next(&mut self, number: u64, now: Time) -> bool {
        let session = self.sessions.get(&self.rows[&number].session);
        let next = session.filter(|session| session.head.is_none()).and_then(|session| session.waiting.first_key_value());
        let Some(next) = next.map(|(_, next)| *next) else { return false };
        self.make_ready(next, now);
        true
    }

    /// Removes an ended task; its id stays taken.
    pub(super) fn remove(&mut self, number: u64, now: Time) {
        self.unindex(number);
        let Some(row) = self.rows.remove(&number) else { return };
        self.by_key.remove(&row.key);
        for approval in row.approvals {
            self.approvals.remove(&(row.key.tenant.clone(), approval.request.id));
        }
        self.by_age.remove(&(row.header.created_at, row.key.id.clone(), number));
        if let Some(kept) = row.definitions.and_then(|hash| self.definitions.get_mut(&hash)) {
            kept.0 = kept.0.saturating_sub(1);
        }
        self.taken.insert(row.key, now.plus(rules::IDS_KEPT));
    }
}
