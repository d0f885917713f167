//! Records that could not be read as tasks: they lie in Kafka, beside the topic they came by.

use crate::{
    cli::{
        exit::{Exit, Trouble},
        screen, settings,
    },
    config::{Config, For},
};
use clap::Args;
use maniple_core::{AgentName, Error};
use maniple_kafka::{DeadRecord, LettersReader, Sender};
use serde_json::{Value, json};
use std::path::Path;

/// Whose, and how many.
#[derive(Debug, Args)]
pub struct Records {
    /// Of which agent
    agent: String,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    limit: u64,
}

/// Which.
#[derive(Debug, Args)]
pub struct Republish {
    /// Of which agent
    agent: String,
    /// Its place as `maniple dlq records` shows it: PARTITION:OFFSET
    place: String,
}

fn reader(config: Option<&Path>) -> Result<LettersReader, Trouble> {
    let none =
        || Trouble::usage("these settings name no brokers: records are dead letters of `events: kafka://…`").try_next("maniple dlq ls");
    reader_of(settings(config, For::Looking)?)?.ok_or_else(none)
}

/// What reads dead records, where these settings name brokers.
pub(super) fn reader_of(config: Config) -> Result<Option<LettersReader>, Trouble> {
    let Some(brokers) = config.brokers()? else { return Ok(None) };
    let sender = Sender::new(&brokers, &config.kafka)?;
    Ok(Some(LettersReader::new(brokers, config.kafka, sender)))
}

impl Records {
    /// Lists them.
    pub async fn run(self, config: Option<&Path>, as_json: bool) -> Result<Exit, Trouble> {
        let agent = AgentName::parse(&self.agent)?;
        let found = reader(config)?.list(&agent, self.limit as usize).await?;
        if as_json {
            screen::json(&json!({ "records": found.iter().map(|dead| told(&agent, dead)).collect::<Vec<_>>() }))?;
        } else if found.is_empty() {
            screen::remark("no dead records");
        } else {
            let rows = found.iter().map(|dead| {
                let place = place(dead);
                let from = dead.from.as_ref().map(|from| format!("{}:{}", from.partition, from.offset)).unwrap_or_default();
                let value = dead.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                vec![place, from, dead.reason.clone(), screen::one_line(&dead.detail, 60), screen::one_line(&value, 40)]
            });
            screen::answer(screen::table(&["PLACE", "CAME FROM", "REASON", "WHY", "BYTES"], rows))?;
        }
        Ok(Exit::Done)
    }
}

impl Republish {
    /// Sends it to its agent's topic again, as it was.
    pub async fn run(self, config: Option<&Path>, as_json: bool) -> Result<Exit, Trouble> {
        let agent = AgentName::parse(&self.agent)?;
        let place = self.place.split_once(':').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
        let Some((partition, offset)) = place else {
            return Err(Error::invalid(format!("`{}` is no place: write PARTITION:OFFSET, such as 0:17", self.place)).into());
        };
        let sent = reader(config)?.republish(&agent, partition, offset).await;
        let sent = sent.map_err(|error| Trouble::from(error).try_next(format!("maniple dlq records {agent}")))?;
        if as_json {
            screen::json(&told(&agent, &sent))?;
        } else {
            screen::answer(format!("record {} is in {} again, as it was", self.place, agent.tasks_topic()))?;
        }
        Ok(Exit::Done)
    }
}

/// A record as other programs read it: bytes that are no UTF-8 are shown with what stands for them.
pub(super) fn told(agent: &AgentName, dead: &DeadRecord) -> Value {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    json!({
        "agent": agent,
        "place": place(dead),
        "at": dead.at,
        "reason": dead.reason,
        "detail": dead.detail,
        "topic": dead.from.as_ref().map(|from| &from.topic),
        "partition": dead.from.as_ref().map(|from| from.partition),
        "offset": dead.from.as_ref().map(|from| from.offset),
        "key": dead.key.as_ref().map(text),
        "value": dead.value.as_ref().map(text),
        "bytes_left_out": dead.left_out,
    })
}

/// Where it lies, as `dlq republish` takes it.
pub(super) fn place(dead: &DeadRecord) -> String {
    format!("{}:{}", dead.place.partition, dead.place.offset)
}
