//! Claims tasks and has them driven, as many at once as it may.

mod crew;
mod starter;

pub use starter::{Started, Starter};

use crate::{Parts, jobs::HeldHere};
use crew::Crew;
use futures::{FutureExt, StreamExt};
use maniple_core::{
    AgentName,
    model::CallTimes,
    ports::{Hint, Tasks},
    settings::{Bound, Period, Section},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// How tasks are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSettings {
    /// Tasks driven at once, 1 to 100,000. Where several tenants are known none has more than four fifths of them, and one place
    /// stays for the others. Default 1,024.
    pub max_running: usize,
    /// Tool calls of one step in flight at once, 1 to 16: more do not run. Default 8.
    pub calls_parallel: usize,
    /// How long an idle worker waits without a hint before it looks, 10 ms to 1 h; a random part is added. Default 1 s.
    pub poll: Period,
    /// How long `POST /run` waits before it answers 202; an agent may set its own. Default 50 s.
    pub sync_run: Period,
    /// How long one model call may take in all; an agent may set its own. Default 10 min.
    pub call_max: Period,
    /// How long until the first byte of a model's answer, 1 ms to 1 d. Default 30 s.
    pub first_byte: Period,
    /// How long between two chunks of a model's answer. Default 30 s.
    pub between_chunks: Period,
    /// The fewest bytes of a model's answer in a minute, framing and comments included, 0 to 1,000,000; one that brings fewer is
    /// asked again. 0 for any number. Default 10.
    pub bytes_a_minute: u32,
    /// How long a step waits out models that have too much to do, counted from its first try, up to 30 d; an agent may set its
    /// own. Then the run fails as `model_unavailable`. Default 15 min.
    pub patience: Period,
    /// How long a stopping worker waits for `at_most_once` calls in flight. Default 30 s.
    pub drain: Period,
    /// How long a person has to decide over a call, 1 s to 30 d; never beyond the task's deadline. Default 1 d.
    pub approval_expires: Period,
    /// How often leases are renewed. No key of the file: it is a third of the lease that the store gives, 10 s for all there are.
    #[serde(skip)]
    pub renew_every: Duration,
    /// Whether several tenants are known to have work: then none has more than four fifths of the places. No key of the
    /// file: the tenants of its tokens say it. Otherwise it is so once a second one has come.
    #[serde(skip)]
    pub several_tenants: bool,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            max_running: 1_024,
            calls_parallel: 8,
            poll: Period::seconds(1),
            sync_run: Period::seconds(50),
            call_max: Period::minutes(10),
            first_byte: Period::seconds(30),
            between_chunks: Period::seconds(30),
            bytes_a_minute: 10,
            patience: Period::minutes(15),
            drain: Period::seconds(30),
            approval_expires: Period::days(1),
            renew_every: Duration::from_secs(10) / 3,
            several_tenants: false,
        }
    }
}

impl WorkerSettings {
    /// The bounds of one model call, where its agent has none of its own.
    pub(crate) fn call_times(&self) -> CallTimes {
        let [first_byte, between_chunks, whole] = [self.first_byte, self.between_chunks, self.call_max].map(Period::duration);
        CallTimes { first_byte, between_chunks, bytes_a_minute: self.bytes_a_minute, whole }
    }
}

impl Section for WorkerSettings {
    fn bounds(&self) -> Vec<Bound> {
        vec![
            Bound::of("max_running", self.max_running, 1..=100_000),
            Bound::of("calls_parallel", self.calls_parallel, 1..=16),
            Bound::of("poll", self.poll, Period::ms(10)..=Period::hours(1)),
            Bound::of("bytes_a_minute", self.bytes_a_minute, 0..=1_000_000),
            Bound::of("first_byte", self.first_byte, Period::ms(1)..=Period::days(1)),
            Bound::of("patience", self.patience, Period::ms(0)..=Period::days(30)),
            Bound::of("approval_expires", self.approval_expires, Period::seconds(1)..=Period::days(30)),
        ]
    }
}

/// The most tasks taken by one claim.
const CLAIM_MAX: usize = 64;
/// The most hints that one claim answers.
const HINTS_AT_ONCE: usize = 1_024;

