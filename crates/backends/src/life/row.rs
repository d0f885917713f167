//! What is known of a task beside its journal, and how it moves.

use super::State;
use crate::rules::{self, Draft};
use maniple_core::{
    Result, TaskKey, Tenant, Time,
    event::StoredEvent,
    ports::Publish,
    run::Awaited,
    task::{AgentResult, Ending, Header, Progress, Task, TaskStatus},
};

/// A task as a SQL store keeps it: narrow and rewritten often. Numbers are as SQL has them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) number: i64,
    pub(crate) tenant: Tenant,
    pub(crate) header: Header,
    pub(crate) state: State,
    /// In the order of all tasks; given when it is accepted or made due.
    pub(crate) place: Option<i64>,
    /// Rises with every claim.
    pub(crate) epoch: i64,
    pub(crate) last_seq: i64,
    pub(crate) last_step: u32,
    /// Whether a model or a tool answered under the present claim.
    pub(crate) progressed: bool,
    /// Claims in a row that expired without progress.
    pub(crate) barren_expired: u32,
    /// Claims in a row that a restart found open without progress.
    pub(crate) barren_open: u32,
    /// How many signals it has had, read ones included.
    pub(crate) signals: i64,
    pub(crate) not_before: Option<Time>,
    pub(crate) deadline: Option<Time>,
    /// Until when it is parked at most.
    pub(crate) until: Option<Time>,
    /// How the outside is told of it, in a store that keeps an outbox.
    pub(crate) publish: Option<Publish>,
}

/// What an end brings with it.
pub(crate) struct Ended {
    pub(crate) event: StoredEvent,
    pub(crate) result: AgentResult,
    /// Whether the next that waits in its session is ready now.
    pub(crate) frees_session: bool,
    /// Whether it goes to the dead letters.
    pub(crate) is_dead: bool,
}

impl Row {
    /// A task that is accepted now, into that state. Its events are recorded next.
    pub(crate) fn accepted(task: &Task, number: i64, state: State, now: Time) -> Self {
        Self {
            number,
            tenant: task.tenant.clone(),
            header: Header {
                id: task.id.clone(),
                session_id: task.session_id.clone(),
                agent: task.agent.clone(),
                created_at: now,
                started_at: None,
                trace_id: task.trace.as_ref().map(|trace| trace.trace_id().to_owned()),
                retry_of: task.retry_of.clone(),
                progress: Progress::default(),
                waiting_for: None,
            },
            state,
            // Rows and places are counted together: a task that takes its place at once has its row's number.
            place: (state != State::Scheduled).then_some(number),
            epoch: 0,
            last_seq: 0,
            last_step: 0,
            progressed: false,
            barren_expired: 0,
            barren_open: 0,
            signals: 0,
            not_before: task.not_before,
            deadline: task.deadline(now),
            until: None,
            publish: None,
        }
    }

    pub(crate) fn key(&self) -> TaskKey {
        TaskKey { tenant: self.tenant.clone(), id: self.header.id.clone() }
    }
    /// As it is at `now`, unfinished.
    pub(crate) fn live(&self, now: Time) -> AgentResult {
        let queued_for = self.state.queued_for().filter(|_| self.never_claimed());
        AgentResult { queued_for, ..self.header.live(now) }
    }
    pub(crate) fn never_claimed(&self) -> bool {
        self.header.started_at.is_none() && !self.state.is_final()
    }
    /// Whether the claim of that epoch holds.
    pub(crate) fn is_held_under(&self, epoch: u64) -> bool {
        self.state == State::Running && self.epoch as u64 == epoch
    }

    /// The next event of its journal.
    pub(crate) fn record(&mut self, draft: &Draft, now: Time) -> StoredEvent {
        let event = draft.numbered(self.last_seq as u64 + 1, now);
        self.recorded(&event);
        event
    }
    fn recorded(&mut self, event: &StoredEvent) {
        self.last_seq = event.seq as i64;
        self.last_step = self.last_step.max(event.step);
    }

    /// A worker takes it.
    pub(crate) fn claimed(&mut self, now: Time) {
        self.state = State::Running;
        self.epoch += 1;
        self.progressed = false;
        self.header.started_at.get_or_insert(now);
    }
    /// It is its session's head, and anybody may claim it.
    pub(crate) fn made_ready(&mut self) {
        (self.state, self.until, self.header.waiting_for) = (State::Ready, None, None);
    }
    /// Its holder recorded how far it has come; `progressed` if a model or a tool answered.
    pub(crate) fn came_on(&mut self, progress: Progress, progressed: bool) {
        self.header.progress = progress;
        if progressed {
            (self.progressed, self.barren_expired, self.barren_open) = (true, 0, 0);
        }
    }
    /// Its holder lets go of it.
    pub(crate) fn parked(&mut self, awaited: &Awaited) {
        (self.state, self.until, self.header.waiting_for) = (State::Parked, awaited.until, Some(awaited.what));
    }
    /// It takes its place in its session.
    pub(crate) fn placed(&mut self, place: i64, session_has_head: bool) {
        self.place = Some(place);
        self.state = if session_has_head { State::Waiting } else { State::Ready };
    }
    /// It ends.
    pub(crate) fn ended(&mut self, ending: &Ending, now: Time) -> Result<Ended> {
        let (event, result) = rules::final_event(&self.header, ending, self.last_seq as u64 + 1, self.last_step, now)?;
        let frees_session = self.state.is_head();
        self.recorded(&event);
        self.header.waiting_for = None;
        self.state = match ending.status {
            TaskStatus::Failed => State::Failed,
            TaskStatus::Cancelled => State::Cancelled,
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Completed => State::Completed,
        };
        Ok(Ended { event, result, frees_session, is_dead: rules::is_poisoned(ending) })
    }
}
