//! `maniple run`: asks, tells the steps as they happen, then gives the answer.

use super::{
    exit::{Exit, Trouble},
    reach::{Need, Reached, Where},
    screen,
    steps::Steps,
};
use clap::Args;
use futures::StreamExt;
use maniple_api::TaskRequest;
use maniple_core::task::{AgentResult, TaskStatus};
use serde_json::{Map, Value};
use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
    pin::pin,
};
use tokio::signal::unix::{SignalKind, signal};

/// The most that is read from standard input: a node takes no larger body.
const PROMPT_MAX: u64 = 1 << 20;
/// The most of a schema that is read, in bytes; a node takes less.
const SCHEMA_MAX: u64 = 1 << 20;

/// Asks an agent and waits for its answer.
#[derive(Debug, Args)]
pub struct Ask {
    /// What to ask; `-`, or nothing in a pipe: read from standard input
    prompt: Option<String>,
    /// Who is to answer; needed only where there are several
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// The conversation to go on with; a new one is made and named otherwise
    #[arg(short, long, value_name = "ID")]
    session: Option<String>,
    /// How many model calls at most [default: the agent's, or 10]
    #[arg(long, value_name = "N")]
    max_steps: Option<i64>,
    /// How many tokens its model calls may use [default: the agent's, or 8192]
    #[arg(long, value_name = "N")]
    token_budget: Option<i64>,
    /// File with a JSON Schema that the answer must fit
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// A fact for the agent's template; V is JSON where it reads as JSON, else text. May be repeated
    #[arg(long, value_name = "K=V", value_parser = fact)]
    context: Vec<(String, Value)>,
    #[command(flatten)]
    place: Where,
}

/// How often a node that went away in between is looked for again.
const LOOKS: u32 = 3;

impl Ask {
    /// Asks, tells, answers.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let request = self.request()?;
        let mut story = Story { quiet: as_json, ..Story::default() };
        let mut looks = 1;
        let end = loop {
            let reached = self.place.reach(Need::Work).await?;
            let end = story.follow(&reached, &request).await;
            match end {
                // Left in a hurry: a node of our own is dropped, and its record is what the next one goes on from.
                Ok(End::Left) => return Ok(Exit::Interrupted),
                // Whoever had the store is gone: somebody else has it now, or we do. The same id is the same task.
                Err(trouble) if trouble.exit == Exit::Unreachable && self.place.url.is_none() && looks < LOOKS => looks += 1,
                end => {
                    reached.leave().await;
                    break end?;
                }
            }
        };
        let End::Result(result) = end else { return Ok(Exit::Interrupted) };
        if as_json {
            screen::json(&result)?;
        } else if let Some(output) = &result.output
            && !(story.steps.has_told(output) && screen::is_one_terminal())
        {
            screen::answer(answer(output))?;
        }
        Ok(if result.status == TaskStatus::Completed { Exit::Done } else { Exit::Unsuccessful })
    }

    fn request(&self) -> Result<TaskRequest, Trouble> {
        let prompt = match self.prompt.as_deref() {
            Some("-") => piped()?,
            Some(prompt) => prompt.to_owned(),
            None if !std::io::stdin().is_terminal() => piped()?,
            None => return Err(Trouble::usage("nothing is asked").try_next("maniple run \"What time is it?\"")),
        };
        if prompt.trim().is_empty() {
            return Err(Trouble::usage("the prompt is empty").try_next("maniple run \"What time is it?\""));
        }
        Ok(TaskRequest {
            // Chosen here, so that the task can be followed and cancelled whatever becomes of the first answer.
            id: Some(uuid::Uuid::now_v7().to_string()),
            prompt,
            agent: self.agent.clone(),
            session_id: self.session.clone(),
            max_steps: self.max_steps,
            token_budget: self.token_budget,
            output_schema: self.schema.as_deref().map(schema).transpose()?,
            context: self.context.iter().cloned().collect(),
            ..TaskRequest::default()
        })
    }
}

/// How following a task ended.
enum End {
    /// With the task.
    Result(Box<AgentResult>),
    /// With a second Ctrl-C.
    Left,
}

