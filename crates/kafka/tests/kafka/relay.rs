//! Rows out.

use crate::world::{Relays, Rows, all_of, an_agent, create, header, result, settings, until};
use maniple_core::{AgentName, ports::ResultFact};
use maniple_kafka::{KafkaSettings, Relay, Sender};
use rdkafka::{message::Message, mocking::MockCluster, types::RDKafkaRespErr};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_out_in_the_order_of_their_session_with_their_event_ids() {
    let agent = an_agent("out");
    create(&agent.results_topic(), 3, &[]).await;
    let rows = Arc::new(Rows::default());
    for number in 0..300 {
        let session = ["a", "b", "c"][number % 3];
        rows.put(&agent.results_topic(), session, number as i64, result(&agent, &number.to_string(), "yes"));
    }
    let relay = Relays::start(&settings(&agent), rows.clone(), None);
    until("all are struck off", || rows.left().is_empty()).await;
    let sent = all_of(&agent.results_topic()).await;
    for (at, session) in ["a", "b", "c"].into_iter().enumerate() {
        let own = sent.iter().filter(|record| record.key() == Some(session.as_bytes()));
        let ids: Vec<_> = own.map(|record| header(record, "event-id").expect("an id")).collect();
        let expected: Vec<_> = (0..100).map(|number| format!("{session}:{}", number * 3 + at)).collect();
        assert_eq!(ids, expected);
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_sent_holds_up_its_session_and_no_other() {
    let agent = an_agent("block");
    create(&agent.results_topic(), 1, &[]).await;
    let rows = Arc::new(Rows::default());
    // Such a topic cannot be.
    let bad = "agent results?";
    rows.put(bad, "bad", 1, "{}".into());
    rows.put(bad, "bad", 2, "{}".into());
    rows.put(&agent.results_topic(), "good", 3, result(&agent, "t3", "yes"));
    let relay = Relays::start(&settings(&agent), rows.clone(), None);
    until("it is tried again", || rows.failures(bad, "bad") >= 2).await;
    rows.put(&agent.results_topic(), "good", 4, result(&agent, "t4", "yes"));
    until("the others go out", || rows.left() == [1, 2].into()).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_too_large_for_the_broker_goes_out_without_its_output_and_says_so() {
    let agent = an_agent("cut");
    create(&agent.results_topic(), 1, &[("max.message.bytes", "4000")]).await;
    let rows = Arc::new(Rows::default());
    rows.put(&agent.results_topic(), "s", 1, result(&agent, "t1", &"x".repeat(8_000)));
    // Larger than the client itself sends.
    rows.put(&agent.results_topic(), "s", 2, result(&agent, "t2", &"x".repeat(2_000_000)));
    rows.put(&agent.results_topic(), "s", 3, result(&agent, "t3", "small"));
    let relay = Relays::start(&settings(&agent), rows.clone(), None);
    until("all are struck off", || rows.left().is_empty()).await;
    let sent = all_of(&agent.results_topic()).await;
    let told: Vec<_> = sent
        .iter()
        .map(|record| {
            let fact: ResultFact = serde_json::from_slice(record.payload().expect("a value")).expect("a result");
            (fact.task_id, fact.output, fact.error, header(record, "omitted"))
        })
        .collect();
    let cut = |id: &str| (id.to_owned(), None, Some("output_omitted".to_owned()), Some("output".to_owned()));
    assert_eq!(told, [cut("t1"), cut("t2"), ("t3".to_owned(), Some("small".to_owned()), None, None)]);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_failed_for_good_is_made_anew_without_a_restart() {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("agent.results.fatal", 1, 1).expect("a topic");
    let brokers = format!("kafka://{}", cluster.bootstrap_servers()).parse().expect("legal");
    let settings = KafkaSettings { create_topics: false, ..KafkaSettings::default() };
    let sender = Sender::new(&brokers, &settings).expect("legal");
    let rows = Arc::new(Rows::default());
    let agent = AgentName::parse("fatal").expect("legal");
    let relay = Relay::new(&brokers, &settings, rows.clone(), sender, None).expect("legal");
    let stop = CancellationToken::new();
    let work = tokio::spawn(relay.work(stop.clone()));
    rows.put("agent.results.fatal", "s", 1, result(&agent, "t1", "yes"));
    until("the first goes out", || rows.left().is_empty()).await;
    // What an idempotent producer cannot come back from.
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[fatal]);
    rows.put("agent.results.fatal", "s", 2, result(&agent, "t2", "yes"));
    rows.put("agent.results.fatal", "s", 3, result(&agent, "t3", "yes"));
    until("the rest goes out", || rows.left().is_empty()).await;
    stop.cancel();
    work.await.expect("it ends");
}
