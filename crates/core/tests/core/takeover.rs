//! A retry takes over the failed task's record through the last step in which a tool call was started.

use crate::bench::{ACCEPTED, Bench, definitions, reply, task};
use maniple_core::{
    Kind, TaskId, Time,
    event::{Event, TakenOver, ToolStatus},
    model::FaultKind,
    run::{Next, take_over},
    task::{ErrorCode, Task},
};
use serde_json::json;

fn started(task: Task) -> Bench {
    let mut bench = Bench::new(task);
    bench.start();
    bench
}

/// The task fails because its key is wrong.
fn failed(mut bench: Bench) -> Bench {
    bench.faults(FaultKind::Denied).end();
    bench
}

/// A retry of a failed task, under an id of its own.
fn retried(old: &Bench, id: &str) -> Bench {
    let id = TaskId::parse(id).unwrap();
    let task = Task { id, retry_of: Some(old.live.task().id.clone()), ..old.live.task().clone() };
    let mut bench = Bench::with(task, definitions(), Some(take_over(&old.journal).unwrap()));
    bench.start();
    bench
}

#[test]
fn only_a_failed_task_can_be_retried() {
    let mut bench = started(task());
    assert_eq!(take_over(&bench.journal).unwrap_err().kind, Kind::Conflict, "running");
    bench.says("done").end();
    assert_eq!(take_over(&bench.journal).unwrap_err().kind, Kind::Conflict, "completed");
    assert_eq!(take_over(&[]).unwrap_err().kind, Kind::Conflict, "empty");
}

#[test]
fn a_task_that_started_no_call_hands_over_nothing() {
    let mut bench = started(task());
    bench.calls(&[("nosuch", "{}")]).made(&json!(null));
    let old = failed(bench);
    assert_eq!(take_over(&old.journal).unwrap(), TakenOver { from: TaskId::parse("t-1").unwrap(), steps: vec![] });
    assert_eq!(retried(&old, "t-2").ask().step, 1);
}

