//! Takes records in: a consumer that hands each to the door, commits what is handled, and polls.
//!
//! What can never be read goes to the dead letters, acknowledged before its offset is committed. What cannot be taken now makes its
//! partition wait at that record, while polling goes on, so that the group keeps its member.

mod group;

pub(crate) use group::Change;

use crate::{
    Brokers, KafkaSettings, Read, Reader, Sender, TaskRecord,
    client::refused,
    lanes::{self, Partition},
    letters,
    paused::{Paused, Turn},
    topics::Topics,
};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use group::Member;
use maniple_core::{AgentName, Result, ports::Place};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer, StreamConsumer},
    message::{Headers, Message, OwnedMessage},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long a batch is worked at: what is not handled by then waits. Far below `max.poll.interval.ms`.
const BATCH_MAX: Duration = Duration::from_secs(20);
/// What the records of a batch weigh, in bytes, unless a single one is heavier.
const BATCH_BYTES: usize = 16 << 20;
/// How many sessions are taken in at the same time: those that are share a transaction of the store.
const BESIDE: usize = 128;
/// How often agents, pauses and figures are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often agents that came or went are asked after, and topics that are missing are created.
const AGENTS_EVERY: Duration = Duration::from_secs(2);
/// How long an answer of the client is waited for.
const CLIENT_MAX: Duration = Duration::from_secs(5);

/// A record that asks for a task.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Whose topic it came by.
    pub agent: AgentName,
    /// What it says.
    pub task: TaskRecord,
    /// Where it lay.
    pub place: Place,
    /// Its headers `traceparent`, `tracestate` and `trace-id`.
    pub trace: [Option<String>; 3],
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// It is a task: durable.
    Accepted,
    /// It was one before.
    Known,
    /// It never will be one: a word, and why.
    Refused(&'static str, String),
    /// It cannot be taken now.
    NotNow(String),
}

/// What stands behind the consumer.
#[async_trait]
pub trait Door: Send + Sync {
    /// The agents whose tasks are taken here, by name.
    fn agents(&self) -> Vec<AgentName>;
    /// Takes a record in. The same record may come again.
    async fn deliver(&self, letter: Letter) -> Delivered;
    /// The broker has nothing before this offset any more.
    async fn gone_before(&self, place: &Place);
}

/// The consumer.
pub struct Ingest {
    consumer: Arc<StreamConsumer<Member>>,
    door: Arc<dyn Door>,
    reader: Reader,
    sender: Sender,
    topics: Topics,
    settings: KafkaSettings,
}

impl Ingest {
    /// One that joins the group. Nothing is asked of the brokers yet. `Invalid` for options that the library does not take.
    pub fn new(brokers: &Brokers, settings: &KafkaSettings, reader: Reader, sender: Sender, door: Arc<dyn Door>) -> Result<Self> {
        let mut config = brokers.config(settings);
        // What a worker had that was killed waits for as long as its claims do.
        if !settings.options.contains_key("session.timeout.ms") {
            config.set("session.timeout.ms", "10000");
        }
        config
            .set("group.id", &settings.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("statistics.interval.ms", "5000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.message.max.bytes", "1048576");
        let consumer = Arc::new(config.create_with_context(Member::default()).map_err(refused)?);
        let topics = Topics::new(brokers, settings)?;
        Ok(Self { consumer, door, reader, sender, topics, settings: settings.clone() })
    }

    /// Takes records in until `stop`.
    pub async fn work(self, stop: CancellationToken) {
        let mut paused = Paused::new(self.settings.retry_max.duration());
        let (mut agents, mut has_topics, mut asked) = (Vec::new(), true, None::<Instant>);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut committed = BTreeMap::new();
        while !stop.is_cancelled() {
            if asked.is_none_or(|at| at.elapsed() >= AGENTS_EVERY) {
                asked = Some(Instant::now());
                self.follow(&mut agents, &mut has_topics).await;
            }
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = tick.tick() => None,
                record = self.consumer.recv() => match record {
                    Ok(record) => Some(record.detach()),
                    Err(error) => {
                        tracing::debug!(%error, "kafka: nothing to take");
                        None
                    }
                },
            };
            self.note_changes(&mut paused, &mut committed);
            let batch = first.map(|first| self.batch(first)).unwrap_or_default();
            let batch = self.in_turn(batch, &mut paused).await;
            if !batch.is_empty() {
                self.take(batch, &mut paused, &mut committed).await;
            }
            self.try_again(&mut paused).await;
            metrics::gauge!("maniple_kafka_paused_partitions").set(paused.count() as f64);
            for place in self.consumer.context().gone() {
                self.door.gone_before(&place).await;
            }
        }
        self.leave(committed).await;
    }

