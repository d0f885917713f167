//! What is sent, what is refused, what is in doubt, and under which key.

use crate::bench::{Bench, reply, task};
use maniple_core::{
    TaskId, Tenant,
    event::{Event, ModelFinished, ToolFinished, ToolStarted, ToolStatus},
    message::FinishReason,
    run::Next,
    task::Task,
    tool::Effect,
};
use serde_json::{Value, json};

fn started() -> Bench {
    let mut bench = Bench::new(task());
    bench.start();
    bench
}

/// The refusals of a plan: index and what the model is told.
fn refusals(record: &[Event]) -> Vec<(u32, String)> {
    let refusal = |event: &Event| match event {
        Event::ToolFinished(ToolFinished { index, status: ToolStatus::Refused, result: Value::String(why), .. }) => {
            Some((*index, why.clone()))
        }
        _ => None,
    };
    record.iter().filter_map(refusal).collect()
}

fn names(sent: &[ToolStarted]) -> Vec<&str> {
    sent.iter().map(|started| started.name.as_str()).collect()
}

#[test]
fn an_integer_of_more_than_64_bits_is_no_number_that_has_lost_its_last_digits() {
    let mut bench = started();
    bench.calls(&[("look", r#"{"n": 123456789012345678901234567890}"#)]);
    let refused = refusals(&bench.plan(8).record);
    assert!(refused[0].1.contains(r#""123456789012345678901234567890" is not of type "number""#), "{refused:?}");
}

#[test]
fn a_call_is_recorded_as_started_before_it_is_sent_and_carries_all_a_takeover_needs() {
    let mut bench = started();
    bench.calls(&[("save", r#"{"n": 1}"#)]);
    let plan = bench.plan(8);
    let save = ToolStarted {
        index: 0,
        name: "save".into(),
        version: semver::Version::new(1, 2, 3),
        arguments: json!({ "n": 1 }),
        key: "t-1:1:0".into(),
        effect: Effect::Idempotent,
        way: None,
    };
    assert_eq!(plan.record, [Event::ToolStarted(save.clone())]);
    assert_eq!(plan.send, [save]);
}

#[test]
fn a_key_is_the_task_the_step_and_the_place_of_the_call() {
    let mut bench = started();
    bench.calls(&[("look", "{}")]).made(&json!(1));
    bench.calls(&[("look", "{}"), ("pay", "{}")]);
    let keys: Vec<_> = bench.plan(8).send.into_iter().map(|started| started.key).collect();
    assert_eq!(keys, ["t-1:2:0", "t-1:2:1"]);
}

#[test]
fn a_key_names_the_tenant_outside_the_default_one() {
    let mut bench = Bench::new(Task { tenant: Tenant::parse("acme").unwrap(), id: TaskId::parse("a:b").unwrap(), ..task() });
    bench.start().calls(&[("look", "{}")]);
    assert_eq!(bench.plan(8).send[0].key, "acme/a:b:1:0");
}

#[test]
fn a_call_in_flight_is_left_alone_and_no_more_are_sent_than_there_is_room_for() {
    let mut bench = started();
    bench.calls(&[("look", r#"{"n":0}"#), ("look", r#"{"n":1}"#), ("look", r#"{"n":2}"#)]);
    let first = bench.plan(2).send;
    assert_eq!(first.len(), 2);
    let nothing = bench.plan(0);
    assert!(nothing.send.is_empty() && nothing.record.is_empty());
    bench.finished(&first[1], ToolStatus::Ok, json!("seen"));
    let second = bench.plan(1).send;
    assert_eq!(second[0].index, 2);
    assert!(bench.plan(8).send.is_empty(), "two are in flight");
    assert_eq!(bench.next(), Next::Call, "and the run waits for them");
}

#[test]
fn the_model_reads_results_in_the_order_of_its_calls_whatever_came_first() {
    let mut bench = started();
    bench.calls(&[("look", "{}"), ("pay", "{}")]);
    let sent = bench.plan(8).send;
    bench.finished(&sent[1], ToolStatus::Error, json!({ "status": 500 }));
    bench.finished(&sent[0], ToolStatus::Ok, json!("seen"));
    assert_eq!(bench.outcomes(), [("seen".to_owned(), false), (r#"{"status":500}"#.to_owned(), true)]);
    assert_eq!(bench.ask().step, 2, "a failing tool is a result the model sees");
}

#[test]
fn sixteen_calls_of_a_step_are_made_and_the_rest_refused() {
    let mut bench = started();
    let arguments: Vec<String> = (0..20).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let calls: Vec<_> = arguments.iter().map(|a| ("look", a.as_str())).collect();
    bench.calls(&calls);
    let plan = bench.plan(8);
    assert_eq!(plan.send.len(), 8);
    assert_eq!(refusals(&plan.record).iter().map(|(index, _)| *index).collect::<Vec<_>>(), [16, 17, 18, 19]);
    for started in &plan.send {
        bench.finished(started, ToolStatus::Ok, json!(started.index));
    }
    assert_eq!(bench.made(&json!("seen")).len(), 8);
    assert_eq!(bench.outcomes().len(), 20, "each call has an outcome the model sees");
}

#[test]
fn what_cannot_be_called_is_refused_with_words_the_model_can_act_on() {
    let mut bench = started();
    bench.calls(&[("lok", "{}"), ("look", "{"), ("look", r#"{"n":"one"}"#), ("look", r#"{"m":1}"#), ("look", "[]")]);
    let plan = bench.plan(8);
    assert!(plan.send.is_empty());
    let refused = refusals(&plan.record);
    assert_eq!(refused.len(), 5);
    assert_eq!(refused[0].1, "there is no tool `lok`; there are: look, save, pay, wait");
    assert!(refused[1].1.starts_with("the arguments are not JSON"), "{}", refused[1].1);
    assert!(refused[2].1.contains("at /n"), "{}", refused[2].1);
    assert!(refused[3].1.contains("'m'"), "{}", refused[3].1);
    assert!(refused[4].1.contains("object"), "{}", refused[4].1);
    assert!(bench.outcomes().iter().all(|(_, is_error)| *is_error));
    assert_eq!(bench.ask().step, 2, "its repair is the next step");
}

#[test]
fn no_arguments_at_all_are_an_empty_object() {
    let mut bench = started();
    bench.calls(&[("look", ""), ("look", " \n")]);
    assert!(bench.plan(8).send.iter().all(|started| started.arguments == json!({})));
}

#[test]
fn no_call_of_an_answer_cut_at_its_length_is_made() {
    let mut bench = started();
    bench.said(ModelFinished { finish_reason: FinishReason::Length, ..reply(None, &[("pay", "{}"), ("look", r#"{"n":1"#)], 10) });
    let plan = bench.plan(8);
    assert!(plan.send.is_empty());
    assert_eq!(refusals(&plan.record).len(), 2);
    assert_eq!(bench.ask().step, 2);
}

#[test]
fn after_a_crash_pure_and_idempotent_calls_are_sent_again_under_their_key_and_arguments() {
    let mut bench = started();
    bench.calls(&[("look", r#"{"n":1}"#), ("save", r#"{"n":0.1234567890123456789}"#)]);
    let first = bench.plan(8).send;
    bench.crash();
    let again = bench.plan(8);
    assert!(again.record.is_empty(), "they are recorded already");
    assert_eq!(again.send, first);
    assert!(bench.plan(8).send.is_empty(), "and then they are in flight again");
    bench.crash();
    assert_eq!(bench.plan(1).send, first[..1], "one at a time where there is room for one");
}

#[test]
fn arguments_are_sent_again_to_the_last_digit() {
    for text in
        ["0.1", "1e23", "9007199254740993", "1.7976931348623157e308", "5e-324", "123456789.123456789", "-0.0", "0.30000000000000004"]
    {
        let mut bench = started();
        bench.calls(&[("save", &format!(r#"{{"n":{text}}}"#))]);
        let first = bench.plan(8).send[0].arguments.to_string();
        bench.crash();
        assert_eq!(bench.plan(8).send[0].arguments.to_string(), first, "{text}");
    }
}

#[test]
fn after_a_crash_an_at_most_once_call_is_in_doubt_and_never_sent_again() {
    let mut bench = started();
    bench.calls(&[("pay", "{}")]);
    let sent = bench.plan(8).send;
    bench.crash();
    let plan = bench.plan(8);
    assert!(plan.send.is_empty());
    assert_eq!(plan.record, [Event::ToolFinished(maniple_core::run::Run::in_doubt(&sent[0]))]);
    let (told, is_error) = bench.outcomes().remove(0);
    assert!(told.contains("this may have happened; do not repeat it") && is_error);
    assert_eq!(bench.ask().step, 2, "the model is told, and the run goes on");
}

#[test]
fn a_call_whose_outcome_is_recorded_is_never_sent_again() {
    for status in [ToolStatus::Ok, ToolStatus::Error] {
        let mut bench = started();
        bench.calls(&[("pay", "{}"), ("save", "{}"), ("look", "{}")]);
        for started in bench.plan(8).send {
            bench.finished(&started, status, json!("so it went"));
        }
        bench.crash();
        assert_eq!(bench.ask().step, 2);
    }
}

#[test]
fn a_call_in_doubt_is_refused_for_the_rest_of_the_task_however_its_arguments_are_spelled() {
    let mut bench = started();
    bench.calls(&[("pay", r#"{"n":1}"#)]).plan(8);
    bench.crash();
    bench.plan(8);
    bench.calls(&[("pay", r#"{ "n": 1.0 }"#), ("pay", r#"{"n":2}"#), ("look", r#"{"n":1}"#)]);
    let plan = bench.plan(8);
    assert_eq!(refusals(&plan.record)[0].0, 0);
    assert!(refusals(&plan.record)[0].1.contains("may already have happened"));
    assert_eq!(names(&plan.send), ["pay", "look"], "other arguments and other tools are another matter");
    for started in &plan.send {
        bench.finished(started, ToolStatus::Ok, json!("ok"));
    }
    bench.crash();
    bench.calls(&[("pay", r#"{"n":1}"#)]);
    assert!(bench.plan(8).send.is_empty(), "a later holder knows it too");
}

#[test]
fn the_twin_of_a_call_in_doubt_is_refused_in_the_same_step() {
    let mut bench = started();
    bench.calls(&[("pay", r#"{"n":1}"#), ("pay", r#"{"n":1}"#)]);
    assert_eq!(bench.plan(1).send.len(), 1);
    bench.crash();
    let plan = bench.plan(8);
    assert!(plan.send.is_empty(), "the first may have happened, and this is the very same call");
    assert_eq!(refusals(&plan.record)[0].0, 1);
}

#[test]
fn large_numbers_that_differ_in_their_last_digit_are_different_calls() {
    let mut bench = started();
    bench.calls(&[("pay", r#"{"n":1234567890123456789}"#)]).plan(8);
    bench.crash();
    bench.plan(8);
    bench.calls(&[("pay", r#"{"n":1234567890123456788}"#)]);
    assert_eq!(bench.plan(8).send.len(), 1, "another account is no repetition");
}

#[test]
fn an_outcome_for_a_call_nobody_asked_for_cannot_be_folded() {
    let mut bench = started();
    bench.calls(&[("look", "{}")]);
    let stray = ToolFinished { index: 1, name: "look".into(), status: ToolStatus::Ok, result: json!(1) };
    bench.journal.push(crate::bench::stored(5, bench.now, 1, &Event::ToolFinished(stray)));
    let error = maniple_core::run::Run::fold(&bench.journal).unwrap_err();
    assert_eq!(error.to_string(), "step 1 asked for no call 1");
}
