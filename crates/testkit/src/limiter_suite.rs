//! What every [`RateLimiter`] promises, as tests any limiter can run.
//!
//! ```text
//! limiter_suite::run(|| Fixture { limiter, pass }).await           // the contract, sentence by sentence
//! limiter_suite::concurrent(limiter).await                         // on a runtime with several threads
//! limiter_suite::random(seed, steps, Fixture { .. }).await         // against an oracle that is too simple to be wrong
//! ```

use fastrand::Rng;
use futures::future::{BoxFuture, join_all};
use maniple_core::ports::{Admission, RateLimiter};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::Barrier;

/// A limiter that has counted nothing yet.
pub struct Fixture {
    /// The limiter.
    pub limiter: Arc<dyn RateLimiter>,
    /// Lets time pass on the limiter's clock: moves a paused one on, or sleeps.
    pub pass: Box<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    /// A window that may pass in a test.
    pub window: Duration,
}

/// Runs every test on a limiter of its own; panics with the names of those that failed.
pub async fn run(make: impl Fn() -> Fixture) {
    let mut failed = Vec::new();
    for case in [
        case(the_most_are_let_through_and_the_next_is_told_when),
        case(a_name_taken_twice_is_taken_once),
        case(a_name_may_be_taken_again_once_its_window_is_over),
        case(what_was_refused_was_not_taken),
        case(buckets_are_apart),
        case(a_burst_leaves_as_a_whole),
        case(a_longer_window_counts_what_a_shorter_one_has_let_go),
        case(a_limit_that_sinks_counts_what_was_taken_before),
        case(a_limit_that_rises_lets_more_through_at_once),
        case(windows_slide_call_by_call),
    ] {
        let fixture = make();
        if tokio::spawn((case.run)(fixture)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{} promises are broken: {failed:#?}", failed.len());
}

struct Case {
    name: &'static str,
    run: Box<dyn Fn(Fixture) -> BoxFuture<'static, ()> + Send + Sync>,
}

/// A test, called what its function is called.
fn case<F, R>(test: F) -> Case
where
    F: Fn(Fixture) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let name = std::any::type_name::<F>().rsplit("::").next().unwrap_or_default();
    Case { name, run: Box::new(move |fixture| Box::pin(test(fixture))) }
}

impl Fixture {
    async fn take(&self, bucket: &str, most: u32, name: &str) -> Admission {
        self.limiter.take(bucket, most, self.window, name).await.expect("a limiter that works")
    }
    /// How long the limiter says to wait.
    async fn refused(&self, bucket: &str, most: u32, name: &str) -> Duration {
        match self.take(bucket, most, name).await {
            Admission::After(wait) => {
                assert!(wait > Duration::ZERO && wait <= self.window, "{wait:?} is no wait inside {:?}", self.window);
                wait
            }
            Admission::Now => panic!("{name} was let through"),
        }
    }
    async fn let_through(&self, bucket: &str, most: u32, name: &str) {
        assert_eq!(self.take(bucket, most, name).await, Admission::Now, "{name}");
    }
}

async fn the_most_are_let_through_and_the_next_is_told_when(fixture: Fixture) {
    for n in 0..3 {
        fixture.let_through("b", 3, &format!("call {n}")).await;
    }
    let wait = fixture.refused("b", 3, "one too many").await;
    (fixture.pass)(wait).await;
    fixture.let_through("b", 3, "one too many").await;
}

async fn a_name_taken_twice_is_taken_once(fixture: Fixture) {
    fixture.let_through("b", 2, "first").await;
    for _ in 0..5 {
        fixture.let_through("b", 2, "first").await;
    }
    fixture.let_through("b", 2, "second").await;
    fixture.refused("b", 2, "third").await;
    fixture.let_through("b", 2, "first").await;
    // Taken again is not taken later: it leaves when it would have left.
    (fixture.pass)(fixture.window).await;
    fixture.let_through("b", 2, "third").await;
    fixture.let_through("b", 2, "fourth").await;
}

async fn a_name_may_be_taken_again_once_its_window_is_over(fixture: Fixture) {
    fixture.let_through("b", 1, "first").await;
    (fixture.pass)(fixture.window).await;
    fixture.let_through("b", 1, "first").await;
    fixture.refused("b", 1, "second").await;
}

async fn what_was_refused_was_not_taken(fixture: Fixture) {
    fixture.let_through("b", 1, "first").await;
    for n in 0..10 {
        fixture.refused("b", 1, &format!("refused {n}")).await;
    }
    (fixture.pass)(fixture.window).await;
    fixture.let_through("b", 1, "refused 3").await;
}

async fn buckets_are_apart(fixture: Fixture) {
    for bucket in ["b", "c", "", "a bucket: with/odd*characters\u{0}ü"] {
        fixture.let_through(bucket, 2, "same name").await;
        fixture.let_through(bucket, 2, &format!("in {bucket}")).await;
        fixture.refused(bucket, 2, "another").await;
    }
}

async fn a_burst_leaves_as_a_whole(fixture: Fixture) {
    for n in 0..40 {
        fixture.let_through("b", 41, &format!("call {n}")).await;
    }
    (fixture.pass)(fixture.window / 2).await;
    fixture.let_through("b", 41, "between").await;
    (fixture.pass)(fixture.window / 2).await;
    for _ in 0..2 {
        for n in (0..40).rev() {
            fixture.let_through("b", 41, &format!("call {n}")).await;
        }
        fixture.refused("b", 41, "one too many").await;
    }
}

async fn a_limit_that_sinks_counts_what_was_taken_before(fixture: Fixture) {
    for n in 0..5 {
        fixture.let_through("b", 5, &format!("call {n}")).await;
        (fixture.pass)(fixture.window / 10).await;
    }
    // Four of the five are in the way, so it is the fourth that must leave.
    let wait = fixture.refused("b", 2, "late").await;
    assert!(wait > fixture.window / 2, "{wait:?} only lets the first one leave");
    (fixture.pass)(wait).await;
    fixture.let_through("b", 2, "late").await;
    fixture.refused("b", 2, "later").await;
}

async fn a_limit_that_rises_lets_more_through_at_once(fixture: Fixture) {
    fixture.let_through("b", 1, "first").await;
    fixture.refused("b", 1, "second").await;
    fixture.let_through("b", 2, "second").await;
}

async fn a_longer_window_counts_what_a_shorter_one_has_let_go(fixture: Fixture) {
    let short = fixture.window / 4;
    for n in 0..40 {
        let taken = fixture.limiter.take("b", 40, short, &format!("call {n}")).await.expect("a limiter that works");
        assert_eq!(taken, Admission::Now, "call {n}");
    }
    fixture.refused("b", 40, "in the long window").await;
    (fixture.pass)(short).await;
    let taken = fixture.limiter.take("b", 40, short, "in the short window").await.expect("a limiter that works");
    assert_eq!(taken, Admission::Now);
    fixture.refused("b", 40, "in the long window").await;
}

async fn windows_slide_call_by_call(fixture: Fixture) {
    fixture.let_through("b", 2, "first").await;
    (fixture.pass)(fixture.window / 2).await;
    fixture.let_through("b", 2, "second").await;
    let wait = fixture.refused("b", 2, "third").await;
    (fixture.pass)(wait).await;
    fixture.let_through("b", 2, "third").await;
    // The second call is still in the way: a window does not begin anew for all.
    fixture.refused("b", 2, "fourth").await;
}

/// 1,000 takes at once, each made twice, of which 137 may pass. Give it a runtime with several threads.
pub async fn concurrent(limiter: Arc<dyn RateLimiter>) {
    const CALLS: usize = 1_000;
    const MOST: u32 = 137;
    let start = Arc::new(Barrier::new(2 * CALLS));
    let calls = (0..2 * CALLS).map(|n| {
        let (limiter, start) = (limiter.clone(), start.clone());
        tokio::spawn(async move {
            start.wait().await;
            let name = format!("call {}", n / 2);
            (name.clone(), limiter.take("b", MOST, Duration::from_secs(600), &name).await.expect("a limiter that works"))
        })
    });
    let mut passed: Vec<String> = Vec::new();
    for call in join_all(calls).await {
        match call.expect("no panic") {
            (name, Admission::Now) => passed.push(name),
            (_, Admission::After(wait)) => assert!(wait > Duration::ZERO && wait <= Duration::from_secs(600), "{wait:?}"),
        }
    }
    // A name whose first take was let through is let through again, so each that passed passed twice.
    passed.sort();
    passed.dedup();
    assert_eq!(passed.len(), MOST as usize);
}

/// Calls at random moments under a clock that only `pass` moves; panics with the seed where the limiter and the
/// oracle differ, or where more than the most lie in any one window.
pub async fn random(seed: u64, steps: u32, fixture: Fixture) {
    let mut dice = Rng::with_seed(seed);
    let (most, window) = (dice.u32(1..8), fixture.window);
    let mut now = Duration::ZERO;
    let mut taken: Vec<(Duration, String)> = Vec::new();
    for step in 0..steps {
        let story = format!("seed {seed}, step {step}, {most} in {window:?}, at {now:?}, after {taken:?}");
        let name = format!("call {}", dice.u32(0..steps / 4 + 2));
        let inside: Vec<&(Duration, String)> = taken.iter().filter(|(at, _)| now < *at + window).collect();
        let expected = if inside.iter().any(|(_, known)| *known == name) || inside.len() < most as usize {
            Admission::Now
        } else {
            Admission::After(inside[inside.len() - most as usize].0 + window - now)
        };
        let found = fixture.take("b", most, &name).await;
        assert_eq!(found, expected, "{story}");
        if found == Admission::Now && !inside.iter().any(|(_, known)| *known == name) {
            taken.push((now, name.clone()));
        }
        // Bursts, pauses, and exactly the moment at which the limiter says that it will be possible.
        let wait = match (dice.u32(0..10), &found) {
            (0..=3, _) => Duration::ZERO,
            (4..=6, _) => window.mul_f64(dice.f64() / f64::from(most)),
            (7, _) => window.mul_f64(dice.f64() * 1.5),
            (_, Admission::After(wait)) => *wait,
            (_, Admission::Now) => window / 16,
        };
        // Clocks of stores know milliseconds.
        let wait = Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        (fixture.pass)(wait).await;
        now += wait;
        if let Admission::After(told) = found
            && told == wait
        {
            assert_eq!(fixture.take("b", most, &name).await, Admission::Now, "{story}: it was told to wait {told:?}");
            taken.push((now, name));
        }
    }
    for (index, (first, _)) in taken.iter().enumerate() {
        let together = taken[index..].iter().take_while(|(at, _)| *at < *first + window).count();
        assert!(together <= most as usize, "seed {seed}: {together} calls in the window from {first:?}, {most} may be");
    }
}
