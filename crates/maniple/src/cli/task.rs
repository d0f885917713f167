//! `maniple task`: look at tasks, follow them, stop them, try them again.

use super::{
    exit::{Exit, Trouble},
    reach::{Need, Reached, Where},
    screen,
    steps::{Steps, summary},
    story::{End, Interrupt, Story},
};
use clap::{Args, Subcommand, ValueEnum};
use futures::StreamExt;
use maniple_api::{
    client::{Submitted, TaskQuery},
    event::{DELTA, TaskEvent},
    page::TaskPage,
};
use maniple_core::{
    Time,
    task::{AgentResult, QueuedFor, TaskStatus, WaitingFor},
};
use owo_colors::OwoColorize;
use std::{
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long a node of our own is given to send what it has recorded: it is in this process.
const RECORDED: Duration = Duration::from_millis(500);

/// Tasks of a node.
#[derive(Debug, Args)]
pub struct Tasks {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List tasks, newest first
    Ls {
        /// In this state only
        #[arg(long)]
        status: Option<Status>,
        /// Of this conversation only
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Show a task as it is now
    Show {
        /// Its id
        task: String,
    },
    /// Follow a task as `maniple run` tells it: its steps so far, then as they happen
    Watch {
        /// Its id
        task: String,
    },
    /// Show what was recorded of a task, and what is being recorded until it ends
    Events {
        /// Its id
        task: String,
        /// Only events after this number
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u64,
    },
    /// Ask a task to stop
    Cancel {
        /// Its id
        task: String,
    },
    /// Try a failed task again: a new task goes on from its record
    Retry {
        /// Its id
        task: String,
    },
}

/// Which page of a list.
#[derive(Debug, Args)]
pub struct Page {
    /// Of this agent only
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// How many at most, 1 to 200
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Where the page before ended, as it said
    #[arg(long)]
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Tasks {
    /// Does it.
    pub async fn run(self, as_json: bool) -> Result<Exit, Trouble> {
        let reached = self.place.reach(Need::Desk).await?;
        let outcome = self.what.act(&reached, as_json).await;
        reached.leave().await;
        outcome
    }
}

impl What {
    async fn act(self, reached: &Reached, as_json: bool) -> Result<Exit, Trouble> {
        let client = &reached.client;
        match self {
            Self::Ls { status, session, page } => {
                let status = status.and_then(|status| Some(status.to_possible_value()?.get_name().to_owned()));
                let page = client.tasks(&TaskQuery { status, session_id: session, prompts: true, ..page.query() }).await?;
                list(&page, as_json, "no tasks")?;
            }
            Self::Show { task } => show(&client.task_with_prompt(&task).await?, as_json)?,
            Self::Watch { task } => return watch(reached, &task, as_json).await,
            Self::Events { task, after } => events(reached, &task, after, as_json).await?,
            Self::Cancel { task } => {
                let before = client.task(&task).await?;
                let result = client.cancel(&task).await?;
                let status = result.status.as_str();
                let what = if before.status.is_final() {
                    format!("task {task} is {status} already: nothing to cancel")
                } else if result.status.is_final() {
                    format!("task {task} is {status}")
                } else {
                    format!("task {task} is asked to stop")
                };
                said(&result, as_json, &what)?;
            }
            Self::Retry { task } => taken_over(client.retry(&task, None).await?, reached, as_json)?,
        }
        Ok(Exit::Done)
    }
}

impl Page {
    /// As the client asks it.
    pub fn query(self) -> TaskQuery {
        TaskQuery { agent: self.agent, limit: Some(self.limit), cursor: self.cursor, ..TaskQuery::default() }
    }
}

/// One task: as JSON, or what is said of it.
pub fn said(result: &AgentResult, as_json: bool, what: &str) -> Result<(), Trouble> {
    if as_json {
        screen::json(result)?
    } else {
        screen::answer(what)?
    }
    Ok(())
}

/// The task that goes on from another's record.
pub fn taken_over(submitted: Submitted, reached: &Reached, as_json: bool) -> Result<(), Trouble> {
    let result = submitted.result;
    let from = result.retry_of.as_ref().map(|from| format!(", from the record of {from}")).unwrap_or_default();
    said(&result, as_json, &format!("task {} goes on{from}", result.task_id))?;
    if !reached.goes_on() {
        screen::remark("no node is running: it waits until one is, such as `maniple dev`");
    }
    Ok(())
}

/// A page of tasks.
pub fn list(page: &TaskPage, as_json: bool, nothing: &str) -> Result<(), Trouble> {
    if as_json {
        return Ok(screen::json(page)?);
    }
    if page.tasks.is_empty() {
        screen::remark(nothing);
        return Ok(());
    }
    let rows = page.tasks.iter().map(|task| {
        let waits = waits_for(task).map(|what| format!("(waits for {what})"));
        let answer = task.error.map(|code| code.as_str().to_owned()).or_else(|| task.output.clone()).or(waits).unwrap_or_default();
        let prompt = screen::one_line(task.prompt.as_deref().unwrap_or_default(), 32);
        let (id, status) = (task.task_id.to_string(), task.status.as_str().to_owned());
        vec![id, status, task.agent.to_string(), age(task), prompt, screen::one_line(&answer, 60)]
    });
    screen::answer(screen::table(&["TASK", "STATUS", "AGENT", "AGE", "PROMPT", "ANSWER"], rows))?;
    if let Some(cursor) = &page.next_cursor {
        screen::remark(format!("more: --cursor {cursor}").dimmed());
    }
    Ok(())
}

/// What a task waits for that is queued or parked, as people say it.
fn waits_for(task: &AgentResult) -> Option<&'static str> {
    match (task.queued_for, task.waiting_for) {
        (Some(QueuedFor::NotBefore), _) => Some("its time, not_before"),
        (Some(QueuedFor::Session), _) => Some("another task of its session"),
        (Some(QueuedFor::Worker), _) => Some("a worker with a free place"),
        (None, Some(WaitingFor::Approval)) => Some("an approval"),
        (None, Some(WaitingFor::Input)) => Some("a person's answer"),
        (None, Some(WaitingFor::Children)) => Some("its children"),
        (None, Some(WaitingFor::Timer)) => Some("a moment to come"),
        (None, None) => None,
    }
}

/// How long ago it was accepted.
pub fn age(task: &AgentResult) -> String {
    ago(task.created_at)
}

/// How long ago a moment was, in the largest unit that says something.
pub fn ago(at: Time) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = now.saturating_sub(Duration::from_millis(at.0.max(0) as u64)).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// One task with all that is known of it.
pub fn show(task: &AgentResult, as_json: bool) -> Result<(), Trouble> {
    if as_json {
        return Ok(screen::json(task)?);
    }
    let optional = |value: Option<String>| value.map(|value| screen::one_line(&value, 1_000));
    let rows = [
        ("asked", task.prompt.as_deref().map(|prompt| screen::one_line(prompt, 300))),
        ("agent", Some(task.agent.to_string())),
        ("session", Some(screen::one_line(task.session_id.as_str(), 256))),
        ("model", optional(task.model.clone())),
        ("accepted", Some(task.created_at.to_string())),
        ("started", task.started_at.map(|at| at.to_string())),
        ("finished", task.finished_at.map(|at| at.to_string())),
        ("waits for", waits_for(task).map(str::to_owned)),
        ("retry of", task.retry_of.as_ref().map(ToString::to_string)),
        ("trace", optional(task.trace_id.clone())),
    ];
    screen::answer(format!("{} {}", "task".bold(), task.task_id.bold()))?;
    for (name, value) in rows {
        if let Some(value) = value {
            screen::answer(format!("  {} {value}", format!("{name:<9}").dimmed()))?;
        }
    }
    screen::answer(summary(task))?;
    if let Some(output) = &task.output {
        screen::answer(format!("\n{}", screen::clean(output)))?;
    }
    Ok(())
}

async fn watch(reached: &Reached, task: &str, as_json: bool) -> Result<Exit, Trouble> {
    if !reached.goes_on() && !reached.client.task(task).await?.status.is_final() {
        let what = format!("task {task} is not finished, and no node is running that would go on with it");
        return Err(Trouble { exit: Exit::Unreachable, what, next: Some("maniple dev".into()) });
    }
    let mut story = Story::new(Steps::default(), as_json, Interrupt::Leaves);
    let End::Result(result) = story.follow(reached, task, reached.client.events(task, 0)).await? else { return Ok(Exit::Interrupted) };
    if as_json {
        screen::json(&result)?
    } else {
        story.answer(&result)?
    }
    Ok(if result.status == TaskStatus::Completed { Exit::Done } else { Exit::Unsuccessful })
}

async fn events(reached: &Reached, task: &str, after: u64, as_json: bool) -> Result<(), Trouble> {
    let nobody_works = !reached.goes_on() && !reached.client.task(task).await?.status.is_final();
    let mut events = pin!(reached.client.events(task, after));
    loop {
        let next = if nobody_works { tokio::time::timeout(RECORDED, events.next()).await } else { Ok(events.next().await) };
        let Ok(next) = next else {
            screen::remark("it is not finished, and no node is running that would go on with it: `maniple dev` does");
            return Ok(());
        };
        let Some(event) = next.transpose()? else { return Ok(()) };
        if event.kind == DELTA {
            continue;
        }
        if as_json { screen::json_line(&event)? } else { screen::answer(line(&event))? }
    }
}

fn line(event: &TaskEvent) -> String {
    let at = event.at.map(|at| at.to_string()).unwrap_or_default();
    let data = screen::one_line(&event.data.to_string(), 200);
    let (id, step) = (event.id.unwrap_or_default(), event.step);
    format!("{id:>4}  {}  {step:>3}  {:<15} {}", at.dimmed(), event.kind.cyan(), data.dimmed())
}
