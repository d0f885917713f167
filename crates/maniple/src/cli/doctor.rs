//! `maniple doctor`: whether what a node stands on is as it should be.

use super::{
    exit::{Exit, Trouble},
    screen,
};
use crate::{
    config::{Config, For},
    files,
};
use clap::Args;
use maniple_backends::examine::examine;
use maniple_core::{
    AgentName,
    finding::{Finding, State},
};
use owo_colors::OwoColorize;
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};

/// Looks at the settings, the store and, where events go over Kafka, at the brokers and the schema registry. Changes nothing.
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
        let (store, options) = (config.store_url()?, config.store_options());
        let (mut findings, events) = tokio::join!(examine(&store, &options), events(&config));
        findings.extend(events?);
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

/// What events stand on, where the settings say that there are any.
async fn events(config: &Config) -> Result<Vec<Finding>, Trouble> {
    let Some(brokers) = config.brokers()? else { return Ok(Vec::new()) };
    let registry = config.schema_registry()?;
    Ok(maniple_kafka::examine(&brokers, &config.kafka, &agents(config), registry.as_ref()).await)
}

/// The agents of the project, by the names of their files: what is in them is for `agent check`.
fn agents(config: &Config) -> Vec<AgentName> {
    let files = config.agent_folders().into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let files = files.map(|file| file.path()).filter(|file| files::is_agent(file));
    let names: BTreeSet<AgentName> = files.filter_map(|file| AgentName::parse(file.file_stem()?.to_str()?).ok()).collect();
    names.into_iter().collect()
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
