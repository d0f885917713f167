//! Tasks that start at once: one commit until the model is asked, and each line of what can go wrong.

use crate::world::{IDEMPOTENT, ONCE, PURE, World, agent, ended, task};
use maniple_core::{
    ports::{Created, NewTask},
    task::{Task, TaskStatus},
};
use maniple_runtime::worker::Started;
use maniple_testkit::{
    faults::{Fault, Faults, Point, Side},
    ledger::Mode,
    model::{Fake, Fickle, text},
    store_suite::new,
};
use std::time::Duration;

fn answering() -> World {
    World::new(Fake::new(|_, _| (Duration::from_secs(2), Ok(text("done")))))
}
fn slow(tool: &str) -> World {
    let mut world = World::new(Fickle::new(2, 2).slow(Duration::from_secs(2)));
    world.agent = agent(&[tool]);
    world.ledger.set(tool, Mode::Slow(Duration::from_millis(500)));
    world
}
fn asked(started: Started) -> Created {
    match started {
        Started::Asked(answer) => answer.expect("accepted"),
        Started::NotNow(new) => panic!("{} cannot start now", new.task.id),
    }
}
fn calls(points: &[Point]) -> Vec<&'static str> {
    points.iter().filter(|point| point.side == Side::Before).map(|point| point.call).collect()
}

#[tokio::test(start_paused = true)]
async fn a_task_that_starts_at_once_is_asked_about_after_one_commit_and_ends_with_another() {
    let world = answering();
    let worker = world.worker(Faults::none());
    tokio::time::sleep(Duration::from_millis(1)).await;
    let idle = worker.faults.passed().len();
    let key = world.submit_to(&worker, task("t")).await;
    assert_eq!(ended(&world.finish(&key).await), (TaskStatus::Completed, None, Some("done")));
    let own = worker.faults.passed()[idle..].to_vec();
    let stored: Vec<&str> = calls(&own).into_iter().filter(|call| !matches!(*call, "sweep" | "renew" | "claim")).collect();
    assert_eq!(stored, ["conversation", "create", "model", "append"]);
    assert_eq!(world.names(&key).await, ["task.accepted", "task.started", "model.started", "model.finished", "task.completed"]);
    worker.leave().await;
    world.check("it starts at once").await;
}

