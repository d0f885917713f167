//! Agents as tools, and their tasks as tasks of the protocol.
//!
//! A call is a task, durable before anybody waits for it. A client that speaks the tasks extension gets its id at once and asks
//! for it; any other waits as long as `POST /run` would, and is then told the id, by which the same tool waits on.

use super::{
    handler::{Handler, refused},
    tools::{failed, key, trace},
};
use maniple_api::TaskRequest;
use maniple_core::{
    AgentName, Error, Kind, Result, TaskId,
    agent::AgentDefinition,
    event::EventKind,
    task::{AgentResult, ErrorCode, TaskStatus},
};
use maniple_runtime::desk::{Act, Addressee, Reader, Sought, Submission, Told, no_task};
use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolResponse, CallToolResult, ContentBlock, CreateTaskResult, DetailedTask, GetTaskResult, ProgressNotificationParam,
        ProgressToken, Task, TaskPayload, TaskStatus as McpStatus, Tool, ToolAnnotations,
    },
    service::RequestContext,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What stands before an agent's name.
const PREFIX: &str = "agent_";
/// Where a failed task's whole result stands beside its text.
const RESULT: &str = "io.maniple/result";
/// How often a client is asked to look at a task.
const LOOKED_AT_EVERY_MS: u64 = 1_000;

/// The agents of the principal, as tools. None without the scope `run`, and none at a registry, which runs no agents.
pub(super) fn listed(at: &Handler) -> Vec<Tool> {
    if !at.runs_agents {
        return Vec::new();
    }
    at.desk.askable(&at.caller.who).iter().map(|agent| described(agent)).collect()
}

/// The agent that a tool stands for; `None` where it stands for none that is served here.
pub(super) fn named(at: &Handler, tool: &str) -> Option<Result<Arc<AgentDefinition>>> {
    if !at.runs_agents {
        return None;
    }
    let name = AgentName::parse(tool.strip_prefix(PREFIX)?).ok()?;
    match at.desk.agent_for(&at.caller.who, &Addressee::At(name)) {
        // One that is for others is told like one that is not there.
        Err(error) if matches!(error.kind, Kind::NotFound | Kind::Denied) => None,
        found => Some(Act::Submit.by(&at.caller.who).and(found)),
    }
}

fn described(agent: &AgentDefinition) -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": {
            "prompt": { "type": "string", "minLength": 1, "description": "What is asked. Needed unless task_id is given." },
            "session_id": { "type": "string", "minLength": 1, "maxLength": 256, "description": "The conversation to go on with; a new one otherwise." },
            "task_id": { "type": "string", "description": "Instead of a prompt: a task of this agent that goes on, to wait for." },
        },
        "additionalProperties": false,
    });
    let Value::Object(parameters) = parameters else { return Tool::default() };
    let description = match agent.description.trim() {
        "" => format!("Asks the agent {}.", agent.name),
        said => said.to_owned(),
    };
    Tool::new(format!("{PREFIX}{}", agent.name), description, parameters).annotate(ToolAnnotations::new().read_only(false).open_world(true))
}

/// Asks an agent.
pub(super) async fn call(
    at: &Handler,
    agent: &AgentDefinition,
    mut arguments: Map<String, Value>,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let (desk, who) = (&at.desk, &at.caller.who);
    let asked = match arguments.remove("task_id") {
        Some(id) if arguments.is_empty() => {
            let sought = known(agent, &id).map_err(refused)?;
            desk.get(who, &sought).await.map_err(refused)?
        }
        Some(_) => return Ok(wrong("task_id stands alone: leave the other arguments out").into()),
        None => {
            if let Some(field) = arguments.keys().find(|name| !["prompt", "session_id"].contains(&name.as_str())) {
                return Ok(wrong(&format!("there is no argument `{field}`: there are prompt, session_id and task_id")).into());
            }
            let request = match TaskRequest::read(&Value::Object(arguments)).and_then(|request| request.to(&agent.name)) {
                Ok(request) => request,
                Err(error) => return Ok(wrong(&error.message).into()),
            };
            let submission = Submission { request, key: key(context), trace: trace(&at.caller, context) };
            match desk.submit(who, submission).await {
                Ok(created) => created.result,
                Err(error) if is_of_the_arguments(&error) => return Ok(wrong(&error.message).into()),
                Err(error) => return Err(refused(error)),
            }
        }
    };
    if context.client_capabilities().is_some_and(|capabilities| capabilities.supports_tasks()) && !asked.status.is_final() {
        return Ok(CallToolResponse::Task(CreateTaskResult::new(as_task(&asked))));
    }
    let result = waited(at, agent, &asked.task_id.into(), context).await.map_err(refused)?;
    Ok(told(&result).into())
}

/// What a model can mend. The key of a call is its client's affair.
fn is_of_the_arguments(error: &Error) -> bool {
    error.kind == Kind::Invalid && error.field.as_deref() != Some("Idempotency-Key")
}

