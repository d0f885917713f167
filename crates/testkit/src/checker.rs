//! The one checker of what must never happen: over journals, final results and the outside ledger.
//!
//! | | what |
//! |---|---|
//! | L | an accepted task that is not final |
//! | D | an `at_most_once` action arrived twice; an `idempotent` one under two keys or with two different arguments; anything arrived after its outcome was recorded, or without a record of its start |
//! | V | a call started that needed an agreement and had none; a journal with gaps, without end, or that asks again what was answered; a session out of order; a budget overshot; a stale write |

mod journal;
mod witness;

pub use witness::Witness;

use crate::ledger::{Arrival, Ledger};
use maniple_core::{
    TaskId, TaskKey, canonical,
    event::{Event, Question, StoredEvent, ToolStarted, ToolStatus},
    ports::TaskStore,
    task::AgentResult,
    tool::Effect,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Accepted tasks that were lost.
    pub lost: Vec<String>,
    /// Side effects repeated beyond their class.
    pub doubled: Vec<String>,
    /// Any other promise that was broken.
    pub violated: Vec<String>,
}

impl Findings {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
    /// Panics with everything that was found.
    #[track_caller]
    pub fn assert_clean(&self, about: &str) {
        assert!(self.is_clean(), "{about}: L = {}, D = {}, V = {}\n{self:#?}", self.lost.len(), self.doubled.len(), self.violated.len());
    }
}

/// A task as it was told to the outside.
struct Told {
    id: TaskId,
    result: Option<AgentResult>,
    events: Vec<StoredEvent>,
}

/// Collects what is known, then checks it.
#[derive(Default)]
pub struct Checker {
    tasks: Vec<Told>,
    arrivals: Vec<Arrival>,
    late_ms: Option<i64>,
    guarded: BTreeSet<String>,
}

impl Checker {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// An accepted task, its result now (`None` where nobody knows it any more) and its events.
    pub fn task(&mut self, id: TaskId, result: Option<AgentResult>, events: Vec<StoredEvent>) {
        self.tasks.push(Told { id, result, events });
    }
    /// What arrived at the tools.
    pub fn ledger(&mut self, ledger: &Ledger) {
        self.arrivals(ledger.arrivals());
    }
    /// Some of what arrived there: calls that no run made are in no journal, and judged by whoever made them.
    pub fn arrivals(&mut self, arrivals: impl IntoIterator<Item = Arrival>) {
        self.arrivals.extend(arrivals);
    }
    /// Ledger and journal are on the same wall clock: an arrival more than this after the outcome was recorded is too late.
    pub fn one_clock(&mut self, tolerance_ms: i64) {
        self.late_ms = Some(tolerance_ms);
    }
    /// No call of these tools may be started that no person agreed to.
    pub fn guarded(&mut self, tools: impl IntoIterator<Item = String>) {
        self.guarded.extend(tools);
    }
    /// All tasks of a store that were accepted, and everything known of them.
    pub async fn read(&mut self, store: &dyn TaskStore, accepted: &[TaskKey]) -> maniple_core::Result<()> {
        for key in accepted {
            let result = store.get(key).await?;
            let events = store.events(key, 0, usize::MAX, usize::MAX).await?.unwrap_or_default();
            self.task(key.id.clone(), result, events);
        }
        Ok(())
    }

    /// What must never happen and did.
    pub fn check(&self) -> Findings {
        let mut findings = Findings::default();
        let mut calls = Calls::default();
        for task in &self.tasks {
            match &task.result {
                None => findings.lost.push(format!("task {} is gone", task.id)),
                Some(result) if !result.status.is_final() => {
                    findings.lost.push(format!("task {} is still {}", task.id, result.status.as_str()));
                }
                Some(result) => journal::check(&task.id, result, &task.events, &self.guarded, &mut findings.violated),
            }
            calls.read(&task.events);
        }
        self.check_effects(&calls, &mut findings.doubled);
        self.check_sessions(&mut findings.violated);
        findings
    }