/// What was told so far, over any number of nodes.
#[derive(Default)]
struct Story {
    quiet: bool,
    steps: Steps,
    /// The last event that was told.
    after: u64,
    cancelling: bool,
}

impl Story {
    /// Tells a task's events to its end. The first Ctrl-C asks the node to cancel, the second leaves.
    async fn follow(&mut self, reached: &Reached, request: &TaskRequest) -> Result<End, Trouble> {
        let id = request.id.as_deref().unwrap_or_default();
        let client = &reached.client;
        // One listener for the whole time: a second Ctrl-C counts even while the first one is being passed on.
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut events = pin!(client.run_and_follow(request, None).await?);
        loop {
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = reached.gone() => {
                    return Err(Trouble { exit: Exit::Unreachable, what: "the node went away".into(), next: Some(format!("maniple task show {id}")) });
                }
                _ = interrupts.recv() => {
                    if std::mem::replace(&mut self.cancelling, true) {
                        return left(id);
                    }
                    if !self.quiet {
                        screen::remark("\ncancelling; Ctrl-C again leaves without waiting");
                    }
                    tokio::select! {
                        asked = client.cancel(id) => asked?,
                        _ = interrupts.recv() => return left(id),
                    };
                    continue;
                }
            };
            let Some(event) = event.transpose()? else {
                let what = "the events stopped before the task ended".to_owned();
                return Err(Trouble { exit: Exit::Internal, what, next: Some(format!("maniple task show {id}")) });
            };
            if event.id.is_some_and(|number| number <= self.after) {
                continue;
            }
            self.after = event.id.unwrap_or(self.after);
            let told = self.steps.tell(&event);
            if !self.quiet && !told.is_empty() {
                screen::piece(&told);
            }
            if event.is_final() {
                let unreadable =
                    |e: serde_json::Error| Trouble { exit: Exit::Internal, what: format!("the result cannot be read: {e}"), next: None };
                return Ok(End::Result(serde_json::from_value(event.data).map_err(unreadable)?));
            }
        }
    }
}

fn left(id: &str) -> Result<End, Trouble> {
    screen::remark(format!("\nleft; see what became of it: maniple task show {id}"));
    Ok(End::Left)
}

/// On a terminal a model may not steer it; in a pipe the answer is passed on as it is.
fn answer(output: &str) -> String {
    if std::io::stdout().is_terminal() { screen::clean(output) } else { output.to_owned() }
}

fn piped() -> Result<String, Trouble> {
    let mut prompt = String::new();
    std::io::stdin()
        .take(PROMPT_MAX + 1)
        .read_to_string(&mut prompt)
        .map_err(|e| Trouble::usage(format!("standard input is no text: {e}")))?;
    if prompt.len() as u64 > PROMPT_MAX {
        return Err(Trouble::usage("the prompt on standard input is larger than 1 MiB"));
    }
    Ok(prompt.trim_end_matches(['\r', '\n']).to_owned())
}

fn schema(file: &Path) -> Result<Map<String, Value>, Trouble> {
    let unreadable = |e: std::io::Error| Trouble::usage(format!("{} cannot be read: {e}", file.display()));
    let mut text = String::new();
    // It may be a pipe that a person wrote into the command line.
    std::fs::File::open(file).and_then(|file| file.take(SCHEMA_MAX).read_to_string(&mut text)).map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|e| Trouble::usage(format!("{} is no JSON Schema: {e}", file.display())))
}

fn fact(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    if name.is_empty() {
        return Err("the name is missing: write it as name=value".into());
    }
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fact_is_json_where_it_reads_as_json_and_text_otherwise() {
        let value = |text| fact(text).map(|(_, value)| value);
        assert_eq!(value("n=3"), Ok(json!(3)));
        assert_eq!(value("name=Ann Lee"), Ok(json!("Ann Lee")));
        assert_eq!(value("name=\"3\""), Ok(json!("3")));
        assert_eq!(value("query=a=b"), Ok(json!("a=b")));
        assert_eq!(value("tags=[\"a\"]"), Ok(json!(["a"])));
        assert!(value("n").is_err() && value("=3").is_err());
    }
}
