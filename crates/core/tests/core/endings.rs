//! How a run ends, and which end applies first.

use crate::bench::{ACCEPTED, Bench, reply, signal, task};
use maniple_core::{
    Time,
    event::ModelFinished,
    message::{FinishReason, Message, ModelReply, Usage},
    model::FaultKind,
    run::Next,
    signal::SignalKind,
    task::{Ending, ErrorCode, Task, TaskStatus},
};
use serde_json::json;

fn started(task: Task) -> Bench {
    let mut bench = Bench::new(task);
    bench.start();
    bench
}

fn outcome(ending: &Ending) -> (TaskStatus, Option<ErrorCode>, Option<&str>) {
    (ending.status, ending.error, ending.output.as_deref())
}

#[test]
fn a_model_that_answers_completes_the_run_with_its_answer() {
    let mut bench = started(task());
    bench.says("It is here.");
    assert_eq!(bench.end(), Ending::completed(Some("It is here.".into())));
    assert_eq!((bench.live.progress().steps_used, bench.live.progress().tokens_used), (1, 10));
}

#[test]
fn a_run_is_first_to_record_what_it_began_with() {
    let bench = Bench::new(task());
    assert_eq!(bench.next(), Next::Start);
    let task = Task { deadline_ms: Some(1), ..task() };
    assert_eq!(Bench::new(task).ending().error, Some(ErrorCode::DeadlineExceeded), "but not past its deadline");
}

#[test]
fn a_cancel_comes_before_the_deadline_the_budget_and_the_answer() {
    let mut bench = started(Task { deadline_ms: Some(5), token_budget: 512, ..task() });
    bench.said(reply(Some("done"), &[], 600));
    bench.now = Time(ACCEPTED.0 + 5);
    bench.unread.push(signal("c", SignalKind::Cancel));
    bench.crash();
    assert_eq!(bench.end(), Ending::cancelled());
}

#[test]
fn the_deadline_comes_before_the_budget_and_the_answer() {
    let mut bench = started(Task { deadline_ms: Some(5), token_budget: 512, ..task() });
    bench.said(reply(Some("done"), &[], 600));
    assert_eq!(bench.ending().error, Some(ErrorCode::TokenBudgetExceeded), "before it, the budget applies");
    bench.now = Time(ACCEPTED.0 + 5);
    assert_eq!(outcome(&bench.end()), (TaskStatus::Failed, Some(ErrorCode::DeadlineExceeded), Some("done")));
}

#[test]
fn the_deadline_counts_from_acceptance_and_holds_at_its_very_millisecond() {
    let mut bench = started(Task { deadline_ms: Some(1_000), ..task() });
    bench.now = Time(ACCEPTED.0 + 999);
    bench.ask();
    bench.now = Time(ACCEPTED.0 + 1_000);
    assert_eq!(bench.ending().error, Some(ErrorCode::DeadlineExceeded));
}

#[test]
fn an_answer_that_crosses_the_budget_is_completed_and_says_so() {
    let mut bench = started(Task { token_budget: 512, ..task() });
    bench.said(reply(Some("done"), &[], 513));
    assert_eq!(outcome(&bench.end()), (TaskStatus::Completed, Some(ErrorCode::TokenBudgetExceeded), Some("done")));
}

#[test]
fn an_answer_that_uses_the_budget_exactly_is_within_it() {
    let mut bench = started(Task { token_budget: 512, ..task() });
    bench.said(reply(Some("done"), &[], 512));
    assert_eq!(bench.end(), Ending::completed(Some("done".into())));
}

#[test]
fn the_call_that_crosses_the_budget_is_the_last_and_its_tools_are_not_called() {
    let mut bench = started(Task { token_budget: 512, ..task() });
    bench.said(reply(Some("so far"), &[("look", "{}")], 513));
    assert_eq!(outcome(&bench.end()), (TaskStatus::Completed, Some(ErrorCode::TokenBudgetExceeded), Some("so far")));
    assert_eq!(bench.live.progress().tool_calls, 1, "asked for, though not made");
}

