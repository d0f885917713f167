//! The loop as a pure value: folded from its journal, it says what comes next and is told what happened.
//!
//! | the journal ends with | next |
//! |---|---|
//! | `task.accepted` | [`Next::Start`] |
//! | `task.started`, `model.started`, `model.failed` | [`Next::Ask`] the model, or [`Next::End`] |
//! | `model.finished` with calls | [`Next::Call`] the tools |
//! | `model.finished` without | [`Next::End`], or [`Next::Ask`] for a repair |
//! | `tool.started`, `tool.finished`, `approval.requested`, `approval.decided` | [`Next::Call`] for what has no outcome, else [`Next::Ask`] |
//! | `run.parked`, `run.resumed` | as if it were not there |
//! | a final event | [`Next::Nothing`] |
//!
//! Before any of these: cancelled, then deadline, then budget. A run never looks at a clock;
//! whoever drives it records what `next` says before acting on it.

mod answer;
mod approve;
mod awaited;
mod calls;
mod decide;
mod takeover;
mod transcript;

pub use awaited::Awaited;
pub use calls::{Plan, Terms};
pub use decide::{Ask, Next};
pub use takeover::take_over;
pub use transcript::Piece;

use crate::{
    Error, Result, Time, canonical,
    event::{Event, ModelFailed, ModelFinished, Resumed, Started, StoredEvent, ToolFinished, ToolStarted, ToolStatus},
    message::ToolCall,
    model::FaultKind,
    signal::{Signal, SignalKind},
    task::{Progress, Task},
};
use std::collections::HashSet;

/// How many calls of one step run; the rest are refused to the model.
pub const CALLS_PER_STEP: usize = 16;
/// Schema repairs of one run.
pub const REPAIRS: u32 = 2;
/// The same call with the same result: the model is told from here on.
pub const REPEATS_TOLD: u32 = 3;
/// The same call with the same result: the run ends here.
pub const REPEATS_END: u32 = 6;

/// One task being carried out.
#[derive(Debug, Clone)]
pub struct Run {
    task: Task,
    accepted_at: Time,
    started: Option<(Started, Time)>,
    steps: Vec<Step>,
    /// How many of `steps` were taken over from a failed task: they count for nothing here.
    taken: usize,
    progress: Progress,
    seq: u64,
    parked: bool,
    cancelled: bool,
    ended: bool,
    /// How often a model said that the request was too long: each time halves the window.
    compactions: u32,
    /// Calls that may have happened, by tool and canonical arguments.
    doubted: HashSet<(String, String)>,
}

/// One model call and the tool calls it asked for.
#[derive(Debug, Clone)]
pub struct Step {
    /// 1, 2, 3 …; a retry goes on counting where the failed task stopped.
    pub number: u32,
    /// Attempts so far.
    pub attempts: u32,
    /// When the first of them was begun or given up.
    pub tried_at: Option<Time>,
    /// The attempts that came to nothing.
    pub faults: Vec<ModelFailed>,
    /// What the model said.
    pub reply: Option<ModelFinished>,
    /// The calls it asked for, in order.
    pub calls: Vec<Call>,
}

/// A tool call of a step: asked for, perhaps started, perhaps finished.
#[derive(Debug, Clone)]
pub struct Call {
    /// As the model asked.
    pub asked: ToolCall,
    /// As it was sent.
    pub started: Option<ToolStarted>,
    /// Its outcome.
    pub finished: Option<ToolFinished>,
    /// It was started under an earlier claim, and nobody knows how it went.
    pub interrupted: bool,
    /// What a person was asked before it, and said.
    approval: Option<approve::Inquiry>,
    /// What a person was asked after it, and said.
    doubt: Option<approve::Inquiry>,
    /// Its arguments in canonical spelling, or as they stand where they are not JSON.
    canonical: String,
}

impl Run {
    /// A run of a task that was accepted then: its journal is `task.accepted`, and nothing follows.
    pub fn accepted(task: Task, at: Time) -> Self {
        Self {
            task,
            accepted_at: at,
            started: None,
            steps: Vec::new(),
            taken: 0,
            progress: Progress::default(),
            seq: 1,
            parked: false,
            cancelled: false,
            ended: false,
            compactions: 0,
            doubted: HashSet::new(),
        }
    }

    /// The store accepted and began it at that moment: what was told before, when it was not known yet, is recorded.
    pub fn born(&mut self, at: Time, seq: u64) {
        self.accepted_at = at;
        self.started.iter_mut().for_each(|(_, started)| *started = at);
        self.seq = seq;
    }

    /// Rebuilds a run from everything recorded so far.
    pub fn fold(journal: &[StoredEvent]) -> Result<Self> {
        let (first, rest) = journal.split_first().ok_or_else(|| Error::internal("the journal is empty"))?;
        let Event::Accepted(task) = first.event()? else {
            return Err(Error::internal("the journal does not begin with task.accepted"));
        };
        if first.seq != 1 {
            return Err(Error::internal(format!("the journal begins with event {}", first.seq)));
        }
        let mut run = Self::accepted(task, first.at);
        for stored in rest {
            if stored.seq != run.seq + 1 {
                return Err(Error::internal(format!("the journal goes from event {} to {}", run.seq, stored.seq)));
            }
            run.apply(stored.at, stored.step, &stored.event()?)?;
            run.seq = stored.seq;
        }
        for call in run.steps.iter_mut().flat_map(|step| &mut step.calls) {
            call.interrupted = call.started.is_some() && call.finished.is_none();
        }
        Ok(run)
    }

