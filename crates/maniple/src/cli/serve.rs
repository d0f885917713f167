//! `maniple dev` and `maniple serve`: a node in this process, until it is told to stop.

use super::{
    exit::{Exit, Trouble},
    must_be_there,
    reach::start_when_free,
    screen,
};
use crate::{
    config::{Config, FILE_NAME},
    node::{Node, NodeOptions, RoleName, Roles},
};
use clap::{Args, ValueEnum};
use maniple_api::page::Agent;
use maniple_backends::StoreUrl;
use maniple_registry::Files;
use owo_colors::OwoColorize;
use serde_json::json;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    pin::pin,
    task::Poll,
};

/// Where this program can be started again by a name, and hears of its parent's end.
pub(super) const KEEPS: bool = cfg!(target_os = "linux");

/// What a newcomer can ask whatever the agent is.
const QUESTION: &str = "What is 17 * 23?";

/// Serves a project on this machine, reading its files again when they change.
#[derive(Debug, Args)]
pub struct Dev {
    /// The project's folder; without a project there, a built-in assistant is served
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where to listen [default: `listen` of maniple.yaml]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

/// Serves agents for others.
#[derive(Debug, Args)]
pub struct Serve {
    /// The settings [default: maniple.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve the agent of this file only; may be repeated
    #[arg(long, value_name = "FILE")]
    agent: Vec<PathBuf>,
    /// What this process does; may be repeated [default: all]
    #[arg(long)]
    role: Vec<Role>,
    /// Listen anywhere without `auth`: whoever reaches the node may use it
    #[arg(long)]
    insecure: bool,
    /// Where to listen [default: `listen` of the settings]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

/// A part of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Takes tasks and answers
    Api,
    /// Carries tasks out
    Worker,
    /// Serves the catalog of tools
    Registry,
    /// Shows a person what goes on
    Console,
}

impl Dev {
    /// Serves until it is told to stop.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        if !self.dir.is_dir() {
            let name = self.dir.display();
            return Err(Trouble::usage(format!("there is no folder {name}")).try_next(format!("maniple new {name}")));
        }
        let config = settings(&self.dir.join(FILE_NAME), self.listen.clone(), false)?;
        // As it is written, but for a password.
        let store = config.store.parse::<StoreUrl>().map_or_else(|_| config.store.clone(), |store| store.to_string());
        let has_agents = has_agents(&config);
        let options =
            NodeOptions { watch: true, discover: true, assistant: true, files: Files::Lenient, keeps: KEEPS, ..NodeOptions::default() };
        let node = start_when_free(config, options).await.map_err(|error| started(error, &self.dir.join(FILE_NAME)))?;
        let url = format!("http://{}", node.address());
        let agents: Vec<Agent> = node.agents.all().values().map(|agent| Agent::from(&**agent)).collect();
        let missing = if as_json { BTreeSet::new() } else { node.missing_tools().await };
        until_signal(node, || {
            if as_json {
                screen::json_line(&json!({ "url": url, "docs": format!("{url}/docs"), "store": store, "agents": agents }))
            } else {
                screen::answer(banner(&url, &store, &agents, &missing, &self.dir, has_agents))
            }
        })
        .await
    }
}

impl Serve {
    /// Serves until it is told to stop.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        self.config.as_deref().map_or(Ok(()), must_be_there)?;
        let file = self.config.unwrap_or_else(|| FILE_NAME.into());
        if let Some(missing) = self.agent.iter().find(|file| !file.is_file()) {
            return Err(Trouble::usage(format!("there is no agent file {}", missing.display())).try_next("maniple new NAME"));
        }
        let config = settings(&file, self.listen, self.insecure)?;
        let roles = possible(&self.role, config.store_url().is_ok_and(|store| store.is_shared()))?;
        let options = NodeOptions { roles, agent_files: self.agent, keeps: KEEPS, ..NodeOptions::default() };
        let node = Node::start(config, options).await.map_err(|error| started(error, &file))?;
        let url = format!("http://{}", node.address());
        until_signal(node, || {
            if as_json {
                screen::json_line(&json!({ "url": url, "docs": format!("{url}/docs") }))
            } else {
                screen::remark(format!("maniple {} serves at {url}", env!("CARGO_PKG_VERSION")));
                Ok(())
            }
        })
        .await
    }
}

/// Tells where the node is and lets it run until it is told to stop.
async fn until_signal(node: Node, tell: impl FnOnce() -> io::Result<()>) -> Result<Exit, Trouble> {
    let mut running = pin!(node.run_until_signal());
    // It listens for signals before anybody hears of it: one that comes at once is not missed.
    if let Poll::Ready(end) = futures::poll!(running.as_mut()) {
        return end.map(|()| Exit::Done).map_err(Trouble::from);
    }
    // A node works on where nobody reads what it says.
    let _ = tell();
    running.await?;
    Ok(Exit::Done)
}

