//! The table of `retry`, row by row, and its waits.

use maniple_core::{
    event::ModelFailed,
    model::FaultKind::{self, *},
    retry::{ATTEMPTS, BACKOFF_CAP, Budget, Choice, backoff, choose},
    task::ErrorCode,
};
use std::time::Duration;

const CHAIN: [&str; 2] = ["lab/first", "lab/second"];
const ALL: [FaultKind; 10] = [Throttled, Money, Overloaded, CutBefore, CutAfter, TimedOut, ContextTooLong, Refused, Denied, Invalid];

fn after(chain: &[&str], faults: &[FaultKind]) -> Choice {
    let failed = |(at, fault): (usize, &FaultKind)| ModelFailed {
        attempt: at as u32 + 1,
        model: "lab/first".into(),
        fault: *fault,
        message: "said no".into(),
        usage: None,
        cost_usd: None,
    };
    choose(chain, &faults.iter().enumerate().map(failed).collect::<Vec<_>>())
}

fn end(code: ErrorCode) -> Choice {
    Choice::End(code, "lab/first: said no".into())
}

#[test]
fn the_agents_own_model_is_asked_first() {
    assert_eq!(after(&CHAIN, &[]), Choice::Ask(0));
}

#[test]
fn what_may_pass_is_tried_three_times_then_the_fallback_then_it_is_unavailable() {
    assert_eq!(ATTEMPTS, 3);
    for fault in [Throttled, Overloaded, CutBefore, CutAfter, TimedOut] {
        let choices: Vec<_> = (1..=6).map(|times| after(&CHAIN, &vec![fault; times])).collect();
        let [first, second] = [Choice::Ask(0), Choice::Ask(1)];
        let expected = [first.clone(), first, second.clone(), second.clone(), second, end(ErrorCode::ModelUnavailable)];
        assert_eq!(choices, expected, "{fault:?}");
        assert_eq!(after(&CHAIN[..1], &[fault; 3]), end(ErrorCode::ModelUnavailable));
    }
}

#[test]
fn money_is_never_asked_for_twice() {
    assert_eq!(after(&CHAIN, &[Money]), Choice::Ask(1));
    assert_eq!(after(&CHAIN, &[Money, Money]), end(ErrorCode::ModelDenied));
    assert_eq!(after(&CHAIN[..1], &[Money]), end(ErrorCode::ModelDenied));
    assert_eq!(after(&CHAIN, &[Overloaded, Money]), Choice::Ask(1));
}

#[test]
fn a_request_the_provider_does_not_understand_goes_to_the_fallback_at_once() {
    assert_eq!(after(&CHAIN, &[Invalid]), Choice::Ask(1));
    assert_eq!(after(&CHAIN[..1], &[Invalid]), end(ErrorCode::ModelUnavailable));
}

#[test]
fn a_request_that_is_too_long_is_asked_once_more_of_the_same_model() {
    assert_eq!(after(&CHAIN, &[ContextTooLong]), Choice::Ask(0));
    assert_eq!(after(&CHAIN, &[ContextTooLong, ContextTooLong]), end(ErrorCode::ContextTooLong));
    assert_eq!(after(&CHAIN, &[ContextTooLong, Overloaded, Overloaded]), Choice::Ask(0), "it is no attempt that may pass");
}

#[test]
fn a_refusal_and_a_bad_key_are_final_whatever_fallbacks_there_are() {
    assert_eq!(after(&CHAIN, &[Refused]), end(ErrorCode::ModelRefused));
    assert_eq!(after(&CHAIN, &[Denied]), end(ErrorCode::ModelDenied));
    assert_eq!(after(&CHAIN, &[Overloaded, Denied]), end(ErrorCode::ModelDenied));
}

#[test]
fn every_sequence_of_faults_comes_to_an_end() {
    fn walk(faults: &mut Vec<FaultKind>) {
        assert!(faults.len() <= 7, "three attempts at two models and one shorter request: {faults:?}");
        if let Choice::Ask(model) = after(&CHAIN, faults) {
            assert!(model < CHAIN.len());
            for fault in ALL {
                faults.push(fault);
                walk(faults);
                faults.pop();
            }
        }
    }
    walk(&mut Vec::new());
}

#[test]
fn backoff_doubles_to_fifteen_seconds_with_full_jitter() {
    let most = |failures| backoff(failures, None, 1.0).as_millis();
    assert_eq!([1, 2, 3, 4, 5, 6, 7, u32::MAX].map(most), [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
    assert_eq!(backoff(5, None, 0.0), Duration::ZERO);
    assert_eq!(backoff(2, None, 0.25), Duration::from_millis(250));
    assert_eq!(backoff(9, None, 7.0), BACKOFF_CAP, "dice that fell off the table");
}

#[test]
fn retry_after_is_a_minimum_and_no_cap_holds_it() {
    let wait = Some(Duration::from_secs(40));
    assert_eq!(backoff(1, wait, 0.5), Duration::from_secs(40));
    assert_eq!(backoff(6, Some(Duration::from_secs(1)), 1.0), BACKOFF_CAP);
}

#[test]
fn retries_are_a_fifth_of_the_calls_and_ten_a_minute() {
    let minute = Duration::from_secs(60);
    let granted = |budget: &mut Budget, now| (0..1_000).filter(|_| budget.take(now)).count();
    let mut budget = Budget::new(Duration::ZERO);
    assert_eq!(granted(&mut budget, Duration::ZERO), 10);
    (0..52).for_each(|_| budget.called());
    assert_eq!(granted(&mut budget, Duration::ZERO), 10, "a fifth of fifty-two");
    assert_eq!(granted(&mut budget, minute), 10, "a minute's worth");
    assert_eq!(granted(&mut budget, minute), 0, "once");
    (0..10_000).for_each(|_| budget.called());
    assert_eq!(granted(&mut budget, minute * 2), 100, "what is saved has a bound");
}