#[test]
fn the_budget_comes_before_a_refusal_and_before_max_steps() {
    let mut bench = started(Task { token_budget: 512, max_steps: 1, ..task() });
    bench.said(reply(Some("no"), &[("look", "{}")], 513));
    assert_eq!(bench.ending().error, Some(ErrorCode::TokenBudgetExceeded));
    let mut bench = started(Task { token_budget: 512, ..task() });
    bench.said(maniple_core::event::ModelFinished { finish_reason: FinishReason::Refusal, ..reply(Some("no"), &[], 513) });
    assert_eq!(outcome(&bench.end()), (TaskStatus::Completed, Some(ErrorCode::TokenBudgetExceeded), Some("no")));
}

#[test]
fn an_answer_in_the_last_step_is_completed_without_an_error() {
    let mut bench = started(Task { max_steps: 1, ..task() });
    bench.says("done");
    assert_eq!(bench.end(), Ending::completed(Some("done".into())));
}

#[test]
fn a_last_step_that_still_asks_for_tools_is_completed_with_the_best_output_so_far() {
    let mut bench = started(Task { max_steps: 2, ..task() });
    bench.said(reply(Some("I think it is here"), &[("look", "{}")], 10));
    bench.made(&json!("seen"));
    bench.said(reply(Some(""), &[("pay", "{}")], 10));
    let ending = bench.end();
    assert_eq!(outcome(&ending), (TaskStatus::Completed, Some(ErrorCode::MaxStepsReached), Some("I think it is here")));
    assert_eq!(bench.live.progress().tool_calls, 2, "recorded, not made");
}

#[test]
fn a_run_that_said_nothing_before_it_was_cut_short_has_no_output() {
    let mut bench = started(Task { max_steps: 1, ..task() });
    bench.calls(&[("look", "{}")]);
    assert_eq!(bench.end().output, None);
}

