//! The table of `retry`, row by row, and its waits.

use maniple_core::{
    event::ModelFailed,
    model::FaultKind::{self, *},
    retry::{ATTEMPTS, After, BACKOFF_CAP, Budget, Choice, OVERLOAD_CAP, Turn, choose},
    task::ErrorCode,
};
use std::time::Duration;

const CHAIN: [&str; 2] = ["lab/first", "lab/second"];
const ALL: [FaultKind; 13] =
    [Throttled, Money, Overloaded, Failed, Unreachable, CutBefore, CutAfter, TimedOut, ContextTooLong, Refused, Denied, Invalid, NotAsked];

fn failure(attempt: u32, model: &str, fault: FaultKind) -> ModelFailed {
    ModelFailed { attempt, model: model.into(), fault, message: "said no".into(), usage: None, cost_usd: None }
}

/// What is chosen after these, each a fault of the model whose turn it was.
fn after(chain: &[&str], faults: &[FaultKind]) -> Choice {
    let mut failed: Vec<ModelFailed> = Vec::new();
    for (at, fault) in faults.iter().enumerate() {
        let Choice::Ask(turn) = choose(chain, &failed) else { panic!("nobody is asked after {:?}", &faults[..at]) };
        failed.push(failure(at as u32 + 1, chain[turn.model], *fault));
    }
    choose(chain, &failed)
}

fn ask(model: usize, after: After, is_last: bool) -> Choice {
    Choice::Ask(Turn { model, after, is_last })
}

fn end(code: ErrorCode, model: usize) -> Choice {
    Choice::End(code, format!("{}: said no", CHAIN[model]))
}

#[test]
fn the_agents_own_model_is_asked_first() {
    assert_eq!(after(&CHAIN, &[]), ask(0, After::Nothing, false));
    assert_eq!(after(&CHAIN[..1], &[]), ask(0, After::Nothing, true));
}

#[test]
fn what_may_pass_is_tried_three_times_then_the_fallback_then_it_is_unavailable() {
    assert_eq!(ATTEMPTS, 3);
    for fault in [Failed, Unreachable, CutBefore, CutAfter, TimedOut] {
        let choices: Vec<_> = (1..=6).map(|times| after(&CHAIN, &vec![fault; times])).collect();
        let expected = [
            ask(0, After::Failures(1), false),
            ask(0, After::Failures(2), false),
            ask(1, After::Nothing, true),
            ask(1, After::Failures(1), true),
            ask(1, After::Failures(2), true),
            end(ErrorCode::ModelUnavailable, 1),
        ];
        assert_eq!(choices, expected, "{fault:?}");
        assert_eq!(after(&CHAIN[..1], &[fault; 3]), end(ErrorCode::ModelUnavailable, 0));
    }
}

#[test]
fn overload_uses_up_no_attempt_the_fallback_is_asked_first_and_then_all_again() {
    for fault in [Throttled, Overloaded, NotAsked] {
        let choices: Vec<_> = (1..=4).map(|times| after(&CHAIN, &vec![fault; times])).collect();
        let expected = [
            ask(1, After::Nothing, true),
            ask(0, After::Overload(1), false),
            ask(1, After::Nothing, true),
            ask(0, After::Overload(2), false),
        ];
        assert_eq!(choices, expected, "{fault:?}");
        assert_eq!(after(&CHAIN[..1], &[fault; 100]), ask(0, After::Overload(100), true));
    }
    let mixed = [Failed, Failed, Overloaded, Overloaded, Failed];
    assert_eq!(after(&CHAIN, &mixed), ask(1, After::Nothing, true), "two attempts before the overload, the third after it");
    assert_eq!(after(&CHAIN, &[Money, Overloaded]), ask(1, After::Overload(1), true), "who is out is not waited for");
}

#[test]
fn a_journal_that_counted_overload_as_an_attempt_is_read_by_the_names_in_it() {
    let throttled = |attempt, model: &str| failure(attempt, model, Throttled);
    let faults = [throttled(1, CHAIN[0]), throttled(2, CHAIN[0]), throttled(3, CHAIN[0]), throttled(4, CHAIN[1])];
    assert_eq!(choose(&CHAIN, &faults[..3]), ask(1, After::Nothing, true));
    assert_eq!(choose(&CHAIN, &faults), ask(0, After::Overload(1), false));
}

