//! Calls over their tool's rate wait for a place, parked, or the model is told when to come back.

use crate::world::{IDEMPOTENT, ONCE, World, agent, task};
use maniple_core::task::{TaskStatus, WaitingFor};
use maniple_testkit::{
    faults::{Fault, Faults},
    ledger::Mode,
    model::Fickle,
};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// `rounds` of `width` calls of a tool that takes two in any minute.
fn limited(tool: &str, rounds: usize, width: usize) -> World {
    let mut world = World::new(Fickle::new(rounds, width));
    world.agent = agent(&[tool]);
    world.change_tool(tool, |tool| tool.rate_limit = Some(2));
    world
}

#[tokio::test(start_paused = true)]
async fn a_run_over_the_rate_parks_and_completes() {
    let world = limited(ONCE, 1, 5);
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    let begun = Instant::now();
    world.until(&key, "run.parked").await;
    assert_eq!((world.result(&key).await.waiting_for, world.ledger.count(ONCE)), (Some(WaitingFor::Timer), 2));
    assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
    let took = begun.elapsed();
    assert!((120 * SECOND..125 * SECOND).contains(&took), "two, two and one in three minutes: {took:?}");
    assert!(world.outcomes(&key).await.iter().all(|outcome| outcome.2 == "ok"));
    assert_eq!(world.names(&key).await.iter().filter(|name| *name == "run.parked").count(), 2);
    worker.leave().await;
    world.check("over the rate").await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_told_to_the_model() {
    let world = limited(ONCE, 1, 3);
    let mut brief = task("t");
    brief.deadline_ms = Some(30_000);
    let key = world.submit(brief).await;
    let worker = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
    let outcomes = world.outcomes(&key).await;
    let refused = outcomes.iter().find(|outcome| outcome.2 == "refused").expect("the third");
    assert!(refused.3["retry_after_ms"].as_u64().is_some_and(|wait| wait > 59_000), "{}", refused.3);
    assert_eq!(world.ledger.count(ONCE), 2);
    worker.leave().await;
    world.check("beyond the deadline").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_of_a_limited_run_repeats_nothing_beyond_its_class() {
    for tool in [IDEMPOTENT, ONCE] {
        let mut point = 0;
        loop {
            let world = limited(tool, 1, 3);
            world.ledger.set(tool, Mode::Slow(SECOND));
            let key = world.submit(task("t")).await;
            let first = world.worker(Faults::at(point, Fault::Crash));
            let crashed = tokio::select! {
                () = first.faults.crashed() => true,
                _ = world.finish(&key) => false,
            };
            first.kill();
            let second = world.worker(Faults::none());
            let about = format!("{tool}, crash at {point}");
            assert_eq!(world.finish(&key).await.status, TaskStatus::Completed, "{about}");
            second.leave().await;
            world.check(&about).await;
            if !crashed {
                break;
            }
            point += 1;
        }
        assert!(point > 30, "only {point} points");
    }
}
