//! The limiters keep the contract: the one of a process, and the one whose count a store remembers.

use maniple_backends::{
    RateLimiter,
    sqlite::{Limiter, Options, TaskStore},
};
use maniple_core::ports::{Admission, RateLimiter as _};
use maniple_testkit::{
    limiter_suite::{self, Fixture},
    store_suite::ManualClock,
};
use std::{path::Path, sync::Arc, time::Duration};

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

/// A limiter over the file, and a clock for both that only a test moves on.
fn remembering(file: &Path, clock: &ManualClock) -> Limiter {
    let now = clock.clone();
    let options = Options { clock: Arc::new(move || now.now()), fsync: false, ..Options::default() };
    Limiter::new(Arc::new(TaskStore::open(file, options).expect("a store")))
}
async fn pass(clock: &ManualClock, by: Duration) {
    clock.advance(by);
    tokio::time::advance(by).await;
}

#[tokio::test(start_paused = true)]
async fn the_limiter_that_remembers_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let number = std::sync::atomic::AtomicUsize::new(0);
    let made = || {
        let n = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let clock = ManualClock::default();
        Fixture { limiter: Arc::new(remembering(&folder.path().join(format!("{n}.db")), &clock)), ..fixture() }
    };
    limiter_suite::run(made).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_within_the_window_lets_no_more_calls_through() {
    const MINUTE: Duration = Duration::from_secs(60);
    let folder = tempfile::tempdir().expect("a folder");
    let (file, clock) = (folder.path().join("maniple.db"), ManualClock::default());
    let is_let = async |limiter: &Limiter, bucket: &str, name: &str| limiter.take(bucket, 3, MINUTE, name).await.expect("it is counted");
    {
        let limiter = remembering(&file, &clock);
        for name in ["a", "b", "b", "c"] {
            assert_eq!(is_let(&limiter, "x", name).await, Admission::Now, "{name}");
            pass(&clock, Duration::from_secs(5)).await;
        }
        assert!(matches!(is_let(&limiter, "x", "d").await, Admission::After(_)));
    }
    let limiter = remembering(&file, &clock);
    assert_eq!(is_let(&limiter, "x", "d").await, Admission::After(Duration::from_secs(40)), "the first was 20 s ago");
    assert_eq!(is_let(&limiter, "x", "c").await, Admission::Now, "it was let through before");
    assert_eq!(is_let(&limiter, "y", "d").await, Admission::Now);
    pass(&clock, Duration::from_secs(40)).await;
    assert_eq!(is_let(&limiter, "x", "d").await, Admission::Now);
    assert!(matches!(is_let(&limiter, "x", "e").await, Admission::After(_)));
}
