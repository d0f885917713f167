//! Tasks by Kafka, over a node that dies: `MANIPLE_TEST_POSTGRES` and `MANIPLE_TEST_KAFKA` say where the servers are.

use super::{
    GENEROUS,
    node::{Node, World},
};
use maniple_core::{AgentName, ports::ResultFact};
use maniple_kafka::{Brokers, KafkaSettings, Record, Sender};
use maniple_testkit::postgres::Database;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, Message},
};
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

const TASKS: usize = 80;
const SESSIONS: usize = 8;
const DEATHS: usize = 6;

fn kafka() -> String {
    std::env::var("MANIPLE_TEST_KAFKA")
        .expect("MANIPLE_TEST_KAFKA must be the URL of a Kafka broker: eval \"$(scripts/services up)\" starts one")
}

/// A project over these servers, with one agent that no other test has.
async fn world(database: &Database) -> (World, AgentName) {
    let (world, id) = (World::over(&database.url()).await, format!("{:08x}", fastrand::u32(..)));
    let agent = AgentName::parse(&format!("courier-{id}")).expect("legal");
    let settings = world.folder.path().join("maniple.yaml");
    let options = "{ session.timeout.ms: \"6000\", heartbeat.interval.ms: \"500\" }";
    let more = format!("events: {}\nkafka: {{ group: it-{id}, partitions: 3, options: {options} }}\n", kafka());
    fs::write(&settings, fs::read_to_string(&settings).expect("written") + &more).expect("written");
    let agents = world.folder.path().join("agents");
    fs::remove_dir_all(&agents).expect("there");
    fs::create_dir(&agents).expect("made");
    let front = "description: works\nversion: 1.0.0\nmodel: mock/tools-1-x3\ntools: [look, put, pay]\npublish: steps";
    fs::write(agents.join(format!("{agent}.md")), format!("---\n{front}\n---\nYou work.\n")).expect("written");
    (world, agent)
}

/// What a reader of the topic sees who knows a repetition by its event-id: by session, in order.
fn read(topic: &str, seen: &mut BTreeMap<String, ResultFact>, order: &mut BTreeMap<String, Vec<usize>>, enough: usize) -> usize {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka().trim_start_matches("kafka://")).set("group.id", "nobody");
    let consumer: BaseConsumer = config.create().expect("a client");
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("answers");
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("legal");
    }
    consumer.assign(&list).expect("assigned");
    let (mut repeated, until) = (0, Instant::now() + GENEROUS);
    while seen.len() < enough && Instant::now() < until {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(200)) else { continue };
        let headers = record.headers().expect("headers");
        let id = headers.iter().find(|header| header.key == "event-id").and_then(|header| header.value).expect("an id");
        let id = String::from_utf8_lossy(id).into_owned();
        let fact: ResultFact = serde_json::from_slice(record.payload().expect("a value")).expect("a result");
        if seen.contains_key(&id) {
            repeated += 1;
            continue;
        }
        let number = fact.task_id.rsplit('-').next().and_then(|number| number.parse().ok()).expect("its number");
        order.entry(fact.session_id.clone()).or_default().push(number);
        seen.insert(id, fact);
    }
    repeated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_of_kafka_are_done_once_and_told_in_order_though_the_node_dies_and_records_come_twice() {
    let database = Database::empty();
    let (world, agent) = world(&database).await;
    let brokers: Brokers = kafka().parse().expect("legal");
    let sender = Sender::new(&brokers, &KafkaSettings::default()).expect("legal");
    let mut node = Node::start(&world);
    node.answers(&world, GENEROUS).await;
    for number in 0..TASKS {
        let session = format!("s{}", number % SESSIONS);
        let value = serde_json::json!({
            "task_id": format!("{agent}-{number}"), "source_agent": "planner", "target_agent": agent, "session_id": session,
            "prompt": format!("work {number}"), "context": { "n": number.to_string() }, "created_at": 1_714_500_000_000_i64
        });
        let value = Some(value.to_string().into_bytes());
        let record = Record { topic: agent.tasks_topic(), key: Some(session.into_bytes()), value, headers: vec![] };
        // One in three comes twice.
        for _ in 0..1 + usize::from(number % 3 == 0) {
            sender.send(&record).await.expect("acknowledged");
        }
        if number % (TASKS / DEATHS) == TASKS / DEATHS - 1 {
            node.kill();
            node = Node::start(&world);
        }
    }
    let topic = agent.results_topic();
    let read = move || {
        let (mut seen, mut order) = (BTreeMap::new(), BTreeMap::new());
        let repeated = read(&topic, &mut seen, &mut order, TASKS);
        (seen, order, repeated)
    };
    let (seen, order, repeated) = tokio::task::spawn_blocking(read).await.expect("read");
    assert_eq!(seen.len(), TASKS, "{}", world.log());
    assert!(seen.values().all(|fact| fact.status == "completed" && fact.target_agent == "planner"), "{seen:?}");
    for (session, numbers) in &order {
        assert_eq!((numbers.len(), numbers.is_sorted()), (TASKS / SESSIONS, true), "{session}: {numbers:?}");
    }
    // Outside, in the tool: nothing was paid twice.
    let mut paid: BTreeMap<String, usize> = BTreeMap::new();
    for arrival in world.ledger.arrivals().into_iter().filter(|arrival| arrival.tool == "pay") {
        *paid.entry(arrival.action()).or_default() += 1;
    }
    assert!(!paid.is_empty() && paid.values().all(|times| *times == 1), "{paid:?}");
    println!("{TASKS} tasks, {DEATHS} deaths, {repeated} results sent twice");
    node.leave(GENEROUS).await;
}
