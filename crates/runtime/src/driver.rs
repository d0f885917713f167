//! Drives one claimed task: decide, record, act, tell; until it ends, parks or changes hands.
//!
//! Record before acting: a model asked twice may answer differently, and its second answer would
//! go out under the first one's idempotency keys.

mod admitting;
mod asking;
mod born;
mod calling;
mod doubting;
mod interrupt;
mod sending;
mod starting;
mod waiting;

use crate::{
    Parts,
    agent::catalog::Prepared,
    ended,
    lease::{Lease, patiently},
    spans,
};
use born::First;
pub(crate) use born::Unborn;
pub(crate) use interrupt::Drain;
use interrupt::{Interrupt, Interrupts};
use maniple_core::{
    Error, Result, TaskKey, Time,
    event::Event,
    message::Usage,
    ports::{self, Also, Append, Appended, Claimed, Hint, Live, Then, Turn},
    run::{Awaited, Next, Run},
    schema,
    signal::{Signal, SignalKind},
    task::Ending,
};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Span;

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
pub(crate) const TURNS_MAX: usize = 200;

/// Boxed from its first moment: futures that take it hold a pointer, where each would keep room for it twice.
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
    /// What goes with them.
    also: Vec<Also>,
    signals_read: Vec<String>,
    turns: Option<Vec<Turn>>,
    /// What a task was born with, recorded and still to be sent.
    first: Option<First>,
    interrupts: Interrupts,
    /// What its model calls took under this claim, answered or not.
    spent: Usage,
}

impl Driver {
    /// For a task that was claimed.
    pub(crate) fn claimed(
        parts: Arc<Parts>,
        settings: crate::WorkerSettings,
        claimed: &Claimed,
        lease: Arc<Lease>,
        claimed_at: Instant,
        drain: Drain,
    ) -> Result<Box<Self>> {
        let run = Run::fold(&claimed.journal)?;
        let turns = (!claimed.has_history).then(Vec::new);
        let mut driver = Self::of(parts, settings, run, turns, lease, (claimed.now, claimed_at), drain);
        driver.fold(&claimed.signals)?;
        Ok(driver)
    }

