//! What a record says: plain JSON, or Avro or JSON under a schema of the registry.

use crate::{
    SchemaRegistry,
    avro::{self, FRAME},
    registry::Language,
};
use apache_avro::Schema;
use maniple_core::Kind;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// How many parsed schemas are kept.
const SCHEMAS_MAX: usize = 1_000;

/// The record `AgentTaskEvent`. `created_at` is not used: a task's time is the store's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskRecord {
    /// Chosen by the sender: the same again is the same task.
    pub task_id: String,
    /// Who asks.
    pub source_agent: String,
    /// Who is asked.
    pub target_agent: String,
    /// The conversation.
    pub session_id: String,
    /// What is asked.
    pub prompt: String,
    /// Facts for this task only. The article's own producer leaves it out.
    #[serde(default)]
    pub context: BTreeMap<String, String>,
}

/// What became of reading a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// A task.
    Task(Box<TaskRecord>),
    /// It can never be read, and why.
    Unreadable(String),
    /// It cannot be told yet: the registry does not answer.
    NotNow(String),
}

/// Reads records.
#[derive(Clone)]
pub struct Reader {
    registry: Option<SchemaRegistry>,
    record_max: usize,
    schemas: Arc<Mutex<HashMap<u32, Arc<Schema>>>>,
}

impl Reader {
    /// One that knows the schemas of this registry, and takes records of so many bytes at most.
    pub fn new(registry: Option<SchemaRegistry>, record_max: usize) -> Self {
        avro::bound();
        Self { registry, record_max, schemas: Arc::default() }
    }

    /// Reads a record.
    pub async fn read(&self, value: Option<&[u8]>) -> Read {
        let Some(value) = value else { return Read::Unreadable("the record has no value".into()) };
        if value.len() > self.record_max {
            return Read::Unreadable(format!("the record has {} bytes, more than kafka.record_bytes: {}", value.len(), self.record_max));
        }
        match value.first() {
            Some(0) => self.framed(value).await,
            _ => json(value),
        }
    }

    async fn framed(&self, value: &[u8]) -> Read {
        let Some(id) = value.get(1..FRAME).and_then(|id| id.try_into().ok()).map(u32::from_be_bytes) else {
            return Read::Unreadable("the record ends within its frame".into());
        };
        let Some(registry) = &self.registry else {
            return Read::Unreadable(format!("the record names schema {id} of a registry, and schema_registry is none"));
        };
        let registered = match registry.schema(id).await {
            Ok(registered) => registered,
            Err(error) if error.kind == Kind::Unavailable => return Read::NotNow(error.message.into_owned()),
            Err(error) => return Read::Unreadable(format!("schema {id}: {}", error.message)),
        };
        match registered.language {
            Language::Json => json(&value[FRAME..]),
            Language::Other => Read::Unreadable(format!("schema {id} is neither Avro nor JSON")),
            Language::Avro => match self.parsed(id, &registered.text) {
                Err(why) => Read::Unreadable(format!("schema {id}: {why}")),
                Ok(schema) => avro::read_task(&value[FRAME..], &schema).map_or_else(Read::Unreadable, |task| Read::Task(Box::new(task))),
            },
        }
    }

    fn parsed(&self, id: u32, text: &str) -> Result<Arc<Schema>, String> {
        if let Some(known) = self.schemas.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(known.clone());
        }
        let schema = Arc::new(avro::parse(text).map_err(|e| e.message.into_owned())?);
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if schemas.len() >= SCHEMAS_MAX {
            schemas.clear();
        }
        schemas.insert(id, schema.clone());
        Ok(schema)
    }
}

fn json(value: &[u8]) -> Read {
    match serde_json::from_slice(value) {
        Ok(task) => Read::Task(Box::new(task)),
        Err(error) => Read::Unreadable(format!("the record is neither framed nor the JSON of a task: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        Reader::new(None, 1_000)
    }

    #[tokio::test]
    async fn the_plain_json_of_a_producer_that_knows_no_context_is_read() {
        let value = br#"{"task_id":"t1","source_agent":"planner","target_agent":"search","session_id":"s1","prompt":"find it","created_at":1714500000.5}"#;
        let Read::Task(task) = reader().read(Some(value)).await else { panic!("not read") };
        assert_eq!((task.task_id.as_str(), task.prompt.as_str(), task.context.len()), ("t1", "find it", 0));
    }

    #[tokio::test]
    async fn what_cannot_be_read_says_why() {
        let large = format!("{{\"task_id\":\"{}\"}}", "x".repeat(2_000));
        for (value, why) in [
            (None, "no value"),
            (Some(&b"{\"task_id\":\"t1\"}"[..]), "missing field"),
            (Some(b""), "neither framed nor the JSON"),
            (Some(b"\x00\x00\x01"), "within its frame"),
            (Some(b"\x00\x00\x00\x00\x07x"), "schema_registry is none"),
            (Some(b"{\"task_id\":\"t\",\"source_agent\":\"p\",\"target_agent\":\"s\",\"session_id\":\"s\",\"prompt\":7}"), "string"),
            (Some(large.as_bytes()), "kafka.record_bytes"),
        ] {
            let Read::Unreadable(told) = reader().read(value).await else { panic!("read: {value:?}") };
            assert!(told.contains(why), "{told}");
        }
    }
}
