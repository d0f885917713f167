//! A rate limiter that all processes on one database share.

use super::{
    TaskStore,
    args::args,
    failure::Refusal,
    tx::{Ask, Tx, transact},
};
use crate::limiter::{WINDOW_MAX, check, short};
use async_trait::async_trait;
use maniple_core::{
    Result,
    ports::{self, Admission},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How many calls that have left are taken out with each that is put in.
const FORGOTTEN_AT_ONCE: i64 = 16;

/// Buckets wait apart for so many turns.
const TURNS: usize = 64;

/// Counts calls over a sliding window, exactly, on the database's clock.
pub struct Limiter {
    store: Arc<TaskStore>,
    /// Calls of one bucket come one after the other: within a process they wait here, and not each with a connection in its hand.
    turns: [Mutex<()>; TURNS],
}

impl Limiter {
    /// One that counts in this store's database.
    pub fn new(store: Arc<TaskStore>) -> Self {
        Self { store, turns: std::array::from_fn(|_| Mutex::new(())) }
    }
}

#[async_trait]
impl ports::RateLimiter for Limiter {
    async fn take(&self, bucket: &str, most: u32, window: Duration, name: &str) -> Result<Admission> {
        check(most, window)?;
        let name = short(name);
        let turn = usize::from(short(bucket)[0]) % TURNS;
        let _turn = self.turns[turn].lock().await;
        transact!(self.store.link, tx => take(&mut tx, bucket.as_bytes(), most, window, &name))
    }
}

async fn take(tx: &mut Tx<'_>, bucket: &[u8], most: u32, window: Duration, name: &[u8]) -> Result<Admission, Refusal> {
    // Calls of a bucket come one after the other, in the order of their times.
    let lock = Ask("SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 2))", args![bucket]);
    tx.under_locks(vec![lock]).await?;
    let window = window.as_millis() as i64;
    let since = tx.now.0 - window;
    let known = "SELECT 1 FROM rate_takes WHERE bucket = $1 AND name = $2 AND at > $3";
    if tx.row(known, args![bucket, name, since]).await?.is_some() {
        return Ok(Admission::Now);
    }
    // The one that must leave before there is room: behind it are one fewer than may be.
    let in_the_way = "SELECT at FROM rate_takes WHERE bucket = $1 AND at > $2 ORDER BY at DESC OFFSET $3 LIMIT 1";
    if let Some(row) = tx.row(in_the_way, args![bucket, since, i64::from(most) - 1]).await? {
        let leaves = row.try_get::<_, i64>(0)? + window;
        return Ok(Admission::After(Duration::from_millis(leaves.saturating_sub(tx.now.0).max(0).unsigned_abs())));
    }
    let remember = "INSERT INTO rate_takes (bucket, name, at, until) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (bucket, name) DO UPDATE SET at = excluded.at, until = excluded.until";
    tx.write(remember, args![bucket, name, tx.now, tx.now.plus(WINDOW_MAX)]);
    let forget = "DELETE FROM rate_takes WHERE (bucket, name) IN (\
                    SELECT bucket, name FROM rate_takes WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)";
    tx.write(forget, args![tx.now, FORGOTTEN_AT_ONCE]);
    Ok(Admission::Now)
}
