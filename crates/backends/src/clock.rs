//! The store's clock: the only one that counts for leases, deadlines and `not_before`.

use maniple_core::Time;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Says what time it is. Any closure that returns a [`Time`] is one.
pub trait Clock: Send + Sync {
    /// The time. Stores make sure themselves that what they use of it never goes backwards.
    fn now(&self) -> Time;
}

impl<F: Fn() -> Time + Send + Sync> Clock for F {
    fn now(&self) -> Time {
        self()
    }
}

/// The machine's clock, which may be set back; [`Monotone`] keeps that from the store.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::default().plus(since)
    }
}

/// Tokio's clock, so that a test with paused time moves leases and deadlines too.
///
/// It follows the runtime of the thread that asks: right for the memory store, which answers on the
/// caller's thread, and not for SQLite, whose writer is a thread of its own.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: tokio::time::Instant,
    began: Time,
}

impl TokioClock {
    /// A clock that begins at `began` now.
    pub fn starting_at(began: Time) -> Self {
        Self { origin: tokio::time::Instant::now(), began }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Time {
        self.began.plus(self.origin.elapsed())
    }
}

/// A clock that never goes backwards: max(clock, the latest time it ever said).
pub(crate) struct Monotone {
    clock: Arc<dyn Clock>,
    latest: AtomicI64,
}

impl Monotone {
    /// Never earlier than `floor`, the latest time known from before.
    pub(crate) fn new(clock: Arc<dyn Clock>, floor: Time) -> Self {
        Self { clock, latest: AtomicI64::new(floor.0) }
    }
    pub(crate) fn now(&self) -> Time {
        let read = self.clock.now().0;
        Time(self.latest.fetch_max(read, Ordering::Relaxed).max(read))
    }
}

/// How far `later` is ahead, or nothing.
pub(crate) fn until(now: Time, later: Time) -> Duration {
    later.since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_stands_still_until_it_has_caught_up() {
        let wall = Arc::new(AtomicI64::new(5_000));
        let read = wall.clone();
        let clock = Monotone::new(Arc::new(move || Time(read.load(Ordering::Relaxed))), Time(1_000));
        assert_eq!(clock.now(), Time(5_000));
        wall.store(2_000, Ordering::Relaxed);
        assert_eq!(clock.now(), Time(5_000));
        wall.store(5_001, Ordering::Relaxed);
        assert_eq!(clock.now(), Time(5_001));
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokio_clock_moves_with_paused_time() {
        let clock = TokioClock::starting_at(Time(1_000));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now(), Time(4_000));
    }
}
