//! Redis as a bus and a limiter keeps the contracts, and losing it costs time only.
//!
//! `MANIPLE_TEST_REDIS` is the URL of a server: `scripts/services up` starts one and says it. What must be broken is broken on servers of a
//! test's own, by the `redis-server` that is installed.

mod away;
mod bus;
mod limiter;
mod place;
mod server;

use async_trait::async_trait;
use maniple_backends::redis::{Bus, Census, Limiter, Link};
use maniple_core::Result;
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

/// The server's URL with a prefix that nobody else uses.
fn url() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("MANIPLE_TEST_REDIS")
        .expect("MANIPLE_TEST_REDIS must be the URL of a Redis, redis://HOST:PORT/DATABASE: start one with `scripts/services up`");
    format!("{server}?prefix=test.{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The way of one process to a Redis.
async fn link(url: &str) -> Arc<Link> {
    Link::open(url.parse().expect("legal")).await.expect("it may be used")
}

async fn bus(url: &str) -> Arc<Bus> {
    Arc::new(Bus::over(link(url).await))
}

/// As many workers as a test says.
#[derive(Default)]
struct Workers(AtomicU64);

#[async_trait]
impl Census for Workers {
    async fn workers(&self) -> Result<u64> {
        Ok(self.0.load(Ordering::Relaxed))
    }
}

async fn limiter(url: &str) -> Arc<Limiter> {
    Arc::new(Limiter::over(link(url).await, Arc::new(Workers::default())))
}
