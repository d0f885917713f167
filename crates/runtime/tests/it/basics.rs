//! Runs end to end: what a model is shown, which calls are made, and how a run ends.

use crate::world::{IDEMPOTENT, ONCE, PURE, World, arguments, ended, task};
use maniple_core::{
    TaskKey,
    event::Event,
    message::{FinishReason, Message, ModelReply},
    model::{ModelRequest, ToolChoice},
    task::{AgentResult, ErrorCode, Task, TaskStatus},
};
use maniple_testkit::{
    faults::Faults,
    ledger::Mode,
    model::{Fake, Fickle, calls, text},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A model that says these in turn, and the last of them for ever.
fn says(lines: Vec<ModelReply>) -> Fake {
    Fake::new(move |number, _| (Duration::ZERO, Ok(lines[(number as usize).min(lines.len() - 1)].clone())))
}
async fn run(world: &World, task: Task) -> (TaskKey, AgentResult) {
    let key = world.submit(task).await;
    let worker = world.worker(Faults::none());
    let result = world.finish(&key).await;
    worker.leave().await;
    world.check("basics").await;
    (key, result)
}
/// What the model is told of its calls in a request.
fn told(request: &ModelRequest) -> Vec<(&str, bool)> {
    let tool = |message| match message {
        &Message::Tool { ref content, is_error, .. } => Some((content.as_str(), is_error)),
        Message::User { .. } | Message::Assistant { .. } => None,
    };
    request.messages.iter().filter_map(tool).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_recorded_before_and_after_it_is_asked_for() {
    let model = says(vec![text("forty-two")]);
    let world = World::new(model.clone());
    let (key, result) = run(&world, task("t")).await;
    assert_eq!(ended(&result), (TaskStatus::Completed, None, Some("forty-two")));
    assert_eq!((result.steps_used, result.tokens_used, result.tool_calls), (1, 30, 0));
    let expected = ["task.accepted", "task.started", "model.started", "model.finished", "task.completed"];
    assert_eq!(world.names(&key).await, expected);
    let request = &model.requests()[0];
    assert_eq!((&*request.system, request.tool_choice), ("You work.", ToolChoice::Auto));
    assert_eq!(request.messages, [Message::User { content: "MARK-t".into() }]);
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_called_under_its_key_and_the_model_reads_its_result() {
    let model = says(vec![calls(&[(ONCE, arguments("r0.0"))]), text("paid")]);
    let world = World::new(model.clone());
    world.ledger.set(ONCE, Mode::Ok(json!({ "paid": 7 })));
    let (key, result) = run(&world, task("t")).await;
    assert_eq!(ended(&result), (TaskStatus::Completed, None, Some("paid")));
    assert_eq!((result.steps_used, result.tool_calls), (2, 1));
    assert_eq!(world.ledger.arrivals()[0].key.as_deref(), Some("t:1:0"));
    assert_eq!(world.outcomes(&key).await, [(1, 0, "ok", json!({ "paid": 7 }))]);
    assert_eq!(told(&model.requests()[1]), [(r#"{"paid":7}"#, false)]);
}

#[tokio::test(start_paused = true)]
async fn sixteen_calls_of_a_step_run_eight_at_a_time_and_the_rest_are_refused() {
    let twenty: Vec<(&str, Value)> = (0..20).map(|index| (PURE, arguments(&format!("r0.{index}")))).collect();
    let model = says(vec![calls(&twenty), text("done")]);
    let world = World::new(model.clone());
    world.ledger.set(PURE, Mode::Slow(2 * SECOND));
    let begun = Instant::now();
    let (key, result) = run(&world, task("t")).await;
    assert_eq!((result.status, result.tool_calls), (TaskStatus::Completed, 20));
    assert!((4 * SECOND..5 * SECOND).contains(&begun.elapsed()), "two rounds of eight took {:?}", begun.elapsed());
    assert_eq!(world.ledger.count(PURE), 16);
    let outcomes = world.outcomes(&key).await;
    let refused: Vec<u32> = outcomes.iter().filter(|outcome| outcome.2 == "refused").map(|outcome| outcome.1).collect();
    assert_eq!(refused, [16, 17, 18, 19]);
    assert_eq!(told(&model.requests()[1]).len(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_called_is_not_sent_and_the_model_reads_why() {
    let wrong = calls(&[("nothing", json!({})), (ONCE, json!({ "mark": 1 })), (ONCE, Value::String("{\"mark\": ".into()))]);
    let model = says(vec![wrong, text("sorry")]);
    let world = World::new(model.clone());
    let (key, result) = run(&world, task("t")).await;
    assert_eq!(result.status, TaskStatus::Completed);
    assert_eq!(world.ledger.arrivals(), []);
    assert!(!world.names(&key).await.contains(&"tool.started".to_owned()));
    let requests = model.requests();
    let told = told(&requests[1]);
    assert!(told.iter().all(|(_, is_error)| *is_error));
    assert!(told[0].0.contains("there is no tool `nothing`; there are: look, put, pay"), "{told:?}");
    assert!(told[1].0.contains("do not fit the tool's parameters"), "{told:?}");
    assert!(told[2].0.contains("are not JSON"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_in_an_answer_that_was_cut_are_not_sent() {
    let cut = ModelReply { finish_reason: FinishReason::Length, ..calls(&[(ONCE, arguments("r0.0"))]) };
    let world = World::new(says(vec![cut, text("done")]));
    let (key, _) = run(&world, task("t")).await;
    assert_eq!(world.ledger.arrivals(), []);
    assert_eq!(world.outcomes(&key).await[0].2, "refused");
}

#[tokio::test(start_paused = true)]
async fn a_failing_tool_is_a_result_and_only_what_its_class_allows_is_sent_again() {
    // Mode, and how often a call of each class arrives and what it comes to.
    let cases = [
        (Mode::Fail(500), [(1, "error"), (1, "error"), (1, "error")]),
        (Mode::Reset, [(3, "error"), (3, "error"), (1, "in_doubt")]),
        (Mode::NotSent, [(0, "error"), (0, "error"), (0, "error")]),
        (Mode::Hang, [(3, "error"), (3, "error"), (1, "in_doubt")]),
    ];
    for (mode, expected) in cases {
        let tools = [PURE, IDEMPOTENT, ONCE];
        let model = says(vec![calls(&tools.map(|tool| (tool, arguments(tool)))), text("done")]);
        let world = World::new(model);
        tools.iter().for_each(|tool| world.ledger.set(tool, mode.clone()));
        let (key, result) = run(&world, task("t")).await;
        assert_eq!(result.status, TaskStatus::Completed);
        let mut outcomes = world.outcomes(&key).await;
        outcomes.sort_by_key(|outcome| outcome.1);
        let seen: Vec<_> = tools.iter().zip(&outcomes).map(|(tool, outcome)| (world.ledger.count(tool), outcome.2)).collect();
        assert_eq!(seen, expected, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_not_seen_by_the_model() {
    for (tool, mode) in [(PURE, Mode::Reset), (IDEMPOTENT, Mode::Close), (IDEMPOTENT, Mode::Hang), (ONCE, Mode::NotSent)] {
        let world = World::new(says(vec![calls(&[(tool, arguments("r0.0"))]), text("done")]));
        world.ledger.next(tool, [mode.clone(), mode.clone()]);
        let (key, _) = run(&world, task("t")).await;
        assert_eq!(world.outcomes(&key).await[0].2, "ok", "{tool} {mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_is_not_made_again_in_this_task() {
    let again = calls(&[(ONCE, arguments("r0.0"))]);
    let model = says(vec![again.clone(), again, text("I leave it")]);
    let world = World::new(model.clone());
    world.ledger.next(ONCE, [Mode::Reset]);
    let (key, result) = run(&world, task("t")).await;
    assert_eq!(result.output.as_deref(), Some("I leave it"));
    assert_eq!(world.ledger.count(ONCE), 1);
    assert_eq!(world.outcomes(&key).await.iter().map(|outcome| outcome.2).collect::<Vec<_>>(), ["in_doubt", "refused"]);
    assert!(told(&model.requests()[1])[0].0.contains("this may have happened; do not repeat it"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_is_repaired_at_most_twice() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let asked = |id: &str| Task { output_schema: Some(schema.clone()), ..task(id) };
    let model = says(vec![text("seven"), text("{\"n\": \"seven\"}"), text("```json\n{\"n\": 7}\n```")]);
    let (_, result) = run(&World::new(model.clone()), asked("t")).await;
    assert_eq!((result.status, result.structured, result.steps_used), (TaskStatus::Completed, Some(json!({ "n": 7 })), 3));
    assert!(matches!(model.requests()[1].messages.last(), Some(Message::User { content }) if content.contains("does not fit")));

    let (_, result) = run(&World::new(says(vec![text("never")])), asked("t")).await;
    assert_eq!((result.status, result.error, result.steps_used), (TaskStatus::Failed, Some(ErrorCode::OutputInvalid), 3));
}

#[tokio::test(start_paused = true)]
async fn the_same_call_with_the_same_result_ends_the_run_at_the_sixth() {
    let model = says(vec![calls(&[(PURE, arguments("r0.0"))])]);
    let world = World::new(model.clone());
    let (_, result) = run(&world, task("t")).await;
    assert_eq!((result.status, result.error, result.steps_used), (TaskStatus::Failed, Some(ErrorCode::RepeatedCalls), 6));
    let nudged = model.requests().iter().position(|request| told(request).iter().any(|(content, _)| content.contains("3 times in a row")));
    assert_eq!(nudged, Some(3));
}

#[tokio::test(start_paused = true)]
async fn the_last_step_must_answer_and_its_calls_are_not_made() {
    let model = says(vec![ModelReply { text: Some("so far".into()), ..calls(&[(PURE, arguments("r0.0"))]) }]);
    let world = World::new(model.clone());
    let (_, result) = run(&world, Task { max_steps: 2, ..task("t") }).await;
    assert_eq!(ended(&result), (TaskStatus::Completed, Some(ErrorCode::MaxStepsReached), Some("so far")));
    assert_eq!(model.requests().iter().map(|request| request.tool_choice).collect::<Vec<_>>(), [ToolChoice::Auto, ToolChoice::None]);
    assert_eq!((world.ledger.count(PURE), result.tool_calls), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_call_that_crosses_the_budget_is_the_last() {
    let model = Fickle::new(9, 1);
    let world = World::new(model.clone());
    let (_, result) = run(&world, Task { token_budget: 512, ..task("t") }).await;
    assert_eq!((result.status, result.error), (TaskStatus::Completed, Some(ErrorCode::TokenBudgetExceeded)));
    assert!(result.tokens_used <= 512 && model.asked() < 9, "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_carried_out_in_order_and_shown_to_the_next_task() {
    let model = says(vec![text("one"), text("two"), text("three")]);
    let world = World::new(model.clone());
    let turn = |id: &str| Task { session_id: task("s").session_id, ..task(id) };
    let mut keys = Vec::new();
    for id in ["a", "b", "c"] {
        keys.push(world.submit(turn(id)).await);
    }
    let worker = world.worker(Faults::none());
    for key in &keys {
        assert_eq!(world.finish(key).await.status, TaskStatus::Completed);
    }
    worker.leave().await;
    let user = |content: &str| Message::User { content: content.into() };
    let assistant = |content: &str| Message::assistant(content);
    let expected = [user("MARK-a"), assistant("one"), user("MARK-b"), assistant("two"), user("MARK-c")];
    assert_eq!(model.requests()[2].messages, expected);
    world.check("a session").await;
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_on_the_definitions_it_began_with() {
    let model = says(vec![calls(&[(PURE, arguments("r0.0"))]), text("done"), text("new")]);
    let world = World::new(model.clone());
    world.ledger.set(PURE, Mode::Slow(5 * SECOND));
    let key = world.submit(task("t")).await;
    let first = world.worker(Faults::none());
    tokio::time::sleep(SECOND).await;
    // Everything is replaced, and the worker too.
    let mut changed = world.agent.clone();
    changed.prompt = "You rest.".into();
    changed.tools.clear();
    first.agents.replace([changed.clone()]);
    world.tools.replace(Vec::new());
    first.leave().await;
    let second = world.worker(Faults::none());
    second.agents.replace([changed]);
    assert_eq!(world.finish(&key).await.output.as_deref(), Some("done"));
    let next = world.submit(task("next")).await;
    assert_eq!(world.finish(&next).await.output.as_deref(), Some("new"));
    let requests = model.requests();
    assert_eq!(requests.iter().map(|request| &*request.system).collect::<Vec<_>>(), ["You work.", "You work.", "You rest."]);
    assert_eq!(requests.iter().map(|request| request.tools.len()).collect::<Vec<_>>(), [3, 3, 0]);
    second.leave().await;
    world.check("a reload").await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_retried_from_its_record() {
    use maniple_core::run::take_over;
    let model = says(vec![
        calls(&[(ONCE, arguments("r0.0")), (IDEMPOTENT, arguments("r0.1"))]),
        ModelReply { finish_reason: FinishReason::Refusal, ..text("I will not") },
        text("now I will"),
    ]);
    let world = World::new(model.clone());
    let (key, result) = run(&world, task("t")).await;
    assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::ModelRefused)));
    let journal = world.store.events(&key, 0, usize::MAX, usize::MAX).await.expect("it answers").expect("it is there");
    let taken = take_over(&journal).expect("it failed");
    let mut retry = task("again");
    (retry.prompt, retry.retry_of) = (task("t").prompt, Some(key.id.clone()));
    let again = world.submit_retry(retry, Event::TakenOver(taken)).await;
    let worker = world.worker(Faults::none());
    let result = world.finish(&again).await;
    assert_eq!((result.status, result.steps_used, result.retry_of), (TaskStatus::Completed, 1, Some(key.id)));
    assert_eq!([ONCE, IDEMPOTENT].map(|tool| world.ledger.count(tool)), [1, 1]);
    worker.leave().await;
    world.check("a retry").await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_tools_cannot_be_had_yet_waits_for_them_parked() {
    let world = World::new(says(vec![text("done")]));
    world.tools.are_away(true);
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    world.until(&key, "run.parked").await;
    world.tools.are_away(false);
    let result = world.finish(&key).await;
    assert_eq!(ended(&result), (TaskStatus::Completed, None, Some("done")));
    let names = world.names(&key).await;
    assert_eq!(names[..4], ["task.accepted", "run.parked", "run.resumed", "task.started"], "{names:?}");
    worker.leave().await;
    world.check("tools that come late").await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_tools_never_come_fails_with_a_code_that_says_so() {
    let world = World::new(says(vec![text("done")]));
    world.tools.are_away(true);
    let began = Instant::now();
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    while !world.result(&key).await.status.is_final() {
        tokio::time::sleep(SECOND).await;
        assert!(began.elapsed() < 1_800 * SECOND, "it waits for ever");
    }
    let result = world.result(&key).await;
    assert_eq!(ended(&result), (TaskStatus::Failed, Some(ErrorCode::ToolsUnavailable), None));
    assert!(result.error_detail.is_some_and(|detail| detail.contains("still being connected to; try again later")));
    assert!(began.elapsed() > 600 * SECOND, "it was patient for {:?}", began.elapsed());
    worker.leave().await;
}
