//! Repeated calls and schema repairs.

use crate::bench::{Bench, definitions, reply, task};
use maniple_core::{
    message::Message,
    run::{Next, Piece},
    task::{Ending, ErrorCode, Task, TaskStatus},
};
use serde_json::json;

fn started(task: Task) -> Bench {
    let mut bench = Bench::new(task);
    bench.start();
    bench
}

fn structured(max_steps: u32) -> Bench {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    started(Task { output_schema: Some(schema), max_steps, ..task() })
}

#[test]
fn the_model_is_told_at_the_third_equal_call_with_an_equal_result_and_the_run_fails_at_the_sixth() {
    let mut bench = started(task());
    for times in 1..=6 {
        bench.calls(&[("look", if times % 2 == 0 { r#"{"n":1}"# } else { r#"{ "n": 1 }"# })]).made(&json!("nothing"));
        let (told, _) = bench.outcomes().pop().unwrap();
        assert_eq!(told.contains(&format!("{times} times in a row")), times >= 3, "at {times}: {told}");
    }
    let ending = bench.end();
    assert_eq!((ending.status, ending.error), (TaskStatus::Failed, Some(ErrorCode::RepeatedCalls)));
}

#[test]
fn another_result_another_argument_or_another_tool_begins_the_count_anew() {
    for different in [("look", r#"{"n":1}"#, "something"), ("look", r#"{"n":2}"#, "nothing"), ("save", r#"{"n":1}"#, "nothing")] {
        let mut bench = started(task());
        for _ in 0..5 {
            bench.calls(&[("look", r#"{"n":1}"#)]).made(&json!("nothing"));
        }
        bench.calls(&[(different.0, different.1)]).made(&json!(different.2));
        assert_eq!(bench.ask().step, 7, "{different:?}");
        bench.calls(&[("look", r#"{"n":1}"#)]).made(&json!("nothing"));
        assert!(!bench.outcomes()[6].0.contains("in a row"));
    }
}

#[test]
fn calls_that_differ_in_the_last_digit_of_a_large_number_are_not_repeated() {
    let mut bench = started(task());
    for n in 0..6u64 {
        bench.calls(&[("look", &format!(r#"{{"n":{}}}"#, 1_234_567_890_123_456_700 + n))]).made(&json!("deleted"));
    }
    assert_eq!(bench.ask().step, 7);
}

#[test]
fn equal_calls_of_one_step_count_too_whatever_stands_behind_them() {
    let mut bench = started(task());
    let mut calls = vec![("look", "{}"); 6];
    calls.push(("save", "{}"));
    bench.calls(&calls).made(&json!("nothing"));
    assert_eq!(bench.ending().error, Some(ErrorCode::RepeatedCalls));
}

#[test]
fn a_call_that_is_refused_six_times_for_the_same_reason_ends_the_run_too() {
    let mut bench = started(task());
    for _ in 0..6 {
        bench.calls(&[("nosuch", "{}")]).made(&json!(null));
    }
    assert_eq!(bench.ending().error, Some(ErrorCode::RepeatedCalls));
}

#[test]
fn a_tool_that_is_there_to_be_polled_is_exempt() {
    let mut bench = started(task());
    for _ in 0..8 {
        bench.calls(&[("wait", "{}")]).made(&json!("not yet"));
        assert!(!bench.outcomes().pop().unwrap().0.contains("in a row"));
    }
    assert_eq!(bench.ask().step, 9);
}

#[test]
fn the_last_step_comes_before_repeated_calls() {
    let mut bench = started(Task { max_steps: 6, ..task() });
    for _ in 0..5 {
        bench.calls(&[("look", "{}")]).made(&json!("nothing"));
    }
    bench.calls(&[("look", "{}")]);
    assert_eq!(bench.end().error, Some(ErrorCode::MaxStepsReached));
}

#[test]
fn an_answer_that_fits_the_schema_is_given_as_json_too() {
    for text in [r#"{"n": 1}"#, "```json\n{\"n\": 1}\n```", " ```\n{\"n\": 1}```\n"] {
        let mut bench = structured(10);
        bench.says(text);
        let expected = Ending { structured: Some(json!({ "n": 1 })), ..Ending::completed(Some(text.into())) };
        assert_eq!(bench.end(), expected);
    }
}

#[test]
fn without_a_schema_nothing_is_structured_even_where_the_answer_is_json() {
    let mut bench = started(task());
    bench.says(r#"{"n": 1}"#);
    assert_eq!(bench.end().structured, None);
}

#[test]
fn an_answer_that_does_not_fit_is_sent_back_with_what_is_wrong_at_most_twice() {
    let mut bench = structured(10);
    for step in 1..=3 {
        assert_eq!(bench.ask().step, step, "a repair is a step");
        bench.says(r#"{"n": "one"}"#);
        let Message::User { content } = bench.shown().pop().unwrap() else { panic!("the complaint comes last") };
        assert!(content.contains("at /n") && content.contains("does not fit"), "{content}");
    }
    let ending = bench.end();
    assert_eq!((ending.status, ending.error, ending.structured), (TaskStatus::Failed, Some(ErrorCode::OutputInvalid), None));
    assert_eq!(ending.output.as_deref(), Some(r#"{"n": "one"}"#));
    assert!(ending.error_detail.unwrap().contains("after 2 repairs"));
}

#[test]
fn a_repair_that_fits_completes_the_run() {
    let mut bench = structured(10);
    bench.says("one").says(r#"{"n": 1}"#);
    assert_eq!(bench.end().structured, Some(json!({ "n": 1 })));
}

#[test]
fn no_repair_is_made_past_max_steps() {
    let mut bench = structured(2);
    bench.says("one");
    assert!(bench.ask().last);
    bench.says("two");
    assert_eq!(bench.end().error, Some(ErrorCode::OutputInvalid));
    let mut bench = structured(1);
    bench.says("one");
    assert_eq!(bench.end().error, Some(ErrorCode::OutputInvalid));
}

#[test]
fn a_repair_may_call_tools_and_the_two_repairs_are_still_two() {
    let mut bench = structured(10);
    bench.says("one").calls(&[("look", "{}")]).made(&json!("seen"));
    bench.says("two").calls(&[("look", "{}")]).made(&json!("seen"));
    bench.says("three");
    assert_eq!(bench.end().error, Some(ErrorCode::OutputInvalid));
}

#[test]
fn a_run_cut_short_has_no_structured_answer() {
    let mut bench = structured(1);
    bench.said(reply(Some(r#"{"n": 1}"#), &[("look", "{}")], 10));
    let ending = bench.end();
    assert_eq!((ending.error, ending.structured), (Some(ErrorCode::MaxStepsReached), None));
    let mut bench = structured(10);
    bench.said(reply(Some(r#"{"n": 1}"#), &[("look", "{}")], 9_000));
    let ending = bench.end();
    assert_eq!((ending.error, ending.structured), (Some(ErrorCode::TokenBudgetExceeded), None));
}

#[test]
fn an_answer_that_does_not_fit_is_not_sent_back_over_the_budget() {
    let mut bench = structured(10);
    bench.said(reply(Some("one"), &[], 9_000));
    let ending = bench.end();
    assert_eq!((ending.status, ending.error, ending.structured), (TaskStatus::Completed, Some(ErrorCode::TokenBudgetExceeded), None));
}

#[test]
fn the_agents_schema_holds_unless_the_task_brings_its_own() {
    let mut definitions = definitions();
    definitions.agent.output_schema = Some(json!({ "type": "integer" }));
    let mut bench = Bench::with(task(), definitions.clone(), None);
    bench.start().says("7");
    assert_eq!(bench.end().structured, Some(json!(7)));
    let mut bench = Bench::with(Task { output_schema: Some(json!({ "type": "string" })), ..task() }, definitions, None);
    bench.start().says("7");
    assert!(matches!(bench.next(), Next::Ask(_)));
}

#[test]
fn old_tool_results_may_shrink_and_those_of_the_last_step_may_not() {
    let mut bench = started(task());
    bench.calls(&[("look", "{}")]).made(&json!("old"));
    bench.calls(&[("look", "{}")]).made(&json!("new"));
    let may: Vec<bool> = bench.live.transcript(&bench.contracts).iter().map(|Piece { may_shrink, .. }| *may_shrink).collect();
    assert_eq!(may, [false, false, true, false, false], "prompt, call, old, call, new");
}
