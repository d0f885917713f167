//! Tasks by Kafka, some of them twice, and what a reader of their results sees who knows a repetition by its event-id.

use super::{
    fleet::{COURIER, Fleet},
    load::Known,
};
use fastrand::Rng;
use maniple_core::{AgentName, TaskId, ports::ResultFact};
use maniple_kafka::{KafkaSettings, Record, Sender};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, Message},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const SESSIONS: u64 = 8;
/// Between two records.
const PACE_MS: std::ops::Range<u64> = 40..200;
/// What is looked for in Kafka is there by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was acknowledged: by session, in the order it was sent.
pub type Sent = BTreeMap<String, Vec<String>>;

fn agent() -> AgentName {
    AgentName::parse(COURIER).expect("legal")
}

/// Sends records until it is told to stop, each until it is acknowledged.
pub async fn send(fleet: Arc<Fleet>, known: Known, mut dice: Rng, stop: CancellationToken) -> Sent {
    let brokers = fleet.servers.url("kafka").parse().expect("legal");
    let sender = Sender::new(&brokers, &KafkaSettings::default()).expect("legal");
    let (mut sent, mut earlier): (Sent, Vec<Record>) = (Sent::new(), Vec::new());
    for number in 0_u64.. {
        if stop.is_cancelled() {
            break;
        }
        let (session, id) = (format!("k{}", number % SESSIONS), format!("k-{number}"));
        let value = serde_json::json!({
            "task_id": id, "source_agent": "planner", "target_agent": COURIER, "session_id": session,
            "prompt": format!("MARK-{id}"), "context": { "n": number.to_string() }, "created_at": 1_714_500_000_000_i64
        });
        let value = Some(value.to_string().into_bytes());
        let record = Record { topic: agent().tasks_topic(), key: Some(session.clone().into_bytes()), value, headers: vec![] };
        until_acknowledged(&fleet, &sender, &record).await;
        // From here on it is a promise.
        known.sent(&TaskId::parse(&id).expect("legal"));
        fleet.counts.one("tasks by Kafka");
        sent.entry(session).or_default().push(id);
        earlier.push(record);
        if dice.u8(0..10) == 0 {
            fleet.counts.one("records delivered again");
            until_acknowledged(&fleet, &sender, &earlier[dice.usize(0..earlier.len())]).await;
        }
        sleep(Duration::from_millis(dice.u64(PACE_MS))).await;
    }
    sent
}

async fn until_acknowledged(fleet: &Fleet, sender: &Sender, record: &Record) {
    while let Err(why) = sender.send(record).await {
        fleet.counts.one("records without an acknowledgement");
        tracing::debug!(?why, "sent again");
        sleep(Duration::from_millis(100)).await;
    }
}

/// What was told of the results.
#[derive(Default)]
pub struct Results {
    /// Event-ids of each task.
    ids: BTreeMap<String, BTreeSet<String>>,
    /// By session, in the order they were first told.
    order: Sent,
    facts: BTreeMap<String, Vec<u8>>,
    pub repeated: u64,
    wrong: Vec<String>,
}

impl Results {
    /// Reads the topic until every one that was sent has come, and a moment longer.
    pub async fn read(url: &str, sent: &Sent) -> Self {
        let (servers, enough) = (url.trim_start_matches("kafka://").to_owned(), sent.values().map(Vec::len).sum());
        tokio::task::spawn_blocking(move || Self::all(&servers, enough)).await.expect("read")
    }
    fn all(servers: &str, enough: usize) -> Self {
        let topic = agent().results_topic();
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "nobody").create().expect("a client");
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).expect("answers");
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            list.add_partition_offset(&topic, partition.id(), Offset::Beginning).expect("legal");
        }
        consumer.assign(&list).expect("assigned");
        let (mut results, until, mut quiet) = (Self::default(), Instant::now() + PATIENCE, 0);
        while (results.ids.len() < enough || quiet < 5) && Instant::now() < until {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(record)) => {
                    quiet = 0;
                    results.came(&record);
                }
                _ => quiet += 1,
            }
        }
        results
    }
    fn came(&mut self, record: &rdkafka::message::BorrowedMessage<'_>) {
        let id =
            record.headers().and_then(|headers| headers.iter().find(|header| header.key == "event-id")).and_then(|header| header.value);
        let id = String::from_utf8_lossy(id.expect("an event-id")).into_owned();
        let payload = record.payload().expect("a value").to_vec();
        if let Some(first) = self.facts.get(&id) {
            self.repeated += 1;
            if *first != payload {
                self.wrong.push(format!("{id} was told twice, and not the same"));
            }
            return;
        }
        let fact: ResultFact = serde_json::from_slice(&payload).expect("a result");
        self.ids.entry(fact.task_id.clone()).or_default().insert(id.clone());
        self.order.entry(fact.session_id).or_default().push(fact.task_id);
        self.facts.insert(id, payload);
    }
    /// What must not be, of results that were, weren't, or came in another order than what was asked.
    pub fn wrong(&self, sent: &Sent) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        for (task, ids) in self.ids.iter().filter(|(_, ids)| ids.len() != 1) {
            wrong.push(format!("the end of {task} was told as {ids:?}"));
        }
        for (session, asked) in sent {
            let told = self.order.get(session).map(Vec::as_slice).unwrap_or_default();
            if told != asked.as_slice() {
                let at = asked.iter().zip(told).position(|(asked, told)| asked != told).unwrap_or(told.len().min(asked.len()));
                let (asked_at, told_at) = (asked.get(at), told.get(at));
                wrong.push(format!(
                    "{session}: {} were asked and {} told; number {at} is {asked_at:?}, and was told as {told_at:?}",
                    asked.len(),
                    told.len()
                ));
            }
        }
        wrong
    }
}