#[test]
fn money_is_never_asked_for_twice() {
    assert_eq!(after(&CHAIN, &[Money]), ask(1, After::Nothing, true));
    assert_eq!(after(&CHAIN, &[Money, Money]), end(ErrorCode::ModelDenied, 1));
    assert_eq!(after(&CHAIN[..1], &[Money]), end(ErrorCode::ModelDenied, 0));
    assert_eq!(after(&CHAIN, &[Failed, Money]), ask(1, After::Nothing, true));
}

#[test]
fn a_request_the_provider_does_not_understand_goes_to_the_fallback_at_once() {
    assert_eq!(after(&CHAIN, &[Invalid]), ask(1, After::Nothing, true));
    assert_eq!(after(&CHAIN[..1], &[Invalid]), end(ErrorCode::ModelUnavailable, 0));
}

#[test]
fn a_request_that_is_too_long_is_asked_once_more_of_the_same_model() {
    assert_eq!(after(&CHAIN, &[ContextTooLong]), ask(0, After::Nothing, false));
    assert_eq!(after(&CHAIN, &[ContextTooLong, ContextTooLong]), end(ErrorCode::ContextTooLong, 0));
    let later = after(&CHAIN, &[ContextTooLong, Failed, Failed]);
    assert_eq!(later, ask(0, After::Failures(2), false), "it is no attempt that may pass");
}

#[test]
fn a_refusal_and_a_bad_key_are_final_whatever_fallbacks_there_are() {
    assert_eq!(after(&CHAIN, &[Refused]), end(ErrorCode::ModelRefused, 0));
    assert_eq!(after(&CHAIN, &[Denied]), end(ErrorCode::ModelDenied, 0));
    assert_eq!(after(&CHAIN, &[Failed, Denied]), end(ErrorCode::ModelDenied, 0));
}

#[test]
fn every_sequence_of_faults_without_overload_comes_to_an_end() {
    fn walk(faults: &mut Vec<FaultKind>) {
        assert!(faults.len() <= 7, "three attempts at two models and one shorter request: {faults:?}");
        if let Choice::Ask(turn) = after(&CHAIN, faults) {
            assert!(turn.model < CHAIN.len());
            for fault in ALL.into_iter().filter(|fault| !fault.is_overload()) {
                faults.push(fault);
                walk(faults);
                faults.pop();
            }
        }
    }
    walk(&mut Vec::new());
}

#[test]
fn backoff_doubles_with_jitter_to_fifteen_seconds_after_failures_and_to_a_minute_in_overload() {
    let most = |times| After::Failures(times).backoff(1.0).as_millis();
    assert_eq!([1, 2, 3, 4, 5, 6, 7, u32::MAX].map(most), [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
    assert_eq!(After::Failures(5).backoff(0.0), Duration::ZERO);
    assert_eq!(After::Failures(2).backoff(0.25), Duration::from_millis(250));
    assert_eq!(After::Failures(9).backoff(7.0), BACKOFF_CAP, "dice that fell off the table");
    let least = |times| After::Overload(times).backoff(0.0).as_millis();
    assert_eq!([1, 2, 6, 7, 8, u32::MAX].map(least), [250, 500, 8_000, 16_000, 30_000, 30_000]);
    assert_eq!(After::Overload(100).backoff(1.0), OVERLOAD_CAP);
    assert_eq!(After::Nothing.backoff(1.0), Duration::ZERO);
}

#[test]
fn retries_are_a_fifth_of_the_calls_and_ten_a_minute() {
    let minute = Duration::from_secs(60);
    let granted = |budget: &mut Budget, now| (0..1_000).filter(|_| budget.take(now).is_ok()).count();
    let mut budget = Budget::new(Duration::ZERO);
    assert_eq!(granted(&mut budget, Duration::ZERO), 10);
    (0..52).for_each(|_| budget.called());
    assert_eq!(granted(&mut budget, Duration::ZERO), 10, "a fifth of fifty-two");
    assert_eq!(granted(&mut budget, minute), 10, "a minute's worth");
    assert_eq!(budget.take(minute), Err(Duration::from_millis(3_600)), "the next one comes at ten a minute");
    (0..10_000).for_each(|_| budget.called());
    assert_eq!(granted(&mut budget, minute * 2), 100, "what is saved has a bound");
}
