//! A rate limiter that all processes on one Redis share.

use super::{Census, Link};
use crate::{
    Clock,
    limiter::{MOST_MAX, Name, RateLimiter, check, short},
};
use ::redis::Script;
use async_trait::async_trait;
use maniple_core::{
    Result,
    ports::{self, Admission},
};
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// Counts calls over a sliding window, exactly, on the clock of Redis.
///
/// Where Redis has forgotten them, at most one window more is let through. While it is away each process counts for itself, at most its
/// share of what a window allows, and at least one call.
pub struct Limiter {
    link: Arc<Link>,
    census: Arc<dyn Census>,
    /// What this process took, so that its share is not taken anew when Redis goes away.
    here: RateLimiter,
    /// Whether it was said that Redis does not count.
    is_told: AtomicBool,
    clock: Option<Arc<dyn Clock>>,
}

impl Limiter {
    /// One that counts there. `census` is asked how many share a limit while Redis is away.
    pub fn over(link: Arc<Link>, census: Arc<dyn Census>) -> Self {
        Self { link, census, here: RateLimiter::new(), is_told: AtomicBool::new(false), clock: None }
    }
    /// The same by another clock than that of Redis, for tests.
    pub fn by_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    async fn count(&self, bucket: &str, most: u32, window: Duration, name: &Name) -> Result<Admission> {
        let mut talk = self.link.talk()?;
        let now = self.clock.as_ref().map(|clock| (clock.now().0 * 1_000).to_string()).unwrap_or_default();
        let window = u64::try_from(window.as_micros().max(1)).unwrap_or(u64::MAX);
        let key = self.link.place.name(&format!("limit:{bucket}"));
        let waits: redis::RedisResult<u64> =
            TAKE.key(key).arg(most).arg(window).arg(name.as_slice()).arg(now).invoke_async(&mut talk.connection).await;
        Ok(match talk.answered(waits)? {
            0 => Admission::Now,
            wait => Admission::After(Duration::from_micros(wait)),
        })
    }
}

#[async_trait]
impl ports::RateLimiter for Limiter {
    async fn take(&self, bucket: &str, most: u32, window: Duration, name: &str) -> Result<Admission> {
        check(most, window)?;
        match self.count(bucket, most, window, &short(name)).await {
            Ok(Admission::Now) => {
                self.is_told.store(false, Ordering::Relaxed);
                self.here.take(bucket, MOST_MAX, window, name).await?;
                Ok(Admission::Now)
            }
            Ok(after) => Ok(after),
            Err(error) => {
                metrics::counter!("maniple_limits_counted_here_total").increment(1);
                if !self.is_told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "Redis does not count: each process lets its share of a limit through");
                }
                let live = u32::try_from(self.link.replicas.live(&*self.census).await).unwrap_or(u32::MAX);
                self.here.take(bucket, (most / live).max(1), window, name).await
            }
        }
    }
}
