//! Calls of which nobody knows how they went: the tool is asked, then a person, and it is never sent twice.

use crate::world::{ONCE, World, agent, task};
use maniple_core::{
    settings::Period,
    task::{TaskStatus, WaitingFor},
    tool::OnInDoubt,
};
use maniple_testkit::{
    faults::{Fault, Faults, Side},
    ledger::Mode,
    model::Fickle,
};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// One call that takes five seconds and asks a person when nobody knows.
fn asking() -> World {
    let mut world = World::new(Fickle::new(1, 1));
    world.agent = agent(&[ONCE]);
    world.change_tool(ONCE, |tool| tool.on_in_doubt = OnInDoubt::Ask);
    world.ledger.set(ONCE, Mode::Slow(5 * SECOND));
    world
}

async fn statuses(world: &World, key: &maniple_core::TaskKey) -> Vec<&'static str> {
    world.outcomes(key).await.iter().map(|outcome| outcome.2).collect()
}

#[tokio::test(start_paused = true)]
async fn a_worker_killed_in_mid_call_leaves_one_question_and_the_call_is_never_sent_again() {
    for (approve, status) in [(true, "ok"), (false, "error")] {
        let world = asking();
        let key = world.submit(task("t")).await;
        let first = world.worker(Faults::none());
        tokio::time::sleep(2 * SECOND).await;
        first.kill();
        let second = world.worker(Faults::none());
        assert_eq!(world.asked(1).await, ["t:1:0:doubt"]);
        world.until(&key, "run.parked").await;
        assert_eq!(world.result(&key).await.waiting_for, Some(WaitingFor::Approval));
        second.kill();
        let third = world.worker(Faults::none());
        tokio::time::sleep(30 * SECOND).await;
        assert_eq!(world.asked(1).await.len(), 1, "asked once");
        world.decide("t:1:0:doubt", approve).await.expect("decided");
        assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
        assert_eq!((statuses(&world, &key).await, world.ledger.count(ONCE)), (vec![status], 1));
        third.leave().await;
        world.check("killed in mid-call").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_broke_off_is_asked_about_at_once() {
    let world = asking();
    world.ledger.set(ONCE, Mode::Reset);
    let key = world.submit(task("t")).await;
    let worker = world.worker(Faults::none());
    let id = world.asked(1).await.remove(0);
    world.decide(&id, true).await.expect("decided");
    world.finish(&key).await;
    let told = world.outcomes(&key).await.remove(0);
    assert_eq!((told.2, &told.3["confirmed_by"]), ("ok", &json!("ann")));
    worker.leave().await;
    world.check("broke off").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_cut_by_a_drain_is_asked_about_and_a_cancelled_one_is_in_doubt() {
    let mut cut = asking();
    cut.settings.drain = Period::seconds(1);
    cut.ledger.set(ONCE, Mode::Hang);
    let key = cut.submit(task("t")).await;
    let first = cut.worker(Faults::none());
    tokio::time::sleep(2 * SECOND).await;
    first.leave().await;
    let second = cut.worker(Faults::none());
    cut.asked(1).await;
    cut.until(&key, "run.parked").await;
    cut.cancel(&key, "stop").await;
    assert_eq!(cut.finish(&key).await.status, TaskStatus::Cancelled);
    assert_eq!(statuses(&cut, &key).await, ["in_doubt"]);
    second.leave().await;
    cut.check("cut by a drain").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_asks_at_most_once_a_call_and_sends_none_twice() {
    for approve in [true, false] {
        let mut point = 0;
        loop {
            let world = asking();
            let _person = world.person(SECOND, move |_| approve);
            let key = world.submit(task("t")).await;
            let first = world.worker(Faults::at(point, Fault::Crash));
            let crashed = tokio::select! {
                () = first.faults.crashed() => true,
                _ = world.finish(&key) => false,
            };
            first.kill();
            let second = world.worker(Faults::none());
            let about = format!("crash at {point}");
            assert_eq!(world.finish(&key).await.status, TaskStatus::Completed, "{about}");
            second.leave().await;
            world.check(&about).await;
            assert!(world.ledger.count(ONCE) <= 1, "{about}");
            if !crashed {
                break;
            }
            point += 1;
        }
        assert!(point > 15, "only {point} points");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_can_say_what_happened_settles_the_doubt_itself() {
    // Live, with an arrival and without; then at a takeover.
    for (mode, status) in [(Mode::Reset, "ok"), (Mode::Close, "error")] {
        let world = asking();
        world.change_tool(ONCE, |tool| (tool.on_in_doubt, tool.probe_url) = (OnInDoubt::Ask, Some("builtin:probe".into())));
        world.ledger.set(ONCE, mode);
        let key = world.submit(task("t")).await;
        let worker = world.worker(Faults::none());
        assert_eq!(world.finish(&key).await.status, TaskStatus::Completed);
        assert_eq!(statuses(&world, &key).await, [status]);
        worker.leave().await;
        world.check("probed").await;
    }
    let world = asking();
    world.change_tool(ONCE, |tool| tool.probe_url = Some("builtin:probe".into()));
    let key = world.submit(task("t")).await;
    let first = world.worker(Faults::none());
    tokio::time::sleep(2 * SECOND).await;
    first.kill();
    let second = world.worker(Faults::none());
    world.finish(&key).await;
    assert_eq!((statuses(&world, &key).await, world.ledger.count(ONCE)), (vec!["ok"], 1));
    second.leave().await;
    world.check("probed at a takeover").await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_does_not_answer_leaves_the_doubt_after_three_attempts() {
    let world = asking();
    world.change_tool(ONCE, |tool| tool.probe_url = Some("builtin:probe".into()));
    world.ledger.set(ONCE, Mode::Reset);
    let key = world.submit(task("t")).await;
    let mute = |point: &maniple_testkit::faults::Point| {
        if point.call == "probe" && point.side == Side::Before { Fault::Unavailable } else { Fault::None }
    };
    let worker = world.worker(Faults::new(mute));
    world.finish(&key).await;
    assert_eq!(statuses(&world, &key).await, ["in_doubt"]);
    assert_eq!(worker.faults.passed().iter().filter(|point| point.call == "probe").count(), 3);
    worker.leave().await;
    world.check("mute").await;
}
