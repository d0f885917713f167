//! Drives one claimed task: decide, record, act, tell; until it ends, parks or changes hands.
//!
//! Record before acting: a model asked twice may answer differently, and its second answer would
//! go out under the first one's idempotency keys.

mod admitting;
mod asking;
mod calling;
mod doubting;
mod interrupt;
mod sending;

use crate::{
    Parts,
    agent::catalog::Prepared,
    ended,
    lease::{Lease, patiently},
};
pub(crate) use interrupt::Drain;
use interrupt::{Interrupt, Interrupts};
use maniple_core::{
    Error, Kind, Result, TaskKey, Time,
    agent::Definitions,
    event::{Event, Parked},
    ports::{Append, Appended, Claimed, Hint, Live, Then, Turn},
    run::{Next, Run},
    signal::{Signal, SignalKind},
    task::{Ending, ErrorCode, WaitingFor},
};
use std::sync::Arc;
use tokio::time::Instant;

/// How a driver left its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It ended.
    Ended,
    /// It waits for a signal or a moment.
    Parked,
    /// Another worker goes on with it.
    HandedOver,
    /// The claim was taken away: another worker is already at it.
    Lost,
}

/// What the driver's chapters say to its story.
enum Flow {
    Go,
    Leave(Left),
}

/// The most of a conversation that is read, in turns; the window decides how many are shown.
const TURNS_MAX: usize = 200;

pub(crate) struct Driver {
    parts: Arc<Parts>,
    settings: crate::WorkerSettings,
    lease: Arc<Lease>,
    key: TaskKey,
    run: Run,
    prepared: Option<Arc<Prepared>>,
    /// The store's time at some moment, and that moment: in between we count ourselves.
    clock: (Time, Instant),
    /// Facts told to the run and not yet recorded.
    facts: Vec<(u32, Event)>,
    signals_read: Vec<String>,
    definitions: Option<Arc<(String, Definitions)>>,
    turns: Option<Vec<Turn>>,
    interrupts: Interrupts,
}

