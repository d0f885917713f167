//! The beginning of a task that is born claimed: made ready before it is accepted, recorded as it is, then sent.

use super::{Driver, asking, interrupt::Drain};
use crate::{
    Parts, WorkerSettings,
    agent::catalog::{Beginning, Prepared},
    health::Admitted,
    lease::Lease,
};
use maniple_core::{
    AgentName, Tenant, Time,
    event::Event,
    model::ModelRequest,
    ports::{Also, Born, Turn},
    run::{Ask, Next, Run},
    task::Task,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What is recorded of a birth: `task.accepted`, `task.started`, `model.started`.
const RECORDED: u64 = 3;

/// The first request of a task, its start recorded.
pub(super) struct First {
    pub(super) ask: Ask,
    pub(super) request: ModelRequest,
    pub(super) admitted: Admitted,
}

/// What a task begins with, all of it had from memory.
pub(crate) struct Unborn {
    beginning: Arc<Beginning>,
    run: Run,
    turns: Vec<Turn>,
    ask: Ask,
    request: ModelRequest,
    admitted: Admitted,
    model_started: Event,
}

impl Unborn {
    /// Nothing where its agent, its tools or its first request cannot be had at once, or its model is not to be asked now.
    pub(crate) fn of(parts: &Parts, settings: &WorkerSettings, task: &Task, turns: Vec<Turn>) -> Option<Box<Self>> {
        let agent = parts.agents.get(&task.agent)?;
        let tools = parts.tools.offers_now(&task.tenant, &agent.name, &agent.tools)?;
        let beginning = parts.agents.begin(&task.tenant, agent, tools).ok()?;
        let prepared: &Prepared = &beginning.prepared;
        let mut run = Run::accepted(task.clone(), parts.work.now());
        run.tell(run.accepted_at(), 0, &Event::Started(beginning.started.clone())).ok()?;
        let Next::Ask(ask) = run.next(run.accepted_at(), Some(&prepared.contracts)) else { return None };
        let left = task.deadline_ms.map(Duration::from_millis);
        let request = asking::request(&run, prepared, &turns, &ask, settings.call_times(), left).ok()?;
        let admitted = parts.health.admit(&request.model, false).ok()?;
        let model_started = asking::started(&ask, &request);
        run.tell(run.accepted_at(), ask.step, &model_started).ok()?;
        Some(Box::new(Self { beginning, run, turns, ask, request, admitted, model_started }))
    }

    /// The wish to be born with that, under a name of its own.
    pub(crate) fn wish(&self, agents: Arc<[AgentName]>, full: Vec<Tenant>, settled_at: u64) -> Born {
        Born {
            token: fastrand::u128(..),
            is_again: false,
            agents,
            full,
            settled_at,
            events: vec![(0, Event::Started(self.beginning.started.clone())), (self.ask.step, self.model_started.clone())],
            also: vec![Also::Definitions(self.beginning.definitions.clone())],
        }
    }
}

impl Driver {
    /// For a task that was born claimed at that time with what [`Unborn::wish`] said: what was recorded is sent first.
    pub(crate) fn born(
        parts: Arc<Parts>,
        settings: WorkerSettings,
        unborn: Box<Unborn>,
        at: Time,
        lease: Arc<Lease>,
        claimed_at: Instant,
        drain: Drain,
    ) -> Box<Self> {
        let Unborn { beginning, mut run, turns, ask, request, admitted, .. } = *unborn;
        run.born(at, RECORDED);
        let mut driver = Self::of(parts, settings, run, Some(turns), lease, (at, claimed_at), drain);
        driver.prepared = Some(beginning.prepared.clone());
        driver.first = Some(First { ask, request, admitted });
        driver
    }
}
