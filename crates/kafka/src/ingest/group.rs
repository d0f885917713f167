//! What the client tells of the group, while it is polled.

use crate::{client::log, lanes::Partition};
use maniple_core::ports::Place;
use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// A change of what this member has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Given(Vec<Partition>),
    Taken(Vec<Partition>),
}

/// A member of the group.
#[derive(Default)]
pub(crate) struct Member {
    changes: Mutex<Vec<Change>>,
    /// Where partitions begin now, as far as nobody was told.
    gone: Mutex<Gone>,
}

#[derive(Default)]
struct Gone {
    first: BTreeMap<Partition, i64>,
    told: BTreeMap<Partition, i64>,
}

impl Member {
    /// What changed since it was last asked, oldest first.
    pub(crate) fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where partitions begin that begin later than they did.
    pub(crate) fn gone(&self) -> Vec<Place> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let Gone { first, told } = &mut *gone;
        let mut places = Vec::new();
        for (partition, offset) in first.iter() {
            if told.insert(partition.clone(), *offset) != Some(*offset) {
                places.push(Place { topic: partition.0.clone(), partition: partition.1, offset: *offset });
            }
        }
        places
    }

    fn note(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        log(level, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
    fn stats(&self, statistics: Statistics) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, figures) in &statistics.topics {
            let own: Vec<_> = figures.partitions.values().filter(|partition| partition.partition >= 0 && partition.desired).collect();
            let lag: i64 = own.iter().map(|partition| partition.consumer_lag.max(0)).sum();
            let agent = topic.strip_prefix("agent.tasks.").unwrap_or(topic).to_owned();
            metrics::gauge!("maniple_kafka_lag", "agent" => agent).set(lag as f64);
            gone.first.extend(
                own.iter()
                    .filter(|partition| partition.lo_offset > 0)
                    .map(|partition| ((topic.clone(), partition.partition), partition.lo_offset)),
            );
        }
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.note(Change::Taken(partitions(list)));
        }
    }
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.note(Change::Given(partitions(list))),
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "kafka: the group could not share its partitions out; trying again"),
        }
    }
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "an offset was not committed: its records come again and are known");
        }
    }
}
