//! A broker, topics of one's own, a door that remembers, and an outbox in memory.

use async_trait::async_trait;
use maniple_core::{
    AgentName, Result,
    ports::{Backlog, Line, Outbox, OutboxRow, Place, ResultFact, Settled},
};
use maniple_kafka::{Brokers, Delivered, Door, Ingest, KafkaSettings, Letter, Reader, Record, Relay, SchemaRegistry, Sender};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, Message, OwnedMessage},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn variable(name: &str, what: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be the URL of {what}: start one with `scripts/services up`"))
}

pub fn brokers() -> Brokers {
    variable("MANIPLE_TEST_KAFKA", "a Kafka broker").parse().expect("a URL of brokers")
}

pub fn client() -> ClientConfig {
    let url = variable("MANIPLE_TEST_KAFKA", "a Kafka broker");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url.strip_prefix("kafka://").expect("kafka://"));
    config
}

pub fn registry_url() -> String {
    variable("MANIPLE_TEST_SCHEMA_REGISTRY", "a Confluent-compatible schema registry")
}

/// An agent nobody else has.
pub fn an_agent(what: &str) -> AgentName {
    AgentName::parse(&format!("{what}-{:08x}", fastrand::u32(..))).expect("legal")
}

/// Settings whose group is this agent's alone.
pub fn settings(agent: &AgentName) -> KafkaSettings {
    let options = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500"), ("fetch.wait.max.ms", "50")];
    KafkaSettings {
        group: format!("group-of-{agent}"),
        partitions: 2,
        retry_max: maniple_core::settings::Period::parse("500ms").expect("legal"),
        options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..KafkaSettings::default()
    }
}

pub async fn create(topic: &str, partitions: i32, options: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client().create().expect("a client");
    let topic =
        options.iter().fold(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)), |topic, (key, value)| topic.set(key, value));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.expect("answers");
    made.into_iter().for_each(|outcome| drop(outcome.expect("created")));
}

/// The plain JSON of a producer that knows no context.
pub fn asks(agent: &AgentName, id: &str, session: &str) -> Record {
    let value = serde_json::json!({
        "task_id": id, "source_agent": "planner", "target_agent": agent, "session_id": session, "prompt": format!("prompt of {id}"),
        "created_at": 1_714_500_000_000_i64
    });
    Record {
        topic: agent.tasks_topic(),
        key: Some(session.as_bytes().to_vec()),
        value: Some(value.to_string().into_bytes()),
        headers: vec![("trace-id".into(), Some(b"0af7651916cd43dd8448eb211c80319c".to_vec()))],
    }
}

/// Everything in a topic now.
pub async fn all_of(topic: &str) -> Vec<OwnedMessage> {
    let topic = topic.to_owned();
    let read = move || {
        let consumer: BaseConsumer = client().set("group.id", "nobody").set("fetch.wait.max.ms", "20").create().expect("a client");
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).expect("answers");
        let (mut list, mut left) = (TopicPartitionList::new(), 0);
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let (low, high) = consumer.fetch_watermarks(&topic, partition.id(), PATIENCE).expect("answers");
            list.add_partition_offset(&topic, partition.id(), Offset::Offset(low)).expect("legal");
            left += high - low;
        }
        consumer.assign(&list).expect("assigned");
        let (mut found, until) = (Vec::new(), Instant::now() + PATIENCE);
        while (found.len() as i64) < left && Instant::now() < until {
            if let Some(record) = consumer.poll(Duration::from_millis(100)) {
                found.push(record.expect("a record").detach());
            }
        }
        found
    };
    tokio::task::spawn_blocking(read).await.expect("read")
}

