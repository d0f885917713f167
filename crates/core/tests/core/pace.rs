//! Providers of three sorts, and how soon a burst of calls has found its pace with them.

use maniple_core::pace::{HOLD_MAX, Held, Pace, Place};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A provider: how long a call takes at it, and whether it takes one more.
trait Provider {
    const TAKES_MS: u64;
    /// `Err` with what the call is told to wait.
    fn ask(&mut self, now: Duration, in_flight: usize) -> Result<(), Option<Duration>>;
}

/// Sends that many calls as fast as the pace lets them, each again until it is answered: how long it took, and how many were sent.
fn drain(provider: &mut impl Provider, mut waiting: usize) -> (Duration, usize) {
    fn takes<P: Provider>(_: &P) -> u64 {
        P::TAKES_MS
    }
    let (mut pace, mut sent, mut now) = (Pace::default(), 0, Duration::ZERO);
    let mut flying: Vec<(Duration, Place, Result<(), Option<Duration>>)> = Vec::new();
    while waiting > 0 || !flying.is_empty() {
        assert!(now < 600 * SECOND, "it never drains: {waiting} wait, the limit is {:?}", pace.limit());
        while waiting > 0
            && let Ok(place) = pace.admit(now)
        {
            let taken = flying.iter().filter(|(_, _, outcome)| outcome.is_ok()).count();
            let outcome = provider.ask(now, taken);
            // A refusal comes at once.
            let at = if outcome.is_ok() { now + MS * takes(provider) as u32 } else { now + MS };
            flying.push((at, place, outcome));
            (waiting, sent) = (waiting - 1, sent + 1);
        }
        now += MS;
        for (_, place, outcome) in flying.extract_if(.., |(at, ..)| *at <= now) {
            match outcome {
                Ok(()) => pace.answered(now),
                Err(wait) => {
                    pace.refused(now, place, wait);
                    waiting += 1;
                }
            }
            pace.left();
        }
    }
    (now, sent)
}

/// So many a second; the rest is told to wait for one.
struct RateLimited(u64, usize);
impl Provider for RateLimited {
    const TAKES_MS: u64 = 50;
    fn ask(&mut self, now: Duration, _: usize) -> Result<(), Option<Duration>> {
        if self.0 != now.as_secs() {
            *self = Self(now.as_secs(), 0);
        }
        self.1 += 1;
        if self.1 > 10 { Err(Some(SECOND)) } else { Ok(()) }
    }
}

/// Eight at once; the rest is told nothing.
struct Slots;
impl Provider for Slots {
    const TAKES_MS: u64 = 200;
    fn ask(&mut self, _: Duration, in_flight: usize) -> Result<(), Option<Duration>> {
        if in_flight < 8 { Ok(()) } else { Err(None) }
    }
}

/// Nothing for five seconds, then anything.
struct Restarting;
impl Provider for Restarting {
    const TAKES_MS: u64 = 100;
    fn ask(&mut self, now: Duration, _: usize) -> Result<(), Option<Duration>> {
        if now < 5 * SECOND { Err(Some(SECOND)) } else { Ok(()) }
    }
}

#[test]
fn a_burst_at_a_rate_limit_drains_at_about_that_rate_without_hammering() {
    let (took, sent) = drain(&mut RateLimited(0, 0), 80);
    assert!(took < 12 * SECOND, "8 s at best, not {took:?}");
    // Seventy are refused before anybody knows.
    assert!(sent < 80 + 70 + 60, "{sent} calls");
}

#[test]
fn a_server_with_eight_slots_is_kept_busy_and_is_hardly_refused_anything() {
    let (took, sent) = drain(&mut Slots, 200);
    assert!(took < 8 * SECOND, "5 s at best, not {took:?}");
    assert!(sent < 200 + 192 + 40, "{sent} calls");
}

#[test]
fn after_an_outage_as_many_go_as_before_within_a_few_rounds() {
    let (took, sent) = drain(&mut Restarting, 500);
    assert!(took < 7 * SECOND, "a little over 5 s at best, not {took:?}");
    assert!(sent < 500 + 500 + 20, "{sent} calls");
}

#[test]
fn nothing_is_limited_before_a_refusal_and_a_minute_without_one_after_it() {
    let mut pace = Pace::default();
    let places: Vec<Place> = (0..10_000).map(|_| pace.admit(Duration::ZERO).expect("no limit")).collect();
    assert_eq!(pace.limit(), None);
    pace.refused(SECOND, places[99], None);
    assert_eq!(pace.limit(), Some(69), "ninety-nine were taken before it, and three tenths are spared");
    assert_eq!(pace.admit(SECOND), Err(Held::Full));
    pace.answered(60 * SECOND);
    assert!(pace.limit().is_some());
    pace.answered(61 * SECOND);
    assert_eq!(pace.limit(), None);
}

#[test]
fn a_refusal_that_came_by_chance_while_little_was_asked_does_not_hold_a_later_burst_for_long() {
    let mut pace = Pace::default();
    let place = pace.admit(Duration::ZERO).expect("no limit");
    pace.refused(Duration::ZERO, place, None);
    pace.left();
    assert_eq!(pace.limit(), Some(1));
    // A burst half a minute later, each call of it a second long.
    let (mut now, mut done) = (30 * SECOND, 0);
    while done < 500 {
        let places = std::iter::from_fn(|| pace.admit(now).ok()).take(500 - done).count();
        now += SECOND;
        (0..places).for_each(|_| {
            pace.answered(now);
            pace.left();
        });
        done += places;
    }
    assert!(now < 40 * SECOND, "nine rounds at best, not until {now:?}");
}

#[test]
fn what_one_is_told_to_wait_holds_all_back_and_nobodys_word_for_longer_than_a_minute() {
    let mut pace = Pace::default();
    let place = pace.admit(Duration::ZERO).expect("no limit");
    pace.refused(Duration::ZERO, place, Some(7 * SECOND));
    pace.left();
    assert_eq!(pace.admit(SECOND), Err(Held::For(6 * SECOND)));
    let place = pace.admit(7 * SECOND).expect("it has passed");
    pace.refused(7 * SECOND, place, Some(86_400 * SECOND));
    assert_eq!(pace.holds(7 * SECOND), HOLD_MAX);
}