impl Driver {
    pub(crate) fn new(
        parts: Arc<Parts>,
        settings: crate::WorkerSettings,
        claimed: &Claimed,
        lease: Arc<Lease>,
        claimed_at: Instant,
        drain: Drain,
    ) -> Result<Self> {
        let run = Run::fold(&claimed.journal)?;
        let deadline = run.deadline().map(|deadline| claimed_at + deadline.since(claimed.now));
        let mut driver = Self {
            interrupts: Interrupts::new(lease.watch(), deadline, drain),
            key: claimed.claim.key.clone(),
            parts,
            settings,
            lease,
            run,
            prepared: None,
            clock: (claimed.now, claimed_at),
            facts: Vec::new(),
            signals_read: Vec::new(),
            definitions: None,
            turns: (!claimed.has_history).then(Vec::new),
        };
        driver.fold(&claimed.signals)?;
        Ok(driver)
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// The story.
    pub(crate) async fn drive(mut self) -> Result<Left> {
        if let Some((started, _)) = self.run.started() {
            self.prepared = Some(patiently(|| self.parts.agents.recall(&started.definitions, &self.parts.store)).await?);
        }
        loop {
            if self.interrupts.draining() && !self.run.is_cancelled() {
                return self.hand_over().await;
            }
            let contracts = self.prepared.as_ref().map(|prepared| &prepared.contracts);
            let flow = match self.run.next(self.now(), contracts) {
                Next::Start => self.start().await?,
                Next::Ask(ask) => self.ask(ask).await?,
                Next::Call => self.call().await?,
                Next::End(ending) => self.end(ending).await?,
                Next::Nothing => Flow::Leave(Left::Ended),
            };
            if let Flow::Leave(left) = flow {
                return Ok(left);
            }
        }
    }

    /// Takes the agent and its tools as they are now; the run will end on them.
    async fn start(&mut self) -> Result<Flow> {
        let Some(agent) = self.parts.agents.get(&self.run.task().agent) else {
            // It was removed between claim and now: whoever serves it takes over.
            return self.hand_over().await.map(Flow::Leave);
        };
        let tools = match patiently(|| self.parts.tools.resolve(&agent.name, &agent.tools)).await {
            Ok(tools) => tools,
            Err(error) if error.kind == Kind::Unavailable => return Err(error),
            Err(error) => return self.end(Ending::failed(ErrorCode::Internal, format!("the agent cannot start: {error}"))).await,
        };
        let beginning = match self.parts.agents.begin(agent, tools) {
            Ok(beginning) => beginning,
            Err(error) => return self.end(Ending::failed(ErrorCode::Internal, format!("the agent cannot start: {error}"))).await,
        };
        self.prepared = Some(beginning.prepared.clone());
        self.definitions = Some(beginning.definitions.clone());
        self.tell(0, Event::Started(beginning.started.clone()))?;
        Ok(Flow::Go)
    }

    async fn end(&mut self, ending: Ending) -> Result<Flow> {
        let (status, code) = (ending.status, ending.error);
        for doubt in self.run.open_doubts() {
            self.tell(self.run.step_number(), doubt)?;
        }
        match self.record(Then::End(ending)).await? {
            Recorded::Yes => {
                // The session's next task may be ready now.
                self.parts.bus.hint(Hint::Ready(self.run.task().agent.clone()));
                ended::count(&self.run.task().agent, status);
                tracing::debug!(status = status.as_str(), error = ?code, "ended");
                Ok(Flow::Leave(Left::Ended))
            }
            Recorded::Lost => Ok(Flow::Leave(Left::Lost)),
            Recorded::SignalsUnread => unreachable!("only parking and expiring ask for signals"),
        }
    }

    async fn hand_over(&mut self) -> Result<Left> {
        if let Recorded::Lost = self.record(Then::Keep).await? {
            return Ok(Left::Lost);
        }
        patiently(|| self.parts.store.release(&self.lease.claim)).await?;
        self.parts.bus.hint(Hint::Ready(self.run.task().agent.clone()));
        Ok(Left::HandedOver)
    }

    /// Tells the run a fact and keeps it for the next record.
    fn tell(&mut self, step: u32, fact: Event) -> Result<()> {
        self.run.tell(self.now(), step, &fact)?;
        self.count(&fact);
        self.facts.push((step, fact));
        Ok(())
    }

    fn count(&self, fact: &Event) {
        match fact {
            Event::ToolFinished(finished) => {
                // A model may make names up: only granted tools become labels.
                let granted = self.prepared.as_ref().is_some_and(|prepared| prepared.contracts.tool(&finished.name).is_some());
                let tool = if granted { finished.name.clone() } else { "unknown".to_owned() };
                metrics::counter!("maniple_tool_calls_total", "tool" => tool, "status" => finished.status.as_str()).increment(1);
            }
            Event::ApprovalRequested(request) => {
                metrics::counter!("maniple_approvals_requested_total", "question" => request.question.as_str()).increment(1);
            }
            Event::ApprovalDecided(decided) => {
                metrics::counter!("maniple_approvals_decided_total", "answer" => decided.answer.as_str()).increment(1);
            }
            _ => {}
        }
    }

    /// Lets go of the worker until a signal, or the moment, has come.
    async fn park(&mut self, waiting_for: WaitingFor, until: Option<Time>) -> Result<Parking> {
        self.facts.push((self.run.step_number(), Event::Parked(Parked { waiting_for, until })));
        match self.record(Then::Park { waiting_for, until }).await? {
            Recorded::Yes => Ok(Parking::Left(Left::Parked)),
            Recorded::Lost => Ok(Parking::Left(Left::Lost)),
            Recorded::SignalsUnread => {
                self.facts.pop();
                self.read_signals().await?;
                Ok(Parking::SignalsRead)
            }
        }
    }

    /// Records everything told so far: one transaction, durable when it returns.
    async fn record(&mut self, then: Then) -> Result<Recorded> {
        if self.facts.is_empty() && self.signals_read.is_empty() && then == Then::Keep {
            return Ok(Recorded::Yes);
        }
        let append = Append {
            claim: self.lease.claim.clone(),
            after: self.run.seq(),
            events: self.facts.clone(),
            signals_read: self.signals_read.clone(),
            progress: self.run.progress().clone(),
            definitions: self.definitions.clone(),
            outbox: Vec::new(),
            then,
        };
        // Made again after a lost reply, it is the same append.
        let events = match patiently(|| self.parts.store.append(append.clone())).await? {
            Appended::Recorded(events) => events,
            Appended::Stale => return Ok(Recorded::Lost),
            Appended::SignalsUnread => return Ok(Recorded::SignalsUnread),
        };
        self.run.recorded(self.run.seq() + events.len() as u64);
        self.facts.clear();
        self.signals_read.clear();
        self.definitions = None;
        for event in events {
            self.parts.bus.publish(&self.key, Live::Event(event));
        }
        Ok(Recorded::Yes)
    }

    /// Reads unread signals and folds them in; they are marked read by the next record.
    async fn read_signals(&mut self) -> Result<()> {
        let signals = patiently(|| self.parts.store.signals(&self.key)).await?;
        self.fold(&signals)
    }
    fn fold(&mut self, signals: &[Signal]) -> Result<()> {
        for signal in signals {
            if self.signals_read.contains(&signal.id) {
                continue;
            }
            for fact in self.run.signalled(signal) {
                self.tell(self.run.step_number(), fact)?;
            }
            // A cancel stays unread until the end that it causes: a holder that dies or leaves before passes it on.
            if signal.kind != SignalKind::Cancel {
                self.signals_read.push(signal.id.clone());
            }
        }
        Ok(())
    }

    /// What an interruption means for whoever waits: `None` to go on waiting.
    async fn interrupted(&mut self, interrupt: Interrupt) -> Result<Option<Flow>> {
        match interrupt {
            Interrupt::Signals => {
                self.read_signals().await?;
                Ok(self.run.is_cancelled().then_some(Flow::Go))
            }
            // The story asks `next`, which sees the deadline and the drain for itself.
            Interrupt::Deadline | Interrupt::Drain => Ok(Some(Flow::Go)),
            Interrupt::Lost => Ok(Some(Flow::Leave(Left::Lost))),
        }
    }

    /// The store's time.
    fn now(&self) -> Time {
        let (time, moment) = self.clock;
        time.plus(moment.elapsed())
    }

    fn prepared(&self) -> Result<Arc<Prepared>> {
        self.prepared.clone().ok_or_else(|| Error::internal("the run has no definitions yet"))
    }
}

/// What became of a wish to park.
enum Parking {
    /// It is parked, or no longer ours.
    Left(Left),
    /// Signals had come: they are folded in, and the run goes on.
    SignalsRead,
}

enum Recorded {
    Yes,
    Lost,
    SignalsUnread,
}
