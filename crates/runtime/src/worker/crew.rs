//! Those who drive tasks in this process, whether a task was claimed or born here: their places, leases, and how they leave.

use super::WorkerSettings;
use crate::{
    Parts,
    driver::{Drain, Driver},
    lease::{Held, Leases},
    spans,
};
use futures::FutureExt;
use maniple_aside::{Share, Shares};
use maniple_core::{
    Result, Tenant,
    ports::{Claim, Claimed, Room},
};
use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::Instrument;

pub(crate) struct Crew {
    pub(crate) parts: Arc<Parts>,
    pub(crate) settings: WorkerSettings,
    pub(crate) leases: Arc<Leases>,
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    driven: TaskTracker,
    drain: Drain,
    /// The worker is no more: nobody drives on.
    gone: CancellationToken,
}

/// A place among those who are driven, with the worker's promise to wait for it when it leaves.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
    _waited_for: tokio_util::task::task_tracker::TaskTrackerToken,
}

impl Crew {
    pub(super) fn new(parts: Parts, settings: WorkerSettings, stop: CancellationToken) -> Self {
        Self {
            leases: Leases::new(parts.work.clone()),
            parts: Arc::new(parts),
            settings,
            places: Arc::new(Semaphore::new(settings.max_running.min(Semaphore::MAX_PERMITS))),
            shares: Shares::of(settings.max_running, settings.several_tenants),
            driven: TaskTracker::new(),
            drain: Drain { begun: stop, ..Drain::default() },
            gone: CancellationToken::new(),
        }
    }

    pub(super) fn ends_with_this(&self) -> DropGuard {
        self.gone.clone().drop_guard()
    }

    /// How many more tasks may be driven.
    pub(super) fn room(&self) -> usize {
        self.places.available_permits()
    }
    /// Resolves when there is room.
    pub(super) async fn has_room(&self) {
        // It is never closed, and the place is only looked at.
        let _ = self.places.acquire().await;
    }
    /// Resolves when there is room for a tenant that had none.
    pub(super) async fn has_room_for_another(&self) {
        self.shares.freed().await;
    }
    /// What may be claimed for so many places.
    pub(super) fn room_of(&self, places: usize) -> Room {
        self.shares.room(places)
    }
    /// The tenants that have all the places they may.
    pub(super) fn full(&self) -> Vec<Tenant> {
        self.shares.full()
    }
    /// So many places, if there are and any are asked for.
    pub(super) fn places(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
        self.places.clone().try_acquire_many_owned(count).ok()
    }
    /// A place for a task that would start at once: while under half of all are taken, so that those who wait are not
    /// pushed aside, and not once the worker is leaving. It is within its tenant's share, which is more than half.
    pub(super) fn place(&self, tenant: &Tenant) -> Option<Place> {
        let waited_for = self.driven.token();
        if self.drain.begun.is_cancelled() || self.room() * 2 <= self.settings.max_running {
            return None;
        }
        let permit = self.places(1)?;
        Some(Place { _share: self.shares.enter(tenant), _permit: permit, _waited_for: waited_for })
    }

    /// Drives a claimed task on, in its place.
    pub(super) fn drive(self: &Arc<Self>, claimed: Claimed, claimed_at: Instant, permit: OwnedSemaphorePermit) {
        let crew = self.clone();
        let share = self.shares.enter(&claimed.claim.key.tenant);
        let place = Place { _permit: permit, _share: share, _waited_for: self.driven.token() };
        self.spawn(place, async move {
            let held = crew.leases.hold(claimed.claim.clone(), claimed.lease, claimed_at);
            let driver = Driver::claimed(crew.parts.clone(), crew.settings, &claimed, held.lease.clone(), claimed_at, crew.drain.clone());
            let claim = claimed.claim.clone();
            drop(claimed);
            crew.see_through(&claim, held, driver).await;
        });
    }

    /// Carries a task out to its end, or for as long as it is this worker's.
    pub(super) async fn see_through(&self, claim: &Claim, _held: Held, driver: Result<Box<Driver>>) {
        let driving = async {
            let driver = driver?;
            let span = spans::run(driver.run(), claim.epoch);
            driver.run().task().trace.iter().for_each(|trace| (self.parts.tracing.adopt)(&span, trace));
            driver.drive().instrument(span).await
        };
        if let Err(error) = driving.await {
            // The claim runs out and counts towards poison: a task that does this every time ends in the dead letters.
            tracing::error!(task = %claim.key.id, %error, source = ?error.source, "a task could not be driven; its claim runs out");
        }
    }

    pub(super) fn hold(&self, claim: Claim, lease: Duration, claimed_at: Instant) -> Held {
        self.leases.hold(claim, lease, claimed_at)
    }
    pub(super) fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Runs what drives a task, in a place, until it has left or the worker is no more.
    pub(super) fn spawn(&self, place: Place, driving: impl Future<Output = ()> + Send + 'static) {
        let gone = self.gone.clone();
        // Boxed before it is moved: a future that takes another keeps room for it twice, and is copied whole with every move.
        let driving = Box::pin(AssertUnwindSafe(driving).catch_unwind());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                left = driving => if left.is_err() {
                    tracing::error!("a driver panicked; its claim runs out");
                },
            }
            drop(place);
        });
    }

    /// Waits until all have left, at the latest a little after the bound of a drain.
    pub(super) async fn leave(&self) {
        self.driven.close();
        if tokio::time::timeout(self.settings.drain.duration(), self.driven.wait()).await.is_err() {
            tracing::warn!("calls in flight at the drain bound are in doubt");
            self.drain.over.cancel();
            // Their grace and one last record; beyond that, the leases run out.
            let _ = tokio::time::timeout(Duration::from_secs(3), self.driven.wait()).await;
        }
    }
}
