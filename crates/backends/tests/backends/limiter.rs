//! The limiter of one process keeps the contract.

use maniple_backends::RateLimiter;
use maniple_testkit::limiter_suite::{self, Fixture};
use std::{sync::Arc, time::Duration};

fn fixture() -> Fixture {
    Fixture {
        limiter: Arc::new(RateLimiter::new()),
        pass: Box::new(|by| Box::pin(tokio::time::advance(by))),
        window: Duration::from_secs(60),
    }
}

#[tokio::test(start_paused = true)]
async fn the_limiter_in_process_keeps_the_contract() {
    limiter_suite::run(fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_exact_under_a_thousand_concurrent_calls() {
    for _ in 0..5 {
        limiter_suite::concurrent(Arc::new(RateLimiter::new())).await;
    }
}

/// `MANIPLE_LIMITER_SEEDS` says how many lives (500), `MANIPLE_LIMITER_SEED` with which to begin.
#[tokio::test(start_paused = true)]
async fn never_more_than_allowed_lie_in_any_window_whenever_calls_come() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number("MANIPLE_LIMITER_SEED", 1);
    for seed in first..first + number("MANIPLE_LIMITER_SEEDS", 500) {
        limiter_suite::random(seed, 60, fixture()).await;
    }
}
