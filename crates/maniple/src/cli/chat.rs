//! `maniple chat`: a conversation, a line a turn, its answers as they come.
//!
//! | typed | does |
//! |---|---|
//! | a line | asks |
//! | `/new`, `/session`, `/session ID`, `/help`, `/quit` | begins another conversation, names it, goes on with one, helps, leaves |
//! | Ctrl-C | cancels the turn that runs, gives up what is waited for, otherwise clears the line |
//! | Ctrl-D | leaves |
//!
//! In a pipe each line is a turn too, answers are on standard output and all about them on standard error; Ctrl-C between turns, and the
//! second one in a turn, end it.
//!
//! Once somebody has listened for Ctrl-C it never ends the process by itself again: whatever is waited for listens.

use super::{
    ask::PROMPT_MAX,
    exit::{Exit, Trouble},
    reach::{Need, Reached, Where},
    screen,
    steps::Steps,
    story::{End, Interrupt, Story},
};
use crate::yaml::nearest;
use clap::Args;
use maniple_api::{
    TaskRequest,
    client::{Client, TaskQuery},
    page::{Agent, Role},
};
use maniple_core::{Kind, task::TaskStatus};
use owo_colors::OwoColorize;
use rustyline::{DefaultEditor, error::ReadlineError};
use std::io::{BufRead, IsTerminal, Read};
use tokio::signal::unix::{SignalKind, signal};

/// A conversation with an agent.
#[derive(Debug, Args)]
pub struct Chat {
    /// With whom; needed only where there are several
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// The conversation to go on with [default: a new one]
    #[arg(short, long, value_name = "ID")]
    session: Option<String>,
    #[command(flatten)]
    place: Where,
}

const HELP: &str = "  /new         begin another conversation
  /session     say which one this is; /session ID goes on with that one
  /quit        leave; Ctrl-D does too
  Ctrl-C       cancel the turn that runs
  A line that begins with a space is asked as it is.";

impl Chat {
    /// Talks until the line is closed.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let reached = self.place.reach(Need::Work).await?;
        let agent = with_whom(&reached.client, self.agent.as_deref()).await?;
        let mut lines = Lines::open(as_json)?;
        let session = self.session.clone().unwrap_or_else(new_session);
        let agent_name = self.agent.or_else(|| agent.as_ref().map(|agent| agent.name.clone()));
        let mut talk = Talk { place: self.place, reached: Some(reached), agent: agent_name, session, as_json, all_well: true };
        if lines.has_person() {
            talk.greet(agent.as_ref(), self.session.is_some()).await?;
        }
        let end = talk.go_on(&mut lines).await;
        // Left in a hurry, a node of our own is dropped: its record is what the next one goes on from.
        if !matches!(end, Ok(Exit::Interrupted))
            && let Some(reached) = talk.reached
        {
            let mut interrupts = signal(SignalKind::interrupt())?;
            tokio::select! {
                () = reached.leave() => {}
                _ = interrupts.recv() => {}
            }
        }
        end
    }
}

