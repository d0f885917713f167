//! Models that fail: what is asked again, when, whom else, and what a caller is told.

use crate::world::{ONCE, World, arguments, ended, task};
use maniple_core::{
    breaker::State,
    estimate,
    message::{Message, ModelReply, Reasoning, Usage},
    model::{Fault, FaultKind, ModelName, ModelRequest, ToolChoice},
    task::{AgentResult, ErrorCode, Task, TaskStatus, WaitingFor},
};
use maniple_testkit::{
    faults::Faults,
    model::{Fake, calls, text},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const FIRST: &str = "test/first";
const SECOND_MODEL: &str = "test/second";

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, format!("as the test wished: {kind:?}"))
}
fn throttled(wait: Duration) -> Fault {
    Fault { retry_after: Some(wait), ..fault(FaultKind::Throttled) }
}
/// A model that says what it is told, at once.
fn fake(says: impl Fn(u64, &ModelRequest) -> Result<ModelReply, Fault> + Send + Sync + 'static) -> Fake {
    Fake::new(move |number, request| (Duration::ZERO, says(number, request)))
}
/// With `test/second` to fall back on.
fn with_fallback(model: &Fake) -> World {
    World::new(model.clone()).with(|agent| agent.fallbacks = vec![ModelName::parse(SECOND_MODEL).expect("legal")])
}
/// One task, from its submission to its end.
async fn run(world: &World) -> AgentResult {
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    let result = world.finish(&key).await;
    worker.leave().await;
    world.check("models").await;
    result
}
fn asked(model: &Fake) -> Vec<String> {
    model.requests().iter().map(|request| request.model.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_asked_three_times_and_then_the_fallback() {
    use FaultKind::*;
    for kind in [Failed, Unreachable, CutBefore, CutAfter, TimedOut] {
        let model = fake(move |_, request| if request.model.as_str() == FIRST { Err(fault(kind)) } else { Ok(text("second")) });
        let result = run(&with_fallback(&model)).await;
        assert_eq!(ended(&result), (TaskStatus::Completed, None, Some("second")), "{kind:?}");
        assert_eq!(asked(&model), [FIRST, FIRST, FIRST, SECOND_MODEL], "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_for_the_agents_own_model_is_not_sent_to_its_fallback() {
    let model = fake(|_, request| if request.model.as_str() == FIRST { Err(fault(FaultKind::Failed)) } else { Ok(text("second")) });
    let world = with_fallback(&model).with(|agent| {
        agent.options.temperature = Some(0.5);
        agent.options.extra.insert("top_k".into(), json!(40));
    });
    assert_eq!(run(&world).await.status, TaskStatus::Completed);
    let sent: Vec<_> = model.requests().iter().map(|request| (request.options.extra.len(), request.options.temperature)).collect();
    assert_eq!(sent, [(1, Some(0.5)), (1, Some(0.5)), (1, Some(0.5)), (0, Some(0.5))]);
}

#[tokio::test(start_paused = true)]
async fn money_and_what_is_not_understood_are_never_asked_again() {
    for (kind, code) in [(FaultKind::Money, ErrorCode::ModelDenied), (FaultKind::Invalid, ErrorCode::ModelUnavailable)] {
        let model = fake(move |_, request| if request.model.as_str() == FIRST { Err(fault(kind)) } else { Ok(text("second")) });
        assert_eq!(run(&with_fallback(&model)).await.status, TaskStatus::Completed);
        assert_eq!(asked(&model), [FIRST, SECOND_MODEL], "{kind:?}");

        let alone = fake(move |_, _| Err(fault(kind)));
        let result = run(&World::new(alone.clone())).await;
        assert_eq!((result.status, result.error, asked(&alone).len()), (TaskStatus::Failed, Some(code), 1), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_wrong_key_end_the_run_at_once() {
    for (kind, code) in [(FaultKind::Refused, ErrorCode::ModelRefused), (FaultKind::Denied, ErrorCode::ModelDenied)] {
        let model = fake(move |_, _| Err(fault(kind)));
        let result = run(&with_fallback(&model)).await;
        assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(code)));
        assert!(result.error_detail.expect("it says why").contains("as the test wished"));
        assert_eq!(asked(&model), [FIRST], "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_nobody_is_left_the_caller_reads_what_the_last_one_said() {
    let model = fake(|_, _| Err(fault(FaultKind::Failed)));
    let result = run(&World::new(model.clone())).await;
    assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::ModelUnavailable)));
    assert!(result.error_detail.expect("it says why").contains("as the test wished: Failed"));
    assert_eq!(asked(&model).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_short_retry_after_is_waited_out() {
    let model = fake(|number, _| if number == 0 { Err(throttled(7 * SECOND)) } else { Ok(text("done")) });
    let begun = Instant::now();
    assert_eq!(run(&World::new(model)).await.status, TaskStatus::Completed);
    assert!((7 * SECOND..8 * SECOND).contains(&begun.elapsed()), "it took {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_parks_the_run_and_a_timer_wakes_it_on_another_worker() {
    let model = fake(|number, _| if number == 0 { Err(throttled(120 * SECOND)) } else { Ok(text("done")) });
    let world = World::new(model.clone());
    let begun = Instant::now();
    let key = world.submit(task("t")).await;
    let first = world.worker(Faults::none());
    world.until(&key, "run.parked").await;
    let parked = world.result(&key).await;
    assert_eq!((parked.status, parked.waiting_for), (TaskStatus::Running, Some(WaitingFor::Timer)));
    first.kill();
    let second = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.output.as_deref(), Some("done"));
    assert!((120 * SECOND..123 * SECOND).contains(&begun.elapsed()), "it took {:?}", begun.elapsed());
    let expected = [
        "task.accepted",
        "task.started",
        "model.started",
        "model.failed",
        "run.parked",
        "run.resumed",
        "model.started",
        "model.finished",
        "task.completed",
    ];
    assert_eq!(world.names(&key).await, expected);
    second.leave().await;
    world.check("parked").await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_or_the_bound_is_not_begun() {
    for (wait, deadline_ms) in [(30 * SECOND, Some(20_000)), (3_600 * SECOND, None)] {
        let model = fake(move |_, request| if request.model.as_str() == FIRST { Err(throttled(wait)) } else { Ok(text("second")) });
        let world = World::new(model.clone());
        let mut brief = task("t");
        brief.deadline_ms = deadline_ms;
        let key = world.submit(brief.clone()).await;
        let worker = world.worker(Faults::none());
        let begun = Instant::now();
        let result = world.finish(&key).await;
        assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::ModelUnavailable)));
        assert!(result.error_detail.expect("it says why").contains("not asked again"));
        assert!(begun.elapsed() < SECOND);
        worker.leave().await;
        world.check("no use in waiting").await;

        // Whoever has a fallback goes there at once.
        let world = with_fallback(&model);
        let key = world.submit(brief).await;
        let worker = world.worker(Faults::none());
        assert_eq!(world.finish(&key).await.output.as_deref(), Some("second"));
        worker.leave().await;
        world.check("no use in waiting, with a fallback").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_sends_runs_to_the_fallback_without_a_call() {
    let model = fake(|_, request| if request.model.as_str() == FIRST { Err(fault(FaultKind::CutBefore)) } else { Ok(text("second")) });
    let world = with_fallback(&model);
    let worker = world.worker(Faults::none());
    let first = || asked(&model).iter().filter(|name| *name == FIRST).count();
    for number in 0..5 {
        assert!(!worker.health.is_open(&ModelName::parse(FIRST).expect("legal")), "{number} tasks do not open it, whatever their attempts");
        let key = world.submit(task(&format!("t{number}"))).await;
        assert_eq!(world.finish(&key).await.output.as_deref(), Some("second"));
    }
    assert!(worker.health.is_open(&ModelName::parse(FIRST).expect("legal")), "the failures of five tasks open it");
    let before = first();
    let key = world.submit(task("meanwhile")).await;
    assert_eq!(world.finish(&key).await.output.as_deref(), Some("second"));
    assert_eq!(first(), before);
    tokio::time::sleep(11 * SECOND).await;
    let key = world.submit(task("later")).await;
    world.finish(&key).await;
    assert_eq!(first(), before + 1, "half-open lets one call try");
    worker.leave().await;
    world.check("breaker").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_its_runs_deadline_cuts_says_nothing_of_the_model() {
    let model = Fake::new(|_, request| match request.times.whole {
        whole if whole <= SECOND => (whole, Err(fault(FaultKind::TimedOut))),
        _ => (SECOND, Ok(text("well"))),
    });
    let world = World::new(model.clone());
    let worker = world.worker(Faults::none());
    for number in 0..10 {
        let mut hasty = task(&format!("hasty{number}"));
        hasty.deadline_ms = Some(1_000);
        let key = world.submit(hasty).await;
        assert_eq!(world.finish(&key).await.error, Some(ErrorCode::DeadlineExceeded));
    }
    assert_eq!(worker.health.state(&ModelName::parse(FIRST).expect("legal")), State::Closed);
    let key = world.submit(task("neighbour")).await;
    assert_eq!(world.finish(&key).await.output.as_deref(), Some("well"));
    worker.leave().await;
    world.check("cut by deadlines").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_its_agent_cuts_short_says_nothing_of_the_model() {
    let model = Fake::new(|_, request| (request.times.whole, Err(fault(FaultKind::TimedOut))));
    for (call_max_ms, state) in [(Some(1_000), State::Closed), (None, State::Open)] {
        let world = World::new(model.clone()).with(|agent| agent.limits.call_max_ms = call_max_ms);
        let worker = world.worker(Faults::none());
        // The failures of five tasks in a row open a breaker.
        for number in 0..5 {
            let key = world.submit(task(&format!("t{number}"))).await;
            assert_eq!(world.finish(&key).await.error, Some(ErrorCode::ModelUnavailable));
        }
        assert_eq!(worker.health.state(&ModelName::parse(FIRST).expect("legal")), state, "{call_max_ms:?}");
        worker.leave().await;
        world.check("cut by its agent").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_comes_to_nothing_gives_its_place_to_the_next() {
    let model = Fake::new(|number, request| match number {
        0..15 => (Duration::ZERO, Err(fault(FaultKind::Unreachable))),
        15 => (request.times.whole, Err(fault(FaultKind::TimedOut))),
        16 => (Duration::ZERO, Err(fault(FaultKind::Refused))),
        _ => (Duration::ZERO, Ok(text("back"))),
    });
    let world = World::new(model.clone());
    let worker = world.worker(Faults::none());
    for number in 0..5 {
        world.finish(&world.submit(task(&format!("t{number}"))).await).await;
    }
    assert!(worker.health.is_open(&ModelName::parse(FIRST).expect("legal")));
    tokio::time::sleep(11 * SECOND).await;
    let mut hasty = task("hasty");
    hasty.deadline_ms = Some(1_000);
    world.finish(&world.submit(hasty).await).await;
    world.finish(&world.submit(task("refused")).await).await;
    let begun = Instant::now();
    let key = world.submit(task("next")).await;
    assert_eq!(world.finish(&key).await.output.as_deref(), Some("back"));
    assert!(begun.elapsed() < 5 * SECOND, "it took {:?}", begun.elapsed());
    worker.leave().await;
    world.check("trials").await;
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_without_a_fallback_is_waited_for() {
    let model = fake(|number, _| if number < 15 { Err(fault(FaultKind::Unreachable)) } else { Ok(text("back")) });
    let world = World::new(model.clone());
    let worker = world.worker(Faults::none());
    for number in 0..5 {
        let key = world.submit(task(&format!("t{number}"))).await;
        assert_eq!(world.finish(&key).await.error, Some(ErrorCode::ModelUnavailable));
    }
    assert!(worker.health.is_open(&ModelName::parse(FIRST).expect("legal")));
    let begun = Instant::now();
    let patient = world.submit(task("patient")).await;
    assert_eq!(world.finish(&patient).await.output.as_deref(), Some("back"));
    assert!(begun.elapsed() > 5 * SECOND, "it took {:?}", begun.elapsed());
    worker.leave().await;
    world.check("breaker, alone").await;
}

#[tokio::test(start_paused = true)]
async fn prompts_that_always_fail_open_no_breaker_for_the_others() {
    let model = fake(|_, request| match request.messages.last() {
        Some(Message::User { content }) if content == "poison" => Err(fault(FaultKind::Failed)),
        _ => Ok(text("well")),
    });
    let world = World::new(model.clone());
    let worker = world.worker(Faults::none());
    for number in 0..10 {
        let poison = maniple_core::task::Task { prompt: "poison".into(), ..task(&format!("p{number}")) };
        let key = world.submit(poison).await;
        assert_eq!(world.finish(&key).await.error, Some(ErrorCode::ModelUnavailable));
    }
    assert_eq!(worker.health.state(&ModelName::parse(FIRST).expect("legal")), State::Closed);
    let begun = Instant::now();
    let key = world.submit(task("good")).await;
    assert_eq!(world.finish(&key).await.output.as_deref(), Some("well"));
    assert!(begun.elapsed() < SECOND);
    worker.leave().await;
    world.check("poison").await;
}

#[tokio::test(start_paused = true)]
async fn many_tasks_live_through_an_outage_without_using_an_attempt() {
    let began = Instant::now();
    let model = fake(move |_, _| if began.elapsed() < 300 * SECOND { Err(fault(FaultKind::Overloaded)) } else { Ok(text("back")) });
    let world = World::new(model.clone());
    let worker = world.worker(Faults::none());
    let mut keys = Vec::new();
    for number in 0..40 {
        keys.push(world.submit(task(&format!("t{number}"))).await);
    }
    world.until(&keys[39], "run.parked").await;
    assert_eq!(world.result(&keys[39]).await.waiting_for, Some(WaitingFor::Timer));
    for key in &keys {
        assert_eq!(world.finish(key).await.output.as_deref(), Some("back"));
    }
    assert!(began.elapsed() < 400 * SECOND, "it took {:?}", began.elapsed());
    let calls = asked(&model).len();
    assert!(calls < 40 + 40 + 60, "{calls} calls: the breaker lets one try every ten seconds");
    worker.leave().await;
    world.check("outage").await;
}

#[tokio::test(start_paused = true)]
async fn patience_and_the_deadline_end_the_wait_for_a_model_that_has_too_much_to_do() {
    for (patience_ms, deadline_ms, code, least, most) in [
        (None, None, ErrorCode::ModelUnavailable, 15 * 60, 15 * 60),
        (Some(40_000), None, ErrorCode::ModelUnavailable, 40, 40),
        (None, Some(90_000), ErrorCode::DeadlineExceeded, 90, 91),
    ] {
        let model = fake(|_, _| Err(fault(FaultKind::Overloaded)));
        let world = World::new(model.clone()).with(|agent| agent.limits.patience_ms = patience_ms);
        let worker = world.worker(Faults::none());
        let begun = Instant::now();
        let key = world.submit(maniple_core::task::Task { deadline_ms, ..task("t") }).await;
        let result = world.finish(&key).await;
        let took = begun.elapsed().as_secs();
        assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(code)));
        assert!((least..=most + 2).contains(&took), "{code:?} after {took} s");
        assert!(result.error_detail.as_ref().is_some_and(|detail| detail.contains("as the test wished: Overloaded")), "{result:?}");
        worker.leave().await;
        world.check("patience").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_over_a_rate_limit_drains_at_its_pace() {
    let window = std::sync::Mutex::new((0, 0));
    let begun = Instant::now();
    let model = fake(move |_, _| {
        let mut window = window.lock().expect("no panic");
        let second = begun.elapsed().as_secs();
        *window = if window.0 == second { (second, window.1 + 1) } else { (second, 1) };
        if window.1 > 10 { Err(throttled(SECOND)) } else { Ok(text("well")) }
    });
    let world = World::new(model.clone());
    let worker = world.worker(Faults::none());
    let mut keys = Vec::new();
    for number in 0..80 {
        keys.push(world.submit(task(&format!("t{number}"))).await);
    }
    for key in &keys {
        assert_eq!(world.finish(key).await.output.as_deref(), Some("well"));
    }
    assert!(begun.elapsed() < 20 * SECOND, "8 s at best, not {:?}", begun.elapsed());
    let calls = asked(&model).len();
    assert!(calls < 80 + 80 + 60, "{calls} calls");
    worker.leave().await;
    world.check("burst").await;
}

#[tokio::test(start_paused = true)]
async fn a_used_up_retry_budget_sends_runs_to_the_fallback_and_is_a_fifth_of_the_calls_and_ten_a_minute() {
    let firsts = std::sync::atomic::AtomicU64::new(0);
    let model = fake(move |_, request| {
        if request.model.as_str() != FIRST {
            return Ok(text("second"));
        }
        match firsts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            number if number % 3 == 2 => Ok(text("first")),
            number => Err(Fault::new(FaultKind::CutBefore, format!("broken for the {number}th time"))),
        }
    });
    let world = with_fallback(&model);
    let worker = world.worker(Faults::none());
    for number in 0..40 {
        let key = world.submit(task(&format!("t{number}"))).await;
        assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
    }
    let again = asked(&model).iter().filter(|name| *name == FIRST).count() - 40;
    assert!((10..=10 + 8 + 10).contains(&again), "{again} retries of 40 calls");
    worker.leave().await;
    world.check("retry budget").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_is_asked_once_more_with_half_the_window() {
    let says =
        |too_long: u64| fake(move |number, _| if number < too_long { Err(fault(FaultKind::ContextTooLong)) } else { Ok(text("done")) });
    // A conversation that fills the window.
    let converse = async |model: Fake| {
        let past = fake(|_, _| Ok(text("an answer ".repeat(10))));
        let mut world = World::new(past).with(|agent| agent.memory.window_tokens = 400);
        let worker = world.worker(Faults::none());
        for number in 0..12 {
            let mut turn = task(&format!("past{number}"));
            turn.session_id = task("t").session_id;
            let key = world.submit(turn).await;
            world.finish(&key).await;
        }
        worker.leave().await;
        world.models = Arc::new(model);
        run(&world).await
    };
    let model = says(1);
    assert_eq!(converse(model.clone()).await.status, TaskStatus::Completed);
    let sizes: Vec<u64> = model.requests().iter().map(estimate::request_tokens).collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes[1] < sizes[0] * 3 / 4, "{sizes:?}");

    let result = converse(says(2)).await;
    assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::ContextTooLong)));
}

#[tokio::test(start_paused = true)]
async fn a_takeover_goes_on_with_the_attempts_where_the_first_worker_stopped() {
    let model = fake(|number, _| match number {
        0 => Ok(calls(&[(ONCE, json!({ "mark": "m", "place": "r0.0", "nonce": 1 }))])),
        1..4 => Err(Fault { retry_after: Some(10 * SECOND), ..fault(FaultKind::Failed) }),
        _ => Ok(text("too late")),
    });
    let world = World::new(model.clone());
    let key = world.submit(task("t")).await;
    for _ in 0..3 {
        let worker = world.worker(Faults::none());
        tokio::time::sleep(5 * SECOND).await;
        worker.leave().await;
    }
    let last = world.worker(Faults::none());
    let result = world.finish(&key).await;
    assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::ModelUnavailable)));
    assert_eq!(asked(&model).len(), 4);
    last.leave().await;
    world.check("takeover").await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_is_asked_again_at_once_and_its_tokens_are_counted() {
    let model = fake(|number, _| Ok(text(if number == 0 { "" } else { "4" })));
    let begun = Instant::now();
    let result = run(&World::new(model.clone())).await;
    assert_eq!(ended(&result), (TaskStatus::Completed, None, Some("4")));
    assert_eq!((asked(&model).len(), result.steps_used, result.tokens_used), (2, 1, 60));
    assert!(begun.elapsed() < SECOND);
    let silent = fake(|_, _| Ok(text("")));
    let result = run(&World::new(silent.clone())).await;
    assert_eq!(ended(&result), (TaskStatus::Completed, Some(ErrorCode::OutputEmpty), None));
    assert_eq!((asked(&silent).len(), result.tokens_used), (2, 60), "once");
}

#[tokio::test(start_paused = true)]
async fn what_a_model_thought_is_shown_to_it_again_beside_its_calls_and_what_it_costs_to_fail_is_counted() {
    let thought = Reasoning { text: "I should look.".into(), fields: vec!["reasoning".into()], ..Reasoning::default() };
    let kept = thought.clone();
    let usage = Usage { input_tokens: 100, output_tokens: 11, cached_input_tokens: 0 };
    let model = fake(move |number, _| match number {
        0 => Ok(ModelReply { reasoning: Some(thought.clone()), ..calls(&[(ONCE, arguments("r0.0"))]) }),
        1 => Err(Fault { usage: Some(usage), ..fault(FaultKind::CutAfter) }),
        _ => Ok(text("done")),
    });
    let result = run(&World::new(model.clone())).await;
    assert_eq!(ended(&result), (TaskStatus::Completed, None, Some("done")));
    assert_eq!(result.tokens_used, 30 + 111 + 30);
    let requests = model.requests();
    let answers: Vec<_> = requests[2].messages.iter().filter(|message| matches!(message, Message::Assistant { .. })).collect();
    assert!(
        matches!(answers[..], [Message::Assistant { reasoning: Some(reasoning), by: Some(by), .. }] if *reasoning == kept && by.as_str() == FIRST),
        "{answers:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_agents_own_bound_on_its_output_is_under_what_its_budget_leaves() {
    let model = fake(|_, _| Ok(text("done")));
    let world = World::new(model.clone()).with(|agent| agent.options.max_output_tokens = Some(700));
    run(&world).await;
    assert_eq!((model.requests()[0].max_output_tokens, model.requests()[0].options.max_output_tokens), (700, Some(700)));
}

#[tokio::test(start_paused = true)]
async fn a_repair_of_an_answer_shows_the_tools_and_forbids_them() {
    let model = fake(|number, _| Ok(text(if number == 0 { "it is 4" } else { r#"{"answer": 4}"# })));
    let schema = json!({ "type": "object", "required": ["answer"] });
    let world = World::new(model.clone());
    let key = world.submit(Task { output_schema: Some(schema), ..task("t") }).await;
    let worker = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.structured, Some(json!({ "answer": 4 })));
    worker.leave().await;
    let choices: Vec<ToolChoice> = model.requests().iter().map(|request| request.tool_choice).collect();
    assert_eq!(choices, [ToolChoice::Auto, ToolChoice::None]);
    assert_eq!(model.requests()[0].tools, model.requests()[1].tools);
}
