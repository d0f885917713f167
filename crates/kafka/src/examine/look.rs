//! What brokers say of themselves, of topics and of the group.

use super::{Keeps, hears::Hears};
use crate::{Brokers, KafkaSettings, client::refused, topics::Topics};
use maniple_core::AgentName;
use rdkafka::{
    Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long one question may take.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How long the questions that wait on a thread of their own may take together.
const THREAD_MAX: Duration = Duration::from_secs(10);

/// How long, and how often, what the library says beside its answers is listened to.
const LISTENED: Duration = Duration::from_millis(50);
const LISTENED_TIMES: usize = 10;

/// What was seen.
pub(super) struct Seen {
    /// How long the first answer took.
    pub(super) took: Duration,
    /// How many brokers there are.
    pub(super) brokers: usize,
    /// Which of them is the controller, -1 for none; nothing where that was not said.
    pub(super) controller: Option<i32>,
    /// The version of the protocol that brokers speak among each other, where their settings name one.
    pub(super) version: Option<String>,
    /// The topics that are there.
    pub(super) topics: BTreeMap<String, Topic>,
    /// Those that are not, each with why it may not be created, if it may not.
    pub(super) missing: BTreeMap<String, Option<String>>,
    /// The consumer group, or why it was not told of.
    pub(super) group: Result<Group, String>,
}

/// A topic that is there.
pub(super) struct Topic {
    /// The fewest copies that a partition of it has.
    pub(super) copies: usize,
    /// How long it keeps records, or why it does not say so.
    pub(super) keeps: Result<Keeps, String>,
}

/// The consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Group {
    /// As the brokers call it: `Stable`, `Empty`, `Dead` …
    pub(super) state: String,
    /// Who takes.
    pub(super) members: usize,
    /// Records that nobody has taken yet.
    pub(super) waiting: i64,
    /// Records that were gone before anybody took them.
    pub(super) lost: i64,
}

/// Asks. `Err` with why where the brokers cannot be reached or the client cannot be made.
pub(super) async fn look(brokers: &Brokers, settings: &KafkaSettings, agents: &[AgentName]) -> Result<Seen, String> {
    let wanted: Vec<String> =
        agents.iter().flat_map(|agent| [agent.tasks_topic(), agent.dead_letters_topic(), agent.results_topic()]).collect();
    let ingest: Vec<String> = agents.iter().map(AgentName::tasks_topic).collect();
    let asker = Asker { brokers: brokers.clone(), settings: settings.clone() };
    // A thread of its own: the library's questions wait. It ends at its bound, whoever still listens.
    let answers = tokio::task::spawn_blocking(move || asker.ask(&ingest)).await.map_err(|error| error.to_string())??;
    let Answers { took, brokers: ids, controller, copies, group } = answers;

    let topics = Topics::new(brokers, settings).map_err(|error| error.message.into_owned())?;
    let (there, missing): (Vec<String>, Vec<String>) = wanted.into_iter().partition(|topic| copies.contains_key(topic));
    let ingest: Vec<String> = there.iter().filter(|topic| agents.iter().any(|agent| agent.tasks_topic() == **topic)).cloned().collect();
    let (described, may) = tokio::join!(topics.describe(&ingest, ids.first().copied()), topics.may_create(&missing));
    let there = there.into_iter().map(|topic| {
        let keeps = described.topics.get(&topic).cloned().unwrap_or_else(|| Err("it was not asked".into()));
        let copies = copies.get(&topic).copied().unwrap_or_default();
        (topic, Topic { copies, keeps })
    });
    Ok(Seen { took, brokers: ids.len(), controller, version: described.version, topics: there.collect(), missing: may, group })
}

struct Asker {
    brokers: Brokers,
    settings: KafkaSettings,
}

struct Answers {
    took: Duration,
    brokers: Vec<i32>,
    controller: Option<i32>,
    /// Of every topic that is there, the fewest copies that a partition has.
    copies: BTreeMap<String, usize>,
    group: Result<Group, String>,
}

impl Asker {
    fn ask(&self, ingest: &[String]) -> Result<Answers, String> {
        let mut config = self.brokers.config(&self.settings);
        // A group is asked about and never joined; a topic that is asked about is not made by that.
        config.set("group.id", &self.settings.group).set("enable.auto.commit", "false").set("allow.auto.create.topics", "false");
        config.set("debug", "metadata").set("log.connection.close", "true").set_log_level(RDKafkaLogLevel::Debug);
        let made = config.create_with_context::<_, BaseConsumer<Hears>>(Hears::default());
        let consumer = made.map_err(|error| refused(error).message.into_owned())?;
        let until = Instant::now() + THREAD_MAX;
        let (began, metadata) = (Instant::now(), consumer.fetch_metadata(None, CALL_MAX));
        // What the library says beside its answer is told to whoever polls, and it says one thing after the other.
        let hears = consumer.context().clone();
        let is_told = || if metadata.is_ok() { hears.controller().is_some() } else { hears.why().is_some() };
        for _ in 0..LISTENED_TIMES {
            // Errors are heard as well: an error of the poll is one of those.
            let _ = consumer.poll(LISTENED);
            if is_told() {
                break;
            }
        }
        let metadata =
            metadata.map_err(|error| hears.why().unwrap_or_else(|| format!("no answer within {} s ({error})", CALL_MAX.as_secs())))?;
        let took = began.elapsed();
        let there = metadata.topics().iter().filter(|topic| topic.error().is_none());
        let copies = there.map(|topic| {
            (topic.name().to_owned(), topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0))
        });
        let partitions = metadata.topics().iter().filter(|topic| topic.error().is_none() && ingest.iter().any(|name| name == topic.name()));
        let partitions: Vec<(String, i32)> =
            partitions.flat_map(|topic| topic.partitions().iter().map(|partition| (topic.name().to_owned(), partition.id()))).collect();
        let group = self.group(&consumer, &partitions, until);
        Ok(Answers {
            took,
            brokers: metadata.brokers().iter().map(|broker| broker.id()).collect(),
            controller: hears.controller(),
            copies: copies.collect(),
            group,
        })
    }

    fn group(&self, consumer: &BaseConsumer<Hears>, partitions: &[(String, i32)], until: Instant) -> Result<Group, String> {
        let left = || until.saturating_duration_since(Instant::now()).min(CALL_MAX).max(Duration::from_millis(1));
        let told = |error: KafkaError| error.to_string();
        let groups = consumer.fetch_group_list(Some(&self.settings.group), left()).map_err(told)?;
        let found = groups.groups().iter().find(|group| group.name() == self.settings.group);
        let mut group = found.map_or_else(Group::default, |found| Group {
            state: found.state().to_owned(),
            members: found.members().len(),
            ..Group::default()
        });
        if partitions.is_empty() {
            return Ok(group);
        }
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in partitions {
            asked.add_partition(topic, *partition);
        }
        let committed = consumer.committed_offsets(asked, left()).map_err(told)?;
        for (topic, partition) in partitions {
            if Instant::now() >= until {
                return Err(format!("not all partitions were told of within {} s", THREAD_MAX.as_secs()));
            }
            let (low, high) = consumer.fetch_watermarks(topic, *partition, left()).map_err(told)?;
            let taken = match committed.find_partition(topic, *partition).map(|place| place.offset()) {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            };
            group.lost += taken.map_or(0, |taken| (low - taken).max(0));
            group.waiting += (high - taken.unwrap_or(low).max(low)).max(0);
        }
        Ok(group)
    }
}
