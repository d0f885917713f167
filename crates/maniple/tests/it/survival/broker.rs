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

/// The binary in the project's folder: its exit code, and what it says.
async fn maniple(world: &World, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_maniple"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MANIPLE_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    let said = command.args(arguments).envs(environment.iter().copied()).current_dir(world.folder.path()).output();
    let said = tokio::time::timeout(GENEROUS, said).await.expect("it ends").expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (said.status.code().unwrap_or(-1), text(said.stdout), text(said.stderr))
}
fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_could_not_be_read_is_listed_with_dead_tasks_and_sent_again_as_it_was() {
    let database = Database::empty();
    let (world, agent) = world(&database).await;
    let node = Node::start(&world);
    node.answers(&world, GENEROUS).await;
    let brokers: Brokers = kafka().parse().expect("legal");
    let sender = Sender::new(&brokers, &KafkaSettings::default()).expect("legal");
    let record = Record { topic: agent.tasks_topic(), key: Some(b"s".to_vec()), value: Some(b"no task".to_vec()), headers: vec![] };
    let until = Instant::now() + GENEROUS;
    while sender.send(&record).await.is_err() {
        assert!(Instant::now() < until, "there is no topic: {}", world.log());
    }
    let listed = async |count: usize| {
        let until = Instant::now() + GENEROUS;
        loop {
            let (code, out, err) = maniple(&world, &["--json", "dlq", "ls"], &[]).await;
            let page = json(&out);
            if page["records"].as_array().is_some_and(|records| records.len() == count) {
                return page["records"][0].clone();
            }
            assert!(code == 0 && Instant::now() < until, "{out}{err}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let dead = listed(1).await;
    assert_eq!(
        (&dead["agent"], &dead["reason"], &dead["value"]),
        (&agent.as_str().into(), &"unreadable".into(), &"no task".into()),
        "{dead}"
    );
    assert_eq!((&dead["topic"], &dead["offset"]), (&agent.tasks_topic().into(), &0.into()), "{dead}");
    let place = dead["place"].as_str().expect("a place").to_owned();
    let (_, out, err) = maniple(&world, &["dlq", "ls"], &[]).await;
    for words in ["LETTER", "record", &place, agent.as_str(), "unreadable", &agent.tasks_topic()] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(err.contains(&format!("maniple dlq republish AGENT PLACE, such as {agent} {place}")), "{err}");
    let (code, out, err) = maniple(&world, &["dlq", "republish", agent.as_str(), &place], &[]).await;
    assert_eq!(code, 0, "{out}{err}");
    listed(2).await;
    // Tasks are listed whether the brokers answer or not, and it is said.
    let away = [("MANIPLE_EVENTS", "kafka://127.0.0.1:1")];
    let (code, out, _) = maniple(&world, &["--json", "dlq", "ls"], &away).await;
    let page = json(&out);
    assert!(code == 0 && page["tasks"].is_array() && page["records_error"].as_str().is_some_and(|told| told.contains("Kafka")), "{out}");

    // What the node and the doctor say of the broker.
    let ready = world.door.client.get(format!("{}/ready", world.door.url)).send().await.expect("it answers").text().await.expect("text");
    let parts = json(&ready)["parts"].clone();
    let broker = parts.as_array().expect("parts").iter().find(|part| part["name"] == "broker").unwrap_or_else(|| panic!("{ready}"));
    assert_eq!(broker["state"], "ready", "{ready}");
    let checks = async |environment: &[(&str, &str)]| {
        let (code, out, _) = maniple(&world, &["--json", "doctor"], environment).await;
        let checks = json(&out)["checks"].as_array().expect("checks").clone();
        (code, move |check: &str| {
            checks.iter().find(|found| found["check"] == check).map(|found| found["state"].as_str().map(str::to_owned))
        })
    };
    let (_, found) = checks(&[]).await;
    assert_eq!([found("broker"), found("topics"), found("group")].map(Option::flatten), ["ok"; 3].map(|state| Some(state.to_owned())));
    let began = Instant::now();
    let (code, found) = checks(&away).await;
    assert_eq!((code, found("broker").flatten().as_deref(), found("topics")), (1, Some("failed"), None));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    node.leave(GENEROUS).await;
}
