//! A worker that is asked to leave: it hands over at once what may be handed over, in every phase of a run.

use crate::world::{IDEMPOTENT, ONCE, PURE, World, agent, arguments, task};
use maniple_core::{
    model::{Fault as ModelFault, FaultKind},
    settings::Period,
    task::{ErrorCode, TaskStatus},
};
use maniple_testkit::{
    faults::Faults,
    ledger::Mode,
    model::{Fake, Fickle, calls, text},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// What a hand-over may take when nothing must be waited for.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A call of `tool` that takes five seconds, after a model that takes two.
fn slow(tool: &str) -> World {
    let mut world = World::new(Fickle::new(1, 1).slow(Duration::from_secs(2)));
    world.agent = agent(&[tool]);
    world.ledger.set(tool, Mode::Slow(Duration::from_secs(5)));
    world
}

/// Lets a run go on for `after`, has its worker leave and another take over; returns how long the leaving took.
async fn handed_over(world: &World, after: Duration) -> Duration {
    let key = world.submit(task("t")).await;
    let first = world.worker(Faults::none());
    tokio::time::sleep(after).await;
    let asked = Instant::now();
    first.leave().await;
    let took = asked.elapsed();
    let second = world.worker(Faults::none());
    let before = Instant::now();
    let result = world.finish(&key).await;
    assert_eq!(result.status, TaskStatus::Completed, "after {after:?}: {result:?}");
    assert!(before.elapsed() < Duration::from_millis(9_900), "after {after:?}: the next worker waited {:?}", before.elapsed());
    second.leave().await;
    world.check(&format!("left after {after:?}")).await;
    took
}

#[tokio::test(start_paused = true)]
async fn a_worker_hands_over_at_once_while_a_model_or_a_repeatable_tool_answers() {
    for tool in [PURE, IDEMPOTENT] {
        // Before its claim is driven, in the model call, between, in the tool call, in the second model call.
        for after_ms in [0, 1, 1_000, 1_999, 2_000, 2_001, 4_000, 6_999, 7_001, 8_500] {
            let world = slow(tool);
            let took = handed_over(&world, Duration::from_millis(after_ms)).await;
            assert!(took <= AT_ONCE, "{tool} after {after_ms} ms: it took {took:?}");
            assert!(world.ledger.count(tool) <= 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_waits_for_an_at_most_once_call_and_hands_over_its_outcome() {
    let world = slow(ONCE);
    let took = handed_over(&world, Duration::from_secs(3)).await;
    assert!((Duration::from_secs(4)..Duration::from_secs(5)).contains(&took), "it took {took:?}");
    assert_eq!(world.ledger.count(ONCE), 1);
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_an_at_most_once_call_is_in_doubt_and_the_worker_leaves() {
    let mut world = slow(ONCE);
    world.settings.drain = Period::seconds(3);
    world.ledger.set(ONCE, Mode::Hang);
    let took = handed_over(&world, Duration::from_secs(3)).await;
    assert!(took <= Duration::from_secs(5), "it took {took:?}");
    assert_eq!(world.ledger.count(ONCE), 1);
    let key = task("t").key();
    assert_eq!(world.outcomes(&key).await.iter().map(|outcome| outcome.2).collect::<Vec<_>>(), ["in_doubt"]);
}

#[tokio::test(start_paused = true)]
async fn of_a_mixed_step_the_repeatable_calls_are_left_and_the_others_waited_for() {
    let says = calls(&[(PURE, arguments("r0.0")), (ONCE, arguments("r0.1")), (IDEMPOTENT, arguments("r0.2"))]);
    let world = World::new(Fake::new(move |number, _| (Duration::ZERO, Ok(if number == 0 { says.clone() } else { text("done") }))));
    for tool in [PURE, IDEMPOTENT, ONCE] {
        world.ledger.set(tool, Mode::Slow(Duration::from_secs(2)));
    }
    let took = handed_over(&world, Duration::from_secs(1)).await;
    assert!((Duration::from_millis(900)..Duration::from_millis(1_200)).contains(&took), "it took {took:?}");
    assert_eq!([PURE, IDEMPOTENT, ONCE].map(|tool| world.ledger.count(tool)), [2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_leaves_while_it_waits_to_ask_again() {
    let throttled = || ModelFault { retry_after: Some(Duration::from_secs(8)), ..ModelFault::new(FaultKind::Throttled, "slow down") };
    let world = World::new(Fake::new(move |number, _| (Duration::ZERO, if number == 0 { Err(throttled()) } else { Ok(text("done")) })));
    let begun = Instant::now();
    let took = handed_over(&world, Duration::from_secs(1)).await;
    assert!(took <= AT_ONCE, "it took {took:?}");
    assert!(begun.elapsed() >= Duration::from_secs(8), "the next one asked again after {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn twenty_hand_overs_do_not_poison_a_task() {
    let world = World::new(Fickle::new(0, 1).slow(Duration::from_secs(3)));
    let key = world.submit(task("t")).await;
    for _ in 0..20 {
        let worker = world.worker(Faults::none());
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.leave().await;
    }
    let last = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
    last.leave().await;
    world.check("twenty hand-overs").await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_kills_its_worker_three_times_is_poisoned_and_a_long_one_that_gets_on_is_not() {
    let world = World::new(Fickle::new(9, 1).slow(Duration::from_secs(2)));
    let (bad, long) = (world.submit(task("bad")).await, task("long"));
    for _ in 0..3 {
        let worker = world.worker(Faults::none());
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.kill();
        tokio::time::sleep(Duration::from_secs(12)).await;
        world.store_sweeps().await;
    }
    let result = world.result(&bad).await;
    assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::Poisoned)));

    let long = world.submit(long).await;
    for _ in 0..8 {
        let worker = world.worker(Faults::none());
        tokio::time::sleep(Duration::from_secs(3)).await;
        worker.kill();
        tokio::time::sleep(Duration::from_secs(12)).await;
        world.store_sweeps().await;
    }
    let last = world.worker(Faults::none());
    assert_eq!(world.finish(&long).await.status, TaskStatus::Completed);
    last.leave().await;
    world.check("poison").await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_lets_its_claim_run_out() {
    let world = World::new(Fake::new(|number, _| {
        assert!(number != 0, "the first call panics, as the test wished");
        (Duration::ZERO, Ok(text("done")))
    }));
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.output.as_deref(), Some("done"));
    worker.leave().await;
    world.check("a panic").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_while_its_worker_leaves_stays_cancelled() {
    for drains_first in [true, false] {
        let world = slow(ONCE);
        let key = world.submit(task("t")).await;
        let first = world.worker(Faults::none());
        tokio::time::sleep(Duration::from_secs(3)).await;
        if drains_first {
            first.drain();
        }
        world.cancel(&key, "stop").await;
        first.leave().await;
        let second = world.worker(Faults::none());
        assert_eq!(world.finish(&key).await.status, TaskStatus::Cancelled, "drains first: {drains_first}");
        second.leave().await;
        world.check("cancelled and leaving").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_worker_that_waits_for_a_call_before_it_leaves() {
    let world = slow(ONCE);
    world.ledger.set(ONCE, Mode::Hang);
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    tokio::time::sleep(Duration::from_secs(3)).await;
    worker.drain();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    world.cancel(&key, "stop").await;
    assert_eq!(world.finish(&key).await.status, TaskStatus::Cancelled);
    assert!(asked.elapsed() < Duration::from_millis(1_200), "it took {:?}", asked.elapsed());
    worker.leave().await;
    world.check("cancelled while it leaves").await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_while_leaving_takes_no_cancel_with_it() {
    let world = slow(ONCE);
    world.ledger.set(ONCE, Mode::Hang);
    let key = world.submit(task("t")).await;
    let first = world.worker(Faults::none());
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Both at once: it reads the cancel, and waits for the call.
    world.cancel(&key, "stop").await;
    first.drain();
    tokio::time::sleep(Duration::from_millis(500)).await;
    first.kill();
    let second = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.status, TaskStatus::Cancelled);
    second.leave().await;
    world.check("died while leaving").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_gone_leaves_its_tasks_to_whoever_serves_it() {
    let world = World::new(Fake::new(|_, _| (Duration::ZERO, Ok(text("done")))));
    let key = world.submit(task("t")).await;
    let without = world.worker(Faults::none());
    without.agents.replace([]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.result(&key).await.status, TaskStatus::Pending);
    let with = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.output, Some(json!("done").as_str().expect("text").to_owned()));
    without.leave().await;
    with.leave().await;
}
