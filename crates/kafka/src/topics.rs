//! Topics: those that are missing are created, or it is said how; and what is set for those that are there.

use crate::{Brokers, KafkaSettings, client::refused, examine::Keeps};
use maniple_core::{AgentName, Result};
use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaResult, RDKafkaErrorCode},
};
use std::{collections::BTreeMap, time::Duration};

/// How long the brokers may take over one request.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Creates topics.
pub(crate) struct Topics {
    admin: AdminClient<DefaultClientContext>,
    settings: KafkaSettings,
}

impl Topics {
    pub(crate) fn new(brokers: &Brokers, settings: &KafkaSettings) -> Result<Self> {
        let admin = brokers.config(settings).create().map_err(refused)?;
        Ok(Self { admin, settings: settings.clone() })
    }

    /// Where these agents' tasks come from and where their dead letters and results go.
    /// False where the brokers did not answer: to be tried again.
    pub(crate) async fn create_for(&self, agents: &[AgentName]) -> bool {
        let topics = agents.iter().flat_map(|agent| [agent.tasks_topic(), agent.dead_letters_topic(), agent.results_topic()]);
        self.create(&topics.collect::<Vec<_>>()).await
    }

    /// Creates them where they are missing and that is allowed; else says how. False where the brokers did not answer.
    pub(crate) async fn create(&self, topics: &[String]) -> bool {
        if topics.is_empty() || !self.settings.create_topics {
            return true;
        }
        match self.request(topics, false).await {
            Err(error) => {
                tracing::warn!(%error, "the brokers did not say whether topics are there; trying again");
                false
            }
            Ok(outcomes) => {
                for (topic, code) in outcomes.into_iter().filter_map(std::result::Result::err) {
                    if code != RDKafkaErrorCode::TopicAlreadyExists {
                        let command = self.command(&topic);
                        tracing::warn!(topic, error = %code, command, "a topic could not be created here: create it with this command");
                    }
                }
                true
            }
        }
    }

    /// What creates a topic.
    pub(crate) fn command(&self, topic: &str) -> String {
        command(&self.settings, topic)
    }

    /// Why each of these could not be created, if it could not; nothing is.
    pub(crate) async fn may_create(&self, topics: &[String]) -> BTreeMap<String, Option<String>> {
        let all = |why: Option<&str>| topics.iter().map(|topic| (topic.clone(), why.map(str::to_owned))).collect();
        if topics.is_empty() {
            return BTreeMap::new();
        }
        if !self.settings.create_topics {
            return all(Some("kafka.create_topics is false"));
        }
        match self.request(topics, true).await {
            Err(error) => all(Some(&error.to_string())),
            Ok(outcomes) => outcomes
                .into_iter()
                .map(|outcome| match outcome {
                    Ok(topic) | Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => (topic, None),
                    Err((topic, code)) => (topic, Some(code.to_string())),
                })
                .collect(),
        }
    }

    /// Has topics created, or only looked at whether they could be.
    async fn request(
        &self,
        topics: &[String],
        only_look: bool,
    ) -> KafkaResult<Vec<std::result::Result<String, (String, RDKafkaErrorCode)>>> {
        // -1 leaves it to the broker.
        let copies = i32::try_from(self.settings.replication).ok().filter(|copies| *copies > 0).unwrap_or(-1);
        let partitions = i32::try_from(self.settings.partitions).unwrap_or(1);
        let new: Vec<NewTopic<'_>> = topics.iter().map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(copies))).collect();
        self.admin.create_topics(&new, &AdminOptions::new().request_timeout(Some(ANSWER_MAX)).validate_only(only_look)).await
    }

    /// How long these topics keep records, and which version that broker names.
    pub(crate) async fn describe(&self, topics: &[String], broker: Option<i32>) -> Described {
        let of_topics = topics.iter().map(|topic| ResourceSpecifier::Topic(topic));
        let asked: Vec<ResourceSpecifier<'_>> = of_topics.chain(broker.map(ResourceSpecifier::Broker)).collect();
        let mut described = Described::default();
        let answered = match asked.is_empty() {
            true => Ok(Vec::new()),
            false => self.admin.describe_configs(&asked, &AdminOptions::new().request_timeout(Some(ANSWER_MAX))).await,
        };
        let why = match answered {
            Err(error) => error.to_string(),
            Ok(answers) => {
                let mut refused = None;
                for answer in answers {
                    match answer {
                        Ok(resource) => described.learn(&resource),
                        Err(code) => refused = Some(code.to_string()),
                    }
                }
                refused.unwrap_or_else(|| "no answer".into())
            }
        };
        for topic in topics {
            described.topics.entry(topic.clone()).or_insert_with(|| Err(why.clone()));
        }
        described
    }
}

/// What is set at the brokers.
#[derive(Debug, Default)]
pub(crate) struct Described {
    /// How long each topic keeps records, or why it does not say so.
    pub(crate) topics: BTreeMap<String, std::result::Result<Keeps, String>>,
    /// The version that brokers speak among each other, where one is named.
    pub(crate) version: Option<String>,
}

impl Described {
    fn learn(&mut self, resource: &ConfigResource) {
        let said = |name: &str| resource.get(name).and_then(|entry| entry.value.clone());
        let number = |name: &str| said(name).and_then(|value| value.parse::<i64>().ok());
        match &resource.specifier {
            OwnedResourceSpecifier::Topic(topic) => {
                let keeps = match (said("cleanup.policy"), number("retention.ms"), number("retention.bytes")) {
                    (Some(policy), Some(ms), Some(bytes)) => Ok(Keeps { policy, ms, bytes }),
                    _ => Err("the brokers leave it out".into()),
                };
                self.topics.insert(topic.clone(), keeps);
            }
            OwnedResourceSpecifier::Broker(_) => self.version = said("inter.broker.protocol.version"),
            OwnedResourceSpecifier::Group(_) => {}
        }
    }
}

/// What creates a topic.
pub(crate) fn command(settings: &KafkaSettings, topic: &str) -> String {
    let KafkaSettings { partitions, replication, .. } = settings;
    let copies = if *replication == 0 { String::new() } else { format!(" --replication-factor {replication}") };
    format!("kafka-topics.sh --bootstrap-server HOST:PORT --create --topic {topic} --partitions {partitions}{copies}")
}

/// Whether tasks come by it.
pub(crate) fn is_of_tasks(topic: &str) -> bool {
    topic.starts_with("agent.tasks.") && !topic.ends_with(".dlq")
}
