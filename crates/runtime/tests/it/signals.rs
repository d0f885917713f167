//! Cancels and deadlines, in every phase of a run.

use crate::world::{IDEMPOTENT, ONCE, PURE, World, agent, ended, task};
use maniple_core::{
    model::{Fault as ModelFault, FaultKind},
    ports::Signalled,
    task::{ErrorCode, TaskStatus, WaitingFor},
};
use maniple_testkit::{
    faults::Faults,
    ledger::Mode,
    model::{Fake, Fickle, text},
};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A call of `tool` that takes five seconds, after a model that takes two.
fn slow(tool: &str) -> World {
    let mut world = World::new(Fickle::new(1, 1).slow(2 * SECOND));
    world.agent = agent(&[tool]);
    world.ledger.set(tool, Mode::Slow(5 * SECOND));
    world
}

/// Cancels after `after`; returns how long the end took and the outcomes of the tool calls.
async fn cancelled(world: &World, after: Duration) -> (Duration, Vec<&'static str>) {
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    tokio::time::sleep(after).await;
    let asked = Instant::now();
    world.cancel(&key, "stop").await;
    world.cancel(&key, "stop").await;
    let result = world.finish(&key).await;
    let took = asked.elapsed();
    assert_eq!(ended(&result), (TaskStatus::Cancelled, None, None));
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(world.result(&key).await, result);
    worker.leave().await;
    world.check(&format!("cancelled after {after:?}")).await;
    (took, world.outcomes(&key).await.iter().map(|outcome| outcome.2).collect())
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_a_model_call_and_repeatable_tool_calls_at_once() {
    for tool in [PURE, IDEMPOTENT] {
        for after_ms in [1_000, 3_000, 7_500] {
            let (took, _) = cancelled(&slow(tool), Duration::from_millis(after_ms)).await;
            assert!(took < SECOND / 5, "{tool} after {after_ms} ms: it took {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_at_most_once_call_gets_a_second_to_answer() {
    let (took, outcomes) = cancelled(&slow(ONCE), Duration::from_millis(6_500)).await;
    assert_eq!(outcomes, ["ok"]);
    assert!(took < SECOND, "it took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn after_that_second_it_is_in_doubt() {
    let (took, outcomes) = cancelled(&slow(ONCE), 3 * SECOND).await;
    assert_eq!(outcomes, ["in_doubt"]);
    assert!((SECOND..SECOND * 6 / 5).contains(&took), "it took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_never_claimed_is_cancelled_without_a_worker() {
    let world = slow(PURE);
    let key = world.submit(task("t")).await;
    assert!(matches!(world.cancel(&key, "stop").await, Signalled::Ended(..)));
    let worker = world.worker(Faults::none());
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.names(&key).await, ["task.accepted", "task.cancelled"]);
    worker.leave().await;
    world.check("never claimed").await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_after_the_end_changes_nothing() {
    let world = World::new(Fickle::new(0, 1));
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    let result = world.finish(&key).await;
    assert!(matches!(world.cancel(&key, "stop").await, Signalled::Final(known) if known == result));
    worker.leave().await;
    world.check("after the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_run_whose_worker_never_heard_of_it() {
    let world = slow(ONCE);
    let key = world.submit(task("t")).await;
    let first = world.worker(Faults::none());
    tokio::time::sleep(3 * SECOND).await;
    first.kill();
    world.cancel(&key, "stop").await;
    let second = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.status, TaskStatus::Cancelled);
    second.leave().await;
    world.check("the worker was dead").await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_without_a_hint_is_found_at_the_next_renewal() {
    use maniple_core::{Time, signal};
    let world = World::new(Fickle::new(0, 1).slow(60 * SECOND));
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    tokio::time::sleep(SECOND).await;
    let cancel = signal::Signal { id: "stop".into(), kind: signal::SignalKind::Cancel, data: serde_json::Value::Null, at: Time::default() };
    world.store.signal(&key, cancel, None).await.expect("taken");
    let asked = Instant::now();
    assert_eq!(world.finish(&key).await.status, TaskStatus::Cancelled);
    assert!(asked.elapsed() < 8 * SECOND, "it took {:?}", asked.elapsed());
    worker.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_run_is_cancelled_at_once_and_its_session_goes_on() {
    let throttled = ModelFault { retry_after: Some(300 * SECOND), ..ModelFault::new(FaultKind::Throttled, "slow down") };
    let world =
        World::new(Fake::new(move |number, _| (Duration::ZERO, if number == 0 { Err(throttled.clone()) } else { Ok(text("done")) })));
    let first = world.submit(task("first")).await;
    let mut next = task("next");
    next.session_id = task("first").session_id;
    let next = world.submit(next).await;
    let worker = world.worker(Faults::none());
    world.until(&first, "run.parked").await;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(world.result(&first).await.waiting_for, Some(WaitingFor::Timer));
    assert_eq!(world.result(&next).await.status, TaskStatus::Pending);
    let asked = Instant::now();
    world.cancel(&first, "stop").await;
    assert_eq!(world.finish(&first).await.status, TaskStatus::Cancelled);
    world.until(&next, "task.started").await;
    assert!(asked.elapsed() < 3 * SECOND, "it took {:?}", asked.elapsed());
    // What the model told the first to wait holds the next one back too, a minute at most.
    assert_eq!(world.finish(&next).await.status, TaskStatus::Completed);
    worker.leave().await;
    world.check("cancelled while parked").await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_run_in_every_phase() {
    // In the model call, in each kind of tool call, in the second model call.
    for (tool, deadline_ms, outcome) in
        [(PURE, 1_000, None), (PURE, 4_000, None), (IDEMPOTENT, 4_000, None), (ONCE, 4_000, Some("in_doubt")), (ONCE, 8_000, Some("ok"))]
    {
        let world = slow(tool);
        let mut task = task("t");
        task.deadline_ms = Some(deadline_ms);
        let key = world.submit(task).await;
        let worker = world.worker(Faults::none());
        let begun = Instant::now();
        let result = world.finish(&key).await;
        assert_eq!((result.status, result.error), (TaskStatus::Failed, Some(ErrorCode::DeadlineExceeded)), "{tool} {deadline_ms}");
        let late = begun.elapsed().saturating_sub(Duration::from_millis(deadline_ms));
        assert!(late < SECOND * 6 / 5, "{tool} {deadline_ms}: {late:?} late");
        let outcomes = world.outcomes(&key).await;
        assert_eq!(outcomes.iter().map(|outcome| outcome.2).collect::<Vec<_>>(), Vec::from_iter(outcome), "{tool} {deadline_ms}");
        worker.leave().await;
        world.check(&format!("{tool}, deadline {deadline_ms} ms")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_counts_while_nobody_works() {
    let world = slow(ONCE);
    let mut brief = task("t");
    brief.deadline_ms = Some(6_000);
    let key = world.submit(brief).await;
    let first = world.worker(Faults::none());
    tokio::time::sleep(3 * SECOND).await;
    first.kill();
    tokio::time::sleep(30 * SECOND).await;
    let second = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.error, Some(ErrorCode::DeadlineExceeded));
    second.leave().await;
    world.check("nobody worked").await;
}

#[tokio::test(start_paused = true)]
async fn a_task_cancelled_after_its_worker_was_killed_still_tells_what_is_in_doubt() {
    let world = slow(ONCE);
    let key = world.submit(task("t")).await;
    let killed = world.worker(Faults::none());
    tokio::time::sleep(3 * SECOND).await;
    killed.kill();
    world.cancel(&key, "stop").await;
    let next = world.worker(Faults::none());
    assert_eq!(ended(&world.finish(&key).await), (TaskStatus::Cancelled, None, None));
    next.leave().await;
    assert_eq!(world.outcomes(&key).await.iter().map(|outcome| outcome.2).collect::<Vec<_>>(), ["in_doubt"]);
    assert_eq!(world.ledger.count(ONCE), 1);
}
