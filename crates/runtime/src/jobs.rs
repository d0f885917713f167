//! What time brings, done by every worker alike: each job claims its units in the store, so there is no leader.

use crate::{ended, lease::Leases};
use maniple_core::{
    Time,
    ports::{Bus, Hint, Live, Upkeep},
    settings::Period,
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
}

impl Default for Retention {
    fn default() -> Self {
        Self { finished_tasks: Period::days(30) }
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
                    ended::count_event(&event);
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

/// Forgets what was kept long enough, in bounded batches, until `stop`.
pub async fn forget(upkeep: Arc<dyn Upkeep>, retention: Retention, stop: CancellationToken) {
    loop {
        loop {
            match upkeep.forget(retention.finished_tasks.duration(), FORGET_BATCH).await {
                Ok(gone) if gone >= FORGET_BATCH as u64 && !stop.is_cancelled() => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "forgetting failed; trying again later");
                    break;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}
