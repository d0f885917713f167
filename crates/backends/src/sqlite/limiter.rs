//! A rate limiter whose count outlives the process.
//!
//! It counts in memory, as fast as one that forgets; each call that is let through is remembered before it is sent, and what was
//! remembered is counted again by the next process.

use super::{TaskStore, failure::Refusal};
use crate::limiter::{Name, RateLimiter, Taken, WINDOW_MAX, short};
use async_trait::async_trait;
use maniple_core::{
    Result,
    ports::{self, Admission},
};
use rusqlite::Connection;
use std::{sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// How many rows whose window is over are taken out with each that is put in.
const FORGOTTEN_AT_ONCE: usize = 16;
/// The most that is read of a file: more than one window may hold of a busy node's limited tools.
const READ_MAX: usize = 1_000_000;

/// Counts calls over a sliding window, over restarts of the process too.
pub struct Limiter {
    counts: RateLimiter,
    store: Arc<TaskStore>,
    taken_over: OnceCell<()>,
}

impl Limiter {
    /// One that remembers in this store.
    pub fn new(store: Arc<TaskStore>) -> Self {
        Self { counts: RateLimiter::new(), store, taken_over: OnceCell::new() }
    }
}

#[async_trait]
impl ports::RateLimiter for Limiter {
    async fn take(&self, bucket: &str, most: u32, window: Duration, name: &str) -> Result<Admission> {
        let take_over = || async {
            self.counts.take_over(self.store.takes().await?);
            Ok::<(), maniple_core::Error>(())
        };
        self.taken_over.get_or_try_init(take_over).await?;
        let admission = self.counts.take(bucket, most, window, name).await?;
        if admission == Admission::Now {
            self.store.remember_take(bucket, short(name), window).await?;
        }
        Ok(admission)
    }
}

impl TaskStore {
    /// The same take again, within its window, changes nothing.
    async fn remember_take(&self, bucket: &str, name: Name, window: Duration) -> Result<()> {
        let bucket = bucket.to_owned();
        self.write(move |tx| {
            let now = tx.now.0;
            let mut forget = tx.db.prepare_cached(
                "DELETE FROM rate_takes WHERE (bucket, name) IN (SELECT bucket, name FROM rate_takes WHERE until <= ?1 ORDER BY until LIMIT ?2)",
            )?;
            forget.execute((now, FORGOTTEN_AT_ONCE as i64))?;
            let mut remember = tx.db.prepare_cached(
                "INSERT INTO rate_takes (bucket, name, at, until) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (bucket, name) DO UPDATE SET at = excluded.at, until = excluded.until WHERE until <= excluded.at",
            )?;
            remember.execute((&bucket, name.as_slice(), now, tx.now.plus(window).0))?;
            Ok(())
        })
        .await
    }

    /// What is in the way still, oldest first.
    async fn takes(&self) -> Result<Vec<Taken>> {
        let now = self.clock.now().0;
        self.read(move |db: &Connection| -> Result<Vec<Taken>, Refusal> {
            let mut taken = Vec::new();
            let mut select =
                db.prepare_cached("SELECT bucket, name, at, until FROM rate_takes WHERE until > ?1 ORDER BY at, bucket, name LIMIT ?2")?;
            let mut rows = select.query((now, READ_MAX as i64))?;
            while let Some(row) = rows.next()? {
                let (at, until): (i64, i64) = (row.get(2)?, row.get(3)?);
                let in_ms = |ms: i64| Duration::from_millis(ms.max(0).unsigned_abs());
                taken.push(Taken {
                    bucket: row.get(0)?,
                    name: row.get(1)?,
                    ago: in_ms(now - at),
                    window: in_ms(until - at).min(WINDOW_MAX),
                });
            }
            Ok(taken)
        })
        .await
    }
}
