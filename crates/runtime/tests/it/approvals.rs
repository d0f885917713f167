//! Calls that need an agreement, through parking, restarts and crashes.

use crate::world::{IDEMPOTENT, ONCE, PURE, World, agent, arguments, ended, task};
use maniple_backends::sqlite;
use maniple_core::{
    Kind,
    event::Event,
    ports::TaskStore,
    settings::Period,
    task::{ErrorCode, TaskStatus, WaitingFor},
};
use maniple_testkit::{
    faults::{Fault, Faults, Side},
    ledger::Mode,
    model::{Fake, Fickle, calls, text},
};
use std::{sync::Arc, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

/// Rounds of calls of `tool`, each of which needs an agreement.
fn world(tool: &str, rounds: usize, width: usize) -> World {
    let mut world = World::new(Fickle::new(rounds, width));
    world.agent = agent(&[tool]);
    world.change_tool(tool, |tool| tool.requires_approval = true);
    world
}

fn results(outcomes: &[(u32, u32, &'static str, serde_json::Value)]) -> Vec<(u32, &'static str)> {
    outcomes.iter().map(|(_, index, status, _)| (*index, *status)).collect()
}

#[tokio::test(start_paused = true)]
async fn of_two_calls_in_one_step_the_approved_one_is_made_and_the_denied_one_is_not() {
    let script = [(ONCE, arguments("a")), (ONCE, arguments("b")), (PURE, arguments("c"))];
    let model = Fake::new(move |number, _| (Duration::ZERO, Ok(if number == 0 { calls(&script) } else { text("done") })));
    let world = World::new(model);
    world.change_tool(ONCE, |tool| tool.requires_approval = true);
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    assert_eq!(world.asked(2).await, ["t:1:0", "t:1:1"]);
    world.until(&key, "run.parked").await;
    assert_eq!(world.result(&key).await.waiting_for, Some(WaitingFor::Approval));
    assert_eq!((world.ledger.count(PURE), world.ledger.count(ONCE)), (1, 0), "what needs nobody does not wait");
    world.decide("t:1:1", false).await.expect("decided");
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(world.result(&key).await.waiting_for, Some(WaitingFor::Approval), "one is open still");
    world.decide("t:1:0", true).await.expect("decided");
    assert_eq!(ended(&world.finish(&key).await), (TaskStatus::Completed, None, Some("done")));
    assert_eq!(results(&world.outcomes(&key).await), [(2, "ok"), (1, "refused"), (0, "ok")]);
    assert_eq!(world.ledger.count(ONCE), 1);
    worker.leave().await;
    world.check("one of two").await;
}

#[tokio::test(start_paused = true)]
async fn a_decision_made_twice_calls_once_and_another_comes_too_late() {
    let world = world(ONCE, 1, 1);
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    let id = world.asked(1).await.remove(0);
    assert!(world.decide(&id, true).await.expect("decided").fresh);
    assert!(!world.decide(&id, true).await.expect("the same").fresh);
    assert_eq!(world.decide(&id, false).await.expect_err("another").kind, Kind::Conflict);
    world.finish(&key).await;
    assert_eq!(world.ledger.count(ONCE), 1);
    worker.leave().await;
    world.check("twice").await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_decides_is_not_made_and_the_run_goes_on() {
    let mut world = world(ONCE, 1, 2);
    world.settings.approval_expires = Period::seconds(600);
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    world.asked(2).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
    let took = begun.elapsed();
    assert!((599 * SECOND..605 * SECOND).contains(&took), "{took:?}");
    let names = world.names(&key).await;
    assert_eq!(names.iter().filter(|name| *name == "approval.decided").count(), 2);
    assert_eq!((results(&world.outcomes(&key).await), world.ledger.count(ONCE)), (vec![(0, "refused"), (1, "refused")], 0));
    worker.leave().await;
    world.check("expired").await;
}

#[tokio::test(start_paused = true)]
async fn cancel_and_deadline_end_a_run_that_waits_for_a_person() {
    let cancelled = world(ONCE, 1, 1);
    let key = cancelled.submit(task("t")).await;
    let worker = cancelled.worker(Faults::none());
    let id = cancelled.asked(1).await.remove(0);
    cancelled.until(&key, "run.parked").await;
    cancelled.cancel(&key, "stop").await;
    assert_eq!(cancelled.finish(&key).await.status, TaskStatus::Cancelled);
    assert_eq!(cancelled.decide(&id, true).await.expect_err("too late").kind, Kind::Conflict);
    worker.leave().await;

    let late = world(ONCE, 1, 1);
    let mut brief = task("t");
    brief.deadline_ms = Some(60_000);
    let key = late.submit(brief).await;
    let worker = late.worker(Faults::none());
    let id = late.asked(1).await.remove(0);
    assert_eq!(late.finish(&key).await.error, Some(ErrorCode::DeadlineExceeded));
    assert_eq!(late.decide(&id, true).await.expect_err("too late").kind, Kind::Conflict);
    worker.leave().await;
    late.check("deadline").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_of_a_run_with_approvals_loses_nothing_and_makes_no_call_unasked() {
    for tool in [PURE, IDEMPOTENT, ONCE] {
        let mut point = 0;
        loop {
            let world = world(tool, 2, 2);
            world.ledger.set(tool, Mode::Slow(SECOND / 2));
            let _person = world.person(SECOND / 3, |approval| approval.request.index == 0);
            let key = world.submit(task("t")).await;
            let first = world.worker(Faults::at(point, Fault::Crash));
            let crashed = tokio::select! {
                () = first.faults.crashed() => true,
                _ = world.finish(&key) => false,
            };
            first.kill();
            let second = world.worker(Faults::none());
            let result = world.finish(&key).await;
            let about = format!("{tool}, crash at {point}");
            assert_eq!(result.status, TaskStatus::Completed, "{about}: {result:?}");
            second.leave().await;
            world.check(&about).await;
            let denied = world.outcomes(&key).await.iter().filter(|outcome| outcome.1 == 1 && outcome.2 == "refused").count();
            assert_eq!(denied, 2, "{about}");
            if !crashed {
                break;
            }
            point += 1;
        }
        assert!(point > 40, "only {point} points");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_at_any_point_of_a_run_with_approvals_is_survived() {
    for side in [Side::Before, Side::After] {
        let world = world(ONCE, 2, 2);
        let _person = world.person(SECOND / 3, |_| true);
        let key = world.submit(task("t")).await;
        let lost = move |point: &maniple_testkit::faults::Point| {
            let is_store = !matches!(point.call, "model" | "tool" | "claim");
            if is_store && point.side == side && point.number % 4 == u64::from(side == Side::After) {
                Fault::Unavailable
            } else {
                Fault::None
            }
        };
        let worker = world.worker(Faults::new(lost));
        assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
        assert_eq!(world.ledger.count(ONCE), 4);
        worker.leave().await;
        world.check("lost replies").await;
    }
}

#[tokio::test]
async fn a_run_that_waited_through_a_restart_of_its_node_makes_the_call_once_it_is_approved() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("maniple.db");
    let open = || -> Arc<dyn TaskStore> {
        Arc::new(sqlite::TaskStore::open(&path, sqlite::Options { fsync: false, ..sqlite::Options::default() }).expect("opens"))
    };
    let mut world = world(ONCE, 1, 1);
    world.store = open();
    let key = world.submit(task("t")).await;
    let first = world.worker(Faults::none());
    world.until(&key, "run.parked").await;
    first.leave().await;
    world.store = Arc::new(maniple_backends::memory::TaskStore::new());
    world.store = open();
    let id = world.asked(1).await.remove(0);
    world.decide(&id, true).await.expect("decided");
    let second = world.worker(Faults::none());
    assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
    assert_eq!(world.ledger.count(ONCE), 1);
    second.leave().await;
    world.check("restarted").await;
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_comes_while_other_calls_are_in_flight_is_heard_at_once() {
    let script = [(ONCE, arguments("a")), (PURE, arguments("c"))];
    let model = Fake::new(move |number, _| (Duration::ZERO, Ok(if number == 0 { calls(&script) } else { text("done") })));
    let world = World::new(model);
    world.change_tool(ONCE, |tool| tool.requires_approval = true);
    world.ledger.set(PURE, Mode::Slow(9 * SECOND));
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    let id = world.asked(1).await.remove(0);
    world.decide(&id, true).await.expect("decided");
    world.finish(&key).await;
    assert_eq!(results(&world.outcomes(&key).await), [(0, "ok"), (1, "ok")]);
    assert!(world.events(&key).await.iter().all(|event| !matches!(event.event(), Ok(Event::Parked(_)))), "it had something to do");
    worker.leave().await;
}
