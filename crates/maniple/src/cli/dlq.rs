//! `maniple dlq`: look at tasks that kept killing their worker, and at records that could not be read as tasks; try them again, take them out.

mod both;
mod records;

use super::{
    exit::{Exit, Trouble},
    reach::{Need, Reached, Where},
    task::{Page, said, show, taken_over},
};
use clap::{Args, Subcommand};
use maniple_api::client::Client;
use maniple_core::task::{AgentResult, ErrorCode};
use records::{Records, Republish};
use std::path::Path;

/// Tasks that kept killing their worker, and records that could not be read as tasks.
#[derive(Debug, Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    what: Letter,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum Letter {
    /// List dead letters, newest first: tasks, and where events go over Kafka records that could not be read as tasks
    Ls {
        #[command(flatten)]
        page: Page,
    },
    /// Show a dead letter
    Show {
        /// Its id
        task: String,
    },
    /// Try a dead letter again: a new task goes on from its record
    Requeue {
        /// Its id
        task: String,
    },
    /// Take a dead letter out; its record stays
    Drop {
        /// Its id
        task: String,
    },
    /// List an agent's records that could not be read as tasks, as they lie in Kafka
    Records(Records),
    /// Send such a record to its agent's topic again, as it was
    Republish(Republish),
}

impl DeadLetters {
    /// Does it.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        // These lie in Kafka: no node is asked for them.
        let config = self.place.config.as_deref();
        match self.what {
            Letter::Records(records) => return records.run(config, as_json).await,
            Letter::Republish(republish) => return republish.run(config, as_json).await,
            Letter::Ls { .. } | Letter::Show { .. } | Letter::Requeue { .. } | Letter::Drop { .. } => {}
        }
        let config = config.map(Path::to_owned);
        let reached = self.place.reach(Need::Desk).await?;
        let outcome = self.what.act(&reached, config.as_deref(), as_json).await.map_err(|trouble| match trouble.exit {
            Exit::NotFound => trouble.try_next("maniple dlq ls"),
            _ => trouble,
        });
        reached.leave().await;
        outcome
    }
}

impl Letter {
    async fn act(self, reached: &Reached, config: Option<&Path>, as_json: bool) -> Result<Exit, Trouble> {
        let client = &reached.client;
        match self {
            Self::Ls { page } => both::list(client, page, config, as_json).await?,
            Self::Show { task } => show(&dead(client, &task).await?, as_json)?,
            Self::Requeue { task } => taken_over(client.requeue(&task, None).await?, reached, as_json)?,
            Self::Drop { task } => said(&client.drop_dead_letter(&task).await?, as_json, &format!("task {task} is out; its record stays"))?,
            // Done before a node was asked for.
            Self::Records(_) | Self::Republish(_) => {}
        }
        Ok(Exit::Done)
    }
}

/// A task that is a dead letter, or was one.
async fn dead(client: &Client, task: &str) -> Result<AgentResult, Trouble> {
    let result = client.task(task).await?;
    if result.error == Some(ErrorCode::Poisoned) {
        return Ok(result);
    }
    let what = format!("task {task} is {}, no dead letter", result.status.as_str());
    Err(Trouble { exit: Exit::NotFound, what, next: None })
}
