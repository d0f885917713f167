//! The records as Avro: our schemas, and other programs' records under theirs.

use crate::read::TaskRecord;
use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter};
use maniple_core::{Error, Result, ports::ResultFact};
use std::collections::BTreeMap;

/// What stands before a framed record: a zero and the schema's id in four bytes.
pub(crate) const FRAME: usize = 5;
/// The most that a record may make the decoder allocate at once, in bytes.
const ALLOCATION_MAX: usize = 64 << 20;

/// The schema of a task's record.
#[cfg(test)]
pub(crate) fn task_schema(namespace: &str) -> String {
    schema(
        namespace,
        "AgentTaskEvent",
        &[
            ("task_id", "\"string\""),
            ("source_agent", "\"string\""),
            ("target_agent", "\"string\""),
            ("session_id", "\"string\""),
            ("prompt", "\"string\""),
            ("context", "{\"type\":\"map\",\"values\":\"string\"}"),
            ("created_at", "{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}"),
        ],
    )
}

/// The schema of a result's record.
pub(crate) fn result_schema(namespace: &str) -> String {
    const OPTIONAL: &str = "[\"null\",\"string\"],\"default\":null";
    schema(
        namespace,
        "AgentResultEvent",
        &[
            ("task_id", "\"string\""),
            ("source_agent", "\"string\""),
            ("target_agent", "\"string\""),
            ("session_id", "\"string\""),
            ("status", "\"string\""),
            ("output", OPTIONAL),
            ("error", OPTIONAL),
            ("steps_used", "\"int\""),
            ("tokens_used", "\"int\""),
            ("tool_calls", "\"int\""),
            ("duration_ms", "\"long\""),
            ("finished_at", "{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}"),
        ],
    )
}

fn schema(namespace: &str, name: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, kind)| format!("{{\"name\":\"{name}\",\"type\":{kind}}}")).collect();
    format!("{{\"type\":\"record\",\"name\":\"{name}\",\"namespace\":\"{namespace}\",\"fields\":[{}]}}", fields.join(","))
}

/// Holds records to a bound, whatever they say of their own lengths. The library knows one for the whole process.
pub(crate) fn bound() {
    apache_avro::util::max_allocation_bytes(ALLOCATION_MAX);
}

pub(crate) fn parse(text: &str) -> Result<Schema> {
    Schema::parse_str(text).map_err(|e| Error::invalid(format!("the schema is none of Avro: {e}")))
}

/// A result as a framed record under the schema of that id.
pub(crate) fn write_result(fact: &ResultFact, schema: &Schema, id: u32) -> Result<Vec<u8>> {
    let text = |text: &str| Value::String(text.to_owned());
    let optional = |value: &Option<String>| match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(text(value))),
    };
    let record = vec![
        ("task_id", text(&fact.task_id)),
        ("source_agent", text(&fact.source_agent)),
        ("target_agent", text(&fact.target_agent)),
        ("session_id", text(&fact.session_id)),
        ("status", text(&fact.status)),
        ("output", optional(&fact.output)),
        ("error", optional(&fact.error)),
        ("steps_used", Value::Int(fact.steps_used)),
        ("tokens_used", Value::Int(fact.tokens_used)),
        ("tool_calls", Value::Int(fact.tool_calls)),
        ("duration_ms", Value::Long(fact.duration_ms)),
        ("finished_at", Value::TimestampMillis(fact.finished_at)),
    ];
    let record = Value::Record(record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let failed = |e: apache_avro::Error| Error::internal(format!("a result cannot be written as Avro: {e}"));
    let writer = GenericDatumWriter::builder(schema).build().map_err(failed)?;
    let mut framed = vec![0];
    framed.extend(id.to_be_bytes());
    framed.extend(writer.write_value_to_vec(record).map_err(failed)?);
    Ok(framed)
}

/// A task's record, by the schema it was written with: its fields by their names, whatever else is there.
pub(crate) fn read_task(bytes: &[u8], writer: &Schema) -> Result<TaskRecord, String> {
    let reader = GenericDatumReader::builder(writer).build().map_err(|e| e.to_string())?;
    let Value::Record(fields) = reader.read_value(&mut &*bytes).map_err(|e| e.to_string())? else {
        return Err("the schema is none of a record".into());
    };
    let mut fields: BTreeMap<String, Value> = fields.into_iter().map(|(name, value)| (name, bare(value))).collect();
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text) | Value::Enum(_, text)) => Ok(text),
        None | Some(Value::Null) => Err(format!("{name} is missing")),
        Some(_) => Err(format!("{name} must be a string")),
    };
    let (task_id, source_agent, target_agent) = (text("task_id")?, text("source_agent")?, text("target_agent")?);
    let (session_id, prompt) = (text("session_id")?, text("prompt")?);
    let context = match fields.remove("context") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Map(members)) => members
            .into_iter()
            .map(|(name, value)| match bare(value) {
                Value::String(text) => Ok((name, text)),
                _ => Err(format!("context.{name} must be a string")),
            })
            .collect::<Result<_, String>>()?,
        Some(_) => return Err("context must be a map of strings".into()),
    };
    Ok(TaskRecord { task_id, source_agent, target_agent, session_id, prompt, context })
}

/// The value itself, where it is one of several.
fn bare(value: Value) -> Value {
    match value {
        Value::Union(_, value) => bare(*value),
        value => value,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn task(namespace: &str) -> (Schema, Vec<u8>) {
        let schema = parse(&task_schema(namespace)).unwrap();
        let text = |text: &str| Value::String(text.into());
        let context = Value::Map([("city".to_owned(), text("Seoul"))].into());
        let fields = [
            ("task_id", text("t1")),
            ("source_agent", text("planner")),
            ("target_agent", text("search")),
            ("session_id", text("s1")),
            ("prompt", text("find it")),
            ("context", context),
            ("created_at", Value::TimestampMillis(1)),
        ];
        let value = Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let bytes = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap();
        (schema, bytes)
    }

    #[test]
    fn a_task_is_read_by_the_schema_it_was_written_with() {
        let (schema, bytes) = task("com.other");
        let read = read_task(&bytes, &schema).unwrap();
        assert_eq!((read.task_id.as_str(), read.prompt.as_str(), read.context["city"].as_str()), ("t1", "find it", "Seoul"));
    }

    #[test]
    fn a_cut_record_is_refused() {
        let (schema, bytes) = task("com.myco.agents.v1");
        for end in 0..bytes.len() - 1 {
            assert!(read_task(&bytes[..end], &schema).is_err(), "{end}");
        }
    }

    #[test]
    fn a_result_is_framed_under_its_id_and_keeps_what_is_not_there() {
        let schema = parse(&result_schema("com.myco.agents.v1")).unwrap();
        let fact = ResultFact {
            task_id: "t1".into(),
            source_agent: "search".into(),
            target_agent: "planner".into(),
            session_id: "s1".into(),
            status: "completed".into(),
            output: Some("yes".into()),
            error: None,
            steps_used: 1,
            tokens_used: 2,
            tool_calls: 3,
            duration_ms: 4,
            finished_at: 5,
        };
        let framed = write_result(&fact, &schema, 7).unwrap();
        assert_eq!(framed[..FRAME], [0, 0, 0, 0, 7]);
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        let Value::Record(fields) = reader.read_value(&mut &framed[FRAME..]).unwrap() else { panic!("no record") };
        assert_eq!(fields[5].1, Value::Union(1, Box::new(Value::String("yes".into()))));
        assert_eq!(fields[6].1, Value::Union(0, Box::new(Value::Null)));
    }
}
