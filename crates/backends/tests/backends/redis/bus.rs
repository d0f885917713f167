//! The bus keeps the contract, says no more than somebody listens to, and says what it lost.

use super::{
    bus,
    server::{Bridge, Server, Way},
    url,
};
use futures::StreamExt;
use maniple_core::ports::{Bus as _, Hint};
use maniple_testkit::bus_suite::{self, Carries, Fixture, Heard, delta, event, hear, key, next};
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_over_redis_keeps_the_contract() {
    bus_suite::run(async || {
        let url = url();
        Fixture { here: bus(&url).await, there: bus(&url).await, carries: Carries::Everything, keep: Box::new(()) }
    })
    .await;
}

/// Both hear each other.
async fn is_up(buses: &[&maniple_backends::redis::Bus]) {
    for bus in buses {
        super::server::until("it listens", async || bus.ping().await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fleets_apart_by_database_or_prefix_hear_nothing_of_each_other() {
    let server = Server::start(&[]).await;
    let ours = bus(&server.url()).await;
    let theirs = [bus(&format!("{}/1", server.url())).await, bus(&format!("{}?prefix=blue", server.url())).await];
    is_up(&[&ours, &theirs[0], &theirs[1]]).await;
    let (hints, mut reader) = (ours.hints(), ours.subscribe(&key("t")).await);
    for other in &theirs {
        other.hint(Hint::Signalled(key("theirs")));
        other.publish(&key("t"), event(1));
    }
    sleep(Duration::from_millis(200)).await;
    let last = bus(&server.url()).await;
    is_up(&[&last]).await;
    last.hint(Hint::Signalled(key("ours")));
    last.publish(&key("t"), event(2));
    assert_eq!(next(&mut reader).await, Heard::Event(2));
    let heard = timeout(super::server::PATIENCE, hints.filter(|hint| std::future::ready(*hint != Hint::Missed)).next()).await;
    assert_eq!(heard.expect("in time"), Some(Hint::Signalled(key("ours"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_text_are_told_only_while_somebody_elsewhere_reads() {
    let server = Server::start(&[]).await;
    let (here, there) = (bus(&server.url()).await, bus(&server.url()).await);
    is_up(&[&here, &there]).await;
    let mut mine = here.subscribe(&key("t")).await;
    let say = async |from: u32| {
        for index in from..from + 20 {
            here.publish(&key("t"), delta(index));
            sleep(Duration::from_millis(20)).await;
        }
    };
    let before = server.calls_of("publish").await;
    say(0).await;
    assert_eq!(server.calls_of("publish").await, before, "nobody else reads");
    for index in 0..20 {
        assert_eq!(next(&mut mine).await, Heard::Delta(index), "its own reader has them all the same");
    }
    let mut reader = there.subscribe(&key("t")).await;
    // Soon it is noticed that somebody came, and from then on nothing is left out.
    say(20).await;
    say(40).await;
    let Heard::Delta(first) = next(&mut reader).await else { panic!("text") };
    for index in first + 1..60 {
        assert_eq!(next(&mut reader).await, Heard::Delta(index));
    }
    assert!(first < 40, "noticed only at {first}");
    drop(reader);
    super::server::until("nobody listens", async || {
        let listening: Vec<(String, u64)> = server.ask("PUBSUB NUMSUB maniple:0:task:default/t").await;
        listening.first().is_some_and(|(_, processes)| *processes == 1)
    })
    .await;
    say(60).await;
    let before = server.calls_of("publish").await;
    say(80).await;
    assert_eq!(server.calls_of("publish").await, before, "it has left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_listened_for_before_it_reads_the_journal() {
    let server = Server::start(&[]).await;
    let bridge = Bridge::to(server.port).await;
    bridge.set(Way::Late);
    let (here, there) = (bus(&server.url()).await, bus(&bridge.url()).await);
    is_up(&[&here, &there]).await;
    for seq in 1..=3 {
        let mut reader = there.subscribe(&key("t")).await;
        // In the journal it would be found from now on only if it was looked for after it was told.
        here.publish(&key("t"), event(seq));
        assert_eq!(next(&mut reader).await, Heard::Event(seq));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_left_with_its_last_reader() {
    let server = Server::start(&[]).await;
    let bus = bus(&server.url()).await;
    is_up(&[&bus]).await;
    let channels = async || server.ask::<Vec<String>>("PUBSUB CHANNELS").await.len();
    let (first, second, other) = (bus.subscribe(&key("a")).await, bus.subscribe(&key("a")).await, bus.subscribe(&key("b")).await);
    assert_eq!(channels().await, 3);
    drop((second, other));
    super::server::until("only the last one is left", async || channels().await == 2).await;
    drop(first);
    super::server::until("only hints are listened to", async || channels().await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_dropped_leaves_no_connection() {
    let server = Server::start(&[]).await;
    for _ in 0..20 {
        let bus = bus(&server.url()).await;
        let reader = bus.subscribe(&key("t")).await;
        is_up(&[&bus]).await;
        drop((bus, reader));
    }
    super::server::until("all have left", async || {
        let clients: String = server.ask("CLIENT LIST").await;
        clients.lines().count() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_killed_is_made_anew_and_every_reader_is_told_that_it_lagged() {
    let server = Server::start(&[]).await;
    let (here, there) = (bus(&server.url()).await, bus(&server.url()).await);
    is_up(&[&here, &there]).await;
    for seq in 1..=3 {
        let mut readers = [there.subscribe(&key("a")).await, there.subscribe(&key("a")).await, there.subscribe(&key("b")).await];
        let mut hints = there.hints();
        let killed: u64 = server.ask("CLIENT KILL TYPE pubsub").await;
        assert_eq!(killed, 2, "each process listens on one connection");
        here.publish(&key("a"), event(seq));
        for reader in &mut readers {
            // What was told in the gap may have come as the first thing on the new connection.
            while next(reader).await != Heard::Lagged {}
        }
        hear(&mut hints, &Hint::Missed).await;
        is_up(&[&here, &there]).await;
        here.publish(&key("b"), event(seq + 100));
        while next(&mut readers[2]).await != Heard::Event(seq + 100) {}
        here.hint(Hint::Signalled(key("a")));
        hear(&mut hints, &Hint::Signalled(key("a"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_cannot_read_counts_as_lost() {
    let server = Server::start(&[]).await;
    let bus = bus(&server.url()).await;
    is_up(&[&bus]).await;
    let (mut reader, mut hints) = (bus.subscribe(&key("t")).await, bus.hints());
    server.ask::<u64>("PUBLISH maniple:0:task:default/t {\"o\":1,\"l\":[{\"x\":1}]}").await;
    assert_eq!(next(&mut reader).await, Heard::Lagged);
    server.ask::<u64>("PUBLISH maniple:0:hints nonsense").await;
    hear(&mut hints, &Hint::Missed).await;
    server.ask::<u64>("PUBLISH maniple:0:hints {\"o\":1,\"r\":[\"search\"],\"later\":1}").await;
    hear(&mut hints, &Hint::Ready(maniple_core::AgentName::parse("search").expect("legal"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_costs_the_bus_nothing() {
    let server = Server::start(&[]).await;
    let (here, there) = (bus(&server.url()).await, bus(&server.url()).await);
    is_up(&[&here, &there]).await;
    let mut reader = there.subscribe(&key("t")).await;
    server.ask::<String>("FLUSHALL").await;
    here.publish(&key("t"), event(1));
    assert_eq!(next(&mut reader).await, Heard::Event(1));
}
