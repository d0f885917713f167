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

/// Suspends renewals, stops every task where it is, past its lease, and takes no more after the first moments.
fn stopped(call: &'static str, side: Side) -> Faults {
    let born = Instant::now();
    Faults::new(move |point: &Point| match point {
        Point { call: "renew", .. } => Fault::Delay(10 * LONG),
        Point { call: "claim", .. } if born.elapsed() > Duration::from_millis(500) => Fault::Delay(10 * LONG),
        point if point.call == call && point.side == side => Fault::Delay(LONG),
        _ => Fault::None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_thousand_zombies_write_nothing() {
    let moments =
        [("model", Side::After), ("append", Side::Before), ("tool", Side::After), ("tool", Side::Before), ("resolve", Side::After)];
    let mut refused = 0;
    for (call, side) in moments {
        let world = World::new(Fickle::new(1, 3));
        let mut tasks = Vec::new();
        for number in 0..ZOMBIES / moments.len() {
            tasks.push(world.submit(task(&format!("t{number}"))).await);
        }
        let zombie = world.worker(stopped(call, side));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let living = world.worker(Faults::none());
        for key in &tasks {
            assert_eq!(world.finish(key).await.status, TaskStatus::Completed);
        }
        let before = world.witness.stale_refused();
        // Now the zombie goes on.
        tokio::time::sleep(3 * LONG).await;
        let about = format!("stopped {side:?} {call}");
        world.check(&about).await;
        let tried = world.witness.stale_refused() - before;
        println!("{about}: {tried} stale appends, all refused");
        refused += tried;
        living.leave().await;
        zombie.kill();
    }
    // Those stopped before a tool call see that their lease is over and write nothing at all.
    assert!(refused as usize >= ZOMBIES * 3 / 5, "only {refused} tried to write");
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
