//! `maniple tool`: which tools there are, how they are, what changed; to bring one, call one, pin them.
//!
//! | module | thought |
//! |---|---|
//! | `look` | `ls`, `show`, `diff`, `docs` |
//! | `publish` | `add`, `rm` |
//! | `call` | `call` |
//! | `pin` | `lock`, `verify` |

mod call;
mod look;
mod pin;
mod publish;

use super::{
    exit::{Exit, Trouble},
    reach::{Need, Reached, Where},
};
use crate::config::For;
use clap::{Args, Subcommand};
use maniple_api::client::Client;
use maniple_core::{Error, tool::ToolVersion};
use std::path::{Path, PathBuf};

/// Tools of a node.
#[derive(Debug, Args)]
pub struct Tools {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List tools with their versions, and how they are
    Ls {
        /// Exactly what this agent may use now
        #[arg(long, value_name = "NAME", conflicts_with = "cursor")]
        agent: Option<String>,
        /// How many names at most, 1 to 200
        #[arg(long, value_name = "N", default_value_t = 200)]
        limit: usize,
        /// Where the page before ended, as it said
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show a tool: what it takes, who serves it, what changed
    Show {
        /// NAME, or NAME@VERSION
        tool: String,
    },
    /// Compare two versions, or one with a file: what breaks for callers
    Diff {
        /// The tool
        name: String,
        /// The old version; alone with a file, the version before it
        old: String,
        /// The new version, or a file with it
        new: Option<String>,
    },
    /// Bring a definition, from a file or a URL; it stays until it is removed
    Add {
        /// A file, or an http(s) URL, with one definition in YAML or JSON
        source: String,
        /// Why it is taken in although its compatibility is not proven; recorded
        #[arg(long = "override", value_name = "REASON")]
        reason: Option<String>,
    },
    /// Call a tool on an agent's grant
    #[command(disable_version_flag = true)]
    Call(call::Call),
    /// Forget a tool, or one version of it, that was added or registered itself
    Rm {
        /// NAME, or NAME@VERSION
        tool: String,
    },
    /// Write what the tools are now into tools.lock, beside maniple.yaml
    Lock {
        /// These only; the others stay as they are in the file
        names: Vec<String>,
    },
    /// Compare the tools with tools.lock: exits 1 and names what is not as it was
    Verify,
    /// Write the documentation of all tools, in Markdown
    Docs {
        /// Into this file [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Tools {
    /// Does it.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let reached = self.place.reach(self.need()?).await?;
        let outcome = self.act(&reached.client, &reached, as_json).await.map_err(|trouble| match trouble.exit {
            Exit::NotFound if trouble.next.as_deref().is_none_or(|next| next == "maniple task ls") => trouble.try_next("maniple tool ls"),
            _ => trouble,
        });
        reached.leave().await;
        outcome
    }

    /// A store that is there is looked into; where there is none, the project's files tell. Only what is kept needs one.
    fn need(&self) -> Result<Need, Trouble> {
        if matches!(self.what, What::Add { .. } | What::Rm { .. }) || self.place.is_given()? {
            return Ok(Need::Desk);
        }
        let store = super::settings(self.place.config.as_deref(), For::Looking)?.store_url()?;
        let is_there = store.file().is_some_and(Path::exists);
        Ok(if is_there { Need::Desk } else { Need::Files })
    }

    async fn act(&self, client: &Client, reached: &Reached, as_json: bool) -> Result<Exit, Trouble> {
        match &self.what {
            What::Ls { agent: Some(agent), .. } => look::granted(client, agent, as_json).await,
            What::Ls { limit, cursor, .. } => look::list(client, *limit, cursor.as_deref(), as_json).await,
            What::Show { tool } => look::show(client, tool, as_json).await,
            What::Diff { name, old, new } => look::diff(client, name, old, new.as_deref(), as_json).await,
            What::Add { source, reason } => publish::add(client, source, reason.as_deref(), reached, as_json).await,
            What::Rm { tool } => publish::remove(client, tool, as_json).await,
            What::Call(call) => call.run(client, as_json).await,
            What::Lock { names } => pin::lock(client, &self.lock_file()?, names, as_json).await,
            What::Docs { output } => look::docs(client, output.as_deref(), as_json).await,
            What::Verify => pin::verify(client, &self.lock_file()?, as_json).await,
        }
    }

    /// Beside the settings.
    fn lock_file(&self) -> Result<PathBuf, Trouble> {
        Ok(super::settings(self.place.config.as_deref(), For::Looking)?.path(maniple_registry::lock::FILE_NAME))
    }
}

/// `NAME` or `NAME@VERSION`.
fn named(tool: &str) -> (&str, Option<&str>) {
    tool.split_once('@').map_or((tool, None), |(name, version)| (name, Some(version)))
}

/// Every version of every tool.
async fn everything(client: &Client) -> Result<Vec<ToolVersion>, Error> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = client.tools(200, cursor.as_deref()).await?;
        all.extend(page.tools);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}
