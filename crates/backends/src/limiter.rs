//! The rate limiter of a single process.
//!
//! It counts exactly: every call that was let through is remembered until it leaves the window. At most 1,000,000 of them
//! a bucket, some 80 bytes each; a bucket nobody uses goes when its last call has left.

use async_trait::async_trait;
use maniple_core::{
    Error, Result, canonical,
    ports::{self, Admission},
};
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The most calls that one window may allow.
pub const MOST_MAX: u32 = 1_000_000;
/// The longest window.
pub const WINDOW_MAX: Duration = Duration::from_secs(3_600);
/// How many calls that have left are taken out with each take: more than come in, and never a long pause for all others.
const LEAVING_MAX: usize = 16;

/// Counts calls over a sliding window, in the memory of this process: a restart forgets them, but where a store remembers them
/// ([`sqlite::Limiter`](crate::sqlite::Limiter)).
///
/// A window is half open: a call taken at `t` is in the way before `t + window` and no longer at it.
pub struct RateLimiter {
    buckets: Mutex<Buckets>,
    origin: Instant,
}

struct Buckets {
    by_name: HashMap<Box<str>, Bucket>,
    /// When to look for empty ones.
    sweep_at: Moment,
}

/// A call that was let through, as it outlives the process.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) bucket: String,
    pub(crate) name: Name,
    /// How long ago, by the clock of who remembers it.
    pub(crate) ago: Duration,
    pub(crate) window: Duration,
}

/// Time since an hour before the limiter was made.
type Moment = Duration;
/// Half a SHA-256: names may be long, and all of them are kept for a window.
pub(crate) type Name = [u8; 16];

/// The calls of one bucket, oldest first.
#[derive(Default)]
struct Bucket {
    taken: VecDeque<(Moment, Name)>,
    names: HashMap<Name, Moment>,
    /// The longest window it was asked about: what is older is in nobody's way.
    window: Duration,
}

impl RateLimiter {
    /// A limiter that has counted nothing yet.
    pub fn new() -> Self {
        let buckets = Buckets { by_name: HashMap::new(), sweep_at: WINDOW_MAX * 2 };
        Self { buckets: Mutex::new(buckets), origin: Instant::now() }
    }
    /// Takes over what was counted before this limiter was made, oldest first.
    pub(crate) fn take_over(&self, before: Vec<Taken>) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        for Taken { bucket, name, ago, window } in before {
            let bucket = buckets.bucket(&bucket);
            let at = now.saturating_sub(ago);
            bucket.window = bucket.window.max(window);
            bucket.taken.push_back((at, name));
            bucket.names.insert(name, at);
        }
    }

    /// Time since an hour before it was made, so that what was counted before has its time too.
    fn now(&self) -> Moment {
        WINDOW_MAX + self.origin.elapsed()
    }

    /// How many buckets are remembered.
    pub fn buckets(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).by_name.len()
    }
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ports::RateLimiter for RateLimiter {
    async fn take(&self, bucket: &str, most: u32, window: Duration, name: &str) -> Result<Admission> {
        check(most, window)?;
        let name = short(name);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: calls of one bucket stand in the order of their times.
        let now = self.now();
        buckets.sweep(now, window);
        Ok(buckets.bucket(bucket).take(most as usize, window, name, now))
    }
}

impl Buckets {
    fn bucket(&mut self, name: &str) -> &mut Bucket {
        // Looked up twice, so that a known name is not copied.
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.into(), Bucket::default());
        }
        self.by_name.get_mut(name).expect("it was put there")
    }

    /// Lets empty buckets go, once in the shortest window that is asked about.
    fn sweep(&mut self, now: Moment, window: Duration) {
        self.sweep_at = self.sweep_at.min(now + window);
        if now < self.sweep_at {
            return;
        }
        self.by_name.retain(|_, bucket| !bucket.is_empty(now));
        self.by_name.shrink_to(self.by_name.len() * 2);
        self.sweep_at = now + window;
    }
}

