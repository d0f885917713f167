//! What is found where a node stands on brokers and a registry.

use crate::world::{
    Consumes, PATIENCE, Remembers, all_of, an_agent, asks, brokers, client, create, registry_url, settings, until, variable,
};
use maniple_core::{
    AgentName,
    finding::{Finding, State},
};
use maniple_kafka::{Brokers, KafkaSettings, SchemaRegistry, Sender, examine};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, Instant};

/// State, words and what to do of the finding of that name.
fn of(check: &str, findings: &[Finding]) -> (State, String, String) {
    let found = findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check}: {findings:?}"));
    (found.state, found.said.clone(), found.next.clone().unwrap_or_default())
}

async fn look(settings: &KafkaSettings, agent: &AgentName) -> Vec<Finding> {
    examine(&brokers(), settings, std::slice::from_ref(agent), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_seen_with_its_topics_to_come_and_none_is_made_by_that() {
    let agent = an_agent("seen");
    let findings = look(&settings(&agent), &agent).await;
    let (state, said, _) = of("broker", &findings);
    assert!(state == State::Ok && said.contains("1 broker; the controller is reached through broker 1"), "{findings:?}");
    let (state, said, _) = of("topics", &findings);
    assert!(
        state == State::Ok
            && said.contains(&format!("{}, {}, {} are made", agent.results_topic(), agent.tasks_topic(), agent.dead_letters_topic())),
        "{said}"
    );
    assert_eq!(of("group", &findings).0, State::Ok, "{findings:?}");
    let look = move || {
        let consumer: BaseConsumer = client().create().expect("a client");
        let metadata = consumer.fetch_metadata(None, PATIENCE).expect("answers");
        metadata.topics().iter().filter(|topic| topic.name().contains(agent.as_str())).count()
    };
    assert_eq!(tokio::task::spawn_blocking(look).await.expect("asked"), 0, "no topic was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_would_not_create_fails_with_the_command_that_does() {
    let agent = an_agent("copies");
    // There is one broker.
    let many = KafkaSettings { replication: 3, ..settings(&agent) };
    let (state, said, next) = of("topics", &look(&many, &agent).await);
    assert!(state == State::Failed && next.contains("--replication-factor 3"), "{said} {next}");
    let never = KafkaSettings { create_topics: false, ..settings(&agent) };
    let (state, said, _) = of("topics", &look(&never, &agent).await);
    assert!(state == State::Failed && said.contains("kafka.create_topics is false"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_the_topic_keeps_records_and_how_many_wait_is_seen() {
    let agent = an_agent("kept");
    create(&agent.tasks_topic(), 2, &[("retention.ms", "-1")]).await;
    let settings = settings(&agent);
    let sender = Sender::new(&brokers(), &settings).expect("legal");
    for number in 0..5 {
        sender.send(&asks(&agent, &format!("t{number}"), &format!("s{number}"))).await.expect("sent");
    }
    let findings = look(&settings, &agent).await;
    let (state, said, next) = of("retention", &findings);
    assert!(state == State::Warning && said.contains("for ever") && next.contains(&agent.tasks_topic()), "{findings:?}");
    let (state, said, _) = of("group", &findings);
    assert!(state == State::Warning && said.contains("nobody takes") && said.contains("5 records waiting"), "{said}");
    let door = Remembers::of(&agent);
    let consumer = Consumes::start(&settings, door.clone(), None);
    until("all are taken", || door.taken().len() == 5).await;
    let end = Instant::now() + PATIENCE;
    loop {
        let (state, said, _) = of("group", &look(&settings, &agent).await);
        if state == State::Ok && said.contains("1 worker in the group") && said.contains("0 records waiting") {
            break;
        }
        assert!(Instant::now() < end, "{said}");
    }
    consumer.stop().await;
    assert_eq!(all_of(&agent.tasks_topic()).await.len(), 5, "nothing was taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_or_silent_or_asks_who_it_is_is_said_within_a_bound() {
    let agent = an_agent("away");
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("kafka://{}", silent.local_addr().expect("bound"));
    let secured = variable("MANIPLE_TEST_KAFKA_SASL", "a Kafka broker's listener with SASL over TLS");
    for (url, why, words) in [
        ("kafka://127.0.0.1:1", "Connection refused", "start it, or correct `events`"),
        (&silent, "", "correct"),
        (&secured, "", "`security.protocol`"),
    ] {
        let brokers: Brokers = url.parse().expect("legal");
        let began = Instant::now();
        let findings = examine(&brokers, &settings(&agent), std::slice::from_ref(&agent), None).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{url}: {:?}", began.elapsed());
        let (state, said, next) = of("broker", &findings);
        assert!(findings.len() == 1 && state == State::Failed && said.contains(why) && next.contains(words), "{url}: {said} {next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_seen_with_its_rule_and_one_that_is_away_is_said() {
    let agent = an_agent("schemas");
    let agents = std::slice::from_ref(&agent);
    let registry = SchemaRegistry::new(&registry_url()).expect("an address");
    let findings = examine(&brokers(), &settings(&agent), agents, Some(&registry)).await;
    let (state, said, _) = of("schema registry", &findings);
    assert!(state == State::Ok && said.contains("subjects without a rule are"), "{said}");
    assert_eq!(of("schemas", &findings).0, State::Ok, "{findings:?}");
    // Somebody else registered something else there.
    let subject = format!("{}/subjects/{}-value/versions", registry_url(), agent.results_topic());
    let other = serde_json::json!({ "type": "record", "name": "Other", "fields": [{ "name": "task_id", "type": "int" }] });
    let body = serde_json::json!({ "schema": other.to_string() }).to_string();
    let put = reqwest::Client::new().post(subject).header("content-type", "application/vnd.schemaregistry.v1+json").body(body);
    assert!(put.send().await.expect("answers").status().is_success());
    let (state, said, _) = of("schemas", &examine(&brokers(), &settings(&agent), agents, Some(&registry)).await);
    assert!(state == State::Failed && said.contains(&agent.results_topic()), "{said}");
    let away = SchemaRegistry::new("http://127.0.0.1:1").expect("an address");
    let findings = examine(&brokers(), &settings(&agent), agents, Some(&away)).await;
    assert_eq!((of("schema registry", &findings).0, of("broker", &findings).0), (State::Failed, State::Ok), "{findings:?}");
}