    /// `clock` is the store's time at some moment, and that moment.
    fn of(
        parts: Arc<Parts>,
        settings: crate::WorkerSettings,
        run: Run,
        turns: Option<Vec<Turn>>,
        lease: Arc<Lease>,
        clock: (Time, Instant),
        drain: Drain,
    ) -> Box<Self> {
        let deadline = run.deadline().map(|deadline| clock.1 + deadline.since(clock.0));
        Box::new(Self {
            interrupts: Interrupts::new(lease.watch(), deadline, drain),
            key: lease.claim.key.clone(),
            parts,
            settings,
            lease,
            run,
            prepared: None,
            clock,
            facts: Vec::new(),
            also: Vec::new(),
            signals_read: Vec::new(),
            turns,
            first: None,
            spent: Usage::default(),
        })
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// The story.
    pub(crate) async fn drive(mut self: Box<Self>) -> Result<Left> {
        if let (Some((started, _)), None) = (self.run.started(), &self.prepared) {
            self.prepared = Some(patiently(|| self.parts.agents.recall(&started.definitions, &self.parts.work)).await?);
        }
        loop {
            if self.interrupts.draining() && !self.run.is_cancelled() {
                return self.hand_over().await;
            }
            let flow = match self.first.take() {
                Some(First { ask, request, admitted }) => self.asked(ask, request, admitted).await?,
                None => self.go_on().await?,
            };
            if let Flow::Leave(left) = flow {
                spans::left(&Span::current(), &self.run, &self.spent);
                return Ok(left);
            }
        }
    }

    async fn go_on(&mut self) -> Result<Flow> {
        match self.next().await {
            Next::Start => self.start().await,
            Next::Ask(ask) => self.ask(ask).await,
            Next::Call => self.call().await,
            Next::End(ending) => self.end(ending).await,
            Next::Nothing => Ok(Flow::Leave(Left::Ended)),
        }
    }

    /// What comes next; decided aside where an answer is to be judged by a schema that takes long to compile.
    async fn next(&self) -> Next {
        let now = self.now();
        if let Some(prepared) =
            self.prepared.as_ref().filter(|prepared| self.run.judges_by(&prepared.contracts).is_some_and(schema::is_heavy))
        {
            let (run, prepared, tenant) = (self.run.clone(), prepared.clone(), self.run.task().tenant.clone());
            let judged = patiently(|| {
                let (run, prepared) = (run.clone(), prepared.clone());
                self.parts.aside.run(true, tenant.as_str(), move || run.next(now, Some(&prepared.contracts)))
            });
            if let Ok(next) = judged.await {
                return next;
            }
        }
        self.run.next(now, self.prepared.as_ref().map(|prepared| &prepared.contracts))
    }

    async fn end(&mut self, ending: Ending) -> Result<Flow> {
        spans::ended(&Span::current(), &ending);
        for doubt in self.run.open_doubts() {
            self.tell(self.run.step_number(), doubt)?;
        }
        match self.append(Then::End(ending)).await? {
            Recorded::Yes => Ok(Flow::Leave(Left::Ended)),
            Recorded::Lost => Ok(Flow::Leave(Left::Lost)),
        }
    }

    async fn hand_over(&mut self) -> Result<Left> {
        if let Recorded::Lost = self.record().await? {
            return Ok(Left::Lost);
        }
        patiently(|| self.parts.work.release(&self.lease.claim)).await?;
        self.parts.bus.hint(Hint::Ready(self.run.task().agent.clone()));
        Ok(Left::HandedOver)
    }

    /// Tells the run a fact and keeps it for the next record.
    fn tell(&mut self, step: u32, fact: Event) -> Result<()> {
        self.run.tell(self.now(), step, &fact)?;
        self.count(&fact);
        self.also.extend(goes_with(&fact, self.facts.len()));
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

    /// Lets go of the worker until what it waits for has come.
    async fn park(&mut self, awaited: Awaited) -> Result<Parking> {
        let parked = (self.run.step_number(), Event::Parked(awaited.into()));
        Ok(match self.offer(vec![parked], Then::Park(awaited)).await? {
            Offered::Yes => Parking::Left(Left::Parked),
            Offered::Lost => Parking::Left(Left::Lost),
            Offered::Refused => Parking::SignalsRead,
        })
    }

    /// Records everything told so far: one transaction, durable when it returns.
    async fn record(&mut self) -> Result<Recorded> {
        if self.facts.is_empty() && self.signals_read.is_empty() {
            return Ok(Recorded::Yes);
        }
        self.append(Then::Keep).await
    }

    /// The same, and what then becomes of the claim. Nothing goes with it that could be refused.
    async fn append(&mut self, then: Then) -> Result<Recorded> {
        match self.send_append(&[], then).await? {
            Appended::Recorded(recorded) => {
                self.recorded(recorded);
                Ok(Recorded::Yes)
            }
            Appended::Stale => Ok(Recorded::Lost),
            Appended::Refused(why) => Err(Error::internal(format!("the store refuses an append with which nothing goes: {why:?}"))),
        }
    }

    /// Records facts that hold only if nothing has come from outside meanwhile. The run is told of them once they do;
    /// otherwise what has come is folded in, and the run decides again.
    async fn offer(&mut self, facts: Vec<(u32, Event)>, then: Then) -> Result<Offered> {
        match self.send_append(&facts, then).await? {
            Appended::Recorded(recorded) => {
                for (step, fact) in &facts {
                    self.run.tell(self.now(), *step, fact)?;
                    self.count(fact);
                }
                self.recorded(recorded);
                Ok(Offered::Yes)
            }
            Appended::Stale => Ok(Offered::Lost),
            Appended::Refused(_) => {
                self.read_signals().await?;
                Ok(Offered::Refused)
            }
        }
    }

    /// Everything told so far, and what is offered. Made again after a lost reply, it is the same append.
    async fn send_append(&self, offered: &[(u32, Event)], then: Then) -> Result<Appended> {
        let goes_with = offered.iter().zip(self.facts.len()..).filter_map(|((_, fact), at)| goes_with(fact, at));
        let append = Append {
            claim: self.lease.claim.clone(),
            after: self.run.seq(),
            events: self.facts.iter().chain(offered).cloned().collect(),
            signals_read: self.signals_read.clone(),
            progress: self.run.progress().clone(),
            also: self.also.iter().cloned().chain(goes_with).collect(),
            then,
        };
        patiently(|| self.parts.work.append(append.clone())).await
    }

    fn recorded(&mut self, ports::Recorded { events, readied }: ports::Recorded) {
        self.run.recorded(self.run.seq() + events.len() as u64);
        self.facts.clear();
        self.also.clear();
        self.signals_read.clear();
        for event in events {
            ended::tell_event(&event);
            self.parts.bus.publish(&self.key, Live::Event(event));
        }
        if readied {
            // The session's next.
            self.parts.bus.hint(Hint::Ready(self.run.task().agent.clone()));
        }
    }

    /// Reads unread signals and folds them in; they are marked read by the next record.
    async fn read_signals(&mut self) -> Result<()> {
        let signals = patiently(|| self.parts.work.signals(&self.key)).await?;
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

/// What became of facts that nothing can be said against.
enum Recorded {
    Yes,
    /// The claim is gone.
    Lost,
}

/// What became of facts that hold only if nothing has come meanwhile.
enum Offered {
    Yes,
    /// The claim is gone.
    Lost,
    /// Something had come. It is folded in; the facts were not recorded.
    Refused,
}

/// What a store does beside recording a fact, which stands at this place of its append.
fn goes_with(fact: &Event, event: usize) -> Option<Also> {
    match fact {
        Event::ApprovalRequested(_) => Some(Also::Ask { event }),
        Event::ApprovalDecided(decided) => Some(Also::Settle { id: decided.id.clone(), answer: decided.answer }),
        _ => None,
    }
}
