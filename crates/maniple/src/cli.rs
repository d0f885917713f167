//! The command line: what a person or a script types, and what they are told.
//!
//! | module | thought |
//! |---|---|
//! | [`exit`] | exit codes, and errors that say what to try next |
//! | [`screen`], [`steps`], [`story`] | what reaches the screen; a run told as it happens; the same to its end, whatever Ctrl-C does |
//! | [`reach`] | finds the node, or starts one in this process: one code path, HTTP |
//! | [`ask`], [`chat`], [`task`], [`session`], [`dlq`], [`approval`], [`agent`], [`tool`] | `run`, `chat`, `task` and so on |
//! | [`serve`] | `dev` and `serve` |
//! | [`new`], [`check`], [`cases`] | a project from nothing, its check, its test |
//! | [`doctor`] | what a node stands on |

mod agent;
mod approval;
mod ask;
pub mod cases;
mod chat;
mod check;
mod dlq;
mod doctor;
pub mod exit;
mod keep;
mod new;
mod reach;
pub mod screen;
mod serve;
mod session;
pub mod steps;
mod story;
mod task;
mod tool;

use crate::config::{Config, FILE_NAME, For};
use clap::{Args, CommandFactory, Parser, Subcommand};
use exit::{Exit, Trouble};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const ENVIRONMENT: &str = "\
Environment:
  MANIPLE_URL    the node to speak to
  MANIPLE_TOKEN  a bearer token, where the node asks for one
  MANIPLE_…      over keys of maniple.yaml: MANIPLE_STORE, MANIPLE_LIMITS__MAX_STEPS
  NO_COLOR       no colours; they appear on terminals only";

/// Micro agents that survive anything.
#[derive(Debug, Parser)]
#[command(name = "maniple", version, propagate_version = true, max_term_width = 100, after_help = format!("{}\n\n{ENVIRONMENT}", exit::CODES))]
pub struct Cli {
    /// Answer in JSON; errors too, on standard error
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a project on this machine; changed files are used at once
    Dev(serve::Dev),
    /// Serve agents for others
    Serve(serve::Serve),
    /// Ask an agent: its steps as they happen, then its answer
    Run(ask::Ask),
    /// Talk with an agent: a line a turn, Ctrl-D leaves
    Chat(chat::Chat),
    /// Look at tasks, follow them, stop them, try them again
    Task(task::Tasks),
    /// List conversations, read them
    Session(session::Sessions),
    /// Look at dead letters, try them again, take them out
    Dlq(dlq::DeadLetters),
    /// See what runs ask of people; approve or deny it
    Approval(approval::Approvals),
    /// List, check and test agents
    Agent(agent::Agents),
    /// List, compare, add, call and pin tools
    Tool(tool::Tools),
    /// Make a project that starts and passes its own test
    New(new::New),
    /// See whether what a node stands on is as it should be
    Doctor(doctor::Doctor),
    /// Print the settings as they are in effect, secrets as ***
    Config(ShowConfig),
    #[command(hide = true)]
    Keep(keep::Keep),
    /// Print a completion script, to be put where your shell looks for them
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct ShowConfig {
    /// The settings [default: maniple.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Parses, runs, tells, and says how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let as_json = cli.json;
    let told = |trouble: Trouble| {
        screen::trouble(&trouble, as_json);
        trouble.exit
    };
    match cli.command {
        Command::Keep(keep) => keep.run().unwrap_or_else(|trouble| told(trouble).into()),
        _ => run(cli).unwrap_or_else(told).into(),
    }
}

fn run(cli: Cli) -> Result<Exit, Trouble> {
    crate::descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(cli.command.run(cli.json));
    // What still blocks is not waited for: everything that matters is on disk.
    runtime.shutdown_background();
    outcome
}

impl Command {
    async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        match self {
            Self::Dev(dev) => dev.run(as_json).await,
            Self::Serve(serve) => serve.run(as_json).await,
            Self::Run(ask) => ask.run(as_json).await,
            Self::Chat(chat) => chat.run(as_json).await,
            Self::Session(sessions) => sessions.run(as_json).await,
            Self::Task(tasks) => tasks.run(as_json).await,
            Self::Dlq(letters) => letters.run(as_json).await,
            Self::Approval(approvals) => approvals.run(as_json).await,
            Self::Agent(agents) => agents.run(as_json).await,
            Self::Tool(tools) => tools.run(as_json).await,
            Self::New(new) => new.run(as_json),
            Self::Doctor(doctor) => doctor.run(as_json).await,
            Self::Config(settings) => settings.run(as_json),
            Self::Completions { shell } => completions(shell),
            Self::Keep(_) => Err(Trouble::usage("it runs by itself")),
        }
    }
}

impl ShowConfig {
    fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let config = settings(self.config.as_deref(), For::Work)?;
        if as_json {
            screen::json(&config)?;
        } else {
            screen::answer(config.print()?.trim_end())?;
        }
        Ok(Exit::Done)
    }
}

/// The settings in a file, which must be there if it was named, or those of this folder.
fn settings(file: Option<&Path>, purpose: For) -> Result<Config, Trouble> {
    file.map_or(Ok(()), must_be_there)?;
    let file = file.unwrap_or(FILE_NAME.as_ref());
    let config = match purpose {
        For::Work => Config::with_flags(file, []),
        For::Looking => Config::to_look(file),
    };
    Ok(config?)
}

/// A file of settings that somebody named: one that may not be looked at is not one that is missing.
fn must_be_there(settings: &Path) -> Result<(), Trouble> {
    let told = match settings.metadata() {
        Ok(about) if about.is_file() => return Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => format!("{} cannot be read: {error}", settings.display()),
        _ => format!("there are no settings at {}", settings.display()),
    };
    Err(Trouble::usage(told))
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "maniple", &mut script);
    screen::answer(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_what_clap_can_parse() {
        Cli::command().debug_assert();
    }
}
