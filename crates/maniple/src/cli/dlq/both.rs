//! Tasks that kept killing their worker and records that could not be read as tasks, in one list.

use super::records::{place, reader_of, told};
use crate::{
    cli::{
        exit::Trouble,
        screen, settings,
        task::{Page, ago},
    },
    config::For,
};
use maniple_api::{
    client::{Client, TaskQuery},
    page::TaskPage,
};
use maniple_core::{AgentName, Result, Time, task::AgentResult};
use maniple_kafka::DeadRecord;
use owo_colors::OwoColorize;
use serde_json::{Value, json};
use std::path::Path;

/// Lists them, newest first: a page of tasks, and on the first page the newest records of the same agents. Where the brokers do not
/// answer, tasks are listed all the same, and it is said.
pub(super) async fn list(client: &Client, page: Page, config: Option<&Path>, as_json: bool) -> std::result::Result<(), Trouble> {
    let (limit, of, is_first) = (page.limit, page.agent.clone(), page.cursor.is_none());
    let tasks = client.dead_letters(&page.query()).await?;
    let reader = if is_first { reader_of(settings(config, For::Looking)?)? } else { None };
    let records = match reader {
        None => None,
        Some(reader) => {
            let agents = match of {
                Some(agent) => vec![AgentName::parse(&agent)?],
                None => agents(client).await?,
            };
            Some(reader.newest(&agents, limit).await)
        }
    };
    if as_json { in_json(&tasks, records) } else { on_screen(&tasks, records) }
}

/// The agents of the node.
async fn agents(client: &Client) -> Result<Vec<AgentName>> {
    let (mut names, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.agents(&TaskQuery { limit: Some(200), cursor, ..TaskQuery::default() }).await?;
        names.extend(page.agents.iter().filter_map(|agent| AgentName::parse(&agent.name).ok()));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(names);
        }
    }
}

type Records = Option<Result<Vec<(AgentName, DeadRecord)>>>;

/// The page of tasks with `records` beside them, where events go over Kafka; `records_error` where they could not be read.
fn in_json(tasks: &TaskPage, records: Records) -> std::result::Result<(), Trouble> {
    let mut page = json!(tasks);
    match records {
        None => {}
        Some(Ok(records)) => page["records"] = records.iter().map(|(agent, dead)| told(agent, dead)).collect::<Vec<Value>>().into(),
        Some(Err(error)) => page["records_error"] = error.message.into(),
    }
    Ok(screen::json(&page)?)
}

fn on_screen(tasks: &TaskPage, records: Records) -> std::result::Result<(), Trouble> {
    let (records, error) = match records {
        None => (Vec::new(), None),
        Some(Ok(records)) => (records, None),
        Some(Err(error)) => (Vec::new(), Some(error)),
    };
    let of_tasks = tasks.tasks.iter().map(|task| (Some(task.created_at), of_task(task)));
    let mut rows: Vec<(Option<Time>, Vec<String>)> =
        of_tasks.chain(records.iter().map(|(agent, dead)| (dead.at, of_record(agent, dead)))).collect();
    // A stable order: what is of one kind stays as it came.
    rows.sort_by(|(a, _), (b, _)| b.cmp(a));
    if rows.is_empty() {
        screen::remark("no dead letters");
    } else {
        screen::answer(screen::table(
            &["LETTER", "WHICH", "AGENT", "AGE", "REASON", "WHY", "CAME FROM"],
            rows.into_iter().map(|(_, row)| row),
        ))?;
    }
    if !tasks.tasks.is_empty() {
        screen::remark("a task again: maniple dlq requeue TASK".dimmed());
    }
    if let Some((agent, dead)) = records.first() {
        screen::remark(format!("a record again, as it was: maniple dlq republish AGENT PLACE, such as {agent} {}", place(dead)).dimmed());
    }
    if let Some(cursor) = &tasks.next_cursor {
        screen::remark(format!("more tasks: --cursor {cursor}").dimmed());
    }
    if let Some(error) = error {
        screen::remark(format!("records in Kafka are not listed: {}; see maniple doctor", error.message));
    }
    Ok(())
}

fn of_task(task: &AgentResult) -> Vec<String> {
    let reason = task.error.map(|code| code.as_str().to_owned()).unwrap_or_default();
    let why = task.error_detail.as_deref().or(task.prompt.as_deref()).unwrap_or_default();
    let (id, agent) = (task.task_id.to_string(), task.agent.to_string());
    vec!["task".into(), id, agent, ago(task.created_at), reason, screen::one_line(why, 60), String::new()]
}

fn of_record(agent: &AgentName, dead: &DeadRecord) -> Vec<String> {
    let age = dead.at.map(ago).unwrap_or_default();
    let from = dead.from.as_ref().map(|from| format!("{} {}:{}", from.topic, from.partition, from.offset)).unwrap_or_default();
    vec!["record".into(), place(dead), agent.to_string(), age, dead.reason.clone(), screen::one_line(&dead.detail, 60), from]
}