    /// Agents that came or went, and topics that nobody could create yet.
    async fn follow(&self, known: &mut Vec<AgentName>, has_topics: &mut bool) {
        let agents = self.door.agents();
        if agents == *known && *has_topics {
            return;
        }
        *has_topics = self.topics.create_for(&agents).await;
        if agents == *known {
            return;
        }
        let topics: Vec<String> = agents.iter().map(AgentName::tasks_topic).collect();
        if topics.is_empty() {
            self.consumer.unsubscribe();
        } else if let Err(error) = self.consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()) {
            tracing::warn!(%error, "the topics of this node's agents cannot be subscribed to; trying again");
            return;
        }
        *known = agents;
    }

    /// What there is without waiting, up to the bounds of a batch.
    fn batch(&self, first: OwnedMessage) -> Vec<OwnedMessage> {
        let mut bytes = first.payload().map_or(0, <[u8]>::len);
        let mut batch = vec![first];
        while batch.len() < self.settings.batch as usize && bytes < BATCH_BYTES {
            let Some(Ok(record)) = self.consumer.recv().now_or_never() else { break };
            bytes += record.payload_len();
            batch.push(record.detach());
        }
        batch
    }

    /// Without those that come again, because their partition waits.
    async fn in_turn(&self, batch: Vec<OwnedMessage>, paused: &mut Paused) -> Vec<OwnedMessage> {
        let (mut taken, mut back) = (Vec::new(), BTreeSet::new());
        for record in batch {
            let partition = lanes::partition(&record);
            match paused.turn(&partition, record.offset()) {
                _ if back.contains(&partition) => {}
                Turn::Take => taken.push(record),
                Turn::Drop => {}
                Turn::GoBack(at) => {
                    // Unless the broker has that one no more.
                    if self.first_offset(&partition).await.is_some_and(|first| first > at) {
                        paused.lost_to(&partition, record.offset());
                        tracing::error!(
                            topic = partition.0,
                            partition = partition.1,
                            offset = at,
                            "a record that could not be taken in is past its retention: raise it"
                        );
                        metrics::counter!("maniple_kafka_records_lost_total").increment(1);
                        taken.push(record);
                    } else {
                        self.seek(vec![(partition.clone(), at)]).await;
                        back.insert(partition);
                    }
                }
            }
        }
        taken
    }

    /// Takes a batch in, commits what is handled, and lets the partitions wait that are not.
    async fn take(&self, batch: Vec<OwnedMessage>, paused: &mut Paused, committed: &mut BTreeMap<Partition, i64>) {
        let mut offsets: BTreeMap<Partition, BTreeSet<i64>> = BTreeMap::new();
        for record in &batch {
            offsets.entry(lanes::partition(record)).or_default().insert(record.offset());
        }
        let handled = Mutex::new(BTreeSet::new());
        let mark = |record: &OwnedMessage| {
            handled.lock().unwrap_or_else(PoisonError::into_inner).insert((lanes::partition(record), record.offset()));
        };
        let lanes = futures::stream::iter(lanes::lanes(batch)).for_each_concurrent(BESIDE, async |lane| {
            for record in lane {
                if let Err(why) = self.handle(&record).await {
                    tracing::warn!(topic = record.topic(), partition = record.partition(), offset = record.offset(), why, "a record waits");
                    return;
                }
                mark(&record);
            }
        });
        // What is cut off may be in the store all the same: it comes again and is known.
        let _ = tokio::time::timeout(BATCH_MAX, lanes).await;
        let handled = handled.into_inner().unwrap_or_else(PoisonError::into_inner);

        let (mut stuck, mut commits) = (Vec::new(), TopicPartitionList::new());
        for (partition, reached) in lanes::reached(&offsets, &handled) {
            if let Some(offset) = reached.commit {
                committed.insert(partition.clone(), offset);
                let _ = commits.add_partition_offset(&partition.0, partition.1, Offset::Offset(offset));
            }
            match reached.stuck_at {
                None => paused.flows(&partition),
                Some(at) => {
                    paused.stuck(partition.clone(), at, Instant::now());
                    stuck.push((partition, at));
                }
            }
        }
        if commits.count() > 0
            && let Err(error) = self.consumer.commit(&commits, CommitMode::Async)
        {
            tracing::debug!(%error, "an offset was not committed: its records come again and are known");
        }
        if !stuck.is_empty() {
            // Paused first: a seek before it is forgotten by some versions of the library.
            if let Err(error) = self.consumer.pause(&list(stuck.iter().map(|(partition, _)| partition))) {
                tracing::debug!(%error, "a partition could not be paused: what comes of it is dropped");
            }
            self.seek(stuck).await;
        }
    }

    /// `Err` with why, where it cannot be handled now.
    async fn handle(&self, record: &OwnedMessage) -> std::result::Result<(), String> {
        let Some(agent) = record.topic().strip_prefix("agent.tasks.").and_then(|name| AgentName::parse(name).ok()) else {
            return Err(format!("the topic `{}` is none of an agent", record.topic()));
        };
        let outcome = |outcome: &'static str| {
            metrics::counter!("maniple_kafka_records_total", "agent" => agent.to_string(), "outcome" => outcome).increment(1)
        };
        let (reason, detail) = match self.reader.read(record.payload()).await {
            Read::NotNow(why) => return Err(why),
            Read::Unreadable(why) => ("unreadable", why),
            Read::Task(task) if task.target_agent != agent.as_str() => {
                ("wrong_agent", format!("the record is for `{}`, and lay in the topic of `{agent}`", task.target_agent))
            }
            Read::Task(task) => {
                let header = |name: &str| {
                    let found = record.headers().into_iter().flat_map(|headers| headers.iter()).find(|header| header.key == name);
                    found.and_then(|header| header.value).and_then(|value| std::str::from_utf8(value).ok()).map(str::to_owned)
                };
                let place = Place { topic: record.topic().to_owned(), partition: record.partition(), offset: record.offset() };
                let trace = ["traceparent", "tracestate", "trace-id"].map(header);
                match self.door.deliver(Letter { agent: agent.clone(), task: *task, place, trace }).await {
                    Delivered::Accepted => {
                        outcome("accepted");
                        return Ok(());
                    }
                    Delivered::Known => {
                        outcome("known");
                        return Ok(());
                    }
                    Delivered::NotNow(why) => return Err(why),
                    Delivered::Refused(reason, why) => (reason, why),
                }
            }
        };
        match letters::bury(&self.sender, &agent, record, reason, &detail).await {
            Ok(()) => {
                outcome("dead");
                metrics::counter!("maniple_kafka_dead_letters_total", "agent" => agent.to_string(), "reason" => reason).increment(1);
                tracing::warn!(%agent, offset = record.offset(), reason, detail, "a record went to the dead letters");
                Ok(())
            }
            Err(why) => {
                self.topics.create(&[agent.dead_letters_topic()]).await;
                Err(format!("a dead letter could not be sent: {}", why.told()))
            }
        }
    }

    /// Partitions that were given to this member or taken from it begin anew.
    fn note_changes(&self, paused: &mut Paused, committed: &mut BTreeMap<Partition, i64>) {
        for change in self.consumer.context().changes() {
            let partitions = match change {
                Change::Given(partitions) => {
                    // A pause may outlive the assignment that it was for.
                    let _ = self.consumer.resume(&list(&partitions));
                    partitions
                }
                Change::Taken(partitions) => partitions,
            };
            for partition in &partitions {
                paused.forget(partition);
                committed.remove(partition);
            }
        }
    }

    /// Partitions whose pause is over go on at the record they wait for.
    async fn try_again(&self, paused: &mut Paused) {
        let due = paused.due(Instant::now());
        if due.is_empty() {
            return;
        }
        let partitions: Vec<Partition> = due.iter().map(|(partition, _)| partition.clone()).collect();
        self.seek(due).await;
        if let Err(error) = self.consumer.resume(&list(&partitions)) {
            tracing::debug!(%error, "a partition could not be resumed: it is another's by now");
        }
    }

    async fn seek(&self, to: Vec<(Partition, i64)>) {
        let consumer = self.consumer.clone();
        let sought = tokio::task::spawn_blocking(move || {
            for ((topic, partition), offset) in to {
                if let Err(error) = consumer.seek(&topic, partition, Offset::Offset(offset), CLIENT_MAX) {
                    // Whoever skips that record is told to go back when the next one comes.
                    tracing::debug!(%error, topic, partition, offset, "a seek failed");
                }
            }
        });
        let _ = sought.await;
    }

    async fn first_offset(&self, (topic, partition): &Partition) -> Option<i64> {
        let (consumer, topic, partition) = (self.consumer.clone(), topic.clone(), *partition);
        let asked = tokio::task::spawn_blocking(move || consumer.fetch_watermarks(&topic, partition, CLIENT_MAX));
        asked.await.ok()?.ok().map(|(low, _)| low)
    }

    /// Commits and leaves the group, so that others have its partitions at once.
    async fn leave(self, committed: BTreeMap<Partition, i64>) {
        let left = tokio::task::spawn_blocking(move || {
            let mut offsets = TopicPartitionList::new();
            for ((topic, partition), offset) in committed {
                let _ = offsets.add_partition_offset(&topic, partition, Offset::Offset(offset));
            }
            if offsets.count() > 0
                && let Err(error) = self.consumer.commit(&offsets, CommitMode::Sync)
            {
                tracing::debug!(%error, "the last offsets were not committed: their records come again and are known");
            }
            drop(self.consumer);
        });
        if tokio::time::timeout(CLIENT_MAX, left).await.is_err() {
            tracing::warn!("kafka: the group was not left in time; its other members wait for this one's session to end");
        }
    }
}

fn list<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}