pub fn header(record: &OwnedMessage, name: &str) -> Option<String> {
    let headers = record.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    found.value.map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Waits until it holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What stands behind consumers: takes each record once, and does what the test says.
#[derive(Default)]
pub struct Remembers {
    pub agents: Vec<AgentName>,
    /// Ids, in the order in which they were first taken.
    pub taken: Mutex<Vec<String>>,
    /// How often something came that was known.
    pub known: Mutex<u32>,
    /// Ids that cannot be taken now.
    pub not_now: Mutex<HashSet<String>>,
    /// How often one of those came.
    pub refused: Mutex<BTreeMap<String, u32>>,
    pub gone: Mutex<Vec<Place>>,
}

impl Remembers {
    pub fn of(agent: &AgentName) -> Arc<Self> {
        Arc::new(Self { agents: vec![agent.clone()], ..Self::default() })
    }
    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().expect("nobody panicked").clone()
    }
    pub fn holds_up(&self, id: &str) {
        self.not_now.lock().expect("nobody panicked").insert(id.to_owned());
    }
    pub fn lets_through(&self, id: &str) {
        self.not_now.lock().expect("nobody panicked").remove(id);
    }
    pub fn came(&self, id: &str) -> u32 {
        self.refused.lock().expect("nobody panicked").get(id).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Door for Remembers {
    fn agents(&self) -> Vec<AgentName> {
        self.agents.clone()
    }
    async fn deliver(&self, letter: Letter) -> Delivered {
        let id = letter.task.task_id;
        if self.not_now.lock().expect("nobody panicked").contains(&id) {
            *self.refused.lock().expect("nobody panicked").entry(id).or_default() += 1;
            return Delivered::NotNow("the test says so".into());
        }
        if id.starts_with("bad") {
            return Delivered::Refused("out_of_bounds", "the test says so".into());
        }
        // What is done beside each other does not end in its order.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3))).await;
        let mut taken = self.taken.lock().expect("nobody panicked");
        if taken.contains(&id) {
            *self.known.lock().expect("nobody panicked") += 1;
            return Delivered::Known;
        }
        taken.push(id);
        Delivered::Accepted
    }
    async fn gone_before(&self, place: &Place) {
        self.gone.lock().expect("nobody panicked").push(place.clone());
    }
}

/// A node's consumer, stopped at its end.
pub struct Consumes {
    stop: CancellationToken,
    work: JoinHandle<()>,
}

impl Consumes {
    pub fn start(settings: &KafkaSettings, door: Arc<Remembers>, registry: Option<SchemaRegistry>) -> Self {
        let sender = Sender::new(&brokers(), settings).expect("legal");
        let reader = Reader::new(registry, settings.record_bytes as usize);
        let ingest = Ingest::new(&brokers(), settings, reader, sender, door).expect("legal");
        let stop = CancellationToken::new();
        Self { work: tokio::spawn(ingest.work(stop.clone())), stop }
    }
    pub async fn stop(self) {
        self.stop.cancel();
        self.work.await.expect("it ends");
    }
    /// Gone without a word, as a killed process.
    pub fn kill(self) {
        self.work.abort();
    }
}

/// An outbox in memory: lines in their order, each one holder's.
#[derive(Default)]
pub struct Rows {
    lines: Mutex<BTreeMap<(String, String), Waits>>,
}

#[derive(Default)]
struct Waits {
    rows: VecDeque<OutboxRow>,
    until: Option<Instant>,
    failures: u32,
}

impl Rows {
    pub fn put(&self, topic: &str, key: &str, number: i64, payload: String) {
        let row = OutboxRow { number, event_id: format!("{key}:{number}"), trace_id: None, payload };
        self.lines.lock().expect("nobody panicked").entry((topic.into(), key.into())).or_default().rows.push_back(row);
    }
    pub fn left(&self) -> BTreeSet<i64> {
        let lines = self.lines.lock().expect("nobody panicked");
        lines.values().flat_map(|line| &line.rows).map(|row| row.number).collect()
    }
    pub fn failures(&self, topic: &str, key: &str) -> u32 {
        self.lines.lock().expect("nobody panicked").get(&(topic.into(), key.into())).map_or(0, |line| line.failures)
    }
}

#[async_trait]
impl Outbox for Rows {
    async fn take(&self, _: &str, lines: usize, rows: usize, _: usize, lease: Duration) -> Result<Vec<Line>> {
        let mut all = self.lines.lock().expect("nobody panicked");
        let now = Instant::now();
        let free = all.iter_mut().filter(|(_, line)| !line.rows.is_empty() && line.until.is_none_or(|until| until <= now));
        let take = |((topic, key), line): (&(String, String), &mut Waits)| {
            line.until = Some(now + lease);
            let rows = line.rows.iter().take(rows).cloned().collect();
            Line { topic: topic.clone(), key: key.clone(), failures: line.failures, rows }
        };
        Ok(free.take(lines).map(take).collect())
    }
    async fn settle(&self, _: &str, settled: &Settled) -> Result<()> {
        let mut all = self.lines.lock().expect("nobody panicked");
        let line = all.get_mut(&(settled.topic.clone(), settled.key.clone())).expect("it was taken");
        line.rows.retain(|row| !settled.sent.contains(&row.number));
        (line.until, line.failures) = (Some(Instant::now() + settled.pause), settled.failures);
        Ok(())
    }
    async fn backlog(&self) -> Result<Backlog> {
        Ok(Backlog::default())
    }
}

/// The end of a task, as the outbox holds it.
pub fn result(agent: &AgentName, id: &str, output: &str) -> String {
    let fact = ResultFact {
        task_id: id.into(),
        source_agent: agent.to_string(),
        target_agent: "planner".into(),
        session_id: "s".into(),
        status: "completed".into(),
        output: Some(output.into()),
        error: None,
        steps_used: 1,
        tokens_used: 2,
        tool_calls: 3,
        duration_ms: 4,
        finished_at: 5,
    };
    serde_json::to_string(&fact).expect("JSON")
}

/// A node's relay, stopped at its end.
pub struct Relays(CancellationToken, JoinHandle<()>);

impl Relays {
    pub fn start(settings: &KafkaSettings, rows: Arc<Rows>, registry: Option<SchemaRegistry>) -> Self {
        let sender = Sender::new(&brokers(), settings).expect("legal");
        let relay = Relay::new(&brokers(), settings, rows, sender, registry).expect("legal");
        let stop = CancellationToken::new();
        Self(stop.clone(), tokio::spawn(relay.work(stop)))
    }
    pub async fn stop(self) {
        self.0.cancel();
        self.1.await.expect("it ends");
    }
}