/// The settings with flags over them, named as variables are.
fn settings(file: &Path, listen: Option<String>, insecure: bool) -> Result<Config, Trouble> {
    let listen = listen.map(|address| ("MANIPLE_LISTEN".to_owned(), address));
    let insecure = insecure.then(|| ("MANIPLE_INSECURE".to_owned(), "true".to_owned()));
    Ok(Config::with_flags(file, listen.into_iter().chain(insecure))?)
}

/// The roles of the process, if another one need not play the rest.
fn possible(asked: &[Role], store_is_shared: bool) -> Result<Roles, Trouble> {
    let name = |role: &Role| match role {
        Role::Api => Ok(RoleName::Api),
        Role::Worker => Ok(RoleName::Worker),
        Role::Registry => Ok(RoleName::Registry),
        Role::Console => Err(Trouble::usage("role `console` is not in this build").try_next("leave --role out: one process does it all")),
    };
    let names: Vec<RoleName> = asked.iter().map(name).collect::<Result<_, _>>()?;
    let roles = if names.is_empty() { Roles::default() } else { Roles::of(names) };
    let apart = |error: maniple_core::Error| {
        Trouble::usage(error.message).try_next("--role api --role worker, --role registry alone, or `store: postgres://…`")
    };
    if !store_is_shared {
        roles.over_embedded_store().map_err(apart)?;
    }
    Ok(roles)
}

/// Why it did not start, and what to do: it is a node itself, and speaks to none.
fn started(error: anyhow::Error, settings: &Path) -> Trouble {
    let in_use =
        error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::AddrInUse));
    let trouble = Trouble::from(error);
    if in_use {
        return Trouble { exit: Exit::Conflict, ..trouble }.or_try("--listen 127.0.0.1:0 takes any free port");
    }
    match trouble.exit {
        Exit::Unreachable => trouble.try_next(format!("maniple doctor --config {}", settings.display())),
        // What was refused is said, and which setting it stands in.
        Exit::Refused => Trouble { next: None, ..trouble },
        _ => trouble,
    }
}

/// Whether the project has an agent of its own.
fn has_agents(config: &Config) -> bool {
    let files = config.agent_folders().into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    files.map(|file| file.path()).any(|file| crate::files::is_agent(&file))
}

fn banner(url: &str, store: &str, agents: &[Agent], missing: &BTreeSet<String>, dir: &Path, has_agents: bool) -> String {
    let tool = |name: &String| if missing.contains(name) { format!("{name} (not there yet)") } else { name.clone() };
    let rows = agents.iter().map(|agent| {
        let tools: Vec<String> = agent.tools.iter().map(tool).collect();
        let tools = if tools.is_empty() { "–".to_owned() } else { tools.join(", ") };
        vec![format!("  {}", agent.name), agent.model.clone(), tools]
    });
    let table = if agents.is_empty() { String::new() } else { format!("\n{}\n", screen::table(&["  AGENT", "MODEL", "TOOLS"], rows)) };
    let project = if has_agents {
        "Files are watched: a changed agent or tool is used by the next task. Ctrl-C stops.".to_owned()
    } else {
        format!("There is no agent in {}, so a built-in assistant answers. To make a project: {}", dir.display(), "maniple new NAME".bold())
    };
    let several = agents.len() > 1;
    let agent = agents.first().map_or("assistant", |agent| agent.name.as_str());
    let here = if dir == Path::new(".") { String::new() } else { format!(" --url {url}") };
    let flag = if several { format!(" --agent {agent}") } else { String::new() };
    let path = if several { format!("/agents/{agent}/run") } else { "/run".to_owned() };
    format!(
        "{} {} · store {store}\n{table}\n  API   {}\n  docs  {}\n\nTry:\n  maniple run{here}{flag} \"{QUESTION}\"\n  \
         curl {url}{path} --json '{{\"prompt\": \"{QUESTION}\"}}'\n\n{project}\n",
        "maniple".bold(),
        env!("CARGO_PKG_VERSION"),
        url.cyan(),
        format!("{url}/docs").cyan(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_stands_alone_and_the_parts_over_an_embedded_store_do_not() {
        use Role::{Api, Console, Registry, Worker};
        let cases: [&[Role]; 5] = [&[], &[Registry], &[Api, Worker], &[Worker, Api, Registry], &[Api, Worker, Console]];
        assert_eq!(cases.map(|roles| possible(roles, false).is_ok()), [true, true, true, true, false]);
        for roles in [&[Api][..], &[Worker], &[Api, Registry], &[Console]] {
            assert_eq!(possible(roles, false).unwrap_err().exit, Exit::Usage, "{roles:?}");
            assert_eq!(possible(roles, true).is_ok(), !roles.contains(&Console), "{roles:?}");
        }
    }
}
