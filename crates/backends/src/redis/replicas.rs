//! How many processes there are: what a limit is divided by while Redis is away.
//!
//! Each says every few seconds in Redis that it lives, whatever its role, and hears how many do. While Redis is away the last
//! count goes on to hold, and the store is asked how many workers hold a lease there: the greater of both counts, so that a fleet that grows
//! meanwhile does not let through more.

use ::redis::{RedisResult, Script, aio::MultiplexedConnection};
use async_trait::async_trait;
use maniple_core::Result;
use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};

/// How long a process counts that says nothing: three beats and a little.
const SILENT_MAX: Duration = Duration::from_secs(10);
/// How long the store's count is believed.
const COUNTED_FOR: Duration = Duration::from_secs(5);

static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));

/// Who else can say how many processes there are.
#[async_trait]
pub trait Census: Send + Sync {
    /// How many workers hold a lease.
    async fn workers(&self) -> Result<u64>;
}

/// How many processes there are.
pub(super) struct Replicas {
    key: String,
    /// Names this process.
    process: u64,
    /// The last count in Redis; 0 where it never was reached.
    counted: AtomicU64,
    of_store: Mutex<Option<(Instant, u64)>>,
}

impl Replicas {
    pub(super) fn new(key: String) -> Self {
        Self { key, process: fastrand::u64(..), counted: AtomicU64::new(0), of_store: Mutex::default() }
    }

    /// Says that this process lives.
    pub(super) async fn beat(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let process = format!("{:016x}", self.process);
        let counted: u64 = BEAT.key(&self.key).arg(process).arg(SILENT_MAX.as_secs()).invoke_async(connection).await?;
        self.counted.store(counted, Ordering::Relaxed);
        Ok(())
    }

    /// How many there are, this one included.
    pub(super) async fn live(&self, census: &dyn Census) -> u64 {
        let counted = self.counted.load(Ordering::Relaxed);
        let mut of_store = self.of_store.lock().await;
        let workers = match *of_store {
            Some((at, workers)) if at.elapsed() < COUNTED_FOR => workers,
            Some(_) | None => {
                // Where the store does not say either, what it said last goes on to hold.
                let before = of_store.map_or(0, |(_, workers)| workers);
                let workers = census.workers().await.unwrap_or(before);
                *of_store = Some((Instant::now(), workers));
                workers
            }
        };
        counted.max(workers).max(1)
    }
}