#[test]
fn what_has_an_outcome_is_neither_asked_nor_sent_again_and_step_numbers_go_on() {
    let mut bench = started(task());
    bench.calls(&[("pay", r#"{"n":1}"#), ("nosuch", "{}")]).made(&json!("paid"));
    bench.calls(&[("look", r#"{"n":2}"#)]).made(&json!("seen"));
    let old = failed(bench);
    let mut new = retried(&old, "t-2");
    assert_eq!((new.ask().step, new.ask().attempt), (3, 1));
    assert_eq!(new.shown(), old.shown(), "the model reads what it read before");
    new.calls(&[("look", r#"{"n":3}"#)]);
    assert_eq!(new.plan(8).send[0].key, "t-2:3:0", "later steps carry the new task's id");
}

#[test]
fn steps_after_the_last_started_call_are_asked_anew() {
    let mut bench = started(task());
    bench.calls(&[("pay", "{}")]).made(&json!("paid"));
    bench.calls(&[("nosuch", "{}")]).made(&json!(null));
    bench.calls(&[("look", "[]")]).made(&json!(null));
    let old = failed(bench);
    assert_eq!(take_over(&old.journal).unwrap().steps.iter().map(|step| step.step).collect::<Vec<_>>(), [1]);
    assert_eq!(retried(&old, "t-2").ask().step, 2);
}

#[test]
fn a_started_call_without_outcome_goes_by_its_effect_class_under_the_key_it_had() {
    let mut bench = started(Task { deadline_ms: Some(10), ..task() });
    bench.calls(&[("look", r#"{"n":1}"#), ("save", r#"{"n":2}"#), ("pay", r#"{"n":3}"#)]);
    let sent = bench.plan(8).send;
    bench.now = Time(ACCEPTED.0 + 10);
    bench.end();
    let mut new = retried(&bench, "t-2");
    assert_eq!(new.next(), Next::Call);
    let plan = new.plan(8);
    assert_eq!(plan.send, sent[..2], "pure and idempotent ones as they were, key and arguments");
    assert_eq!(plan.record, [Event::ToolFinished(maniple_core::run::Run::in_doubt(&sent[2]))]);
    for started in &plan.send {
        new.finished(started, ToolStatus::Ok, json!("ok"));
    }
    new.calls(&[("pay", r#"{"n":3}"#)]);
    assert!(new.plan(8).send.is_empty(), "what is in doubt stays refused in the retry");
}

#[test]
fn a_call_never_started_gets_the_new_tasks_key() {
    let mut bench = started(Task { deadline_ms: Some(10), ..task() });
    bench.calls(&[("pay", r#"{"n":1}"#), ("pay", r#"{"n":2}"#)]);
    let first = bench.plan(1).send.remove(0);
    bench.finished(&first, ToolStatus::Ok, json!("paid"));
    bench.now = Time(ACCEPTED.0 + 10);
    bench.end();
    let mut new = retried(&bench, "t-2");
    let sent = new.plan(8).send;
    assert_eq!(sent.iter().map(|s| (s.index, s.key.as_str())).collect::<Vec<_>>(), [(1, "t-2:1:1")]);
}

#[test]
fn what_was_in_doubt_in_the_failed_task_is_refused_in_its_retry() {
    let mut bench = started(task());
    bench.calls(&[("pay", r#"{"n":1}"#)]).plan(8);
    bench.crash();
    bench.plan(8);
    let mut new = retried(&failed(bench), "t-2");
    new.calls(&[("pay", r#"{"n":1.0}"#)]);
    assert!(new.plan(8).send.is_empty());
}

#[test]
fn steps_tokens_calls_and_deadline_count_afresh() {
    let mut bench = started(Task { max_steps: 2, token_budget: 600, ..task() });
    bench.said(reply(None, &[("look", "{}")], 500)).made(&json!("seen"));
    let old = failed(bench);
    let mut new = retried(&old, "t-2");
    assert_eq!(*new.live.progress(), Default::default());
    assert_eq!(new.live.output_room(1_200), Some(64), "its first call is made");
    assert!(!new.ask().last);
    new.said(reply(None, &[("look", r#"{"n":1}"#)], 500)).made(&json!("seen"));
    assert_eq!((new.ask().step, new.ask().last), (3, true));
    new.said(reply(None, &[("look", "{}")], 1));
    assert_eq!(new.ending().error, Some(ErrorCode::MaxStepsReached));
    assert_eq!((new.live.progress().steps_used, new.live.progress().tokens_used, new.live.progress().tool_calls), (2, 501, 2));
}

#[test]
fn a_failed_tasks_last_step_is_no_last_step_of_its_retry() {
    let mut bench = started(Task { max_steps: 2, deadline_ms: Some(10), ..task() });
    bench.calls(&[("look", "{}")]).plan(8);
    bench.now = Time(ACCEPTED.0 + 10);
    bench.end();
    let mut old = retried(&bench, "t-2");
    old.made(&json!("seen"));
    assert_eq!((old.ask().step, old.ask().last), (2, false), "one step was taken, none was used");
}

#[test]
fn a_retry_of_repeated_calls_is_not_ended_at_once() {
    let mut bench = started(task());
    for _ in 0..6 {
        bench.calls(&[("look", "{}")]).made(&json!("nothing"));
    }
    assert_eq!(bench.end().error, Some(ErrorCode::RepeatedCalls));
    let mut new = retried(&bench, "t-2");
    assert_eq!(new.ask().step, 7);
    for _ in 0..5 {
        new.calls(&[("look", "{}")]).made(&json!("nothing"));
        new.ask();
    }
    new.calls(&[("look", "{}")]).made(&json!("nothing"));
    assert_eq!(new.ending().error, Some(ErrorCode::RepeatedCalls));
}

#[test]
fn a_retry_of_an_invalid_answer_has_its_two_repairs_again() {
    let mut bench = started(Task { output_schema: Some(json!({ "type": "integer" })), ..task() });
    bench.calls(&[("look", "{}")]).made(&json!("seen"));
    bench.says("one").says("two").says("three");
    assert_eq!(bench.end().error, Some(ErrorCode::OutputInvalid));
    let mut new = retried(&bench, "t-2");
    assert_eq!(new.ask().step, 2);
    new.says("one").says("two").says("3");
    assert_eq!(new.end().structured, Some(json!(3)));
}

#[test]
fn a_retry_that_fails_again_hands_over_both_records_under_the_keys_they_had() {
    let mut bench = started(Task { deadline_ms: Some(10), ..task() });
    bench.calls(&[("save", r#"{"n":1}"#), ("save", r#"{"n":2}"#)]);
    bench.plan(1);
    bench.now = Time(ACCEPTED.0 + 10);
    bench.end();

    let mut second = retried(&bench, "t-2");
    assert_eq!(second.plan(8).send.len(), 2);
    second.now = Time(ACCEPTED.0 + 10);
    second.end();

    let mut third = retried(&second, "t-3");
    let keys: Vec<_> = third.plan(8).send.into_iter().map(|started| started.key).collect();
    assert_eq!(keys, ["t-1:1:0", "t-2:1:1"]);
    let taken = take_over(&second.journal).unwrap();
    assert_eq!((taken.from.as_str(), taken.steps.len()), ("t-2", 1));
}

#[test]
fn a_retry_that_fails_before_it_did_anything_hands_over_what_it_took() {
    let mut bench = started(task());
    bench.calls(&[("pay", "{}")]).made(&json!("paid"));
    let first = failed(bench);
    let second = failed(retried(&first, "t-2"));
    let (one, two) = (take_over(&first.journal).unwrap(), take_over(&second.journal).unwrap());
    assert_eq!(one.steps, two.steps);
    assert_eq!(retried(&second, "t-3").ask().step, 2);
}

#[test]
fn a_taken_call_that_was_sent_again_and_crashed_again_is_sent_again() {
    let mut bench = started(Task { deadline_ms: Some(10), ..task() });
    bench.calls(&[("save", "{}")]);
    let sent = bench.plan(8).send;
    bench.now = Time(ACCEPTED.0 + 10);
    bench.end();
    let mut new = retried(&bench, "t-2");
    for _ in 0..3 {
        assert_eq!(new.plan(8).send, sent);
        new.crash();
    }
}