#[test]
fn tools_are_offered_with_an_answer_demanded_in_the_last_step_and_only_there() {
    let mut bench = started(Task { max_steps: 3, ..task() });
    for step in 1..=3 {
        assert_eq!((bench.ask().step, bench.ask().last), (step, step == 3));
        bench.faults(FaultKind::Failed);
        assert_eq!((bench.ask().step, bench.ask().last), (step, step == 3), "another attempt is the same step");
        bench.calls(&[("look", &format!(r#"{{"n":{step}}}"#))]);
        if step < 3 {
            bench.made(&json!("seen"));
        }
    }
    assert_eq!(bench.ending().error, Some(ErrorCode::MaxStepsReached));
}

#[test]
fn a_task_of_one_step_demands_an_answer_at_once() {
    assert!(started(Task { max_steps: 1, ..task() }).ask().last);
}

#[test]
fn a_refusal_of_the_model_fails_the_run_and_names_the_model() {
    let mut bench = started(task());
    bench.said(maniple_core::event::ModelFinished { finish_reason: FinishReason::Refusal, ..reply(Some("I will not"), &[], 10) });
    let ending = bench.end();
    assert_eq!(outcome(&ending), (TaskStatus::Failed, Some(ErrorCode::ModelRefused), Some("I will not")));
    assert!(ending.error_detail.unwrap().contains("lab/first"));
}

#[test]
fn a_refusal_is_final_even_where_calls_stand_before_it() {
    let mut bench = started(task());
    bench.said(maniple_core::event::ModelFinished { finish_reason: FinishReason::Refusal, ..reply(None, &[("pay", "{}")], 10) });
    assert_eq!(bench.end().error, Some(ErrorCode::ModelRefused), "a filter cut the answer off: its calls may be half a thought");
}

#[test]
fn a_model_that_cannot_be_reached_fails_the_run_after_every_attempt_at_every_model() {
    let mut bench = started(task());
    let mut asked = Vec::new();
    while let Next::Ask(ask) = bench.next() {
        asked.push((ask.attempt, ask.model));
        bench.faults(FaultKind::Failed);
    }
    assert_eq!(asked, [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)]);
    assert_eq!(outcome(&bench.end()), (TaskStatus::Failed, Some(ErrorCode::ModelUnavailable), None));
}

#[test]
fn the_next_step_begins_with_the_agents_own_model_again() {
    let mut bench = started(task());
    for _ in 0..3 {
        bench.faults(FaultKind::Failed);
    }
    assert_eq!(bench.ask().model, 1);
    bench.calls(&[("look", "{}")]).made(&json!("seen"));
    assert_eq!((bench.ask().step, bench.ask().attempt, bench.ask().model), (2, 1, 0));
}

#[test]
fn an_attempt_whose_holder_died_is_a_higher_attempt_and_no_fault_of_the_model() {
    let mut bench = started(task());
    for attempt in 1..=5 {
        assert_eq!(bench.asked().attempt, attempt);
        bench.crash();
        assert_eq!((bench.ask().attempt, bench.ask().model), (attempt + 1, 0));
    }
}

#[test]
fn a_failed_run_keeps_the_best_output_it_had() {
    let mut bench = started(task());
    bench.said(reply(Some("halfway"), &[("look", "{}")], 10)).made(&json!("seen"));
    bench.faults(FaultKind::Denied);
    assert_eq!(outcome(&bench.end()), (TaskStatus::Failed, Some(ErrorCode::ModelDenied), Some("halfway")));
}

#[test]
fn the_output_of_a_call_is_capped_to_what_the_budget_leaves_after_its_input() {
    let mut bench = started(Task { token_budget: 1000, ..task() });
    assert_eq!(bench.live.output_room(300), Some(700));
    assert_eq!(bench.live.output_room(960), Some(64), "never under 64");
    assert_eq!(bench.live.output_room(2000), Some(64), "the first call is made though it leaves nothing");
    assert_eq!(bench.live.output_room(2001), None, "but not with an input of more than twice the budget");
    let ending = bench.live.no_room(2001);
    assert_eq!((ending.status, ending.error), (TaskStatus::Completed, Some(ErrorCode::TokenBudgetExceeded)));
    assert!(ending.error_detail.is_some_and(|detail| detail.contains("2001 tokens, more than twice token_budget 1000")));
    bench.said(reply(None, &[("look", "{}")], 500)).made(&json!("seen"));
    assert_eq!(bench.live.output_room(300), Some(200));
    assert_eq!(bench.live.output_room(436), Some(64));
    assert_eq!(bench.live.output_room(437), None, "a later call without room for 64 is not made");
    let ending = bench.live.no_room(437);
    assert_eq!((ending.status, ending.error), (TaskStatus::Completed, Some(ErrorCode::TokenBudgetExceeded)));
}

#[test]
fn a_provider_that_reports_absurd_usage_ends_the_run_over_its_budget() {
    let mut bench = started(task());
    bench.calls(&[("look", "{}")]).made(&json!("seen"));
    let mut absurd = reply(Some("done"), &[], u64::MAX);
    absurd.usage.input_tokens = u64::MAX;
    bench.said(absurd);
    assert_eq!(bench.live.progress().tokens_used, u64::MAX);
    assert_eq!(bench.end().error, Some(ErrorCode::TokenBudgetExceeded));
}

#[test]
fn cached_input_counts_once_as_part_of_the_input() {
    let mut bench = started(task());
    let mut cached = reply(Some("done"), &[], 5);
    (cached.usage.input_tokens, cached.usage.cached_input_tokens) = (100, 90);
    bench.said(cached);
    assert_eq!(bench.live.progress().tokens_used, 105);
}

#[test]
fn what_model_calls_cost_is_added_up_where_it_is_known() {
    let mut bench = started(task());
    bench.said(maniple_core::event::ModelFinished { cost_usd: Some(0.1), ..reply(None, &[("look", "{}")], 1) }).made(&json!(1));
    bench.said(maniple_core::event::ModelFinished { cost_usd: Some(0.2), ..reply(None, &[("look", "{}")], 1) }).made(&json!(2));
    bench.says("done");
    assert_eq!(bench.live.progress().cost_usd, Some(0.1 + 0.2));
}

#[test]
fn an_answer_cut_at_its_length_is_completed_and_says_so() {
    let cut = |text: Option<&str>| ModelFinished { finish_reason: FinishReason::Length, ..reply(text, &[], 10) };
    let mut bench = started(task());
    bench.said(cut(Some("First you open the")));
    assert_eq!(outcome(&bench.end()), (TaskStatus::Completed, Some(ErrorCode::OutputTruncated), Some("First you open the")));
    let mut bench = started(task());
    bench.said(reply(Some("so far"), &[("look", "{}")], 10)).made(&json!("seen"));
    bench.said(cut(None));
    assert_eq!(outcome(&bench.end()), (TaskStatus::Completed, Some(ErrorCode::OutputTruncated), Some("so far")), "all of it was thought");
    let mut bench = started(Task { token_budget: 512, ..task() });
    bench.said(ModelFinished { finish_reason: FinishReason::Length, ..reply(Some("long"), &[], 600) });
    assert_eq!(bench.end().error, Some(ErrorCode::TokenBudgetExceeded), "the budget comes first");
}

#[test]
fn a_structured_answer_that_was_cut_is_repaired_and_the_model_is_told_that_it_was_cut() {
    let schema = json!({ "type": "object", "required": ["steps"] });
    let mut bench = started(Task { output_schema: Some(schema), ..task() });
    bench.said(ModelFinished { finish_reason: FinishReason::Length, ..reply(Some("{\"steps\": [\"open"), &[], 10) });
    let told = bench.live.transcript(&bench.contracts).last().map(|piece| piece.message.clone());
    assert!(matches!(&told, Some(Message::User { content }) if content.contains("cut off at its length limit")), "{told:?}");
    bench.said(ModelFinished { finish_reason: FinishReason::Length, ..reply(Some("{\"steps\": []}"), &[], 10) });
    let ending = bench.end();
    assert_eq!((ending.error, ending.structured), (None, Some(json!({ "steps": [] }))), "one that fits is whole, whatever it says");
}

#[test]
fn an_empty_answer_is_asked_again_once_in_its_step_and_then_said_to_be_one() {
    let empty = ModelReply {
        text: Some(" \n".into()),
        calls: Vec::new(),
        usage: Usage::default(),
        model: "first".into(),
        finish_reason: FinishReason::Stop,
        reasoning: None,
    };
    let mut bench = started(task());
    bench.calls(&[("look", "{}")]).made(&json!("seen"));
    assert!(bench.live.asks_again(&empty));
    bench.faults(FaultKind::Empty);
    assert_eq!((bench.ask().step, bench.ask().model), (2, 0), "the same model, in the same step");
    assert!(!bench.live.asks_again(&empty), "once");
    bench.says("");
    assert_eq!(outcome(&bench.end()), (TaskStatus::Completed, Some(ErrorCode::OutputEmpty), None));
    for said in [
        ModelReply { text: Some("4".into()), ..empty.clone() },
        ModelReply { finish_reason: FinishReason::Length, ..empty.clone() },
        ModelReply { finish_reason: FinishReason::Refusal, ..empty.clone() },
        ModelReply { calls: vec![Default::default()], ..empty },
    ] {
        assert!(!started(task()).live.asks_again(&said), "{said:?}");
    }
}

#[test]
fn tokens_of_attempts_that_came_to_nothing_count_as_what_the_run_used() {
    let mut bench = started(Task { token_budget: 512, ..task() });
    let usage = Some(Usage { input_tokens: 300, output_tokens: 40, cached_input_tokens: 0 });
    bench.faulted(FaultKind::CutAfter, usage);
    bench.faulted(FaultKind::TimedOut, None);
    assert_eq!((bench.live.progress().tokens_used, bench.live.progress().steps_used), (340, 0));
    bench.faulted(FaultKind::CutAfter, usage);
    assert_eq!(bench.ending().error, Some(ErrorCode::TokenBudgetExceeded), "and are bounded with the rest");
}
