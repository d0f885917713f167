//! A listener that asks who it is, over TLS: `MANIPLE_TEST_KAFKA_SASL` is its URL, `MANIPLE_TEST_KAFKA_CA` the file of its certificate.

use crate::world::{all_of, an_agent, asks, create, settings, variable};
use maniple_core::Kind;
use maniple_kafka::{Brokers, KafkaSettings, LettersReader, Sender};

/// Settings of one who knows the way in, but for what the test says.
fn with(mechanism: &str, password: &str) -> (Brokers, KafkaSettings) {
    let mut settings = settings(&an_agent("secure"));
    let ca = variable("MANIPLE_TEST_KAFKA_CA", "a certificate's file");
    let options = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", mechanism),
        ("sasl.username", "maniple"),
        ("sasl.password", password),
        ("ssl.ca.location", &ca),
    ];
    settings.options.extend(options.map(|(key, value)| (key.to_owned(), value.to_owned())));
    (variable("MANIPLE_TEST_KAFKA_SASL", "a Kafka broker's listener with SASL over TLS").parse().expect("legal"), settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_over_tls_to_a_broker_that_knows_who_sends_them() {
    for mechanism in ["SCRAM-SHA-512", "PLAIN"] {
        let agent = an_agent("secure");
        create(&agent.tasks_topic(), 1, &[]).await;
        let (brokers, settings) = with(mechanism, "only-for-tests");
        let sender = Sender::new(&brokers, &settings).expect("legal");
        sender.send(&asks(&agent, "t1", "s")).await.unwrap_or_else(|why| panic!("{mechanism}: {why:?}"));
        assert_eq!(all_of(&agent.tasks_topic()).await.len(), 1, "{mechanism}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_a_wrong_password_is_told_that_the_broker_does_not_let_it_in() {
    let (brokers, settings) = with("SCRAM-SHA-512", "wrong");
    let sender = Sender::new(&brokers, &settings).expect("legal");
    let refused = LettersReader::new(brokers, settings, sender).list(&an_agent("secure"), 1).await.expect_err("not let in");
    assert_eq!(refused.kind, Kind::Unavailable, "{refused}");
}

#[test]
fn secrets_among_the_options_are_not_shown() {
    let (_, settings) = with("PLAIN", "only-for-tests");
    let shown = serde_json::to_string(&settings).expect("JSON");
    assert!(!shown.contains("only-for-tests") && shown.contains("SASL_SSL"), "{shown}");
}