/// A task of this agent.
fn known(agent: &AgentDefinition, id: &Value) -> Result<Sought> {
    let id = id.as_str().ok_or_else(|| Error::invalid("task_id must be a text").at("task_id"))?;
    Ok(Sought { at: Some(agent.name.clone()), ..sought(id)? })
}

/// A task by its id; one that cannot be an id names nothing.
fn sought(id: &str) -> Result<Sought> {
    TaskId::parse(id).map(Sought::from).map_err(|_| no_task(id))
}

/// The task as it is when it ends or parks, or when the agent's patience or the client's is over. It goes on in any case.
async fn waited(at: &Handler, agent: &AgentDefinition, sought: &Sought, context: &RequestContext<RoleServer>) -> Result<AgentResult> {
    let (desk, who) = (&at.desk, &at.caller.who);
    let until = async {
        tokio::select! {
            () = at.closing.cancelled() => {}
            () = context.ct.cancelled() => {}
        }
    };
    let patience = desk.patience(&agent.name, until);
    let Some(token) = context.meta.get_progress_token() else { return desk.wait(who, sought, patience).await };
    let reader = match desk.events(who, sought, 0).await {
        // No place for another stream: it is waited for in silence.
        Err(error) if error.kind == Kind::Unavailable => return desk.wait(who, sought, patience).await,
        reader => reader?,
    };
    tokio::select! {
        told = tell(reader, token, context) => told?,
        () = patience => {}
    }
    desk.get(who, sought).await
}

/// Tells a client each recorded fact as progress, until the task ends or parks.
async fn tell(reader: Option<Reader>, token: ProgressToken, context: &RequestContext<RoleServer>) -> Result<()> {
    let Some(mut reader) = reader else { return Ok(()) };
    while let Some(told) = reader.next().await? {
        let Told::Event(event) = told else { continue };
        let progress = ProgressNotificationParam::new(token.clone(), event.seq as f64).with_message(event.name.to_string());
        if context.peer.notify_progress(progress).await.is_err() || event.kind() == Some(EventKind::Parked) {
            return Ok(());
        }
    }
    Ok(())
}

/// `tasks/get`: a task as it is now.
pub(super) async fn task(at: &Handler, id: &str) -> Result<GetTaskResult> {
    Act::Follow.by(&at.caller.who)?;
    let result = at.desk.get(&at.caller.who, &sought(id)?).await?;
    let payload = match result.status {
        TaskStatus::Pending | TaskStatus::Running => TaskPayload::Working,
        TaskStatus::Cancelled => TaskPayload::Cancelled,
        // A task that failed is a call that answered with a failure; `failed` is for calls that were never carried out.
        TaskStatus::Completed | TaskStatus::Failed => match serde_json::to_value(told(&result)) {
            Ok(Value::Object(result)) => TaskPayload::Completed { result },
            _ => return Err(Error::internal("a result cannot be written")),
        },
    };
    Ok(GetTaskResult::new(DetailedTask::new(as_task(&result), payload)))
}

/// `tasks/cancel`: asks a task to stop; one that has ended stays as it is.
pub(super) async fn cancel(at: &Handler, id: &str) -> Result<()> {
    Act::Cancel.by(&at.caller.who)?;
    at.desk.cancel(&at.caller.who, &sought(id)?, None).await.map(drop)
}

fn as_task(result: &AgentResult) -> Task {
    let touched = result.finished_at.or(result.started_at).unwrap_or(result.created_at);
    let task = Task::new(result.task_id.to_string(), McpStatus::Working, result.created_at.to_string(), touched.to_string());
    let task = task.with_poll_interval_ms(LOOKED_AT_EVERY_MS);
    match &result.waiting_for {
        Some(waiting) => {
            let waiting = serde_json::to_value(waiting).unwrap_or_default();
            task.with_status_message(format!("waits for {}", waiting.as_str().unwrap_or("something")))
        }
        None => task,
    }
}

/// What a client reads of a task: its output, and the whole result beside it.
fn told(result: &AgentResult) -> CallToolResult {
    let text = match (result.status, &result.output) {
        (TaskStatus::Completed, output) => output.clone().unwrap_or_default(),
        (TaskStatus::Pending | TaskStatus::Running, _) => {
            format!("The task goes on. Call this tool with task_id `{}` and nothing else to wait for it.", result.task_id)
        }
        (TaskStatus::Cancelled, _) => "The task was cancelled.".to_owned(),
        (TaskStatus::Failed, _) => {
            let code = result.error.map_or("failed", ErrorCode::as_str);
            match &result.error_detail {
                Some(detail) => format!("{code}: {detail}"),
                None => code.to_owned(),
            }
        }
    };
    let whole = serde_json::to_value(result).ok();
    match result.status {
        TaskStatus::Failed | TaskStatus::Cancelled => failed(text, RESULT, whole),
        TaskStatus::Pending | TaskStatus::Running | TaskStatus::Completed => {
            let mut told = CallToolResult::success(vec![ContentBlock::text(text)]);
            told.structured_content = whole;
            told
        }
    }
}

fn wrong(why: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(why)])
}
