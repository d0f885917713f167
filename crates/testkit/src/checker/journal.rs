//! What must hold of one journal, read alone.

use maniple_core::{
    TaskId, canonical,
    event::{Answer, ApprovalRequested, Event, ModelFinished, Question, StoredEvent, ToolFinished, ToolStarted, ToolStatus},
    run::CALLS_PER_STEP,
    task::{AgentResult, TaskStatus},
    tool::Effect,
};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is wrong with the journal of a task that ended in `result`.
pub(super) fn check(id: &TaskId, result: &AgentResult, events: &[StoredEvent], guarded: &BTreeSet<String>, violated: &mut Vec<String>) {
    let mut journal = Journal { guarded: guarded.clone(), ..Journal::default() };
    journal.numbers(events);
    for stored in events {
        match stored.event() {
            Ok(event) => journal.read(stored.step, &event),
            Err(error) => journal.wrong(format!("event {}: {error}", stored.seq)),
        }
    }
    journal.ended(result, events.last());
    violated.extend(journal.wrong.into_iter().map(|what| format!("task {id}: {what}")));
}

#[derive(Default)]
struct Journal {
    token_budget: u64,
    max_steps: u32,
    tokens: u64,
    asked: u32,
    answered: BTreeSet<u32>,
    started: BTreeMap<(u32, u32), ToolStarted>,
    finished: BTreeMap<(u32, u32), ToolStatus>,
    doubted: BTreeSet<(String, String)>,
    guarded: BTreeSet<String>,
    asked_for: BTreeMap<String, (u32, ApprovalRequested)>,
    decided: BTreeMap<String, Answer>,
    ended: bool,
    wrong: Vec<String>,
}

impl Journal {
    fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    fn numbers(&mut self, events: &[StoredEvent]) {
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        if numbers != (1..=events.len() as u64).collect::<Vec<_>>() {
            self.wrong(format!("its events are numbered {numbers:?}"));
        }
        if events.windows(2).any(|pair| pair[1].at < pair[0].at) {
            self.wrong("its clock goes backwards".into());
        }
    }

    fn read(&mut self, step: u32, event: &Event) {
        if self.ended {
            self.wrong(format!("{} follows the final event", event.name()));
        }
        match event {
            Event::Accepted(task) => (self.token_budget, self.max_steps) = (task.token_budget, task.max_steps),
            Event::ModelStarted(_) if self.answered.contains(&step) => self.wrong(format!("step {step} is asked again after its answer")),
            Event::ModelStarted(_) if self.tokens > self.token_budget => {
                self.wrong(format!("step {step} is asked with {} of {} tokens used", self.tokens, self.token_budget));
            }
            Event::ModelFinished(reply) => self.model_finished(step, reply),
            Event::ToolStarted(started) => self.tool_started(step, started),
            Event::ToolFinished(finished) => self.tool_finished(step, finished),
            Event::TakenOver(taken) => {
                for step in &taken.steps {
                    self.answered.insert(step.step);
                    self.started.extend(step.started.iter().map(|started| ((step.step, started.index), started.clone())));
                    self.finished.extend(step.finished.iter().map(|finished| ((step.step, finished.index), finished.status)));
                }
            }
            Event::Completed(_) | Event::Failed(_) | Event::Cancelled(_) => self.ended = true,
            Event::ModelFailed(failed) => self.tokens += failed.usage.map_or(0, |usage| usage.total()),
            Event::Started(_) | Event::ModelStarted(_) | Event::Parked(_) | Event::Resumed(_) => {}
            Event::ApprovalRequested(request) => {
                if self.asked_for.insert(request.id.clone(), (step, request.clone())).is_some() {
                    self.wrong(format!("`{}` is asked twice", request.id));
                }
            }
            Event::ApprovalDecided(decided) => {
                if !self.asked_for.contains_key(&decided.id) {
                    self.wrong(format!("`{}` is decided and was never asked", decided.id));
                }
                if self.decided.insert(decided.id.clone(), decided.answer).is_some() {
                    self.wrong(format!("`{}` is decided twice", decided.id));
                }
            }
        }
    }

    fn model_finished(&mut self, step: u32, reply: &ModelFinished) {
        self.tokens += reply.usage.total();
        self.asked += reply.calls.len() as u32;
        if !self.answered.insert(step) {
            self.wrong(format!("step {step} is answered twice"));
        }
        if self.answered.len() as u32 > self.max_steps {
            self.wrong(format!("step {step} is beyond max_steps {}", self.max_steps));
        }
    }

    fn tool_started(&mut self, step: u32, started: &ToolStarted) {
        let place = (step, started.index);
        if started.index as usize >= CALLS_PER_STEP {
            self.wrong(format!("call {place:?} is beyond the {CALLS_PER_STEP} of a step"));
        }
        if self.started.contains_key(&place) || self.finished.contains_key(&place) {
            self.wrong(format!("call {place:?} is started again"));
        }
        if self.doubted.contains(&(started.name.clone(), canonical::text(&started.arguments))) {
            self.wrong(format!("call {place:?} repeats one that is in doubt"));
        }
        let may_call = self.asked_for.values().find(|(asked_in, request)| {
            (*asked_in, request.index) == place && request.question == Question::MayCall && request.arguments == started.arguments
        });
        let agreed = may_call.is_some_and(|(_, request)| self.decided.get(&request.id) == Some(&Answer::Approved));
        if self.guarded.contains(&started.name) && !agreed {
            self.wrong(format!("call {place:?} is started and nobody agreed to it"));
        }
        self.started.insert(place, started.clone());
    }

    fn tool_finished(&mut self, step: u32, finished: &ToolFinished) {
        let place = (step, finished.index);
        if self.finished.insert(place, finished.status).is_some() {
            self.wrong(format!("call {place:?} is finished twice"));
        }
        match (self.started.get(&place), finished.status) {
            (Some(started), ToolStatus::InDoubt) if started.effect == Effect::AtMostOnce => {
                self.doubted.insert((started.name.clone(), canonical::text(&started.arguments)));
            }
            (_, ToolStatus::InDoubt) => self.wrong(format!("call {place:?} is in doubt and not at_most_once")),
            (Some(_), ToolStatus::Refused) => self.wrong(format!("call {place:?} was sent and is refused")),
            (None, ToolStatus::Ok | ToolStatus::Error) => self.wrong(format!("call {place:?} has an outcome and no start")),
            (Some(_), ToolStatus::Ok | ToolStatus::Error) | (None, ToolStatus::Refused) => {}
        }
    }

    fn ended(&mut self, result: &AgentResult, last: Option<&StoredEvent>) {
        match last.and_then(StoredEvent::result) {
            None => self.wrong("it is final and its journal has no final event".into()),
            Some(told) if told != *result => self.wrong(format!("its final event says {told:?}, its status {result:?}")),
            Some(_) => {}
        }
        if (result.tokens_used, result.tool_calls) != (self.tokens, self.asked) {
            let told = (result.tokens_used, result.tool_calls);
            self.wrong(format!("it says {told:?} tokens and calls, its journal {:?}", (self.tokens, self.asked)));
        }
        let open: Vec<_> = self.started.keys().filter(|place| !self.finished.contains_key(place)).copied().collect();
        if result.status == TaskStatus::Completed && !open.is_empty() {
            self.wrong(format!("it completed without an outcome of {open:?}"));
        }
    }
}
