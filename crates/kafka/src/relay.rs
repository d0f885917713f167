//! Sends what the store's outbox holds: each line in its order, each row until it is acknowledged.

use crate::{Brokers, KafkaSettings, NotSent, Record, SchemaRegistry, Sender, avro, topics::Topics};
use apache_avro::Schema;
use maniple_core::{
    Error, Kind, Result,
    ports::{Line, Outbox, OutboxRow, ResultFact, Settled},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a line is this relay's. Longer than [`SEND_FOR`] and one delivery together.
const LEASE: Duration = Duration::from_secs(60);
/// How long rows of a line are sent under one lease.
const SEND_FOR: Duration = Duration::from_secs(20);
/// How many rows of a line are taken at once, and what they weigh at most.
const ROWS: usize = 64;
const ROWS_BYTES: usize = 1 << 20;
/// How often the outbox is looked at while it is empty.
const IDLE: Duration = Duration::from_millis(100);
/// How long a line is left alone when the way is at fault.
const AWAY: Duration = Duration::from_secs(1);
/// How long a line is left alone at most when its first row is at fault.
const BLOCKED_MAX: Duration = Duration::from_secs(60);
/// How often the figures are taken.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// How often letting go of a line is tried; then its lease ends it.
const SETTLE_TRIES: u32 = 5;
/// How long what is under way is waited for at the end.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The relay. Any number of them may work at one outbox.
pub struct Relay {
    parts: Arc<Parts>,
    lines: usize,
}

struct Parts {
    outbox: Arc<dyn Outbox>,
    sender: Sender,
    topics: Topics,
    /// Where results are Avro: the registry, and their schema.
    avro: Option<(SchemaRegistry, String, Schema)>,
    holder: String,
}

impl Relay {
    /// One over an outbox; results are Avro where there is a registry, else JSON.
    pub fn new(
        brokers: &Brokers,
        settings: &KafkaSettings,
        outbox: Arc<dyn Outbox>,
        sender: Sender,
        registry: Option<SchemaRegistry>,
    ) -> Result<Self> {
        let avro = match registry {
            None => None,
            Some(registry) => {
                let text = avro::result_schema(&settings.namespace);
                let schema = avro::parse(&text)?;
                Some((registry, text, schema))
            }
        };
        let holder = format!("{:032x}", fastrand::u128(..));
        let topics = Topics::new(brokers, settings)?;
        Ok(Self { parts: Arc::new(Parts { outbox, sender, topics, avro, holder }), lines: settings.lines as usize })
    }

    /// Sends until `stop`; what is under way then is waited for.
    pub async fn work(self, stop: CancellationToken) {
        let mut sending = JoinSet::new();
        let mut looked = None::<Instant>;
        while !stop.is_cancelled() {
            if looked.is_none_or(|at| at.elapsed() >= FIGURES_EVERY) {
                looked = Some(Instant::now());
                self.parts.figures().await;
            }
            while sending.try_join_next().is_some() {}
            let free = self.lines - sending.len();
            let taken = match free {
                0 => Ok(Vec::new()),
                _ => self.parts.outbox.take(&self.parts.holder, free, ROWS, ROWS_BYTES, LEASE).await,
            };
            let pause = match taken {
                Ok(lines) if !lines.is_empty() => {
                    let until = Instant::now() + SEND_FOR;
                    for line in lines {
                        let parts = self.parts.clone();
                        sending.spawn(async move { parts.send(line, until).await });
                    }
                    continue;
                }
                Ok(_) => IDLE.mul_f64(0.5 + fastrand::f64()),
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read; trying again");
                    AWAY
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                // A line that is done may have more.
                Some(_) = sending.join_next(), if !sending.is_empty() => {}
            }
        }
        let rest = async { while sending.join_next().await.is_some() {} };
        // What is cut off is another's when its lease ends.
        let _ = tokio::time::timeout(STOP_MAX, rest).await;
    }
}

impl Parts {
    /// Sends a line's rows in their order, and lets go of it.
    async fn send(&self, line: Line, until: Instant) {
        let Line { topic, key, failures, rows } = line;
        let mut settled = Settled { topic, key, sent: Vec::new(), pause: Duration::ZERO, failures: 0 };
        for row in rows {
            if Instant::now() >= until {
                break;
            }
            match self.send_row(&settled.topic, &settled.key, &row).await {
                Ok(()) => {
                    metrics::counter!("maniple_kafka_records_sent_total").increment(1);
                    settled.sent.push(row.number);
                }
                Err(NotSent::Away(why)) => {
                    tracing::warn!(topic = settled.topic, why, "kafka cannot be reached; trying again");
                    (settled.pause, settled.failures) = (AWAY, if settled.sent.is_empty() { failures } else { 0 });
                    break;
                }
                Err(why) => {
                    let failures = if settled.sent.is_empty() { failures.saturating_add(1) } else { 1 };
                    (settled.pause, settled.failures) = (blocked(failures), failures);
                    self.tell(&settled.topic, &row, &why, failures).await;
                    break;
                }
            }
        }
        for again in 1..=SETTLE_TRIES {
            match self.outbox.settle(&self.holder, &settled).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "what was sent could not be struck off; trying again");
                    tokio::time::sleep(AWAY * again).await;
                }
            }
        }
    }

    async fn tell(&self, topic: &str, row: &OutboxRow, why: &NotSent, failures: u32) {
        let told = why.told();
        if let NotSent::NoTopic(_) = why {
            self.topics.create(&[topic.to_owned()]).await;
            let command = self.topics.command(topic);
            tracing::warn!(topic, event_id = row.event_id, failures, command, "a topic is missing: what is for it waits");
        } else {
            tracing::error!(
                topic,
                event_id = row.event_id,
                failures,
                why = told,
                "a row cannot be sent: its session waits, and others do not"
            );
        }
    }

    async fn send_row(&self, topic: &str, key: &str, row: &OutboxRow) -> std::result::Result<(), NotSent> {
        let fact: Option<ResultFact> = topic.starts_with("agent.results.").then(|| serde_json::from_str(&row.payload).ok()).flatten();
        let value = match &fact {
            Some(fact) => self.written(topic, fact).await?,
            None => row.payload.clone().into_bytes(),
        };
        let mut headers = vec![("event-id".to_owned(), Some(row.event_id.clone().into_bytes()))];
        headers.extend(row.trace_id.clone().map(|trace| ("trace-id".to_owned(), Some(trace.into_bytes()))));
        let mut record = Record { topic: topic.to_owned(), key: Some(key.as_bytes().to_vec()), value: Some(value), headers };
        let why = match self.sender.send(&record).await {
            Err(NotSent::TooLarge(why)) => why,
            sent => return sent,
        };
        // Without what makes it large, and saying so.
        record.headers.push(("omitted".into(), Some(if fact.is_some() { b"output".to_vec() } else { b"data".to_vec() })));
        record.value = Some(match fact {
            Some(fact) => {
                let error = fact.error.clone().or_else(|| Some("output_omitted".into()));
                self.written(topic, &ResultFact { output: None, error, ..fact }).await?
            }
            None => without_data(&row.payload).ok_or(NotSent::TooLarge(why))?,
        });
        metrics::counter!("maniple_kafka_records_cut_total").increment(1);
        self.sender.send(&record).await
    }

    /// A result as it is sent.
    async fn written(&self, topic: &str, fact: &ResultFact) -> std::result::Result<Vec<u8>, NotSent> {
        let failed = |error: Error| match error.kind {
            Kind::Unavailable => NotSent::Away(error.message.into_owned()),
            _ => NotSent::Refused(error.message.into_owned()),
        };
        match &self.avro {
            None => serde_json::to_vec(fact).map_err(|e| NotSent::Refused(e.to_string())),
            Some((registry, text, schema)) => {
                let id = registry.id(topic, text).await.map_err(failed)?;
                avro::write_result(fact, schema, id).map_err(failed)
            }
        }
    }

    async fn figures(&self) {
        match self.outbox.backlog().await {
            Ok(backlog) => {
                metrics::gauge!("maniple_kafka_outbox_rows").set(backlog.rows as f64);
                metrics::gauge!("maniple_kafka_outbox_oldest_seconds").set(backlog.oldest.as_secs_f64());
                metrics::gauge!("maniple_kafka_outbox_blocked").set(backlog.blocked as f64);
            }
            Err(error) => tracing::debug!(%error, "the outbox could not be measured"),
        }
    }
}

/// How long a line is left alone whose first row failed so often.
fn blocked(failures: u32) -> Duration {
    Duration::from_millis(500).saturating_mul(1 << failures.min(10)).min(BLOCKED_MAX)
}

/// An event without what makes it large.
fn without_data(payload: &str) -> Option<Vec<u8>> {
    let mut event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(payload).ok()?;
    event.insert("data".into(), serde_json::Value::Null);
    serde_json::to_vec(&event).ok()
}
