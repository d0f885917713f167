//! Records in.

use crate::world::{Consumes, Remembers, all_of, an_agent, asks, brokers, create, header, settings, until};
use maniple_kafka::{LettersReader, Record, Sender};
use rdkafka::message::Message;

async fn send(sender: &Sender, record: Record) {
    sender.send(&record).await.expect("acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_taken_in_once_and_in_the_order_of_their_session_across_a_killed_consumer() {
    let agent = an_agent("order");
    create(&agent.tasks_topic(), 2, &[]).await;
    let (settings, door) = (settings(&agent), Remembers::of(&agent));
    let sender = Sender::new(&brokers(), &settings).expect("legal");
    let first = Consumes::start(&settings, door.clone(), None);
    for number in 0..30 {
        send(&sender, asks(&agent, &format!("a{number:02}"), "a")).await;
        send(&sender, asks(&agent, &format!("b{number:02}"), "b")).await;
    }
    until("the first ones are taken", || door.taken().len() > 10).await;
    first.kill();
    let second = Consumes::start(&settings, door.clone(), None);
    until("all are taken", || door.taken().len() == 60).await;
    for session in ["a", "b"] {
        let taken: Vec<String> = door.taken().into_iter().filter(|id| id.starts_with(session)).collect();
        assert!(taken.is_sorted(), "{taken:?}");
    }
    second.stop().await;
    // What was taken is committed: nobody is given it again.
    let (known, third) = (*door.known.lock().expect("nobody panicked"), Consumes::start(&settings, door.clone(), None));
    send(&sender, asks(&agent, "c", "c")).await;
    until("the last one is taken", || door.taken().len() == 61).await;
    assert_eq!(*door.known.lock().expect("nobody panicked"), known);
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_waits_at_what_cannot_be_taken_now_and_skips_nothing_that_was_fetched() {
    let agent = an_agent("wait");
    create(&agent.tasks_topic(), 1, &[]).await;
    let (settings, door) = (settings(&agent), Remembers::of(&agent));
    let sender = Sender::new(&brokers(), &settings).expect("legal");
    for number in 0..200 {
        send(&sender, asks(&agent, &format!("{number:03}"), "s")).await;
    }
    door.holds_up("050");
    let consumer = Consumes::start(&settings, door.clone(), None);
    // Longer than one pause: it is tried again, and what lies behind it is not taken.
    until("it came again", || door.came("050") >= 3).await;
    assert_eq!(door.taken().len(), 50);
    door.lets_through("050");
    until("all are taken", || door.taken().len() == 200).await;
    assert!(door.taken().is_sorted(), "{:?}", door.taken());
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_partition_that_goes_away_and_comes_back_skips_nothing() {
    let agent = an_agent("away");
    create(&agent.tasks_topic(), 2, &[]).await;
    let (settings, door) = (settings(&agent), Remembers::of(&agent));
    let sender = Sender::new(&brokers(), &settings).expect("legal");
    // Sessions on both partitions, each held up in its midst.
    for number in 0..40 {
        for session in ["a", "b", "c", "d"] {
            send(&sender, asks(&agent, &format!("{session}{number:02}"), session)).await;
        }
    }
    ["a20", "b20", "c20", "d20"].iter().for_each(|id| door.holds_up(id));
    let first = Consumes::start(&settings, door.clone(), None);
    until("each is held up", || ["a20", "b20", "c20", "d20"].iter().any(|id| door.came(id) >= 2)).await;
    let second = Consumes::start(&settings, door.clone(), None);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await; // the group shares its partitions out
    second.stop().await;
    let third = Consumes::start(&settings, door.clone(), None);
    ["a20", "b20", "c20", "d20"].iter().for_each(|id| door.lets_through(id));
    first.stop().await;
    until("all are taken", || door.taken().len() == 160).await;
    for session in ["a", "b", "c", "d"] {
        let taken: Vec<String> = door.taken().into_iter().filter(|id| id.starts_with(session)).collect();
        assert_eq!((taken.len(), taken.is_sorted()), (40, true), "{taken:?}");
    }
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_read_goes_to_the_dead_letters_as_it_was_and_holds_nothing_up() {
    let agent = an_agent("dead");
    let (settings, door) = (settings(&agent), Remembers::of(&agent));
    let sender = Sender::new(&brokers(), &settings).expect("legal");
    let consumer = Consumes::start(&settings, door.clone(), None);
    // The consumer creates what it subscribes to.
    let broken = Record {
        topic: agent.tasks_topic(),
        key: Some(b"s".to_vec()),
        value: Some(b"\xffno JSON".to_vec()),
        headers: vec![("origin".into(), Some(b"elsewhere".to_vec())), ("empty".into(), None)],
    };
    let end = std::time::Instant::now() + crate::world::PATIENCE;
    while sender.send(&broken).await.is_err() {
        assert!(std::time::Instant::now() < end, "the topic was not created");
    }
    send(&sender, asks(&agent, "bad", "s")).await;
    // A record for one agent in the topic of another.
    send(&sender, Record { topic: agent.tasks_topic(), ..asks(&an_agent("other"), "misled", "s") }).await;
    send(&sender, asks(&agent, "good", "s")).await;
    until("what lies behind is taken", || door.taken() == ["good"]).await;
    let letters = all_of(&agent.dead_letters_topic()).await;
    let mut reasons: Vec<_> = letters.iter().map(|letter| header(letter, "dlq-reason").expect("a reason")).collect();
    reasons.sort();
    assert_eq!(reasons, ["out_of_bounds", "unreadable", "wrong_agent"]);
    let letter = letters.iter().find(|letter| letter.payload() == Some(&b"\xffno JSON"[..])).expect("its bytes as they were");
    assert_eq!((letter.key(), header(letter, "origin").as_deref()), (Some(&b"s"[..]), Some("elsewhere")));
    assert_eq!(header(letter, "dlq-topic"), Some(agent.tasks_topic()));

    // It is shown, and sent back as it was.
    let reader = LettersReader::new(brokers(), settings.clone(), sender);
    let shown = reader.list(&agent, 10).await.expect("answers");
    assert_eq!(shown.len(), 3);
    let dead = shown.iter().find(|dead| dead.reason == "unreadable").expect("shown");
    assert_eq!((dead.value.clone(), dead.headers.clone()), (broken.value.clone(), broken.headers.clone()));
    reader.republish(&agent, dead.place.partition, dead.place.offset).await.expect("sent back");
    let back = all_of(&agent.tasks_topic()).await;
    assert_eq!(
        back.iter().filter(|record| record.payload() == Some(&b"\xffno JSON"[..]) && header(record, "dlq-reason").is_none()).count(),
        2
    );
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_too_large_for_its_topic_goes_without_its_bytes() {
    let agent = an_agent("large");
    create(&agent.tasks_topic(), 1, &[]).await;
    create(&agent.dead_letters_topic(), 1, &[("max.message.bytes", "2000")]).await;
    let (settings, door) = (settings(&agent), Remembers::of(&agent));
    let sender = Sender::new(&brokers(), &settings).expect("legal");
    let large = vec![b'x'; 5_000];
    send(&sender, Record { topic: agent.tasks_topic(), value: Some(large), ..Record::default() }).await;
    send(&sender, asks(&agent, "good", "s")).await;
    let consumer = Consumes::start(&settings, door.clone(), None);
    until("what lies behind is taken", || door.taken() == ["good"]).await;
    let letters = all_of(&agent.dead_letters_topic()).await;
    assert_eq!((letters.len(), letters[0].payload()), (1, None));
    assert_eq!(header(&letters[0], "dlq-bytes-left-out").as_deref(), Some("5000"));
    let reader = LettersReader::new(brokers(), settings, sender);
    let refused = reader.republish(&agent, 0, 0).await.expect_err("its bytes are gone");
    assert!(refused.message.contains("too large"), "{refused}");
    consumer.stop().await;
}
