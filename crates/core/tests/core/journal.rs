//! What is stored: one golden file for each event, so that no later version changes it unseen.

use crate::bench::{ACCEPTED, Bench, reply, stored, task};
use maniple_core::{
    SessionId, TaskId, Tenant, Time,
    event::*,
    message::{FinishReason, Usage},
    model::FaultKind,
    run::Run,
    task::{AgentResult, Ending, ErrorCode, Header, Progress, Task, TaskStatus, WaitingFor},
    tool::Effect,
    trace::TraceContext,
};
use semver::Version;
use serde_json::json;

fn full_task() -> Task {
    let map = |value: serde_json::Value| value.as_object().unwrap().clone();
    Task {
        metadata: map(json!({ "ticket": 7 })),
        context: map(json!({ "city": "Seoul" })),
        deadline_ms: Some(60_000),
        not_before: Some(Time(ACCEPTED.0 + 1)),
        output_schema: Some(json!({ "type": "object" })),
        cost_budget_usd: Some(0.5),
        tree_token_budget: Some(9_000),
        parent_task_id: Some(TaskId::parse("t-parent").unwrap()),
        retry_of: Some(TaskId::parse("t-0").unwrap()),
        tenant: Tenant::parse("acme").unwrap(),
        trace: Some(TraceContext { tracestate: Some("vendor=1".into()), begun_here: false, ..TraceContext::begin(1, 2) }),
        ..task()
    }
}