impl Bucket {
    fn take(&mut self, most: usize, window: Duration, name: Name, now: Moment) -> Admission {
        self.window = self.window.max(window);
        self.let_leave(now);
        if self.names.get(&name).is_some_and(|at| now < *at + window) {
            return Admission::Now;
        }
        let left = self.taken.partition_point(|(at, _)| *at + window <= now);
        let in_the_way = self.taken.len() - left;
        if in_the_way >= most {
            // Once this one leaves there are `most - 1`: those behind it.
            let (at, _) = self.taken[self.taken.len() - most];
            return Admission::After(at + window - now);
        }
        self.taken.push_back((now, name));
        self.names.insert(name, now);
        Admission::Now
    }

    fn let_leave(&mut self, now: Moment) {
        for _ in 0..LEAVING_MAX {
            let Some((at, name)) = self.taken.front().copied().filter(|(at, _)| *at + self.window <= now) else { break };
            self.taken.pop_front();
            // The name may have been taken again since.
            if let Entry::Occupied(known) = self.names.entry(name)
                && *known.get() == at
            {
                known.remove();
            }
        }
        if self.taken.capacity() > 4 * self.taken.len().max(64) {
            self.taken.shrink_to(2 * self.taken.len());
            self.names.shrink_to(2 * self.names.len());
        }
    }

    fn is_empty(&self, now: Moment) -> bool {
        self.taken.back().is_none_or(|(at, _)| *at + self.window <= now)
    }
}

/// Whether that can be counted.
pub(crate) fn check(most: u32, window: Duration) -> Result<()> {
    if !(1..=MOST_MAX).contains(&most) {
        return Err(Error::invalid(format!("a limit must be 1 to {MOST_MAX} calls, not {most}")));
    }
    if window.is_zero() || window > WINDOW_MAX {
        return Err(Error::invalid(format!("the window of a limit must be more than nothing and at most an hour, not {window:?}")));
    }
    Ok(())
}

pub(crate) fn short(name: &str) -> Name {
    let hash = canonical::hash_bytes(name.as_bytes());
    u128::from_str_radix(&hash[..32], 16).expect("a hash is 64 hex digits").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::ports::RateLimiter as _;
    use tokio::time::advance;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_bucket_nobody_uses_any_more_is_forgotten() {
        let limiter = RateLimiter::new();
        for bucket in 0..500 {
            limiter.take(&format!("a{bucket}"), 1, MINUTE, "x").await.unwrap();
        }
        advance(MINUTE).await;
        limiter.take("b", 1, MINUTE, "x").await.unwrap();
        assert_eq!(limiter.buckets(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_back_what_a_burst_took() {
        let limiter = RateLimiter::new();
        for name in 0..10_000 {
            limiter.take("a", MOST_MAX, MINUTE, &name.to_string()).await.unwrap();
        }
        advance(MINUTE / 2).await;
        for name in 0..1_000 {
            limiter.take("a", MOST_MAX, MINUTE, &format!("later {name}")).await.unwrap();
        }
        advance(MINUTE / 2).await;
        for name in 0..2_000 {
            limiter.take("a", MOST_MAX, MINUTE, &format!("last {name}")).await.unwrap();
        }
        let buckets = limiter.buckets.lock().unwrap();
        let bucket = &buckets.by_name["a"];
        assert_eq!((bucket.taken.len(), bucket.names.len()), (3_000, 3_000));
        assert!(bucket.taken.capacity() <= 12_000, "{}", bucket.taken.capacity());
    }

    #[tokio::test]
    async fn what_cannot_be_counted_is_refused() {
        let limiter = RateLimiter::new();
        for (most, window) in [(0, MINUTE), (MOST_MAX + 1, MINUTE), (1, Duration::ZERO), (1, WINDOW_MAX * 2)] {
            let refused = limiter.take("a", most, window, "x").await;
            assert_eq!(refused.map_err(|e| e.kind), Err(maniple_core::Kind::Invalid), "{most} in {window:?}");
        }
        assert_eq!(limiter.buckets(), 0);
    }
}
