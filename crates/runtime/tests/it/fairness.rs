//! Tenants of one worker: whatever one of them has under way, the next one's task gets its turn.

use crate::world::{World, task};
use maniple_core::{Tenant, ports::Signalled, task::Task};
use maniple_testkit::{
    faults::Faults,
    model::{Fake, text},
};
use std::time::Duration;

const FOR_EVER: Duration = Duration::from_secs(500);

/// A model that answers at once, and hangs over what says so; five places, of several tenants.
fn five_places() -> World {
    let mut world = World::new(Fake::new(|_, request| {
        let hangs = format!("{:?}", request.messages.last()).contains("hang");
        (if hangs { FOR_EVER } else { Duration::ZERO }, Ok(text("done")))
    }));
    (world.settings.max_running, world.settings.several_tenants) = (5, true);
    world
}
fn of(tenant: &str, id: &str, prompt: &str) -> Task {
    Task { tenant: Tenant::parse(tenant).expect("legal"), prompt: prompt.into(), ..task(id) }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_calls_hang_leaves_a_place_for_the_next() {
    let world = five_places();
    let mut hanging = Vec::new();
    for n in 0..10 {
        hanging.push(world.submit(Task { priority: 9, ..of("acme", &format!("a{n}"), "hang") }).await);
    }
    let worker = world.worker(Faults::none());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let theirs = world.submit(Task { priority: 0, ..of("beta", "b", "say") }).await;
    tokio::time::timeout(Duration::from_secs(10), world.finish(&theirs)).await.expect("it has its turn while the others hang");
    let mut started = 0;
    for key in &hanging {
        started += usize::from(world.names(key).await.iter().any(|name| name == "task.started"));
    }
    assert_eq!(started, 4, "four fifths");
    for key in &hanging {
        world.finish(key).await;
    }
    worker.leave().await;
    world.check("those that wait for their own tenant's places get them").await;
}

#[tokio::test(start_paused = true)]
async fn a_place_that_a_tenant_gives_back_is_its_own_next_ones_at_once() {
    let world = five_places();
    let worker = world.worker(Faults::none());
    for n in 0..4 {
        world.submit(of("acme", &format!("a{n}"), if n == 0 { "say hang later" } else { "hang" })).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let next = world.submit(of("acme", "next", "say")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.names(&next).await, ["task.accepted"], "its tenant has all it may");
    let first = of("acme", "a0", "").key();
    assert!(matches!(world.cancel(&first, "stop").await, Signalled::Recorded(_)));
    tokio::time::timeout(Duration::from_secs(1), world.finish(&next)).await.expect("nobody waits for the next look");
    worker.kill();
}
