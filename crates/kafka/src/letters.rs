//! Dead letters: records that can never be read, as they were, with the reason.

use crate::{
    Brokers, KafkaSettings, NotSent, Record, Sender,
    client::{Reading, refused},
};
use futures::{StreamExt, TryStreamExt};
use maniple_core::{AgentName, Error, Result, Time, ports::Place};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, Message, OwnedMessage},
    util::Timeout,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What stands before the names of the headers that say why a record is dead.
const HEADER: &str = "dlq-";
/// How long a topic of dead letters is read at most.
const READ_MAX: Duration = Duration::from_secs(10);
/// How long those of many agents are read at most, and of how many at the same time.
const ALL_MAX: Duration = Duration::from_secs(20);
const BESIDE: usize = 4;

/// The headers of a record, to be passed on.
pub(crate) fn headers_of(record: &OwnedMessage) -> Vec<(String, Option<Vec<u8>>)> {
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

/// Sends a record to the dead letters of its agent; returns once it is acknowledged there.
pub(crate) async fn bury(
    sender: &Sender,
    agent: &AgentName,
    record: &OwnedMessage,
    reason: &str,
    detail: &str,
) -> std::result::Result<(), NotSent> {
    let mut headers: Vec<_> = headers_of(record).into_iter().filter(|(name, _)| !name.starts_with(HEADER)).collect();
    let told = [
        ("reason", reason.to_owned()),
        ("detail", detail.chars().take(1_000).collect()),
        ("topic", record.topic().to_owned()),
        ("partition", record.partition().to_string()),
        ("offset", record.offset().to_string()),
    ];
    headers.extend(told.into_iter().map(|(name, value)| (format!("{HEADER}{name}"), Some(value.into_bytes()))));
    let letter = Record {
        topic: agent.dead_letters_topic(),
        key: record.key().map(<[u8]>::to_vec),
        value: record.payload().map(<[u8]>::to_vec),
        headers,
    };
    match sender.send(&letter).await {
        Err(NotSent::TooLarge(_)) => {
            let bytes = letter.value.as_ref().map_or(0, Vec::len);
            let mut without = Record { value: None, ..letter };
            without.headers.push((format!("{HEADER}bytes-left-out"), Some(bytes.to_string().into_bytes())));
            sender.send(&without).await
        }
        sent => sent,
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRecord {
    /// Where it lies among the dead letters.
    pub place: Place,
    /// When it came there, where the broker says so.
    pub at: Option<Time>,
    /// Why it is there: a word.
    pub reason: String,
    /// The same for people.
    pub detail: String,
    /// Where it lay before.
    pub from: Option<Place>,
    /// Its key, as it was.
    pub key: Option<Vec<u8>>,
    /// Its bytes, as they were; none where they were too large to be kept.
    pub value: Option<Vec<u8>>,
    /// Its headers, as they were.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// How many bytes it had, where they were left out.
    pub left_out: Option<u64>,
}

impl DeadRecord {
    fn of(record: &OwnedMessage) -> Self {
        let (own, headers): (Vec<_>, Vec<_>) = headers_of(record).into_iter().partition(|(name, _)| name.starts_with(HEADER));
        let own: BTreeMap<String, String> = own
            .into_iter()
            .map(|(name, value)| (name[HEADER.len()..].to_owned(), String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()))
            .collect();
        let said = |name: &str| own.get(name).cloned();
        let number = |name: &str| own.get(name).and_then(|number| number.parse::<i64>().ok());
        let from = match (said("topic"), number("partition"), number("offset")) {
            (Some(topic), Some(partition), Some(offset)) => {
                Some(Place { topic, partition: i32::try_from(partition).unwrap_or_default(), offset })
            }
            _ => None,
        };
        Self {
            place: Place { topic: record.topic().to_owned(), partition: record.partition(), offset: record.offset() },
            at: record.timestamp().to_millis().map(Time),
            reason: said("reason").unwrap_or_else(|| "unknown".into()),
            detail: said("detail").unwrap_or_default(),
            from,
            key: record.key().map(<[u8]>::to_vec),
            value: record.payload().map(<[u8]>::to_vec),
            headers,
            left_out: number("bytes-left-out").map(i64::unsigned_abs),
        }
    }
}

/// Reads dead letters, and sends them back as they were.
#[derive(Clone)]
pub struct LettersReader {
    brokers: Brokers,
    settings: KafkaSettings,
    sender: Sender,
}

impl LettersReader {
    /// One at these brokers.
    pub fn new(brokers: Brokers, settings: KafkaSettings, sender: Sender) -> Self {
        Self { brokers, settings, sender }
    }

    /// The newest dead letters of an agent, newest first within a partition, at most `limit`. `Unavailable` where the broker does not answer.
    pub async fn list(&self, agent: &AgentName, limit: usize) -> Result<Vec<DeadRecord>> {
        let (reader, topic) = (self.clone(), agent.dead_letters_topic());
        blocking(move || reader.read(&topic, None, limit)).await
    }

    /// The newest dead letters of all these agents, newest first, at most `limit`, each with its agent. `Unavailable` where the broker
    /// does not answer, or has not answered all within 20 s.
    pub async fn newest(&self, agents: &[AgentName], limit: usize) -> Result<Vec<(AgentName, DeadRecord)>> {
        let lists = futures::stream::iter(agents).map(|agent| async move { Ok::<_, Error>((agent, self.list(agent, limit).await?)) });
        let lists = tokio::time::timeout(ALL_MAX, lists.buffered(BESIDE).try_collect::<Vec<_>>()).await;
        let lists =
            lists.map_err(|_| Error::unavailable("the dead letters in Kafka were not all read in time: ask for those of one agent"))??;
        let all = lists.into_iter().flat_map(|(agent, letters)| letters.into_iter().map(|letter| (agent.clone(), letter)));
        let mut all: Vec<_> = all.collect();
        all.sort_by(|(_, a), (_, b)| (b.at, &b.place.topic, b.place.offset).cmp(&(a.at, &a.place.topic, a.place.offset)));
        all.truncate(limit);
        Ok(all)
    }

    /// Sends a dead letter to where it lay before: its key, its bytes and its headers as they were. It stays among the dead letters
    /// for as long as their topic keeps it. `NotFound` for none there, `Conflict` for one without its bytes.
    pub async fn republish(&self, agent: &AgentName, partition: i32, offset: i64) -> Result<DeadRecord> {
        let (reader, topic) = (self.clone(), agent.dead_letters_topic());
        let found = blocking(move || reader.read(&topic, Some((partition, offset)), 1)).await?;
        let none = || Error::not_found(format!("there is no dead letter at partition {partition}, offset {offset} of `{agent}`"));
        let letter = found.into_iter().next().ok_or_else(none)?;
        if letter.left_out.is_some() {
            return Err(Error::conflict("this dead letter was too large to be kept with its bytes: have its sender send it again"));
        }
        let topic = agent.tasks_topic();
        let record = Record { topic, key: letter.key.clone(), value: letter.value.clone(), headers: letter.headers.clone() };
        self.sender.send(&record).await.map_err(|e| Error::unavailable(format!("the record could not be sent: {}", e.told())))?;
        Ok(letter)
    }

    /// Waits for the broker: on a thread where that may be.
    fn read(&self, topic: &str, at: Option<(i32, i64)>, limit: usize) -> Result<Vec<DeadRecord>> {
        let away = |e: rdkafka::error::KafkaError| Error::unavailable(format!("the dead letters in Kafka cannot be read: {e}"));
        let mut config = self.brokers.config(&self.settings);
        // A group is asked for and never joined.
        config.set("group.id", format!("{}.dlq", self.settings.group)).set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "false");
        let consumer: BaseConsumer<_> = config.create_with_context(Reading::default()).map_err(refused)?;
        let metadata = consumer.fetch_metadata(Some(topic), READ_MAX).map_err(away)?;
        let partitions: Vec<i32> = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        let (mut from, mut ends) = (TopicPartitionList::new(), BTreeMap::new());
        for partition in partitions {
            let (low, high) = consumer.fetch_watermarks(topic, partition, READ_MAX).map_err(away)?;
            let (first, end) = match at {
                Some((wanted, offset)) if wanted == partition && (low..high).contains(&offset) => (offset, offset + 1),
                Some(_) => continue,
                None => (low.max(high - i64::try_from(limit).unwrap_or(i64::MAX)), high),
            };
            if first < end {
                from.add_partition_offset(topic, partition, Offset::Offset(first)).map_err(away)?;
                ends.insert(partition, end);
            }
        }
        if ends.is_empty() {
            return Ok(Vec::new());
        }
        consumer.assign(&from).map_err(away)?;
        let (mut found, until) = (Vec::new(), Instant::now() + READ_MAX);
        while !ends.is_empty() && Instant::now() < until {
            let Some(record) = consumer.poll(Timeout::After(Duration::from_millis(200))) else {
                // Behind the last record there may be marks of transactions, which are never shown.
                let position = consumer.position().map_err(away)?;
                ends.retain(|partition, end| {
                    let at = position.find_partition(topic, *partition).map(|place| place.offset());
                    !matches!(at, Some(Offset::Offset(at)) if at >= *end)
                });
                continue;
            };
            let record = record.map_err(away)?.detach();
            let is_last = ends.get(&record.partition()).is_some_and(|end| record.offset() + 1 >= *end);
            if ends.get(&record.partition()).is_some_and(|end| record.offset() < *end) {
                found.push(DeadRecord::of(&record));
            }
            if is_last {
                ends.remove(&record.partition());
            }
        }
        found.sort_by(|a, b| (a.place.partition, b.place.offset).cmp(&(b.place.partition, a.place.offset)));
        found.truncate(limit);
        Ok(found)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("reading dead letters broke off").because(e))?
}
