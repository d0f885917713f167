//! `maniple run`: asks, tells the steps as they happen, then gives the answer; or leaves the task to the node.

use super::{
    exit::{Exit, Trouble},
    reach::{Need, Where},
    screen,
    steps::Steps,
    story::{End, Interrupt, Story},
};
use clap::Args;
use maniple_api::TaskRequest;
use maniple_core::task::TaskStatus;
use serde_json::{Map, Value};
use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

/// The most that is read from standard input: a node takes no larger body.
pub const PROMPT_MAX: u64 = 1 << 20;
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
    /// Do not wait: say the task's id and leave it to the node that runs
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    place: Where,
}

impl Ask {
    /// Asks, tells, answers; or asks and leaves.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let request = self.request()?;
        if self.detach {
            return self.leave_there(&request, as_json).await;
        }
        let mut story = Story::new(Steps::default(), as_json, Interrupt::Cancels);
        let mut reached = None;
        let end = story.ask(&self.place, &mut reached, &request).await;
        // Left in a hurry, a node of our own is dropped: its record is what the next one goes on from.
        if !matches!(end, Ok(End::Left))
            && let Some(reached) = reached
        {
            reached.leave().await;
        }
        let End::Result(result) = end? else { return Ok(Exit::Interrupted) };
        if as_json {
            screen::json(&result)?;
        } else {
            story.answer(&result)?;
        }
        Ok(if result.status == TaskStatus::Completed { Exit::Done } else { Exit::Unsuccessful })
    }

    /// The task is taken and nobody waits for it here. Its id alone is on standard output.
    async fn leave_there(&self, request: &TaskRequest, as_json: bool) -> Result<Exit, Trouble> {
        let reached = self.place.reach(Need::Desk).await?;
        let submitted = reached.client.submit(request, None).await;
        let goes_on = reached.goes_on();
        reached.leave().await;
        let task = submitted?.result;
        if as_json {
            screen::json(&task)?;
        } else {
            screen::answer(&task.task_id)?;
            screen::remark(format!("follow it: maniple task watch {}", task.task_id));
        }
        if !goes_on {
            screen::remark("no node is running: it waits until one is, such as `maniple dev`");
        }
        Ok(Exit::Done)
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