/// Claims tasks and drives them. Holds no conversation between tasks.
pub struct Worker {
    crew: Arc<Crew>,
    stop: CancellationToken,
}

impl Worker {
    /// A worker for all agents of `parts`, until `stop`.
    pub fn new(parts: Parts, settings: WorkerSettings, stop: CancellationToken) -> Self {
        Self { crew: Arc::new(Crew::new(parts, settings, stop.clone())), stop }
    }

    /// The way of a desk in this process to have tasks start here at once.
    pub fn starter(&self, tasks: Arc<dyn Tasks>) -> Starter {
        Starter::new(self.crew.clone(), tasks)
    }

    /// What it holds, to be renewed before what has run out is swept.
    pub fn holds(&self) -> HeldHere {
        HeldHere(self.crew.leases.clone())
    }

    /// Works until it is to stop, then hands its claims over and leaves, at the latest a little after `settings.drain`.
    pub async fn work(self) {
        // What is driven ends with this worker, even where `work` is dropped half-way.
        let _gone = self.crew.ends_with_this();
        let mut renewing = JoinSet::new();
        renewing.spawn(renew_for_ever(self.crew.clone()));
        let mut hints = self.crew.parts.bus.hints();
        while !self.stop.is_cancelled() {
            self.heard(&mut hints).await;
            let room = self.crew.room().min(CLAIM_MAX);
            let claimed = self.claim(room).await;
            if claimed == room && room > 0 {
                continue;
            }
            let poll = self.crew.settings.poll.duration().mul_f64(1.0 + fastrand::f64());
            tokio::select! {
                biased;
                () = self.hinted(&mut hints) => {}
                () = self.crew.has_room(), if room == 0 => {}
                () = self.crew.has_room_for_another() => {}
                () = tokio::time::sleep(poll) => {}
                () = self.stop.cancelled() => {}
            }
        }
        // Signals go on to reach those who wait for a call before they leave.
        let listening = async {
            loop {
                self.hinted(&mut hints).await;
            }
        };
        tokio::select! {
            biased;
            () = self.crew.leave() => {}
            () = listening => {}
        }
    }

    /// Claims and sets off; returns how many.
    async fn claim(&self, room: usize) -> usize {
        let Some(mut places) = self.crew.places(room) else { return 0 };
        let agents: Vec<AgentName> = self.crew.parts.agents.all().keys().cloned().collect();
        let claimed_at = Instant::now();
        match self.crew.parts.work.claim(&agents, &self.crew.room_of(room)).await {
            Ok(claimed) => {
                let number = claimed.len();
                for task in claimed {
                    // As many were asked for as there are places.
                    let Some(place) = places.split(1) else { break };
                    self.crew.drive(task, claimed_at, place);
                }
                number
            }
            Err(error) => {
                tracing::warn!(%error, "claiming failed; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                0
            }
        }
    }

    /// Takes the hints that came so far: the claim that follows answers all of them.
    async fn heard(&self, hints: &mut (impl futures::Stream<Item = Hint> + Unpin)) {
        for _ in 0..HINTS_AT_ONCE {
            match hints.next().now_or_never() {
                Some(Some(Hint::Signalled(key))) => self.crew.leases.poke(&key),
                Some(Some(Hint::Ready(_))) => {}
                Some(Some(Hint::Missed)) => self.crew.leases.renew().await,
                Some(None) | None => return,
            }
        }
    }

    /// Resolves when there may be work; signals go to their holders.
    async fn hinted(&self, hints: &mut (impl futures::Stream<Item = Hint> + Unpin)) {
        loop {
            match hints.next().await {
                Some(Hint::Ready(agent)) if self.crew.parts.agents.get(&agent).is_some() => return,
                Some(Hint::Ready(_)) => {}
                Some(Hint::Signalled(key)) => self.crew.leases.poke(&key),
                Some(Hint::Missed) => {
                    // A renewal tells which of those it holds have a signal.
                    self.crew.leases.renew().await;
                    return;
                }
                None => std::future::pending().await,
            }
        }
    }
}

async fn renew_for_ever(crew: Arc<Crew>) {
    let mut ticks = tokio::time::interval(crew.settings.renew_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        crew.leases.renew().await;
    }
}