    fn check_effects(&self, calls: &Calls, doubled: &mut Vec<String>) {
        let mut actions: BTreeMap<String, Vec<&Arrival>> = BTreeMap::new();
        for arrival in &self.arrivals {
            actions.entry(arrival.action()).or_default().push(arrival);
            calls.check(arrival, self.late_ms, doubled);
        }
        for (action, arrivals) in actions {
            let keys: BTreeSet<_> = arrivals.iter().map(|arrival| &arrival.key).collect();
            let arguments: BTreeSet<String> = arrivals.iter().map(|arrival| canonical::text(&arrival.arguments)).collect();
            match calls.effects.get(&arrivals[0].tool) {
                Some(Effect::AtMostOnce) if arrivals.len() > 1 => {
                    doubled.push(format!("at_most_once `{action}` arrived {} times, under {keys:?}", arrivals.len()));
                }
                Some(Effect::Idempotent) if keys.len() > 1 || arguments.len() > 1 => {
                    doubled.push(format!("idempotent `{action}` arrived under {keys:?} with {arguments:?}"));
                }
                Some(Effect::Pure | Effect::Idempotent | Effect::AtMostOnce) | None => {}
            }
        }
    }

    /// One task of a session at a time, in the order they were accepted.
    fn check_sessions(&self, violated: &mut Vec<String>) {
        let mut sessions: BTreeMap<_, Vec<&AgentResult>> = BTreeMap::new();
        for result in self.tasks.iter().filter_map(|task| task.result.as_ref()).filter(|result| result.started_at.is_some()) {
            sessions.entry((result.agent.clone(), result.session_id.clone())).or_default().push(result);
        }
        for ((_, session), mut results) in sessions {
            results.sort_by_key(|result| (result.started_at, result.finished_at));
            for pair in results.windows(2) {
                if pair[1].started_at < pair[0].finished_at {
                    violated.push(format!("session {session}: {} began before {} had ended", pair[1].task_id, pair[0].task_id));
                }
                if pair[1].created_at < pair[0].created_at {
                    violated.push(format!("session {session}: {} was carried out before the older {}", pair[0].task_id, pair[1].task_id));
                }
            }
        }
    }
}

/// All calls that any journal says were started.
#[derive(Default)]
struct Calls {
    effects: BTreeMap<String, Effect>,
    started: BTreeMap<String, (String, Value)>,
    finished_ms: BTreeMap<String, i64>,
}

impl Calls {
    fn read(&mut self, events: &[StoredEvent]) {
        let mut keys = BTreeMap::new();
        for stored in events {
            match stored.event() {
                // What a person says of a call in doubt is no outcome either: it may be on its way still.
                Ok(Event::ApprovalRequested(request)) if request.question == Question::DidHappen => {
                    keys.remove(&(stored.step, request.index));
                }
                Ok(Event::ToolStarted(started)) => {
                    keys.insert((stored.step, started.index), started.key.clone());
                    self.start(&started);
                }
                Ok(Event::TakenOver(taken)) => {
                    for (step, started) in taken.steps.iter().flat_map(|step| step.started.iter().map(|started| (step.step, started))) {
                        keys.insert((step, started.index), started.key.clone());
                        self.start(started);
                    }
                }
                // A doubt is no outcome: the call may be on its way still, for the first time.
                Ok(Event::ToolFinished(finished)) if finished.status != ToolStatus::InDoubt => {
                    if let Some(key) = keys.get(&(stored.step, finished.index)) {
                        self.finished_ms.insert(key.clone(), stored.at.0);
                    }
                }
                _ => {}
            }
        }
    }

    fn start(&mut self, started: &ToolStarted) {
        self.effects.insert(started.name.clone(), started.effect);
        self.started.insert(started.key.clone(), (started.name.clone(), started.arguments.clone()));
    }

    fn check(&self, arrival: &Arrival, late_ms: Option<i64>, doubled: &mut Vec<String>) {
        let Some(key) = &arrival.key else {
            return doubled.push(format!("`{}` arrived without a key", arrival.action()));
        };
        match self.started.get(key) {
            None => doubled.push(format!("`{}` arrived under {key}, which no journal says was started", arrival.action())),
            Some((tool, arguments)) if *tool != arrival.tool || !canonical::same(arguments, &arrival.arguments) => {
                doubled.push(format!("{key} arrived as {} {}, recorded as {tool} {arguments}", arrival.tool, arrival.arguments));
            }
            Some(_) => {}
        }
        let recorded_ms = self.finished_ms.get(key);
        let late = late_ms.zip(recorded_ms).is_some_and(|(tolerance, recorded)| arrival.at_ms > recorded + tolerance);
        if arrival.too_late || late {
            doubled.push(format!("{key} arrived again after its outcome was recorded"));
        }
    }
}
