//! `maniple agent`: whether agents' files are right, whether they do what their cases say.

use super::{
    cases, check,
    exit::{Exit, Trouble},
};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Agents.
#[derive(Debug, Args)]
pub struct Agents {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
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
            What::Check { dir } => check::check(&dir, as_json),
            What::Test { cases, dir } => cases::test(&dir, &cases, as_json).await,
        }
    }
}
