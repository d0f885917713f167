//! `maniple doctor`: whether what a node stands on is as it should be.

use super::{
    exit::{Exit, Trouble},
    screen,
};
use crate::config::For;
use clap::Args;
use maniple_backends::examine::{Finding, State, examine};
use owo_colors::OwoColorize;
use serde_json::json;
use std::path::PathBuf;

/// Looks at the settings and the store, and changes nothing.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The settings [default: maniple.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Doctor {
    /// Does it: `Unsuccessful` where something has failed.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let config = super::settings(self.config.as_deref(), For::Looking)?;
        let findings = examine(&config.store_url()?, &config.store_options()).await;
        let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
        if as_json {
            screen::json(&json!({ "ok": worst != State::Failed, "checks": findings }))?;
        } else {
            for finding in &findings {
                screen::answer(line(finding))?;
            }
        }
        Ok(if worst == State::Failed { Exit::Unsuccessful } else { Exit::Done })
    }
}

/// How it is, and below it what to do.
fn line(finding: &Finding) -> String {
    let state = match finding.state {
        State::Ok => "ok     ".green().to_string(),
        State::Warning => "warning".yellow().to_string(),
        State::Failed => "failed ".red().bold().to_string(),
    };
    let next = finding.next.iter().map(|next| format!("\n           {} {}", "try:".bold(), screen::clean(next))).collect::<String>();
    format!("  {state}  {}: {}{next}", finding.check, screen::clean(&finding.said))
}
