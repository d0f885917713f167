//! Redis away, and back: it costs time.

use super::{
    Workers, bus, limiter, link,
    server::{Bridge, Server, Way, until},
};
use crate::postgres::Database;
use maniple_backends::redis::{Bus, Census as _, Limiter};
use maniple_core::{
    Kind,
    ports::{Admission, Bus as _, Hint, RateLimiter as _},
};
use maniple_testkit::bus_suite::{Heard, event, hear, key, next};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const MINUTE: Duration = Duration::from_secs(60);

async fn taken(limiter: &Limiter, bucket: &str, most: u32, names: std::ops::Range<u32>) -> usize {
    let mut taken = 0;
    for name in names {
        taken += usize::from(limiter.take(bucket, most, MINUTE, &format!("call {name}")).await.expect("counted") == Admission::Now);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_goes_on_in_its_process_and_says_what_was_lost_once_redis_is_back() {
    let server = Server::start(&[]).await;
    let bridge = Bridge::to(server.port).await;
    let (here, there) = (bus(&bridge.url()).await, bus(&server.url()).await);
    until("both listen", async || here.ping().await.is_ok() && there.ping().await.is_ok()).await;
    for way in [Way::Cut, Way::Silent] {
        let (mut mine, mut other) = (here.subscribe(&key("t")).await, there.subscribe(&key("t")).await);
        let (mut hints_here, mut hints_there) = (here.hints(), there.hints());
        bridge.set(way);
        here.publish(&key("t"), event(1));
        here.hint(Hint::Signalled(key("t")));
        assert_eq!(next(&mut mine).await, Heard::Event(1), "its own readers need no Redis");
        hear(&mut hints_here, &Hint::Signalled(key("t"))).await;
        until("it is noticed", async || here.ping().await.is_err_and(|error| error.kind == Kind::Unavailable)).await;
        // A reader that comes while it is away waits for nobody.
        let mut late = here.subscribe(&key("late")).await;
        there.publish(&key("late"), event(1));
        bridge.set(Way::Open);
        assert_eq!(next(&mut late).await, Heard::Lagged);
        assert_eq!(next(&mut mine).await, Heard::Lagged);
        hear(&mut hints_here, &Hint::Missed).await;
        // The other process never lost its connection, and yet it is told that it missed something.
        assert_eq!(next(&mut other).await, Heard::Lagged);
        hear(&mut hints_there, &Hint::Missed).await;
        until("it listens again", async || here.ping().await.is_ok()).await;
        here.publish(&key("t"), event(2));
        while next(&mut other).await != Heard::Event(2) {}
        there.publish(&key("t"), event(3));
        while next(&mut mine).await != Heard::Event(3) {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_divided_by_the_processes_there_are_while_redis_is_away() {
    let server = Server::start(&[]).await;
    let bridge = Bridge::to(server.port).await;
    let live = async || server.ask::<u64>("ZCARD maniple:0:replicas").await;
    let _others = (link(&server.url()).await, link(&server.url()).await, link(&server.url()).await);
    until("they say that they live", async || live().await == 3).await;
    let here = Limiter::over(link(&bridge.url()).await, Arc::new(Workers::default()));
    // A fleet that grows while Redis is away, as the store knows.
    let grown = Arc::new(Workers::default());
    let of_grown = Limiter::over(link(&bridge.url()).await, grown.clone());
    until("these do too", async || live().await == 5).await;
    grown.0.store(6, Ordering::Relaxed);
    assert_eq!(taken(&here, "a", 15, 0..2).await, 2);
    for way in [Way::Cut, Way::Silent] {
        until("all five are known", async || live().await == 5).await;
        bridge.set(way);
        let (names, more) = if way == Way::Cut { (2..20, 1) } else { (20..40, 0) };
        assert_eq!(taken(&here, "a", 15, names).await, more, "two of its three were taken before Redis went away");
        let bucket = if way == Way::Cut { "b" } else { "c" };
        assert_eq!(taken(&here, bucket, 15, 0..20).await, 3, "15 by 5 processes");
        assert_eq!(taken(&here, &format!("{bucket} of one"), 1, 0..20).await, 1, "never less than one");
        assert_eq!(taken(&of_grown, bucket, 30, 0..20).await, 5, "30 by 6 workers");
        bridge.set(Way::Open);
        until("it counts in Redis again", async || {
            taken(&here, "probe", 1_000, 0..1).await;
            server.ask::<u64>("EXISTS maniple:0:limit:probe").await == 1
        })
        .await;
        server.ask::<u64>("DEL maniple:0:limit:probe").await;
        assert_eq!(taken(&here, &format!("{bucket} again"), 12, 0..20).await, 12);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_counts_the_workers_that_hold_a_lease() {
    let database = Database::new();
    let store = database.store(None);
    assert_eq!(store.workers().await.expect("counted"), 0);
    let now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let held =
        format!("INSERT INTO workers (event_version, until) VALUES (3, {now} + 60000), (3, {now} + 60000), (3, {now} - 60000), (3, 0)");
    database.execute(&held).await;
    assert_eq!(store.workers().await.expect("counted"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_while_redis_is_away_works_and_finds_it_later() {
    let server = Server::start(&[]).await;
    let bridge = Bridge::to(server.port).await;
    bridge.set(Way::Cut);
    let (bus, limiter) = (bus(&bridge.url()).await, limiter(&bridge.url()).await);
    assert_eq!(bus.ping().await.map_err(|error| error.kind), Err(Kind::Unavailable));
    assert_eq!(taken(&limiter, "a", 5, 0..10).await, 5, "nobody else is known of");
    let mut reader = bus.subscribe(&key("t")).await;
    bridge.set(Way::Open);
    until("it is found", async || bus.ping().await.is_ok()).await;
    assert_eq!(next(&mut reader).await, Heard::Lagged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_demoted_is_left_until_there_is_one_again() {
    let server = Server::start(&[]).await;
    let link = link(&server.url()).await;
    let (bus, limiter) = (Bus::over(link.clone()), Limiter::over(link, Arc::new(Workers::default())));
    until("it listens", async || bus.ping().await.is_ok()).await;
    assert_eq!(taken(&limiter, "a", 5, 0..3).await, 3);
    server.ask::<String>("REPLICAOF 127.0.0.1 1").await;
    assert_eq!(taken(&limiter, "a", 5, 3..10).await, 2, "what a replica does not count is counted here");
    until("it is said", async || bus.ping().await.is_err_and(|error| error.message.contains("is a replica now"))).await;
    server.ask::<String>("REPLICAOF NO ONE").await;
    until("it is back", async || bus.ping().await.is_ok()).await;
    let there = super::bus(&server.url()).await;
    until("the other listens", async || there.ping().await.is_ok()).await;
    let mut reader = there.subscribe(&key("t")).await;
    bus.publish(&key("t"), event(1));
    while next(&mut reader).await != Heard::Event(1) {}
}