fn model_finished() -> ModelFinished {
    ModelFinished {
        attempt: 2,
        usage: Usage { input_tokens: 30, output_tokens: 10, cached_input_tokens: 20 },
        cost_usd: Some(0.00123),
        ..reply(Some("Let me look."), &[("look", r#"{ "n": 1 }"#)], 0)
    }
}

fn tool_started() -> ToolStarted {
    ToolStarted {
        index: 0,
        name: "look".into(),
        version: Version::new(1, 2, 3),
        arguments: json!({ "n": 1 }),
        key: "acme/t-1:1:0".into(),
        effect: Effect::Pure,
        way: None,
    }
}

fn tool_finished(status: ToolStatus) -> ToolFinished {
    ToolFinished { index: 0, name: "look".into(), status, result: json!({ "seen": true }) }
}

fn approval_requested() -> ApprovalRequested {
    ApprovalRequested {
        id: "t-1:1:0:doubt".into(),
        index: 0,
        question: Question::DidHappen,
        tool: "look".into(),
        version: Version::new(1, 2, 3),
        contract: "c0".into(),
        way: None,
        arguments: json!({ "n": 1 }),
        arguments_hash: "h0".into(),
        expires_at: Time(ACCEPTED.0 + 1),
    }
}

fn approval_decided() -> ApprovalDecided {
    ApprovalDecided { id: "t-1:1:0".into(), index: 0, answer: Answer::Denied, by: Some("ann".into()), reason: Some("too dear".into()) }
}

fn result(ending: &Ending) -> AgentResult {
    let header = Header {
        id: TaskId::parse("t-1").unwrap(),
        session_id: SessionId::parse("s-1").unwrap(),
        agent: task().agent,
        created_at: ACCEPTED,
        started_at: Some(Time(ACCEPTED.0 + 5)),
        trace_id: Some("0".repeat(31) + "1"),
        retry_of: None,
        progress: Progress { steps_used: 2, tokens_used: 40, tool_calls: 1, cost_usd: Some(0.00123), model: Some("lab/first".into()) },
        waiting_for: Some(WaitingFor::Timer),
    };
    header.finished(ending, Time(ACCEPTED.0 + 25))
}

/// Every event, with everything in it that can be in it.
fn every() -> Vec<(&'static str, Event)> {
    let started = Started {
        version: Version::new(1, 0, 0),
        definitions: "d0".into(),
        agent: "a0".into(),
        tools: vec![StartedTool { name: "look".into(), version: Version::new(1, 2, 3), contract: "c0".into() }],
    };
    let model_started = ModelStarted { attempt: 2, model: "lab/first".into(), request_hash: "ab12".into(), max_output_tokens: 4_096 };
    let model_failed = ModelFailed {
        attempt: 1,
        model: "lab/first".into(),
        fault: FaultKind::CutAfter,
        message: "the stream broke".into(),
        usage: None,
        cost_usd: None,
    };
    let taken =
        TakenStep { step: 1, reply: model_finished(), started: vec![tool_started()], finished: vec![tool_finished(ToolStatus::InDoubt)] };
    let done = Ending { structured: Some(json!({ "n": 1 })), ..Ending::completed(Some(r#"{"n":1}"#.into())) };
    vec![
        ("task-accepted", Event::Accepted(full_task())),
        ("task-accepted-plain", Event::Accepted(task())),
        ("task-started", Event::Started(started)),
        ("model-started", Event::ModelStarted(model_started)),
        ("model-failed", Event::ModelFailed(model_failed)),
        ("model-finished", Event::ModelFinished(model_finished())),
        ("tool-started", Event::ToolStarted(tool_started())),
        ("tool-finished", Event::ToolFinished(tool_finished(ToolStatus::Ok))),
        ("approval-requested", Event::ApprovalRequested(approval_requested())),
        ("approval-decided", Event::ApprovalDecided(approval_decided())),
        ("run-parked", Event::Parked(Parked { waiting_for: WaitingFor::Approval, until: Some(ACCEPTED) })),
        ("run-resumed", Event::Resumed(Resumed { by: "timer-1".into() })),
        ("run-taken-over", Event::TakenOver(TakenOver { from: TaskId::parse("t-0").unwrap(), steps: vec![taken] })),
        ("task-completed", Event::ended(result(&done))),
        ("task-failed", Event::ended(result(&Ending::failed(ErrorCode::ModelUnavailable, "ask again later")))),
        ("task-cancelled", Event::ended(result(&Ending::cancelled()))),
    ]
}

#[test]
fn every_event_is_stored_as_it_always_was() {
    for (file, event) in every() {
        insta::assert_snapshot!(file, event.data().unwrap().get());
    }
}

#[test]
fn every_event_there_is_has_its_snapshot_and_the_name_of_its_file() {
    let every = every();
    for kind in EventKind::ALL {
        let (file, _) = every.iter().find(|(_, event)| event.kind() == *kind).unwrap_or_else(|| panic!("{kind:?} has none"));
        assert_eq!(file.replace("-plain", "").replace("taken-over", "taken_over"), kind.name().replace('.', "-"));
        assert_eq!(EventKind::named(kind.name()), Some(*kind));
    }
}

#[test]
fn every_stored_event_reads_back_as_it_was() {
    for (_, event) in every() {
        assert_eq!(Event::read(event.name(), event.data().unwrap().get()).unwrap(), event);
    }
}

#[test]
fn the_names_on_the_wire_are_the_contracts() {
    let names: std::collections::BTreeSet<_> = every().iter().map(|(_, event)| event.name()).collect();
    let expected = [
        "approval.decided",
        "approval.requested",
        "model.failed",
        "model.finished",
        "model.started",
        "run.parked",
        "run.resumed",
        "run.taken_over",
        "task.accepted",
        "task.cancelled",
        "task.completed",
        "task.failed",
        "task.started",
        "tool.finished",
        "tool.started",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_words_in_events_are_the_contracts() {
    let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let status = [ToolStatus::Ok, ToolStatus::Error, ToolStatus::Refused, ToolStatus::InDoubt];
    assert_eq!(status.map(|s| word(json!(s))), ["ok", "error", "refused", "in_doubt"]);
    assert_eq!(status.map(ToolStatus::as_str), ["ok", "error", "refused", "in_doubt"]);
    let effects = [Effect::Pure, Effect::Idempotent, Effect::AtMostOnce];
    assert_eq!(effects.map(|e| word(json!(e))), ["pure", "idempotent", "at_most_once"]);
    assert_eq!(effects.map(|e| e.to_string()), ["pure", "idempotent", "at_most_once"]);
    let reasons = [FinishReason::Stop, FinishReason::ToolCalls, FinishReason::Length, FinishReason::Refusal];
    assert_eq!(reasons.map(|r| word(json!(r))), ["stop", "tool_calls", "length", "refusal"]);
    let waits = [WaitingFor::Approval, WaitingFor::Input, WaitingFor::Children, WaitingFor::Timer];
    assert_eq!(waits.map(|w| word(json!(w))), ["approval", "input", "children", "timer"]);
    let states = [TaskStatus::Pending, TaskStatus::Running, TaskStatus::Completed, TaskStatus::Failed, TaskStatus::Cancelled];
    assert_eq!(states.map(|s| word(json!(s))), ["pending", "running", "completed", "failed", "cancelled"]);
    assert_eq!(states.map(|s| TaskStatus::parse(s.as_str())), states.map(Some));
    assert_eq!(states.map(TaskStatus::is_final), [false, false, true, true, true]);
    use ErrorCode::{
        CostBudgetExceeded, DeadlineExceeded, Internal, MaxStepsReached, ModelDenied, ModelRefused, ModelUnavailable, OutputInvalid,
        Poisoned, RepeatedCalls, TokenBudgetExceeded,
    };
    let codes = [
        TokenBudgetExceeded,
        CostBudgetExceeded,
        MaxStepsReached,
        ErrorCode::OutputTruncated,
        ErrorCode::OutputEmpty,
        DeadlineExceeded,
        OutputInvalid,
        RepeatedCalls,
        ErrorCode::ToolsUnavailable,
        ModelUnavailable,
        ModelRefused,
        ModelDenied,
        ErrorCode::ContextTooLong,
        Poisoned,
        Internal,
    ];
    let expected = [
        "token_budget_exceeded",
        "cost_budget_exceeded",
        "max_steps_reached",
        "output_truncated",
        "output_empty",
        "deadline_exceeded",
        "output_invalid",
        "repeated_calls",
        "tools_unavailable",
        "model_unavailable",
        "model_refused",
        "model_denied",
        "context_too_long",
        "poisoned",
        "internal",
    ];
    assert_eq!(codes.map(|c| word(json!(c))), expected);
    use FaultKind::{CutAfter, CutBefore, Denied, Invalid, Money, Overloaded, Refused, Throttled, TimedOut};
    let faults = [
        Throttled,
        Money,
        Overloaded,
        CutBefore,
        CutAfter,
        TimedOut,
        FaultKind::Empty,
        FaultKind::ContextTooLong,
        Refused,
        Denied,
        Invalid,
    ];
    let expected = [
        "throttled",
        "money",
        "overloaded",
        "cut_before",
        "cut_after",
        "timed_out",
        "empty",
        "context_too_long",
        "refused",
        "denied",
        "invalid",
    ];
    assert_eq!(faults.map(|f| word(json!(f))), expected);
}

#[test]
fn what_a_later_version_adds_to_an_event_does_not_hinder_this_one() {
    for (file, event) in every() {
        let mut data: serde_json::Value = serde_json::from_str(event.data().unwrap().get()).unwrap();
        data.as_object_mut().unwrap().insert("of_a_later_version".into(), json!({ "deep": [1] }));
        assert_eq!(Event::read(event.name(), &data.to_string()).unwrap(), event, "{file}");
    }
}

#[test]
fn an_event_nobody_knows_is_named_and_not_folded() {
    let mut bench = Bench::new(task());
    bench.journal.push(StoredEvent { name: "run.dreamt".into(), ..stored(2, ACCEPTED, 0, &Event::Accepted(task())) });
    assert_eq!(Run::fold(&bench.journal).unwrap_err().to_string(), "event `run.dreamt` is not known to this version");
}

#[test]
fn a_journal_that_is_empty_headless_or_has_a_gap_is_not_folded() {
    let accepted = |seq| stored(seq, ACCEPTED, 0, &Event::Accepted(task()));
    let resumed = |seq| stored(seq, ACCEPTED, 0, &Event::Resumed(Resumed { by: "s".into() }));
    let why = |journal: &[StoredEvent]| Run::fold(journal).unwrap_err().to_string();
    assert_eq!(why(&[]), "the journal is empty");
    assert_eq!(why(&[resumed(1)]), "the journal does not begin with task.accepted");
    assert_eq!(why(&[accepted(1), resumed(3)]), "the journal goes from event 1 to 3");
    assert_eq!(why(&[accepted(1), resumed(2), resumed(2)]), "the journal goes from event 2 to 2");
    assert_eq!(why(&[accepted(2), resumed(3)]), "the journal begins with event 2");
    assert_eq!(why(&[accepted(1), accepted(2)]), "a task is accepted twice");
}

#[test]
fn readers_are_sent_number_type_task_moment_step_and_data() {
    let event = Event::Resumed(Resumed { by: "timer-1".into() });
    insta::assert_snapshot!(
        stored(7, ACCEPTED, 3, &event).frame(&TaskId::parse("t-1").unwrap()),
        @r#"{"id":7,"type":"run.resumed","task_id":"t-1","at":"2026-09-21T14:13:20.000Z","step":3,"data":{"by":"timer-1"}}"#
    );
}

#[test]
fn only_final_events_hold_a_result_and_only_outcomes_are_progress() {
    for (file, event) in every() {
        let is_final = file.starts_with("task-c") || file == "task-failed";
        let stored = stored(9, ACCEPTED, 1, &event);
        assert_eq!((event.is_final(), stored.is_final(), stored.result().is_some()), (is_final, is_final, is_final), "{file}");
        assert_eq!(event.is_progress(), matches!(file, "model-finished" | "tool-finished"), "{file}");
    }
}
