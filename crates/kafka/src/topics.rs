//! Topics that are missing: created, or said how.

use crate::{Brokers, KafkaSettings, client::refused};
use maniple_core::{AgentName, Result};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
};
use std::time::Duration;

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
        // -1 leaves it to the broker.
        let copies = i32::try_from(self.settings.replication).ok().filter(|copies| *copies > 0).unwrap_or(-1);
        let partitions = i32::try_from(self.settings.partitions).unwrap_or(1);
        let new: Vec<NewTopic<'_>> = topics.iter().map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(copies))).collect();
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
        match self.admin.create_topics(&new, &options).await {
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
        let KafkaSettings { partitions, replication, .. } = &self.settings;
        let copies = if *replication == 0 { String::new() } else { format!(" --replication-factor {replication}") };
        format!("kafka-topics.sh --bootstrap-server HOST:PORT --create --topic {topic} --partitions {partitions}{copies}")
    }
}
