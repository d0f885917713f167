//! Sends records, each until it is acknowledged, and outlives a producer that cannot go on.

use crate::{
    Brokers, KafkaSettings,
    client::{Plain, refused},
};
use maniple_core::Result;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer},
};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// How long the library tries to deliver one record.
pub(crate) const DELIVER_MAX: Duration = Duration::from_secs(20);
/// How long a record waits for room in the library's queue.
const QUEUE_MAX: Duration = Duration::from_secs(5);

/// A record on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Where to.
    pub topic: String,
    /// What decides its partition.
    pub key: Option<Vec<u8>>,
    /// What; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// By name, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a record was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// It is larger than the broker, or the topic, takes.
    TooLarge(String),
    /// There is no such topic.
    NoTopic(String),
    /// Nobody takes it as it is: the same will be refused again.
    Refused(String),
    /// The way to the broker is at fault: the same goes well another time.
    Away(String),
}

impl NotSent {
    fn of(error: &KafkaError) -> Self {
        use RDKafkaErrorCode::*;
        let told = error.to_string();
        match error.rdkafka_error_code() {
            Some(MessageSizeTooLarge | InvalidMessageSize | MessageBatchTooLarge) => Self::TooLarge(told),
            Some(UnknownTopic | UnknownTopicOrPartition) => Self::NoTopic(told),
            Some(
                TopicAuthorizationFailed
                | ClusterAuthorizationFailed
                | InvalidTopic
                | InvalidMessage
                | PolicyViolation
                | InvalidRecord
                | InvalidTimestamp,
            ) => Self::Refused(told),
            _ => Self::Away(told),
        }
    }
    /// What was said.
    pub fn told(&self) -> &str {
        match self {
            Self::TooLarge(told) | Self::NoTopic(told) | Self::Refused(told) | Self::Away(told) => told,
        }
    }
}

type Made = FutureProducer<Plain>;

/// An idempotent producer that waits for all replicas, and is made anew when it has failed for good.
#[derive(Clone)]
pub struct Sender {
    config: ClientConfig,
    current: Arc<RwLock<(u64, Made)>>,
}

impl Sender {
    /// One that sends to these brokers. Nothing is asked of them yet. `Invalid` for options the library does not take.
    pub fn new(brokers: &Brokers, settings: &KafkaSettings) -> Result<Self> {
        let mut config = brokers.config(settings);
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .set("message.timeout.ms", DELIVER_MAX.as_millis().to_string())
            .set("topic.metadata.propagation.max.ms", "5000");
        let made = make(&config).map_err(refused)?;
        Ok(Self { config, current: Arc::new(RwLock::new((0, made))) })
    }

    /// Returns once the record is acknowledged by all in-sync replicas.
    ///
    /// After [`NotSent::Away`] nobody knows whether it is there: sent again, it may be there twice.
    pub async fn send(&self, record: &Record) -> std::result::Result<(), NotSent> {
        let (made, producer) = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let headers = record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
        let message = FutureRecord::<[u8], [u8]> {
            topic: &record.topic,
            partition: None,
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: None,
            headers: Some(headers),
        };
        let Err((error, _)) = producer.send(message, QUEUE_MAX).await else { return Ok(()) };
        if producer.client().fatal_error().is_some() || error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.renew(made, producer, &error);
            return Err(NotSent::Away(error.to_string()));
        }
        Err(NotSent::of(&error))
    }

    /// A producer that failed for good takes nothing any more: another one takes its place. What was under way is sent again.
    fn renew(&self, made: u64, failed: Made, error: &KafkaError) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.0 != made {
            return;
        }
        match make(&self.config) {
            Ok(producer) => {
                tracing::warn!(%error, "the Kafka producer failed for good: another one takes its place");
                metrics::counter!("maniple_kafka_producers_renewed_total").increment(1);
                let old = std::mem::replace(&mut *current, (made + 1, producer));
                // Taking one down waits for its threads.
                std::thread::spawn(move || drop((old, failed)));
            }
            Err(error) => tracing::error!(%error, "the Kafka producer failed for good, and none could be made: trying again"),
        }
    }
}
fn make(config: &ClientConfig) -> rdkafka::error::KafkaResult<Made> {
    config.create_with_context(Plain)
}
