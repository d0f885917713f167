//! Whether brokers answer, known without waiting for them.

use crate::{
    Brokers, KafkaSettings,
    client::{Reading, refused},
};
use maniple_core::{Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How often they are asked while they answer, and while they do not.
const EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// What is asked about: any topic will do, whether it is there or not.
const TOPIC: &str = "agent.tasks";

/// Asks brokers again and again, and keeps what came of it.
#[derive(Clone)]
pub struct Contact {
    brokers: Brokers,
    settings: KafkaSettings,
    last: Arc<RwLock<Result<()>>>,
}

impl Contact {
    /// With these brokers. Nothing is asked of them yet.
    pub fn new(brokers: Brokers, settings: KafkaSettings) -> Self {
        let not_yet = Error::unavailable(format!("{brokers} did not answer yet"));
        Self { brokers, settings, last: Arc::new(RwLock::new(Err(not_yet))) }
    }

    /// What came of it last, at most a few seconds ago: `Unavailable` where they did not answer. Does not wait.
    pub fn last(&self) -> Result<()> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks until `stop`.
    pub async fn work(self, stop: CancellationToken) {
        let mut client = None::<Arc<BaseConsumer<Reading>>>;
        while !stop.is_cancelled() {
            let asked = match self.client(&mut client) {
                Ok(client) => ask(client).await,
                Err(error) => Err(error),
            };
            let answers = asked.is_ok();
            metrics::gauge!("maniple_kafka_up").set(if answers { 1.0 } else { 0.0 });
            let asked = asked.map_err(|error| Error::unavailable(format!("{} does not answer: {}", self.brokers, error.message)));
            *self.last.write().unwrap_or_else(PoisonError::into_inner) = asked;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(if answers { EVERY.0 } else { EVERY.1 }) => {}
            }
        }
        // Taking it down may wait for its threads.
        std::thread::spawn(move || drop(client));
    }

    /// One client for all questions: it keeps its connection, and makes it anew.
    fn client(&self, made: &mut Option<Arc<BaseConsumer<Reading>>>) -> Result<Arc<BaseConsumer<Reading>>> {
        if let Some(client) = made {
            return Ok(client.clone());
        }
        let mut config = self.brokers.config(&self.settings);
        // A topic that is asked about is not made by that.
        config.set("allow.auto.create.topics", "false");
        let client = Arc::new(config.create_with_context(Reading::default()).map_err(refused)?);
        Ok(made.insert(client).clone())
    }
}

async fn ask(client: Arc<BaseConsumer<Reading>>) -> Result<()> {
    let asked = tokio::task::spawn_blocking(move || {
        let answer = client.fetch_metadata(Some(TOPIC), ANSWER_MAX);
        // What the library has to say would pile up otherwise.
        while client.poll(Duration::from_millis(1)).is_some() {}
        answer.map(drop)
    });
    match asked.await {
        Ok(answer) => answer.map_err(|error| Error::unavailable(error.to_string())),
        Err(error) => Err(Error::internal("asking the brokers broke off").because(error)),
    }
}
