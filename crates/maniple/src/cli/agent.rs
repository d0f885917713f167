//! `maniple agent`: which agents there are, whether their files are right, whether they do what their cases say.

use super::{
    cases, check,
    exit::{Exit, Trouble},
    reach::{Need, Where},
    screen,
};
use clap::{Args, Subcommand};
use maniple_api::client::TaskQuery;
use std::path::PathBuf;

/// Agents.
#[derive(Debug, Args)]
pub struct Agents {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the agents of a node
    Ls {
        #[command(flatten)]
        place: Where,
    },
    /// Check a project's files: settings, agents, tools, cases
    Check {
        /// The project's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Play cases with a scripted model through the real runtime; nothing leaves this machine
    Test {
        /// Files with cases, or folders of them [default: cases/ of the project]
        cases: Vec<PathBuf>,
        /// The project's folder
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
}

impl Agents {
    /// Does it.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        match self.what {
            What::Ls { place } => list(&place, as_json).await,
            What::Check { dir } => check::check(&dir, as_json),
            What::Test { cases, dir } => cases::test(&dir, &cases, as_json).await,
        }
    }
}

async fn list(place: &Where, as_json: bool) -> Result<Exit, Trouble> {
    let reached = place.reach(Need::Files).await?;
    let page = reached.client.agents(&TaskQuery { limit: Some(200), ..TaskQuery::default() }).await;
    reached.leave().await;
    let page = page?;
    if as_json {
        screen::json(&page)?;
        return Ok(Exit::Done);
    }
    let rows = page.agents.iter().map(|agent| {
        let tools = if agent.tools.is_empty() { "–".to_owned() } else { agent.tools.join(", ") };
        vec![agent.name.clone(), agent.version.clone(), agent.model.clone(), tools, screen::one_line(&agent.description, 80)]
    });
    screen::answer(screen::table(&["AGENT", "VERSION", "MODEL", "TOOLS", "WHAT IT IS FOR"], rows))?;
    Ok(Exit::Done)
}
