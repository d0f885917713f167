//! Where the brokers are, and how clients of them are made.

use crate::KafkaSettings;
use maniple_core::{Error, Result};
use rdkafka::{ClientConfig, ClientContext, config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError};
use std::{fmt, str::FromStr};

/// `kafka://HOST:PORT,HOST:PORT`, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brokers(String);

impl FromStr for Brokers {
    type Err = Error;
    /// `Invalid`, field `events`.
    fn from_str(url: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("events `{url}` {why}: write kafka://HOST:PORT,HOST:PORT or none")).at("events");
        let list = url.strip_prefix("kafka://").ok_or_else(|| wrong("is not known to this build"))?.trim_end_matches('/');
        let is_broker = |broker: &str| {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            matches!(port, Some(Ok(1..)))
        };
        match list.split(',').all(is_broker) {
            true => Ok(Self(list.to_owned())),
            false => Err(wrong("names a broker without a host or a port")),
        }
    }
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kafka://{}", self.0)
    }
}

impl Brokers {
    /// What every client begins with.
    pub(crate) fn config(&self, settings: &KafkaSettings) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "maniple").set("log.connection.close", "false").set("reconnect.backoff.max.ms", "2000");
        config.set("topic.metadata.refresh.interval.ms", "30000");
        for (key, value) in &settings.options {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.0).set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}

/// A client whose words go to the log.
#[derive(Default)]
pub(crate) struct Plain;

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        log(level, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

/// The same of one that reads.
#[derive(Default)]
pub(crate) struct Reading(Plain);

impl ClientContext for Reading {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}
impl ConsumerContext for Reading {}

pub(crate) fn log(level: RDKafkaLogLevel, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => tracing::error!(message, "kafka"),
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(message, "kafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(message, "kafka"),
    }
}

/// A setting of the client library that it does not take.
pub(crate) fn refused(error: KafkaError) -> Error {
    Error::invalid(format!("the Kafka client cannot be made ({error}): look at kafka.options")).at("kafka")
}
