//! The tool calls of one step: eight at a time, each recorded before it is sent and when it has its outcome.
//!
//! ```text
//! plan ─► a place under its rate limit ─► record ─► send ─► land ─► record
//!    └─► nothing in flight, and calls wait for a person or a place: park
//! ```

use super::{Driver, Flow, Left, Offered, Parking, Recorded, admitting::Held, interrupt::Interrupt};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use maniple_core::{
    Result,
    event::{Event, ToolFinished, ToolStarted},
    run::{Awaited, Plan},
    tool::Effect,
};
use std::time::Duration;
use tokio::time::Instant;

/// How long a started `at_most_once` call gets when its task is cancelled or out of time.
const GRACE: Duration = Duration::from_secs(1);

type Landing = FuturesUnordered<BoxFuture<'static, ToolFinished>>;

/// The calls in flight, by what may be done with them.
#[derive(Default)]
struct Flight {
    /// May be dropped and sent again.
    free: Landing,
    /// Never sent twice: dropping one leaves it in doubt.
    once: Landing,
    once_started: Vec<ToolStarted>,
    /// In doubt since an earlier claim; the tool is asked whether it happened. Dropping one changes nothing.
    probed: Landing,
    probed_started: Vec<ToolStarted>,
}

impl Driver {
    pub(super) async fn call(&mut self) -> Result<Flow> {
        let step = self.run.step_number();
        let mut flight = Flight::default();
        let mut held = Held::default();
        let out_of_patience = self.interrupts.out_of_patience();
        loop {
            let draining = self.interrupts.draining();
            let room = if draining { 0 } else { self.settings.calls_parallel.saturating_sub(flight.len()) };
            let Plan { record, start, resend, doubts, expired, awaits } = self.admitted(step, room, &mut held).await?;
            for fact in record.into_iter().chain(start.iter().cloned().map(Event::ToolStarted)) {
                self.tell(step, fact)?;
            }
            for started in doubts {
                self.doubt(step, started, draining, &mut flight)?;
            }
            let sends = !start.is_empty() || !resend.is_empty();
            match self.record().await? {
                Recorded::Yes if !sends || self.lease.holds(&self.parts.work).await => {}
                Recorded::Yes | Recorded::Lost => return Ok(Flow::Leave(Left::Lost)),
            }
            for started in resend.into_iter().chain(start) {
                self.run.resent(&started);
                let call = self.invoke(started.clone());
                flight.take_off(started, call);
            }
            if !expired.is_empty() {
                match self.expire(step, expired).await? {
                    Offered::Lost => return Ok(Flow::Leave(Left::Lost)),
                    // Either way the run knows more now.
                    Offered::Yes | Offered::Refused => continue,
                }
            }
            if draining {
                flight.leave_to_the_next();
            }
            let awaited = awaits.into_iter().chain(held.next(self.now()).map(Awaited::moment)).reduce(Awaited::either);
            if flight.is_empty() {
                return match awaited {
                    Some(awaited) if !draining && !self.run.is_cancelled() => match self.park(awaited).await? {
                        Parking::Left(left) => Ok(Flow::Leave(left)),
                        Parking::SignalsRead => Ok(Flow::Go),
                    },
                    Some(_) | None => Ok(Flow::Go),
                };
            }
            let wakes_at = awaited.and_then(|awaited| awaited.until);
            let woken = wakes_at.map_or(Duration::MAX, |until| until.since(self.now()));
            tokio::select! {
                biased;
                landed = flight.landed() => landed.into_iter().try_for_each(|finished| self.landed(step, finished))?,
                () = out_of_patience.cancelled(), if draining => {
                    self.stop(step, flight, false).await?;
                    return Ok(Flow::Go);
                }
                interrupt = self.interrupts.next() => match self.interrupted(interrupt).await? {
                    Some(Flow::Leave(left)) => return Ok(Flow::Leave(left)),
                    // Cancelled, or out of time; the calls of a run that is only handed over go on to their end.
                    Some(Flow::Go) if interrupt != Interrupt::Drain => {
                        self.stop(step, flight, true).await?;
                        return Ok(Flow::Go);
                    }
                    Some(Flow::Go) | None => {}
                },
                () = tokio::time::sleep(woken), if wakes_at.is_some() => {}
            }
        }
    }

    /// A call of an earlier claim that is never sent again: its tool is asked about it, where that can be.
    fn doubt(&mut self, step: u32, started: ToolStarted, draining: bool, flight: &mut Flight) -> Result<()> {
        match self.probe(&started) {
            // The next holder has the time for it.
            Some(_) if draining => {}
            Some(probing) => {
                self.run.resent(&started);
                flight.probed.push(probing);
                flight.probed_started.push(started);
            }
            None => self.tell_doubt(step, &started)?,
        }
        Ok(())
    }

    /// Calls that may not be sent again get a second, then are in doubt; the others are dropped.
    async fn stop(&mut self, step: u32, mut flight: Flight, run_ends: bool) -> Result<()> {
        flight.free.clear();
        let until = Instant::now() + GRACE;
        while !flight.is_empty() {
            match tokio::time::timeout_at(until, flight.landed()).await {
                Ok(landed) if run_ends => landed.into_iter().try_for_each(|finished| self.tell(step, Event::ToolFinished(finished)))?,
                Ok(landed) => landed.into_iter().try_for_each(|finished| self.landed(step, finished))?,
                Err(_) => break,
            }
        }
        for started in flight.once_started.iter().chain(&flight.probed_started) {
            if run_ends {
                self.tell(step, Event::ToolFinished(maniple_core::run::Run::in_doubt(started)))?;
            } else {
                self.tell_doubt(step, started)?;
            }
        }
        Ok(())
    }
}

impl Flight {
    fn take_off(&mut self, started: ToolStarted, call: BoxFuture<'static, ToolFinished>) {
        match started.effect {
            Effect::Pure | Effect::Idempotent => self.free.push(call),
            Effect::AtMostOnce => {
                self.once.push(call);
                self.once_started.push(started);
            }
        }
    }
    /// What may be sent or asked again is left to the next holder, under the same key.
    fn leave_to_the_next(&mut self) {
        self.free.clear();
        self.probed.clear();
        self.probed_started.clear();
    }
    fn len(&self) -> usize {
        self.free.len() + self.once.len() + self.probed.len()
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The next outcome, with all others that are there by then. Not to be asked when empty.
    async fn landed(&mut self) -> Vec<ToolFinished> {
        let first = tokio::select! {
            biased;
            Some(finished) = self.free.next() => finished,
            Some(finished) = self.once.next() => finished,
            Some(finished) = self.probed.next() => finished,
            else => return Vec::new(),
        };
        let mut landed = vec![first];
        for landing in [&mut self.free, &mut self.once, &mut self.probed] {
            while let Some(Some(finished)) = landing.next().now_or_never() {
                landed.push(finished);
            }
        }
        let is_out = |started: &ToolStarted| landed.iter().all(|finished| finished.index != started.index);
        self.once_started.retain(is_out);
        self.probed_started.retain(is_out);
        landed
    }
}
