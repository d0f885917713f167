//! What a node does at Kafka: takes records in, and sends what the store's outbox holds.

use super::roles::Job;
use crate::{config::Config, doors::kafka::Deliveries};
use anyhow::Context as _;
use maniple_backends::Events;
use maniple_kafka::{Contact, Ingest, Reader, Relay, Sender};
use maniple_runtime::{Agents, desk::Desk};
use std::sync::Arc;

/// What asks whether the brokers answer, where the settings name some: they were read when these were checked.
pub(super) fn contact(config: &Config) -> Option<Contact> {
    let brokers = config.brokers().ok().flatten()?;
    Some(Contact::new(brokers, config.kafka.clone()))
}

/// The jobs of a node whose settings name brokers.
pub(super) fn jobs(config: &Config, desk: Desk, agents: Agents, events: Option<Events>) -> anyhow::Result<Vec<Job>> {
    let Some(brokers) = config.brokers()? else { return Ok(Vec::new()) };
    let events = events.context("events over Kafka need a Postgres store: it keeps what came and what is to be sent")?;
    let (settings, registry) = (&config.kafka, config.schema_registry()?);
    let sender = Sender::new(&brokers, settings)?;
    let relay = Relay::new(&brokers, settings, events.outbox, sender.clone(), registry.clone())?;
    let deliveries = Arc::new(Deliveries::new(desk, agents, events.ingest, settings)?);
    let reader = Reader::new(registry, settings.record_bytes as usize);
    let ingest = Ingest::new(&brokers, settings, reader, sender, deliveries)?;
    Ok(vec![Job::new("kafka ingest", move |stop| ingest.work(stop)), Job::new("kafka relay", move |stop| relay.work(stop))])
}
