//! Says in time that the disk of an embedded store will be full: nothing can be accepted on a full one.
//!
//! ```text
//! free now ─► samples of the last hour ─► how fast it goes ─► full within a day? ─► said, once an hour
//! ```

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How long what was seen counts.
const SEEN: Duration = Duration::from_secs(3600);
/// Less than this says nothing of how fast it goes.
const SEEN_MIN: Duration = Duration::from_secs(600);
/// What is full later than this is not said.
const SOON: Duration = Duration::from_secs(24 * 3600);
/// So little is said however fast it goes, in bytes.
const LITTLE: u64 = 256 << 20;
/// How often it is said.
const SAID_EVERY: Duration = Duration::from_secs(3600);

/// Watches the disk that this file is on, until `stop`.
pub(super) async fn watch(file: PathBuf, stop: CancellationToken) {
    let mut disk = Disk::default();
    loop {
        // A disk that does not say is one that does not run full, as far as anybody knows.
        if let Some(free) = free(&file) {
            match disk.look(Instant::now(), free) {
                Some(Fills::Within(left)) => tracing::warn!(
                    file = %file.display(),
                    free_mb = free >> 20,
                    hours = left.as_secs() / 3600,
                    "at the rate of the last hour the disk that holds the store is full within a day, whoever fills it: make room, or bound the store with retention.max_bytes"
                ),
                Some(Fills::Nearly) => tracing::warn!(
                    file = %file.display(),
                    free_mb = free >> 20,
                    "the disk of the store is nearly full: no task is accepted once it is; make room, or bound it with retention.max_bytes"
                ),
                None => {}
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// What an ordinary user may still write there, in bytes.
fn free(file: &Path) -> Option<u64> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let about = rustix::fs::statvfs(folder).ok()?;
    Some(about.f_bavail.saturating_mul(about.f_frsize))
}

#[derive(Debug, PartialEq, Eq)]
enum Fills {
    /// In so long, at the rate of what was seen.
    Within(Duration),
    /// There is little left.
    Nearly,
}

/// What was seen of it.
#[derive(Default)]
struct Disk {
    seen: VecDeque<(Instant, u64)>,
    said: Option<Instant>,
}

impl Disk {
    /// What is to be said.
    fn look(&mut self, now: Instant, free: u64) -> Option<Fills> {
        self.seen.push_back((now, free));
        while self.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > SEEN) {
            self.seen.pop_front();
        }
        let fills = if free < LITTLE { Some(Fills::Nearly) } else { self.within(now, free).map(Fills::Within) }?;
        if self.said.is_some_and(|said| now.duration_since(said) < SAID_EVERY) {
            return None;
        }
        self.said = Some(now);
        Some(fills)
    }

    fn within(&self, now: Instant, free: u64) -> Option<Duration> {
        let (began, free_then) = *self.seen.front()?;
        let (took, gone) = (now.duration_since(began), free_then.saturating_sub(free));
        if took < SEEN_MIN || gone == 0 {
            return None;
        }
        let left = took.as_secs_f64() * free as f64 / gone as f64;
        Duration::try_from_secs_f64(left).ok().filter(|left| *left < SOON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    /// Looks each minute for so long, with so much less each time; what was said, and in which minute.
    fn said(minutes: u64, free: u64, less: u64) -> Vec<(u64, Fills)> {
        let (mut disk, begin) = (Disk::default(), Instant::now());
        let look = |minute| Some((minute, disk.look(begin + EVERY * minute as u32, free - less * minute)?));
        (0..minutes).filter_map(look).collect()
    }

    #[test]
    fn a_disk_that_is_full_within_a_day_is_said_once_an_hour_and_one_that_lasts_is_not() {
        // 100 GB that go by 100 MB a minute last 17 hours.
        let told = said(130, 100 * GB, 100 << 20);
        assert_eq!(told.iter().map(|(minute, _)| *minute).collect::<Vec<_>>(), [10, 70]);
        let Fills::Within(left) = told[0].1 else { panic!("{told:?}") };
        assert!((16..17).contains(&(left.as_secs() / 3600)), "{left:?}");
        assert_eq!(said(130, 100 * GB, 60 << 20), [], "28 hours");
        assert_eq!(said(130, 100 * GB, 0), []);
        assert_eq!(said(9, 100 * GB, GB), [], "nothing is known of it yet");
    }

    #[test]
    fn little_room_is_said_at_once_however_slowly_it_goes() {
        assert_eq!(said(70, LITTLE - 1, 0), [(0, Fills::Nearly), (60, Fills::Nearly)]);
        assert_eq!(said(70, LITTLE, 0), []);
    }

    #[test]
    fn the_room_of_a_disk_can_be_asked() {
        assert!(free(Path::new("maniple.db")).is_some());
        assert_eq!(free(Path::new("/nowhere/at/all/maniple.db")), None);
    }
}