#[tokio::test(start_paused = true)]
async fn a_conversation_goes_on_with_all_its_turns() {
    let world = World::new(Fake::new(|_, request| (Duration::ZERO, Ok(text(format!("{} messages", request.messages.len()))))));
    let worker = world.worker(Faults::none());
    let turn = |id: &str| Task { session_id: task("s").session_id, ..task(id) };
    for (id, says) in [("a", "1 messages"), ("b", "3 messages"), ("c", "5 messages")] {
        let created = asked(worker.starter.start(new(turn(id))).await);
        assert!(created.claim.is_some(), "{id}");
        assert_eq!(world.finish(&turn(id).key()).await.output.as_deref(), Some(says));
    }
    worker.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_of_a_birth_loses_nothing_and_repeats_nothing_beyond_its_class() {
    for tool in [PURE, IDEMPOTENT, ONCE] {
        let points = {
            let world = slow(tool);
            let worker = world.worker(Faults::none());
            let key = world.submit_to(&worker, task("t")).await;
            world.finish(&key).await;
            worker.faults.passed()
        };
        assert!(points.len() >= 20, "only {} points", points.len());
        for point in &points {
            let about = format!("{tool}, crash {:?} {} ({})", point.side, point.call, point.number);
            let world = slow(tool);
            let first = world.worker(Faults::at(point.number, Fault::Crash));
            let key = world.submit_to(&first, task("t")).await;
            tokio::select! {
                () = first.faults.crashed() => {}
                _ = world.finish(&key) => {}
            }
            first.kill();
            let second = world.worker(Faults::none());
            let result = world.finish(&key).await;
            second.leave().await;
            assert_eq!(result.status, TaskStatus::Completed, "{about}: {result:?}");
            world.check(&about).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_birth_whose_reply_was_lost_is_driven_by_the_worker_that_wished_it() {
    let world = answering();
    let lost = |point: &Point| {
        if point.call == "create" && point.side == Side::After && point.number < 10 { Fault::Unavailable } else { Fault::None }
    };
    let worker = world.worker(Faults::new(lost));
    let key = world.submit_to(&worker, task("t")).await;
    world.finish(&key).await;
    let passed = calls(&worker.faults.passed());
    assert!(passed.iter().filter(|call| **call == "create").count() >= 2, "it asks again: {passed:?}");
    let claims = world.witness.trace().iter().filter(|line| line.contains(" claim ")).count();
    assert_eq!((claims, world.names(&key).await.len()), (0, 5), "nobody else had to claim it");
    worker.leave().await;
    world.check("the reply was lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_does_not_stop_what_has_begun() {
    let world = answering();
    let worker = world.worker(Faults::new(|point| if point.call == "create" { Fault::Delay(Duration::from_secs(1)) } else { Fault::None }));
    let key = task("t").key();
    tokio::select! {
        _ = worker.starter.start(new(task("t"))) => panic!("it takes a second"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(ended(&world.result(&key).await), (TaskStatus::Completed, None, Some("done")));
    worker.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_leaves_while_a_task_is_born_hands_it_over_without_poison() {
    let world = answering();
    let slowly = |point: &Point| {
        if point.call == "create" && point.side == Side::After { Fault::Delay(Duration::from_secs(1)) } else { Fault::None }
    };
    let first = world.worker(Faults::new(slowly));
    let starting = {
        let starter = first.starter.clone();
        tokio::spawn(async move { asked(starter.start(new(task("t"))).await) })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.leave().await;
    assert!(starting.await.expect("no panic").claim.is_some());
    assert_eq!(world.names(&task("t").key()).await, ["task.accepted", "task.started", "model.started"], "nothing was sent");
    let second = world.worker(Faults::none());
    assert_eq!(world.finish(&task("t").key()).await.status, TaskStatus::Completed);
    second.leave().await;
    world.check("it left").await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_leaving_takes_nobody_in() {
    let world = answering();
    let worker = world.worker(Faults::none());
    let starter = worker.starter.clone();
    worker.leave().await;
    assert!(matches!(starter.start(new(task("t"))).await, Started::NotNow(given_back) if given_back.task.id == task("t").id));
}

#[tokio::test(start_paused = true)]
async fn a_birth_that_was_committed_too_late_sends_nothing_under_its_old_claim() {
    let world = answering();
    let slowly = |point: &Point| {
        if point.call == "create" && point.side == Side::After { Fault::Delay(Duration::from_secs(25)) } else { Fault::None }
    };
    let late = world.worker(Faults::new(slowly));
    let other = world.worker(Faults::none());
    asked(late.starter.start(new(task("t"))).await);
    let key = task("t").key();
    world.finish(&key).await;
    late.leave().await;
    other.leave().await;
    assert_eq!(world.names(&key).await.iter().filter(|name| *name == "model.finished").count(), 1);
    assert_eq!(world.witness.stale_written(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_same_request_meanwhile_is_a_replay_that_nobody_drives_twice() {
    let world = answering();
    let worker = world.worker(Faults::none());
    let starts = (0..20).map(|_| worker.starter.start(new(task("t"))));
    let created: Vec<Created> = futures::future::join_all(starts).await.into_iter().map(asked).collect();
    assert_eq!(created.iter().filter(|created| created.claim.is_some()).count(), 1);
    assert_eq!(created.iter().filter(|created| created.fresh).count(), 1);
    world.finish(&task("t").key()).await;
    assert_eq!(world.names(&task("t").key()).await.iter().filter(|name| *name == "model.started").count(), 1);
    worker.leave().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_at_once_is_given_back_or_accepted_like_any_other() {
    let mut world = answering();
    world.settings.max_running = 4;
    let worker = world.worker(Faults::none());
    let later = Task { not_before: Some(maniple_core::Time(1_900_000_000_000)), ..task("later") };
    let retry = NewTask {
        taken_over: Some(maniple_core::event::Event::TakenOver(maniple_core::event::TakenOver { from: task("x").id, steps: vec![] })),
        ..new(task("retry"))
    };
    let nobodys = Task { agent: maniple_core::AgentName::parse("stranger").expect("legal"), ..task("nobodys") };
    for new in [new(later), retry, new(nobodys)] {
        let id = new.task.id.clone();
        assert!(matches!(worker.starter.start(new).await, Started::NotNow(_)), "{id}");
    }
    for id in ["a", "b"] {
        assert!(asked(worker.starter.start(new(task(id))).await).claim.is_some(), "{id}");
    }
    assert!(matches!(worker.starter.start(new(task("c"))).await, Started::NotNow(_)), "half of the places are taken");
    for id in ["a", "b"] {
        world.finish(&task(id).key()).await;
    }
    let model = maniple_core::model::ModelName::parse("test/first").expect("legal");
    let failed = |n| worker.health.failed(&model, &task(&format!("f{n}")).key(), maniple_core::model::FaultKind::Overloaded, false);
    (0..5).for_each(failed);
    assert!(matches!(worker.starter.start(new(task("d"))).await, Started::NotNow(_)), "its model's breaker is open");
    worker.leave().await;
}

#[tokio::test(start_paused = true)]
async fn under_load_those_that_wait_and_those_that_start_at_once_both_get_through() {
    let mut world = answering();
    world.settings.max_running = 8;
    let worker = world.worker(Faults::none());
    let mut keys = Vec::new();
    for n in 0..200 {
        keys.push(match n % 2 {
            0 => world.submit(task(&format!("waits{n}"))).await,
            _ => world.submit_to(&worker, task(&format!("starts{n}"))).await,
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut waited = Vec::new();
    for key in &keys {
        let result = world.finish(key).await;
        waited.push(result.started_at.expect("started").since(result.created_at));
    }
    waited.sort();
    assert!(waited[waited.len() - 1] < Duration::from_secs(30), "the longest wait: {:?}", waited.last());
    worker.leave().await;
    world.check("under load").await;
}
