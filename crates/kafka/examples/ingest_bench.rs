//! How fast records become tasks, beside the least that could be done with them: a bare consumer that puts each batch into a table
//! with one statement and commits.
//!
//! ```text
//! eval "$(scripts/services up)"
//! cargo run --release -p maniple-kafka --example ingest_bench [-- RECORDS]
//! ```
//!
//! Both read the same records, one after the other, three times; what counts is the ratio.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a report, run by hand

use async_trait::async_trait;
use futures::FutureExt as _;
use maniple_backends::postgres::{Options, TaskStore};
use maniple_core::{
    AgentName, TaskId,
    ports::{Admitted, Arrival, Ingest as _, NewTask, Place, Publish},
};
use maniple_kafka::{Brokers, Delivered, Door, Ingest, KafkaSettings, Letter, Reader, Sender};
use maniple_testkit::{
    postgres::Database,
    store_suite::{new, task_in},
};
use rdkafka::{
    ClientConfig, Message as _,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{CommitMode, Consumer as _, StreamConsumer},
    producer::{FutureProducer, FutureRecord},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

/// Records of one session, so many after each other.
const OF_A_SESSION: usize = 4;
const BATCH: usize = 256;

#[tokio::main]
async fn main() {
    let records: usize = std::env::args().nth(1).map_or(20_000, |text| text.parse().expect("a number of records"));
    let agent = AgentName::parse(&format!("bench-{:08x}", fastrand::u32(..))).unwrap();
    produce(&agent, records).await;
    let mut ratios = Vec::new();
    for round in 0..3 {
        let bare = bare(&agent, records, round).await;
        let tasks = tasks(&agent, records, round).await;
        let rate = |took: Duration| records as f64 / took.as_secs_f64();
        println!("bare: {:>7.0} records/s   tasks: {:>7.0} records/s", rate(bare), rate(tasks));
        ratios.push(bare.as_secs_f64() / tasks.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!("records become tasks at {:.0} % of the bare rate (median of three)", ratios[1] * 100.0);
}

fn client() -> ClientConfig {
    let url = std::env::var("MANIPLE_TEST_KAFKA").expect("MANIPLE_TEST_KAFKA: start a broker with `scripts/services up`");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url.strip_prefix("kafka://").expect("kafka://"));
    config
}

async fn produce(agent: &AgentName, records: usize) {
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    let topic = agent.tasks_topic();
    admin.create_topics([&NewTopic::new(&topic, 6, TopicReplication::Fixed(1))], &AdminOptions::new()).await.unwrap();
    let producer: FutureProducer = client().set("linger.ms", "5").create().unwrap();
    let sends =
        (0..records).map(|number| {
            let (session, id) = (format!("s{}", number / OF_A_SESSION), format!("t{number}"));
            let value = serde_json::json!({
                "task_id": id, "source_agent": "planner", "target_agent": agent, "session_id": session, "prompt": format!("prompt of {id}"),
                "context": {}, "created_at": 1_714_500_000_000_i64
            });
            let (producer, topic) = (producer.clone(), topic.clone());
            async move {
                producer.send(FutureRecord::to(&topic).key(&session).payload(&value.to_string()), Duration::from_secs(30)).await.unwrap()
            }
        });
    futures::future::join_all(sends).await;
}

/// Reads them all and puts each batch into a table with one statement.
async fn bare(agent: &AgentName, records: usize, round: u32) -> Duration {
    let database = Database::empty();
    database.execute("CREATE TABLE records (id bigserial PRIMARY KEY, key text, value text)").await;
    let (sql, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let insert = sql.prepare("INSERT INTO records (key, value) SELECT * FROM unnest($1::text[], $2::text[])").await.unwrap();
    let mut config = client();
    config.set("group.id", format!("bare-{agent}-{round}")).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create().unwrap();
    consumer.subscribe(&[&agent.tasks_topic()]).unwrap();
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let first = consumer.recv().await.unwrap().detach();
    let began = Instant::now();
    let (mut batch, mut read) = (vec![first], 1);
    loop {
        while batch.len() < BATCH
            && let Some(Ok(record)) = consumer.recv().now_or_never()
        {
            batch.push(record.detach());
            read += 1;
        }
        let (keys, values): (Vec<_>, Vec<_>) = batch.iter().map(|record| (text(record.key()), text(record.payload()))).unzip();
        sql.execute(&insert, &[&keys, &values]).await.unwrap();
        consumer.commit_consumer_state(CommitMode::Async).unwrap();
        batch.clear();
        if read == records {
            return began.elapsed();
        }
        batch.push(consumer.recv().await.unwrap().detach());
        read += 1;
    }
}

/// Takes each record in as a task, and nothing else.
struct Takes {
    agent: AgentName,
    store: TaskStore,
    taken: AtomicUsize,
    began: std::sync::OnceLock<Instant>,
}

#[async_trait]
impl Door for Takes {
    fn agents(&self) -> Vec<AgentName> {
        vec![self.agent.clone()]
    }
    async fn deliver(&self, letter: Letter) -> Delivered {
        self.began.get_or_init(Instant::now);
        let mut task = task_in(&letter.task.task_id, &letter.task.session_id);
        (task.agent, task.prompt) = (self.agent.clone(), letter.task.prompt);
        let publish = Publish { steps: false, asked_by: letter.task.source_agent, sent_id: None };
        let new = NewTask { unfinished_max: 1_000_000, unfinished_each: 1_000_000, publish: Some(publish), ..new(task) };
        let (sent_id, hash) = (letter.task.task_id.clone(), letter.task.task_id.clone());
        let other_id = TaskId::parse(&format!("other-{sent_id}")).unwrap();
        let admitted = self.store.admit(&Arrival { new, sent_id, other_id, hash, place: letter.place }).await.unwrap();
        assert!(matches!(admitted, Admitted::Created(_)), "{admitted:?}");
        self.taken.fetch_add(1, Ordering::Relaxed);
        Delivered::Accepted
    }
    async fn gone_before(&self, _: &Place) {}
}

async fn tasks(agent: &AgentName, records: usize, round: u32) -> Duration {
    let database = Database::empty();
    let options = Options { keeps_sessions: true, ..Options::default() };
    let store = TaskStore::new(&database.url(), &options).unwrap();
    store.migrate().await.unwrap();
    let door = Arc::new(Takes { agent: agent.clone(), store, taken: AtomicUsize::new(0), began: std::sync::OnceLock::new() });
    let settings = KafkaSettings { group: format!("tasks-{agent}-{round}"), ..KafkaSettings::default() };
    let brokers: Brokers = std::env::var("MANIPLE_TEST_KAFKA").unwrap().parse().unwrap();
    let sender = Sender::new(&brokers, &settings).unwrap();
    let ingest = Ingest::new(&brokers, &settings, Reader::new(None, 1 << 20), sender, door.clone()).unwrap();
    let stop = CancellationToken::new();
    let working = tokio::spawn(ingest.work(stop.clone()));
    while door.taken.load(Ordering::Relaxed) < records {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = door.began.get().unwrap().elapsed();
    stop.cancel();
    working.await.unwrap();
    took
}
