//! Records whose schemas a registry keeps.

use crate::world::{
    Consumes, Relays, Remembers, Rows, all_of, an_agent, asks, brokers, create, header, registry_url, result, settings, until,
};
use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter};
use maniple_kafka::{Record, SchemaRegistry, Sender};
use rdkafka::message::Message;
use serde_json::json;
use std::sync::Arc;

fn registry() -> SchemaRegistry {
    SchemaRegistry::new(&registry_url()).expect("an address")
}

/// Asks the registry past every client of ours.
async fn ask(method: &str, path: &str, body: Option<serde_json::Value>) -> serde_json::Value {
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", registry_url()));
    if let Some(body) = body {
        request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
    }
    let answer = request.send().await.expect("answers").bytes().await.expect("whole");
    serde_json::from_slice(&answer).unwrap_or_default()
}

async fn register(subject: &str, schema: &serde_json::Value, language: &str) -> u32 {
    let body = json!({ "schema": schema.to_string(), "schemaType": language });
    let answer = ask("POST", &format!("/subjects/{subject}/versions"), Some(body)).await;
    answer["id"].as_u64().unwrap_or_else(|| panic!("not registered: {answer}")) as u32
}

fn framed(id: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], bytes].concat()
}

/// A task's record of another program: under its own namespace, with a field that is not ours, and optional texts.
fn foreign_task(agent: &str) -> (serde_json::Value, Vec<u8>) {
    let schema = json!({ "type": "record", "name": "AgentTaskEvent", "namespace": "com.other", "fields": [
        { "name": "task_id", "type": "string" }, { "name": "source_agent", "type": ["null", "string"] },
        { "name": "target_agent", "type": "string" }, { "name": "extra", "type": "long" },
        { "name": "session_id", "type": "string" }, { "name": "prompt", "type": "string" },
        { "name": "context", "type": { "type": "map", "values": "string" } },
        { "name": "created_at", "type": { "type": "long", "logicalType": "timestamp-millis" } } ] });
    let text = |text: &str| Value::String(text.into());
    let fields = [
        ("task_id", text("avro")),
        ("source_agent", Value::Union(1, Box::new(text("planner")))),
        ("target_agent", text(agent)),
        ("extra", Value::Long(7)),
        ("session_id", text("s")),
        ("prompt", text("find it")),
        ("context", Value::Map([("city".to_owned(), text("Seoul"))].into())),
        ("created_at", Value::TimestampMillis(1)),
    ];
    let parsed = Schema::parse_str(&schema.to_string()).expect("a schema");
    let value = Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let bytes = GenericDatumWriter::builder(&parsed).build().expect("a writer").write_value_to_vec(value).expect("written");
    (schema, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn framed_tasks_are_read_by_the_schema_they_name_and_an_unknown_one_is_dead() {
    let agent = an_agent("framed");
    create(&agent.tasks_topic(), 1, &[]).await;
    create(&agent.dead_letters_topic(), 1, &[]).await;
    let (settings, door) = (settings(&agent), Remembers::of(&agent));
    let sender = Sender::new(&brokers(), &settings).expect("legal");
    let (schema, bytes) = foreign_task(agent.as_str());
    let avro = register(&format!("{agent}-avro"), &schema, "AVRO").await;
    let as_json = register(
        &format!("{agent}-json"),
        &json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": agent }),
        "JSON",
    )
    .await;
    let plain = asks(&agent, "json", "s").value.expect("a value");
    for value in [framed(avro, &bytes), framed(as_json, &plain), framed(1_999_999_999, &bytes), framed(avro, &bytes[..9])] {
        sender
            .send(&Record { topic: agent.tasks_topic(), key: Some(b"s".to_vec()), value: Some(value), headers: vec![] })
            .await
            .expect("sent");
    }
    sender.send(&asks(&agent, "plain", "s")).await.expect("sent");
    let consumer = Consumes::start(&settings, door.clone(), Some(registry()));
    until("what can be read is taken", || door.taken() == ["avro", "json", "plain"]).await;
    assert_eq!(all_of(&agent.dead_letters_topic()).await.len(), 2);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_answer_makes_records_wait_and_none_die() {
    let agent = an_agent("silent");
    create(&agent.tasks_topic(), 1, &[]).await;
    create(&agent.dead_letters_topic(), 1, &[]).await;
    let (settings, door) = (settings(&agent), Remembers::of(&agent));
    let sender = Sender::new(&brokers(), &settings).expect("legal");
    let (schema, bytes) = foreign_task(agent.as_str());
    let id = register(&format!("{agent}-avro"), &schema, "AVRO").await;
    let task = Record { topic: agent.tasks_topic(), key: None, value: Some(framed(id, &bytes)), headers: vec![] };
    sender.send(&task).await.expect("sent");
    // Nobody listens there.
    let away = SchemaRegistry::new("http://127.0.0.1:1").expect("an address");
    let first = Consumes::start(&settings, door.clone(), Some(away));
    tokio::time::sleep(std::time::Duration::from_secs(2)).await; // several tries
    assert_eq!((door.taken(), all_of(&agent.dead_letters_topic()).await.len()), (vec![], 0));
    first.stop().await;
    let second = Consumes::start(&settings, door.clone(), Some(registry()));
    until("it is taken", || door.taken() == ["avro"]).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_avro_under_a_schema_that_may_only_grow() {
    let agent = an_agent("avro");
    create(&agent.results_topic(), 1, &[]).await;
    let rows = Arc::new(Rows::default());
    rows.put(&agent.results_topic(), "s", 1, result(&agent, "t1", "yes"));
    let relay = Relays::start(&settings(&agent), rows.clone(), Some(registry()));
    until("it is struck off", || rows.left().is_empty()).await;
    let sent = all_of(&agent.results_topic()).await;
    let value = sent[0].payload().expect("a value");
    let id = u32::from_be_bytes(value[1..5].try_into().expect("four bytes"));
    let subject = format!("{}-value", agent.results_topic());
    assert_eq!(ask("GET", &format!("/config/{subject}"), None).await["compatibilityLevel"], "BACKWARD");
    let kept = ask("GET", &format!("/schemas/ids/{id}"), None).await;
    let schema = Schema::parse_str(kept["schema"].as_str().expect("a schema")).expect("Avro");
    let reader = GenericDatumReader::builder(&schema).build().expect("a reader");
    let Value::Record(fields) = reader.read_value(&mut &value[5..]).expect("read") else { panic!("no record") };
    assert_eq!(fields[0], ("task_id".to_owned(), Value::String("t1".into())));
    assert_eq!(fields[5].1, Value::Union(1, Box::new(Value::String("yes".into()))));
    assert_eq!(header(&sent[0], "event-id").as_deref(), Some("s:1"));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_registry_refuses_holds_results_up_until_nothing_stands_against_it() {
    let agent = an_agent("refused");
    create(&agent.results_topic(), 1, &[]).await;
    let subject = format!("{}-value", agent.results_topic());
    // Somebody else registered something else there, and it may only grow.
    let other = json!({ "type": "record", "name": "Other", "namespace": "x", "fields": [{ "name": "task_id", "type": "int" }] });
    register(&subject, &other, "AVRO").await;
    ask("PUT", &format!("/config/{subject}"), Some(json!({ "compatibility": "BACKWARD" }))).await;
    let rows = Arc::new(Rows::default());
    rows.put(&agent.results_topic(), "s", 1, result(&agent, "t1", "yes"));
    let relay = Relays::start(&settings(&agent), rows.clone(), Some(registry()));
    until("it was refused", || rows.failures(&agent.results_topic(), "s") >= 1).await;
    assert_eq!(all_of(&agent.results_topic()).await.len(), 0);
    ask("DELETE", &format!("/subjects/{subject}"), None).await;
    until("it goes out", || rows.left().is_empty()).await;
    relay.stop().await;
}
