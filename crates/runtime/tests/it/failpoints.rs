//! A crash at every I/O point of a run, for every effect class and shape, and a lost reply on every call.

use crate::world::{IDEMPOTENT, ONCE, PURE, World, agent, task};
use maniple_core::task::TaskStatus;
use maniple_testkit::{
    faults::{Fault, Faults, Point, Side},
    ledger::Mode,
    model::Fickle,
};
use std::time::Duration;

/// The fewest I/O points of a run that this is worth something for.
const POINTS_MIN: usize = 30;
const CLASSES: [(&str, &str); 3] = [("pure", PURE), ("idempotent", IDEMPOTENT), ("at_most_once", ONCE)];
const SHAPES: [(usize, usize); 2] = [(2, 2), (3, 1)];

/// Two seconds a model call, so that leases are renewed on the way; half a second a tool call.
fn world(tool: &str, rounds: usize, width: usize) -> World {
    let mut world = World::new(Fickle::new(rounds, width).slow(Duration::from_secs(2)));
    world.agent = agent(&[tool]);
    world.ledger.set(tool, Mode::Slow(Duration::from_millis(500)));
    world
}

/// All I/O points of a run that meets no fault.
async fn points(tool: &str, rounds: usize, width: usize) -> Vec<Point> {
    let world = world(tool, rounds, width);
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
    let passed = worker.faults.passed();
    worker.leave().await;
    world.check("without a fault").await;
    passed
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_loses_nothing_and_repeats_nothing_beyond_its_class() {
    let mut crashes = 0;
    for (class, tool) in CLASSES {
        for (rounds, width) in SHAPES {
            let points = points(tool, rounds, width).await;
            assert!(points.len() >= POINTS_MIN, "only {} points", points.len());
            for point in &points {
                let about = format!("{class}, {rounds} rounds of {width}, crash {:?} {} ({})", point.side, point.call, point.number);
                crash(tool, rounds, width, point.number, &about).await;
                crashes += 1;
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes >= POINTS_MIN * CLASSES.len());
}

async fn crash(tool: &str, rounds: usize, width: usize, point: u64, about: &str) {
    let world = world(tool, rounds, width);
    let key = world.submit(task("t")).await;
    let first = world.worker(Faults::at(point, Fault::Crash));
    tokio::select! {
        () = first.faults.crashed() => {}
        _ = world.finish(&key) => {}
    }
    first.kill();
    let second = world.worker(Faults::none());
    let result = world.finish(&key).await;
    second.leave().await;
    assert_eq!(result.status, TaskStatus::Completed, "{about}: {result:?}");
    world.check(about).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_a_crash_at_any_two_points_is_no_worse() {
    let count = points(ONCE, 2, 2).await.len() as u64;
    for first in (0..count).step_by(3) {
        for second in (0..count / 2).step_by(3) {
            let about = format!("crash at {first}, then at {second}");
            let world = world(ONCE, 2, 2);
            let key = world.submit(task("t")).await;
            for point in [first, second] {
                let worker = world.worker(Faults::at(point, Fault::Crash));
                tokio::select! {
                    () = worker.faults.crashed() => {}
                    _ = world.finish(&key) => {}
                }
                worker.kill();
            }
            let last = world.worker(Faults::none());
            let result = world.finish(&key).await;
            last.leave().await;
            assert_eq!(result.status, TaskStatus::Completed, "{about}: {result:?}");
            world.check(&about).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_or_a_refusal_at_any_point_is_survived_by_the_same_worker() {
    for (class, tool) in CLASSES {
        for point in points(tool, 2, 2).await {
            let about = format!("{class}, {} fails {:?} ({})", point.call, point.side, point.number);
            let world = world(tool, 2, 2);
            let key = world.submit(task("t")).await;
            let worker = world.worker(Faults::at(point.number, Fault::Unavailable));
            let result = world.finish(&key).await;
            worker.leave().await;
            assert_eq!(result.status, TaskStatus::Completed, "{about}: {result:?}");
            world.check(&about).await;
            let claims = world.witness.trace().iter().filter(|line| line.contains(" claim ")).count();
            let is_lost_claim = point.call == "claim" && point.side == Side::After;
            assert_eq!(claims > 1, is_lost_claim && claims == 2, "{about}: {:#?}", world.witness.trace());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_reply_of_the_store_lost_once_is_survived() {
    let lost_once = |point: &Point| {
        let is_store = !matches!(point.call, "model" | "tool" | "claim");
        // Four points a call that is lost once: before, after (lost), before, after.
        if is_store && point.side == Side::After && point.number % 4 == 1 { Fault::Unavailable } else { Fault::None }
    };
    for (class, tool) in CLASSES {
        let world = world(tool, 2, 3);
        let key = world.submit(task("t")).await;
        let worker = world.worker(Faults::new(lost_once));
        let result = world.finish(&key).await;
        worker.leave().await;
        assert_eq!(result.status, TaskStatus::Completed, "{class}: {result:?}");
        world.check(class).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_half_a_minute_delays_a_run_and_costs_nothing() {
    let world = world(ONCE, 3, 2);
    let key = world.submit(task("t")).await;
    let origin = tokio::time::Instant::now();
    let away = move |point: &Point| {
        let is_store = !matches!(point.call, "model" | "tool" | "resolve");
        let now = origin.elapsed();
        let is_away = (Duration::from_secs(3)..Duration::from_secs(33)).contains(&now);
        if is_store && is_away { Fault::Unavailable } else { Fault::None }
    };
    let worker = world.worker(Faults::new(away));
    let result = world.finish(&key).await;
    worker.leave().await;
    assert_eq!(result.status, TaskStatus::Completed, "{result:?}");
    assert!(world.outcomes(&key).await.iter().all(|(_, _, status, _)| *status == "ok"));
    world.check("the store was away").await;
}