/// The agent that answers, where the node says which there are.
async fn with_whom(client: &Client, named: Option<&str>) -> Result<Option<Agent>, Trouble> {
    let page = match client.agents(&TaskQuery { limit: Some(200), ..TaskQuery::default() }).await {
        Ok(page) => page,
        // A token may ask without being allowed to look around.
        Err(error) if error.kind == Kind::Denied => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let names: Vec<&str> = page.agents.iter().map(|agent| agent.name.as_str()).collect();
    match (named, page.agents.as_slice()) {
        (Some(name), agents) => match agents.iter().find(|agent| agent.name == name) {
            Some(agent) => Ok(Some(agent.clone())),
            None if page.next_cursor.is_some() => Ok(None),
            None => Err(Trouble::usage(format!("there is no agent `{}` here", screen::clean(name))).try_next(nearest(name, &names))),
        },
        (None, [only]) => Ok(Some(only.clone())),
        (None, []) => Err(Trouble::usage("there is no agent here").try_next("maniple new NAME")),
        (None, [first, ..]) => {
            let what = format!("several agents are here: {}", names.join(", "));
            Err(Trouble::usage(what).try_next(format!("maniple chat --agent {}", first.name)))
        }
    }
}

fn new_session() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// A conversation as far as it has come.
struct Talk {
    place: Where,
    reached: Option<Reached>,
    agent: Option<String>,
    session: String,
    as_json: bool,
    all_well: bool,
}

/// How a turn ended.
enum Turn {
    Over,
    /// With Ctrl-C; nobody waits for what becomes of it.
    Left,
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish<'a> {
    Ask(&'a str),
    New,
    Session(Option<&'a str>),
    Help,
    Quit,
    Unknown(&'a str),
    Nothing,
}

const COMMANDS: [&str; 5] = ["/new", "/session", "/quit", "/exit", "/help"];

impl<'a> Wish<'a> {
    /// A command is a slash and a word of letters at the very beginning; `/etc/hosts` is none.
    fn of(line: &'a str) -> Self {
        let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let is_command = word.strip_prefix('/').is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()));
        match word {
            _ if line.trim().is_empty() => Self::Nothing,
            _ if !is_command => Self::Ask(line.trim()),
            "/new" => Self::New,
            "/session" => Self::Session(Some(rest.trim()).filter(|id| !id.is_empty())),
            "/help" => Self::Help,
            "/quit" | "/exit" => Self::Quit,
            unknown => Self::Unknown(unknown),
        }
    }
}

impl Talk {
    async fn go_on(&mut self, lines: &mut Lines) -> Result<Exit, Trouble> {
        loop {
            let line = match lines.next().await? {
                Line::Said(line) => line,
                Line::Cleared => {
                    screen::remark("Ctrl-D or /quit leaves".dimmed());
                    continue;
                }
                Line::Interrupted => return Ok(Exit::Interrupted),
                Line::End => break,
            };
            match Wish::of(&line) {
                Wish::Nothing => {}
                Wish::Quit => break,
                Wish::Help => screen::remark(HELP),
                Wish::New => {
                    self.session = new_session();
                    screen::remark(format!("session {}", self.session).dimmed());
                }
                Wish::Session(None) => screen::remark(format!("session {}", screen::clean(&self.session))),
                Wish::Session(Some(id)) => {
                    id.clone_into(&mut self.session);
                    self.recall().await?;
                }
                Wish::Unknown(word) => {
                    screen::remark(format!("there is no {word}; {}", nearest(word, &COMMANDS)));
                }
                Wish::Ask(prompt) => match self.turn(prompt).await {
                    // Whoever leaves a turn at a terminal can type what is to come next.
                    Ok(Turn::Left) if !lines.has_person() => return Ok(Exit::Interrupted),
                    Ok(Turn::Left | Turn::Over) => {}
                    // A person reads what went wrong, and asks otherwise.
                    Err(trouble) if lines.has_person() => screen::trouble(&trouble, self.as_json),
                    Err(trouble) => return Err(trouble),
                },
            }
        }
        Ok(if lines.has_person() || self.all_well { Exit::Done } else { Exit::Unsuccessful })
    }

    async fn turn(&mut self, prompt: &str) -> Result<Turn, Trouble> {
        let request = TaskRequest {
            id: Some(uuid::Uuid::now_v7().to_string()),
            prompt: prompt.to_owned(),
            agent: self.agent.clone(),
            session_id: Some(self.session.clone()),
            ..TaskRequest::default()
        };
        let mut story = Story::new(Steps::brief(), self.as_json, Interrupt::Cancels);
        let End::Result(result) = story.ask(&self.place, &mut self.reached, &request).await? else {
            self.all_well = false;
            return Ok(Turn::Left);
        };
        self.all_well &= result.status == TaskStatus::Completed;
        if self.as_json {
            screen::json_line(&result)?
        } else {
            story.answer(&result)?
        }
        Ok(Turn::Over)
    }

    async fn greet(&self, agent: Option<&Agent>, is_known: bool) -> Result<(), Trouble> {
        let who = agent.map(|agent| format!("{} · {} · ", agent.name.bold(), agent.model)).unwrap_or_default();
        screen::remark(format!("{who}session {}", screen::clean(&self.session)));
        screen::remark("/help says what else can be typed; Ctrl-D leaves".dimmed());
        if is_known { self.recall().await } else { Ok(()) }
    }

    /// The last turn of the conversation, so that a person knows where it stood. One that cannot be looked at goes on unseen, and so
    /// does one that nobody waits for.
    async fn recall(&self) -> Result<(), Trouble> {
        let Some(reached) = &self.reached else { return Ok(()) };
        let query = TaskQuery { agent: self.agent.clone(), limit: Some(1), ..TaskQuery::default() };
        let mut interrupts = signal(SignalKind::interrupt())?;
        let page = tokio::select! {
            page = reached.client.messages(&self.session, &query) => page,
            _ = interrupts.recv() => return Ok(()),
        };
        let Ok(page) = page else { return Ok(()) };
        if page.messages.is_empty() {
            screen::remark("nothing was said in it yet".dimmed());
        }
        for message in page.messages {
            let who = if message.role == Role::User { ">" } else { " " };
            screen::remark(format!("{who} {}", screen::one_line(&message.content, 200)).dimmed());
        }
        Ok(())
    }
}

/// Where lines come from.
enum Lines {
    /// A person at a terminal. The editor is away only while it reads.
    Terminal(Option<Box<DefaultEditor>>),
    /// Anything else.
    Piped,
}

enum Line {
    Said(String),
    /// A person gave the line up.
    Cleared,
    Interrupted,
    End,
}

impl Lines {
    fn open(as_json: bool) -> Result<Self, Trouble> {
        if as_json || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Ok(Self::Piped);
        }
        let editor = DefaultEditor::new().map_err(unreadable)?;
        Ok(Self::Terminal(Some(Box::new(editor))))
    }

    /// Whether somebody types and reads.
    fn has_person(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    async fn next(&mut self) -> Result<Line, Trouble> {
        let ended = |_| Trouble { exit: Exit::Internal, what: "the line cannot be read".into(), next: None };
        match self {
            Self::Terminal(place) => {
                let Some(mut editor) = place.take() else { return Ok(Line::End) };
                let reading = move || {
                    let read = editor.readline("> ");
                    if let Ok(line) = &read {
                        // Remembered as long as this conversation is open, and nowhere else.
                        let _ = editor.add_history_entry(line);
                    }
                    (editor, read)
                };
                let (editor, read) = tokio::task::spawn_blocking(reading).await.map_err(ended)?;
                *place = Some(editor);
                match read {
                    Ok(line) => Ok(Line::Said(line)),
                    Err(ReadlineError::Interrupted) => Ok(Line::Cleared),
                    Err(ReadlineError::Eof) => Ok(Line::End),
                    Err(error) => Err(unreadable(error)),
                }
            }
            Self::Piped => {
                // Listened for from here on: a Ctrl-C that cancelled the turn before is not one more.
                let mut interrupts = signal(SignalKind::interrupt())?;
                tokio::select! {
                    read = tokio::task::spawn_blocking(|| line_of(&mut std::io::stdin().lock())) => read.map_err(ended)?,
                    _ = interrupts.recv() => Ok(Line::Interrupted),
                }
            }
        }
    }
}

fn unreadable(error: ReadlineError) -> Trouble {
    Trouble { exit: Exit::Internal, what: format!("the terminal cannot be read: {error}"), next: Some("maniple run \"…\"".into()) }
}

/// The next line, without its end.
fn line_of(input: &mut impl BufRead) -> Result<Line, Trouble> {
    let mut line = String::new();
    let read = input.take(PROMPT_MAX + 1).read_line(&mut line).map_err(|e| Trouble::usage(format!("standard input is no text: {e}")))?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.len() as u64 > PROMPT_MAX {
        return Err(Trouble::usage("a line on standard input is larger than 1 MiB"));
    }
    Ok(Line::Said(line.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_word_after_a_slash_and_everything_else_is_asked() {
        for (line, wish) in [
            ("hello", Wish::Ask("hello")),
            ("  /new", Wish::Ask("/new")),
            ("/etc/hosts: what is it?", Wish::Ask("/etc/hosts: what is it?")),
            ("/", Wish::Ask("/")),
            ("/new ", Wish::New),
            ("/session", Wish::Session(None)),
            ("/session  a b", Wish::Session(Some("a b"))),
            ("/exit", Wish::Quit),
            ("/quti", Wish::Unknown("/quti")),
            (" \t", Wish::Nothing),
        ] {
            assert_eq!(Wish::of(line), wish, "{line:?}");
        }
    }
}
