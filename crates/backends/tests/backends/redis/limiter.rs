//! The limiter keeps the contract, on the clock of Redis and by one that a test moves.

use super::{Workers, limiter, link, server::Server, url};
use futures::future::join_all;
use maniple_backends::{
    Clock,
    redis::{Eviction, Limiter, eviction},
};
use maniple_core::ports::{Admission, RateLimiter as _};
use maniple_testkit::{
    limiter_suite::{self, Fixture},
    store_suite::ManualClock,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const MINUTE: Duration = Duration::from_secs(60);

/// One that a test moves the clock of.
async fn by_hand() -> Fixture {
    let clock = ManualClock::new();
    let read = clock.clone();
    let now: Arc<dyn Clock> = Arc::new(move || read.now());
    let limiter = Limiter::over(link(&url()).await, Arc::new(Workers::default())).by_clock(now);
    let pass = Box::new(move |by: Duration| -> futures::future::BoxFuture<'static, ()> {
        clock.advance(by);
        Box::pin(async {})
    });
    Fixture { limiter: Arc::new(limiter), pass, window: MINUTE }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limiter_over_redis_keeps_the_contract() {
    let made = Mutex::new(join_all((0..20).map(|_| by_hand())).await);
    limiter_suite::run(|| made.lock().expect("nobody panicked").pop().expect("enough of them")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limiter_over_redis_is_exact_under_many_concurrent_calls() {
    limiter_suite::concurrent(limiter(&url()).await).await;
}

/// `MANIPLE_LIMITER_SEEDS` says how many lives (40), `MANIPLE_LIMITER_SEED` with which to begin.
#[tokio::test(flavor = "multi_thread")]
async fn the_limiter_over_redis_lives_as_the_oracle_says() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number("MANIPLE_LIMITER_SEED", 1);
    for seed in first..first + number("MANIPLE_LIMITER_SEEDS", 40) {
        limiter_suite::random(seed, 60, by_hand().await).await;
    }
}

async fn taken(limiter: &Limiter, most: u32, names: std::ops::Range<u32>) -> usize {
    let mut taken = 0;
    for name in names {
        taken += usize::from(limiter.take("b", most, MINUTE, &format!("call {name}")).await.expect("counted") == Admission::Now);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn it_counts_on_the_clock_of_redis() {
    let limiter = limiter(&url()).await;
    let window = Duration::from_secs(1);
    assert_eq!(limiter.take("b", 1, window, "first").await.expect("counted"), Admission::Now);
    let Admission::After(wait) = limiter.take("b", 1, window, "second").await.expect("counted") else { panic!("the window is not over") };
    assert!(wait > Duration::ZERO && wait <= window, "{wait:?}");
    tokio::time::sleep(wait).await;
    assert_eq!(limiter.take("b", 1, window, "second").await.expect("counted"), Admission::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_processes_count_together_and_other_fleets_and_databases_apart() {
    let url = url();
    let (here, there) = (limiter(&url).await, limiter(&url).await);
    assert_eq!(taken(&here, 10, 0..7).await, 7);
    assert_eq!(taken(&there, 10, 7..20).await, 3);
    let (server, prefix) = url.split_once('?').expect("it has a prefix");
    let other = limiter(&format!("{}/7?{prefix}", server.trim_end_matches("/0"))).await;
    assert_eq!(taken(&other, 10, 0..20).await, 10, "another database");
    assert_eq!(taken(&*limiter(&super::url()).await, 10, 0..20).await, 10, "another prefix");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_one_window_more_is_let_through_and_no_more() {
    let server = Server::start(&[]).await;
    let limiter = limiter(&server.url()).await;
    assert_eq!(taken(&limiter, 5, 0..20).await, 5);
    server.ask::<String>("FLUSHALL").await;
    assert_eq!(taken(&limiter, 5, 20..40).await, 5);
    assert_eq!(taken(&limiter, 5, 40..60).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let server = Server::start(&[]).await;
    let limiter = limiter(&server.url()).await;
    assert_eq!(taken(&limiter, 5, 0..3).await, 3);
    server.ask::<String>("SCRIPT FLUSH").await;
    assert_eq!(taken(&limiter, 5, 3..20).await, 2, "nothing is counted twice, and nothing here");
    assert_eq!(server.calls_of("zadd").await % 2, 0, "it was counted in Redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_lets_no_more_through_and_is_not_waited_for_longer_than_a_window() {
    let clock = ManualClock::new();
    let (read, url) = (clock.clone(), url());
    let ahead = Arc::new(Mutex::new(Duration::from_secs(50)));
    let skew = ahead.clone();
    let now: Arc<dyn Clock> = Arc::new(move || read.now().plus(*skew.lock().expect("nobody panicked")));
    let limiter = Limiter::over(link(&url).await, Arc::new(Workers::default())).by_clock(now);
    assert_eq!(taken(&limiter, 5, 0..5).await, 5);
    *ahead.lock().expect("nobody panicked") = Duration::ZERO;
    assert_eq!(taken(&limiter, 5, 5..10).await, 0, "it stands still");
    let told = limiter.take("b", 5, MINUTE, "late").await.expect("counted");
    assert_eq!(told, Admission::After(MINUTE), "nobody is told to wait longer than a window");
    clock.advance(Duration::from_secs(50) + MINUTE);
    assert_eq!(taken(&limiter, 5, 10..15).await, 5);
    *ahead.lock().expect("nobody panicked") = Duration::from_secs(86_400);
    clock.advance(MINUTE);
    assert_eq!(taken(&limiter, 5, 15..20).await, 5, "a day ahead");
    *ahead.lock().expect("nobody panicked") = Duration::ZERO;
    assert_eq!(taken(&limiter, 5, 20..30).await, 5, "a day is not waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_goes_with_its_window() {
    let server = Server::start(&[]).await;
    let limiter = limiter(&server.url()).await;
    for bucket in 0..10 {
        limiter.take(&format!("b{bucket}"), 1, Duration::from_secs(1), "call").await.expect("counted");
    }
    let buckets = async || {
        let keys: Vec<String> = server.ask("KEYS *").await;
        keys.iter().filter(|key| key.contains(":limit:")).count()
    };
    assert_ne!(buckets().await, 0);
    super::server::until("the buckets are gone", async || buckets().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_throws_keys_away_is_complained_of() {
    for (settings, complains) in [
        (["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"], true),
        (["--maxmemory", "50mb", "--maxmemory-policy", "volatile-ttl"], true),
        (["--maxmemory", "50mb", "--maxmemory-policy", "noeviction"], false),
        (["--maxmemory", "0", "--maxmemory-policy", "allkeys-lru"], false),
    ] {
        let server = Server::start(&settings).await;
        let found = eviction(&*link(&server.url()).await).await.expect("it says");
        let max_bytes = if settings[1] == "0" { 0 } else { 50 << 20 };
        assert_eq!(found, Eviction { policy: settings[3].into(), max_bytes });
        let complaint = found.complaint();
        assert_eq!(complaint.is_some(), complains, "{complaint:?}");
        assert!(complaint.is_none_or(|told| told.contains("noeviction")));
    }
}