    /// Takes in a fact that is about to be recorded. Nothing is done because of it before it is.
    pub fn tell(&mut self, at: Time, step: u32, fact: &Event) -> Result<()> {
        self.apply(at, step, fact)
    }

    /// Everything told so far is recorded, up to this number.
    pub fn recorded(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// Takes in a signal. What it means for the journal is said by [`Run::next`] and the returned facts.
    pub fn signalled(&mut self, signal: &Signal) -> Vec<Event> {
        if signal.kind == SignalKind::Cancel {
            self.cancelled = true;
            return Vec::new();
        }
        let resumed = self.parked.then(|| Event::Resumed(Resumed { by: signal.id.clone() }));
        let decided = (signal.kind == SignalKind::Approval).then(|| self.decided(signal)).flatten();
        resumed.into_iter().chain(decided.map(Event::ApprovalDecided)).collect()
    }

    fn apply(&mut self, at: Time, number: u32, event: &Event) -> Result<()> {
        match event {
            Event::Accepted(_) => return Err(Error::internal("a task is accepted twice")),
            Event::Started(started) => self.started = Some((started.clone(), at)),
            Event::ModelStarted(started) => {
                let step = self.step(number);
                step.attempts = started.attempt;
                step.tried_at.get_or_insert(at);
            }
            Event::ModelFailed(failed) => {
                self.compactions += u32::from(failed.fault == FaultKind::ContextTooLong);
                if let Some(usage) = failed.usage {
                    self.progress.spent(usage.total(), failed.cost_usd);
                }
                let step = self.step(number);
                step.attempts = step.attempts.max(failed.attempt);
                step.tried_at.get_or_insert(at);
                step.faults.push(failed.clone());
            }
            Event::ModelFinished(reply) => {
                self.progress.steps_used += 1;
                self.progress.spent(reply.usage.total(), reply.cost_usd);
                self.progress.tool_calls += reply.calls.len() as u32;
                self.progress.model = Some(reply.model.clone());
                self.step(number).replied(reply.clone());
            }
            Event::ToolStarted(started) => self.call(number, started.index)?.started = Some(started.clone()),
            Event::ToolFinished(finished) => {
                let call = self.call(number, finished.index)?;
                call.finished = Some(finished.clone());
                call.interrupted = false;
                if let (ToolStatus::InDoubt, Some(started)) = (finished.status, &call.started) {
                    let doubt = calls::itself(&started.name, &started.arguments);
                    self.doubted.insert(doubt);
                }
            }
            Event::TakenOver(taken) => {
                for step in &taken.steps {
                    self.steps.push(Step::taken(step)?);
                }
                self.taken = self.steps.len();
                self.doubted.extend(takeover::doubts(&self.steps));
            }
            Event::ApprovalRequested(request) => self.call(number, request.index)?.inquired(request),
            Event::ApprovalDecided(decided) => self.call(number, decided.index)?.answered(decided)?,
            Event::Parked(_) => self.parked = true,
            Event::Resumed(_) => self.parked = false,
            Event::Completed(_) | Event::Failed(_) | Event::Cancelled(_) => self.ended = true,
        }
        Ok(())
    }

    fn step(&mut self, number: u32) -> &mut Step {
        if self.steps.last().is_none_or(|last| last.number < number) {
            self.steps.push(Step::new(number));
        }
        let at = self.steps.iter().rposition(|step| step.number == number).unwrap_or(self.steps.len() - 1);
        &mut self.steps[at]
    }

    fn call(&mut self, number: u32, index: u32) -> Result<&mut Call> {
        let step = self.step(number);
        step.calls.get_mut(index as usize).ok_or_else(|| Error::internal(format!("step {number} asked for no call {index}")))
    }

    /// The task.
    pub fn task(&self) -> &Task {
        &self.task
    }
    /// When it was accepted.
    pub fn accepted_at(&self) -> Time {
        self.accepted_at
    }
    /// When it must have ended.
    pub fn deadline(&self) -> Option<Time> {
        self.task.deadline(self.accepted_at)
    }
    /// What it began with, and when.
    pub fn started(&self) -> Option<&(Started, Time)> {
        self.started.as_ref()
    }
    /// The last number recorded.
    pub fn seq(&self) -> u64 {
        self.seq
    }
    /// How far it has come. What was taken over does not count.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
    /// The steps so far, taken ones first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
    /// The number of the step it is in; 0 before the first.
    pub fn step_number(&self) -> u32 {
        self.steps.last().map_or(0, |step| step.number)
    }
    /// Whether somebody asked it to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }
    /// How often the window is to be halved.
    pub fn compactions(&self) -> u32 {
        self.compactions
    }
}

impl Step {
    fn new(number: u32) -> Self {
        Self { number, attempts: 0, tried_at: None, faults: Vec::new(), reply: None, calls: Vec::new() }
    }
    fn replied(&mut self, reply: ModelFinished) {
        self.calls = reply.calls.iter().cloned().map(Call::asked).collect();
        self.reply = Some(reply);
    }
}

impl Call {
    fn asked(asked: ToolCall) -> Self {
        let canonical = calls::arguments(&asked.arguments).map_or_else(|_| asked.arguments.clone(), |a| canonical::exact(&a));
        Self { asked, started: None, finished: None, interrupted: false, approval: None, doubt: None, canonical }
    }
}
