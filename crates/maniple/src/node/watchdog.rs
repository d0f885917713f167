//! Notices when the threads that serve stand still, and when the whole process did.
//!
//! ```text
//! a ticker among all that is served ─► beats ◄─ looked at by a thread of its own
//! ```
//! While they stand, nothing is answered and no lease is renewed. This says so, once a stall; it mends nothing.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often the ticker beats, and how often somebody looks.
const EVERY: Duration = Duration::from_millis(200);
/// So long without a beat is a stall.
const STALL: Duration = Duration::from_secs(1);

/// Watches until `stop`.
pub(super) async fn watch(stop: CancellationToken) {
    let beats = Arc::new(AtomicU64::new(0));
    let watched = Arc::downgrade(&beats);
    if let Err(error) = thread::Builder::new().name("maniple-watch".into()).spawn(move || look(&watched)) {
        tracing::warn!(%error, "no thread to watch the others with: stalls go unnoticed");
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => beats.fetch_add(1, Ordering::Relaxed),
            () = stop.cancelled() => return,
        };
    }
}

/// Looks until the ticker is no more.
fn look(beats: &Weak<AtomicU64>) {
    let mut seen = Seen { beat: 0, at: Instant::now(), is_told: false };
    let mut looked = Instant::now();
    loop {
        thread::sleep(EVERY);
        let Some(beat) = beats.upgrade().map(|beats| beats.load(Ordering::Relaxed)) else { return };
        let now = Instant::now();
        match seen.look(beat, now, now.duration_since(looked)) {
            Some(Stalled::Process(stood)) => {
                metrics::counter!("maniple_runtime_stalls_total", "cause" => "process").increment(1);
                tracing::warn!(stood_ms = stood.as_millis() as u64, "the whole process stood still: it was stopped, or its machine was");
            }
            Some(Stalled::Threads(stood)) => {
                metrics::counter!("maniple_runtime_stalls_total", "cause" => "threads").increment(1);
                tracing::warn!(
                    stood_ms = stood.as_millis() as u64,
                    "the threads that serve stand still: nothing is answered and no lease is renewed until they go on"
                );
            }
            None => {}
        }
        looked = now;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stalled {
    /// Nobody ran, the watchdog neither.
    Process(Duration),
    /// Only those who serve.
    Threads(Duration),
}

/// The last beat that was seen.
struct Seen {
    beat: u64,
    at: Instant,
    is_told: bool,
}

impl Seen {
    /// What is to be told; `since` is how long ago the last look was.
    fn look(&mut self, beat: u64, now: Instant, since: Duration) -> Option<Stalled> {
        if since >= STALL {
            // Whoever was asleep himself cannot blame others: they have from now on.
            *self = Self { beat, at: now, is_told: false };
            return Some(Stalled::Process(since));
        }
        if beat != self.beat {
            *self = Self { beat, at: now, is_told: false };
            return None;
        }
        let stood = now.duration_since(self.at);
        (stood >= STALL && !std::mem::replace(&mut self.is_told, stood >= STALL)).then_some(Stalled::Threads(stood))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_once_and_not_blamed_on_others_by_who_slept_himself() {
        let begin = Instant::now();
        let mut seen = Seen { beat: 0, at: begin, is_told: false };
        let mut look = |beat, ms: u64, since| seen.look(beat, begin + Duration::from_millis(ms), Duration::from_millis(since));
        assert_eq!((look(1, 200, 200), look(1, 400, 200), look(1, 1_000, 600)), (None, None, None));
        assert_eq!(look(1, 1_300, 300), Some(Stalled::Threads(Duration::from_millis(1_100))));
        assert_eq!((look(1, 1_500, 200), look(1, 9_000, 900), look(2, 9_200, 200)), (None, None, None));
        assert_eq!(look(2, 20_000, 10_800), Some(Stalled::Process(Duration::from_millis(10_800))));
        assert_eq!((look(2, 20_200, 200), look(3, 20_400, 200)), (None, None));
    }
}
