//! What time brings, done by every worker alike: each job claims its units in the store, so there is no leader.

use crate::{ended, lease::Leases};
use maniple_core::{
    Result, Time,
    ports::{Bus, Hint, Live, Upkeep},
    settings::{Bound, Period, Section},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// What is kept how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Finished tasks with their journals; their ids stay taken for 30 days more. Default 30 d.
    pub finished_tasks: Period,
    /// What the store may weigh, in bytes, 16 MiB to 1 PiB: beyond, the oldest finished tasks go before their time, and what comes next
    /// takes their room. Unset: no bound.
    pub max_bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { finished_tasks: Period::days(30), max_bytes: None }
    }
}

impl Section for Retention {
    fn bounds(&self) -> Vec<Bound> {
        self.max_bytes.map(|bytes| Bound::of("max_bytes", bytes, 16 << 20..=1 << 50)).into_iter().collect()
    }
}

/// The longest pause between two sweeps.
const SWEEP_MAX: Duration = Duration::from_secs(1);
/// The shortest.
const SWEEP_MIN: Duration = Duration::from_millis(10);
/// How often finished tasks are looked through.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How many go in one transaction.
const FORGET_BATCH: usize = 500;

/// How long a sweep waits for the renewals before it.
const RENEW_MAX: Duration = Duration::from_secs(5);

/// Makes due tasks ready, takes expired claims away and ends what never began in time, until `stop`.
///
/// What this process holds is renewed first: where it stood still past its own leases, its claims are neither taken from it
/// nor counted towards poison.
pub async fn sweep(upkeep: Arc<dyn Upkeep>, bus: Arc<dyn Bus>, held: HeldHere, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let moment = held.now();
        // Where the store does not answer, leases run out as they would.
        let _ = tokio::time::timeout(RENEW_MAX, held.renew()).await;
        let pause = match upkeep.sweep_leases_by(moment).await {
            Ok(swept) => {
                swept.ready.into_iter().for_each(|agent| bus.hint(Hint::Ready(agent)));
                for (key, event) in swept.ended {
                    ended::tell_event(&event);
                    bus.publish(&key, Live::Event(event));
                }
                swept.next.unwrap_or(SWEEP_MAX).clamp(SWEEP_MIN, SWEEP_MAX)
            }
            Err(error) => {
                tracing::warn!(%error, "a sweep failed; the next one does its work");
                SWEEP_MAX
            }
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// The claims that a worker of this process holds.
#[derive(Clone)]
pub struct HeldHere(pub(crate) Arc<Leases>);

impl HeldHere {
    fn now(&self) -> Time {
        self.0.now()
    }
    async fn renew(&self) {
        self.0.renew().await;
    }
}

/// Forgets what was kept long enough, and what there is no room for, in bounded batches, until `stop`.
pub async fn forget(upkeep: Arc<dyn Upkeep>, retention: Retention, stop: CancellationToken) {
    let upkeep = &*upkeep;
    loop {
        let kept = retention.finished_tasks.duration();
        in_batches(&stop, || upkeep.forget(kept, FORGET_BATCH)).await;
        if let Some(max_bytes) = retention.max_bytes {
            let gone = in_batches(&stop, || upkeep.forget_beyond(max_bytes, FORGET_BATCH)).await;
            if gone > 0 {
                tracing::info!(tasks = gone, "the store was over retention.max_bytes: its oldest finished tasks were forgotten");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Forgets until a batch is not full; returns how many tasks went.
async fn in_batches<F: Future<Output = Result<u64>>>(stop: &CancellationToken, forget: impl Fn() -> F) -> u64 {
    let mut gone = 0;
    loop {
        match forget().await {
            Ok(batch) => {
                gone += batch;
                if batch < FORGET_BATCH as u64 || stop.is_cancelled() {
                    return gone;
                }
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, "forgetting failed; trying again later");
                return gone;
            }
        }
    }
}
