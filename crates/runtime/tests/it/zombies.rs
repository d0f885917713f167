//! Workers that were stopped past their lease and go on as if nothing had happened.

use crate::world::{World, task};
use maniple_core::task::TaskStatus;
use maniple_testkit::{
    faults::{Fault, Faults, Point, Side},
    model::Fickle,
};
use std::time::Duration;
use tokio::time::Instant;

const ZOMBIES: usize = 1_000;
const LONG: Duration = Duration::from_secs(60);

/// Stops every task where it is for a minute.
fn slow(point: &Point, call: &'static str, side: Side) -> Fault {
    if point.call == call && point.side == side { Fault::Delay(LONG) } else { Fault::None }
}
/// The same with renewals suspended, so that it is past its lease, and takes no more after the first moments.
fn stopped(point: &Point, born: Instant, call: &'static str, side: Side) -> Fault {
    match point.call {
        "renew" => Fault::Delay(10 * LONG),
        "claim" if born.elapsed() > Duration::from_millis(500) => Fault::Delay(10 * LONG),
        _ => slow(point, call, side),
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_zombies_write_nothing() {
    let moments =
        [("resolve", Side::After), ("append", Side::Before), ("model", Side::After), ("tool", Side::After), ("tool", Side::Before)];
    let mut refused = 0;
    for (call, side) in moments {
        let about = format!("stopped {side:?} {call}");
        let world = World::new(Fickle::new(1, 3));
        let mut tasks = Vec::new();
        for number in 0..ZOMBIES / moments.len() {
            tasks.push(world.submit(task(&format!("t{number}"))).await);
        }
        let born = Instant::now();
        let zombie = world.worker(Faults::new(move |point| stopped(point, born, call, side)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Whoever takes over is as slow, so that the zombie rises while the task runs, and where its numbers still follow.
        let living = world.worker(Faults::new(move |point| slow(point, call, side)));
        for key in &tasks {
            assert_eq!(world.finish(key).await.status, TaskStatus::Completed, "{about}");
        }
        tokio::time::sleep(3 * LONG).await;
        world.check(&about).await;
        println!("{about}: {} stale appends, all refused", world.witness.stale_refused());
        refused += world.witness.stale_refused();
        living.leave().await;
        zombie.kill();
    }
    assert!(refused as usize >= ZOMBIES, "only {refused} tried to write");
}

#[tokio::test(start_paused = true)]
async fn what_is_still_on_its_way_when_a_lease_runs_out_is_not_sent_after_the_next_holder_had_its_answer() {
    let world = World::new(Fickle::new(1, 3));
    let mut tasks = Vec::new();
    for number in 0..20 {
        tasks.push(world.submit(task(&format!("t{number}"))).await);
    }
    // Half a second longer than a lease, and shorter than a tool's time-out.
    let on_its_way = Duration::from_millis(10_500);
    let born = Instant::now();
    let zombie = world.worker(Faults::new(move |point| match (point.call, point.side) {
        ("tool", Side::Before) => Fault::Delay(on_its_way),
        _ => stopped(point, born, "nothing else", Side::Before),
    }));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let living = world.worker(Faults::none());
    for key in &tasks {
        assert_eq!(world.finish(key).await.status, TaskStatus::Completed);
    }
    tokio::time::sleep(3 * LONG).await;
    world.check("on its way").await;
    living.leave().await;
    zombie.kill();
}

#[tokio::test(start_paused = true)]
async fn two_workers_that_both_believe_to_hold_every_task_do_each_once() {
    let world = World::new(Fickle::new(2, 4).slow(Duration::from_secs(4)));
    let mut tasks = Vec::new();
    for number in 0..50 {
        tasks.push(world.submit(task(&format!("t{number}"))).await);
    }
    let suspended = || Faults::new(|point: &Point| if point.call == "renew" { Fault::Delay(Duration::from_secs(25)) } else { Fault::None });
    let workers = [world.worker(suspended()), world.worker(suspended())];
    for key in &tasks {
        world.finish(key).await;
    }
    tokio::time::sleep(5 * LONG).await;
    world.check("renewal suspended in both").await;
    for worker in workers {
        worker.kill();
    }
}
