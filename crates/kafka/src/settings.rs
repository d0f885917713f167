//! The section `kafka` of the settings.

use maniple_core::{
    Error, Result, Tenant,
    settings::{Bound, Period, Section},
};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// How tasks are taken from Kafka and results are put there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSettings {
    /// The consumer group that all nodes of one store share.
    pub group: String,
    /// On whose behalf records are taken: nothing in a record says so.
    pub tenant: String,
    /// Who asks, as tasks say it.
    pub principal: String,
    /// The namespace of the records.
    pub namespace: String,
    /// Whether topics that are missing are created. Else the log has the command that creates them.
    pub create_topics: bool,
    /// How many partitions a topic is created with, 1 to 1,000.
    pub partitions: u32,
    /// How often a topic that is created is kept; 0 leaves it to the broker.
    pub replication: u32,
    /// The largest record that is taken, in bytes, 1 KiB to 64 MiB; what is larger goes to the dead letters.
    pub record_bytes: u64,
    /// Unfinished tasks of one agent, 1 to 100,000,000; beyond, its partitions pause.
    pub pending: u64,
    /// Records that are taken in together, 1 to 10,000.
    pub batch: u64,
    /// Sessions whose results are sent at the same time, 1 to 1,000.
    pub lines: u64,
    /// How long a record that cannot be taken now is left alone at most, 100 ms to 10 min.
    pub retry_max: Period,
    /// Settings of the client library, by its own names: `security.protocol`, `sasl.mechanisms`, `ssl.ca.location`, …
    #[serde(serialize_with = "masked")]
    pub options: BTreeMap<String, String>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            group: "maniple".into(),
            tenant: "default".into(),
            principal: "kafka".into(),
            namespace: "com.myco.agents.v1".into(),
            create_topics: true,
            partitions: 6,
            replication: 0,
            record_bytes: 1 << 20,
            pending: 10_000,
            batch: 256,
            lines: 64,
            retry_max: Period::seconds(30),
            options: BTreeMap::new(),
        }
    }
}

/// What is ours to set: correctness depends on it.
const OURS: [&str; 9] = [
    "bootstrap.servers",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "partition.assignment.strategy",
    "enable.idempotence",
    "acks",
    "partitioner",
];

impl KafkaSettings {
    /// `Invalid` at the key that cannot be.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, why: String| Err(Error::invalid(format!("kafka.{key} {why}")).at("kafka"));
        if let Err(error) = Tenant::parse(&self.tenant) {
            return wrong("tenant", format!("cannot be: {error}"));
        }
        for (key, text) in [("group", &self.group), ("principal", &self.principal)] {
            if text.is_empty() || text.len() > 200 {
                return wrong(key, "must be 1 to 200 characters".into());
            }
        }
        let legal = |part: &str| {
            let first = part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
            first && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !self.namespace.split('.').all(legal) {
            return wrong("namespace", format!("`{}` is none of Avro: write names with dots between them", self.namespace));
        }
        if let Some(ours) = self.options.keys().find(|key| OURS.contains(&key.as_str())) {
            return wrong("options", format!("may not set `{ours}`: that no task is lost depends on it"));
        }
        Ok(())
    }
}

impl Section for KafkaSettings {
    fn bounds(&self) -> Vec<Bound> {
        vec![
            Bound::of("partitions", self.partitions, 1..=1_000),
            Bound::of("replication", self.replication, 0..=32),
            Bound::of("record_bytes", self.record_bytes, (1 << 10)..=(64 << 20)),
            Bound::of("pending", self.pending, 1..=100_000_000),
            Bound::of("batch", self.batch, 1..=10_000),
            Bound::of("lines", self.lines, 1..=1_000),
            Bound::of("retry_max", self.retry_max, Period::ms(100)..=Period::minutes(10)),
        ]
    }
}

/// Secrets among the options are not shown.
fn masked<S: Serializer>(options: &BTreeMap<String, String>, to: S) -> std::result::Result<S::Ok, S::Error> {
    let is_secret = |key: &str| ["password", "secret", "key.pem", "jaas", "sasl.username"].iter().any(|part| key.contains(part));
    to.collect_map(options.iter().map(|(key, value)| (key, if is_secret(key) { "***" } else { value })))
}
