//! Every operation of the door on one page.

use super::{
    bodies::{self, Body},
    bounds,
    links::{self, Link},
    parameter::{
        AFTER, AGENT_CURSOR, APPROVAL, APPROVAL_CURSOR, BEGINNINGS, CALL_KEY, CURSOR, ID, INSTANCE, KEY, KNOWN_KEY, LAST_EVENT, LIMIT,
        NAME_CURSOR, OF_AGENT, OF_PRINCIPAL, OF_SCOPE, OF_TENANT, PROMPT, Parameter, SESSION, THOUGHTS, TOOL, TOOL_VERSION, TRACE,
        TURN_CURSOR, VERSION_CURSOR, query,
    },
};

/// One call.
#[derive(Debug)]
pub struct Operation {
    /// `get`, `post` or `delete`.
    pub method: &'static str,
    /// The path, `{id}` and all.
    pub path: &'static str,
    /// Whether it is offered under `/agents/{agent}` too.
    pub under_agent: bool,
    /// The scope a token needs; `None` where none is asked for.
    pub scope: Option<&'static str>,
    pub(super) name: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    /// What a caller should know of it, other scopes that will do included.
    pub description: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<Body>,
    pub(super) answers: &'static [Response],
    pub(super) refusals: &'static [u16],
}

#[derive(Debug)]
pub(super) struct Response {
    pub status: u16,
    pub description: &'static str,
    /// Media type and schema; an empty schema is text.
    pub content: &'static [(&'static str, &'static str)],
    pub headers: &'static [(&'static str, &'static str)],
    pub links: &'static [Link],
}

impl Operation {
    /// The statuses it can refuse with, beside its answers.
    pub(super) fn problems(&self) -> Vec<u16> {
        let mut statuses = vec![405, 500];
        if !self.parameters.is_empty() || self.under_agent {
            // A path or a query that cannot be read.
            statuses.push(400);
        }
        if self.under_agent || self.path.contains('{') {
            statuses.push(404);
        }
        if self.scope.is_some() {
            statuses.extend([401, 403, 429, 503]);
        }
        if self.method == "post" {
            statuses.extend([400, 408, 413, 415, 422]);
        }
        statuses.extend(self.refusals);
        statuses.sort_unstable();
        statuses
    }
}

/// What a status means here.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        400 => "The request cannot be read: JSON, a header, a cursor.",
        401 => "A valid bearer token is needed.",
        403 => "The token lacks the scope or the agent.",
        404 => "There is nothing of that name, or not for this tenant.",
        405 => "This method is not offered here.",
        406 => "What would be answered is not accepted.",
        408 => "The body came too slowly.",
        409 => "Something else holds that id, version or state.",
        413 => "The body is over 1 MiB.",
        415 => "The body is not JSON.",
        422 => "A field or the Idempotency-Key is wrong; it is named.",
        429 => "A limit of the tenant or the session is used up.",
        502 => "The tool answered with a failure; it is in `outcome`.",
        503 => "The node is at its capacity, or its store is away, or a tool was not called.",
        504 => "No outcome of the call is known: it may have happened.",
        _ => "A fault of ours.",
    }
}

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream";
const LOCATION: &[(&str, &str)] =
    &[("Location", "Where the task can be asked for."), ("Idempotency-Replayed", "`true` when the key was known.")];

const fn answer(status: u16, description: &'static str, content: &'static [(&'static str, &'static str)]) -> Response {
    Response { status, description, content, headers: &[], links: &[] }
}
const fn located(status: u16, description: &'static str) -> Response {
    Response { status, description, content: &[(JSON, "AgentResult")], headers: LOCATION, links: links::TASK }
}
const fn leading(
    status: u16,
    description: &'static str,
    content: &'static [(&'static str, &'static str)],
    links: &'static [Link],
) -> Response {
    Response { status, description, content, headers: &[], links }
}

/// Every operation.
#[rustfmt::skip]
pub const TABLE: &[Operation] = &[
    Operation { method: "post", path: "/run", name: "run", tag: "run", under_agent: true, scope: Some("run"),
        summary: "Ask and wait",
        description: "Answers when the task has ended, whatever its status. Past the agent's `sync_run` (50 s), or when the run parks, it answers 202 and the task goes on. A dropped connection cancels nothing. With `Accept: text/event-stream` it answers with the task's events instead.",
        parameters: &[KEY, TRACE, THOUGHTS], body: Some(bodies::TASK),
        answers: &[Response { status: 200, description: "It ended; or its events.", content: &[(JSON, "AgentResult"), (SSE, "EventFrame")], headers: LOCATION, links: links::TASK }, located(202, "It goes on.")],
        refusals: &[404, 409] },
    Operation { method: "post", path: "/tasks", name: "submit", tag: "tasks", under_agent: true, scope: Some("run"),
        summary: "Ask and do not wait", description: "202 is sent when the task is durable.",
        parameters: &[KEY, TRACE], body: Some(bodies::TASK), answers: &[located(202, "Accepted: the task as it is.")], refusals: &[404, 409] },
    Operation { method: "get", path: "/tasks", name: "tasks", tag: "tasks", under_agent: true, scope: Some("read"),
        summary: "List tasks", description: "Newest first.",
        parameters: &[query("status", "In this state.", bounds::task_status), query("session_id", "Of this conversation.", bounds::session_sought), query("agent", "Of this agent.", bounds::agent), BEGINNINGS, LIMIT, CURSOR],
        body: None, answers: &[answer(200, "A page.", &[(JSON, "TaskPage")])], refusals: &[400, 404, 422] },
    Operation { method: "get", path: "/tasks/{id}", name: "task", tag: "tasks", under_agent: true, scope: Some("read"),
        summary: "A task as it is now", description: "Live while it runs; never changes once it is final. The scope `run` shows the tasks that the token asked for.",
        parameters: &[ID, PROMPT], body: None, answers: &[answer(200, "The task.", &[(JSON, "AgentResult")])], refusals: &[400, 404, 422] },
    Operation { method: "get", path: "/status/{id}", name: "status", tag: "tasks", under_agent: true, scope: Some("read"),
        summary: "The same as GET /tasks/{id}", description: "Kept for clients of the article. The scope `run` shows the tasks that the token asked for.",
        parameters: &[ID, PROMPT], body: None, answers: &[answer(200, "The task.", &[(JSON, "AgentResult")])], refusals: &[400, 404, 422] },
    Operation { method: "delete", path: "/tasks/{id}", name: "delete_task", tag: "tasks", under_agent: true, scope: Some("cancel"),
        summary: "Cancel a task", description: "The same as POST /tasks/{id}/cancel.",
        parameters: &[ID], body: None, answers: &[answer(200, "It was final already; nothing changed.", &[(JSON, "AgentResult")]), located(202, "It is asked to stop, or has.")], refusals: &[404] },
    Operation { method: "post", path: "/tasks/{id}/cancel", name: "cancel", tag: "tasks", under_agent: true, scope: Some("cancel"),
        summary: "Cancel a task", description: "What is recorded first, the cancel or the end, wins.",
        parameters: &[ID, KEY], body: Some(bodies::NOTHING), answers: &[answer(200, "It was final already; nothing changed.", &[(JSON, "AgentResult")]), located(202, "It is asked to stop, or has.")], refusals: &[404] },
    Operation { method: "post", path: "/tasks/{id}/retry", name: "retry", tag: "tasks", under_agent: true, scope: Some("run"),
        summary: "Retry a failed task from its record", description: "A new task takes over the old one's record through the last step in which a tool call was started: nothing there that has an outcome is asked or sent again.",
        parameters: &[ID, KEY, TRACE], body: Some(bodies::NOTHING), answers: &[located(202, "The new task.")], refusals: &[404, 409] },
    Operation { method: "get", path: "/tasks/{id}/events", name: "events", tag: "tasks", under_agent: true, scope: Some("read"),
        summary: "A task's events, live", description: "SSE, or WebSocket on upgrade: the same objects. The scope `run` shows those of the tasks that the token asked for. Resumes after any number on any replica with no gap and no repeat; ends after the final event. `delta` events are unnumbered and never replayed.",
        parameters: &[ID, LAST_EVENT, AFTER, THOUGHTS], body: None,
        answers: &[answer(200, "The events.", &[(SSE, "EventFrame")]), answer(101, "The events, one a text frame.", &[]), answer(204, "Nothing follows that number: the task has ended.", &[])], refusals: &[400, 404] },
    Operation { method: "get", path: "/approvals", name: "approvals", tag: "approvals", under_agent: false, scope: Some("read"),
        summary: "List what runs ask of people", description: "Oldest first; those of tasks that ended are not there. The scope `approve` will do too.",
        parameters: &[query("state", "In this state.", bounds::approval_state), query("agent", "Of this agent.", bounds::agent), query("task_id", "Of this task.", bounds::task_sought), LIMIT, APPROVAL_CURSOR],
        body: None, answers: &[leading(200, "A page.", &[(JSON, "ApprovalPage")], links::APPROVALS)], refusals: &[400, 422] },
    Operation { method: "get", path: "/approvals/{id}", name: "approval", tag: "approvals", under_agent: false, scope: Some("read"),
        summary: "What a run asks of a person", description: "Open or decided, as long as its task is there. The scope `approve` will do too.",
        parameters: &[APPROVAL], body: None, answers: &[answer(200, "The request.", &[(JSON, "Approval")])], refusals: &[404] },
    Operation { method: "post", path: "/approvals/{id}", name: "decide", tag: "approvals", under_agent: false, scope: Some("approve"),
        summary: "Approve or deny", description: "An approval fits only exactly what is shown. For a call in doubt, `approve` says that it happened and `deny` that it did not. The same decision again is the same; another one, or one that comes too late, is refused.",
        parameters: &[APPROVAL, KNOWN_KEY], body: Some(bodies::DECISION), answers: &[answer(200, "The request as it is now.", &[(JSON, "Approval")])], refusals: &[404, 409] },
    Operation { method: "get", path: "/dead-letters", name: "dead_letters", tag: "dead letters", under_agent: false, scope: Some("read"),
        summary: "List dead letters", description: "Tasks that ended `failed: poisoned`, newest first.",
        parameters: &[query("agent", "Of this agent.", bounds::agent), BEGINNINGS, LIMIT, CURSOR], body: None, answers: &[leading(200, "A page.", &[(JSON, "TaskPage")], links::DEAD_LETTERS)], refusals: &[400, 422] },
    Operation { method: "post", path: "/dead-letters/{id}/requeue", name: "requeue", tag: "dead letters", under_agent: false, scope: Some("run"),
        summary: "Try a dead letter again", description: "A retry that takes it out of the dead letters in the same transaction.",
        parameters: &[ID, KEY, TRACE], body: Some(bodies::NOTHING), answers: &[located(202, "The new task.")], refusals: &[404, 409] },
    Operation { method: "post", path: "/dead-letters/{id}/drop", name: "drop", tag: "dead letters", under_agent: false, scope: Some("admin"),
        summary: "Take a dead letter out", description: "Its record stays.",
        parameters: &[ID, KEY], body: Some(bodies::NOTHING), answers: &[answer(200, "The task, which is a dead letter no more.", &[(JSON, "AgentResult")])], refusals: &[404] },
    Operation { method: "get", path: "/sessions", name: "sessions", tag: "sessions", under_agent: true, scope: Some("read"),
        summary: "List conversations", description: "Newest first by the task that was accepted last in each, with the agent and the number of tasks. A page may hold fewer than `limit`, none even, and lead to the next.",
        parameters: &[query("agent", "With this agent.", bounds::agent), BEGINNINGS, LIMIT, CURSOR], body: None, answers: &[leading(200, "A page.", &[(JSON, "SessionPage")], links::SESSIONS)], refusals: &[400, 404, 422] },
    Operation { method: "get", path: "/sessions/{id}/messages", name: "messages", tag: "sessions", under_agent: true, scope: Some("read"),
        summary: "A conversation", description: "What its completed tasks asked and answered, oldest first within a page; `next_cursor` leads to the turns before. `limit` counts turns.",
        parameters: &[SESSION, OF_AGENT, LIMIT, TURN_CURSOR], body: None, answers: &[answer(200, "A page.", &[(JSON, "MessagePage")])], refusals: &[400, 404, 422] },
    Operation { method: "delete", path: "/sessions/{id}", name: "erase", tag: "sessions", under_agent: true, scope: Some("admin"),
        summary: "Erase a conversation", description: "Its finished tasks and their records go; their ids stay taken.",
        parameters: &[SESSION, OF_AGENT], body: None, answers: &[answer(200, "It is gone.", &[(JSON, "Erased")])], refusals: &[404, 409, 422] },
    Operation { method: "get", path: "/tools", name: "tools", tag: "tools", under_agent: false, scope: Some("read"),
        summary: "List tools", description: "What serves the tenant's runs: the node's tools and the tenant's own. By name, the versions of each highest first, with owner, state and instances; `limit` counts names. With `agent`: exactly what that agent may use now, in the shape its model is shown. The scope `tools` will do too.",
        parameters: &[query("agent", "What this agent may use.", bounds::agent), OF_TENANT, LIMIT, NAME_CURSOR], body: None,
        answers: &[answer(200, "A page.", &[(JSON, "ToolPage | GrantedPage")])], refusals: &[400, 404, 422] },
    Operation { method: "post", path: "/tools", name: "register_tool", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "Register a tool, or renew it", description: "It serves the tenant's runs only; with `operator` everybody's. A name that the node has is not to be had. Send the same again within `lease_ms` to stay. What can be mended without changing its meaning is mended and said in `notes`. The same version with another contract is 409, and so is a minor or patch version that breaks callers; the list of breaks is in the detail.",
        parameters: &[query("source", "`registered` (default): it leaves when it is silent. `added`: it stays until it is removed.", bounds::source), query("override", "Why a version is taken in although its compatibility is not proven; recorded. Needs `admin`, or `operator`.", bounds::reason), OF_TENANT, OF_PRINCIPAL, OF_SCOPE, KNOWN_KEY],
        body: Some(bodies::DEFINITION), answers: &[answer(200, "It is known, and renewed.", &[(JSON, "Registered")]), leading(201, "A new version.", &[(JSON, "Registered")], links::REGISTERED)], refusals: &[409] },
    Operation { method: "post", path: "/tools/resolve", name: "resolve_tools", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "For runtimes: the definitions that an agent gets", description: "`tools`: the highest version of each wish that can be called. `pick`: the one that a call by name would get. Neither: all that the agent was granted.",
        parameters: &[KNOWN_KEY], body: Some(bodies::RESOLVE), answers: &[answer(200, "The definitions.", &[(JSON, "ResolveAnswer")])], refusals: &[404, 409] },
    Operation { method: "get", path: "/tools/resolve", name: "tool_named_resolve", tag: "tools", under_agent: false, scope: Some("read"),
        summary: "The tool of that name", description: "As GET /tools/{name}. The scope `tools` will do too.",
        parameters: &[TOOL_VERSION, OF_TENANT], body: None, answers: &[answer(200, "The version.", &[(JSON, "ToolVersion")])], refusals: &[404, 422] },
    Operation { method: "delete", path: "/tools/resolve", name: "remove_tool_named_resolve", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "Forget the tool of that name", description: "As DELETE /tools/{name}.",
        parameters: &[TOOL_VERSION, OF_TENANT, OF_PRINCIPAL, OF_SCOPE], body: None, answers: &[answer(200, "How many versions are forgotten.", &[(JSON, "Removed")])], refusals: &[404, 409, 422] },
    Operation { method: "get", path: "/tools/{name}", name: "tool", tag: "tools", under_agent: false, scope: Some("read"),
        summary: "A version of a tool", description: "The one of `version`, else the highest that can be called, else the highest. The scope `tools` will do too.",
        parameters: &[TOOL, TOOL_VERSION, OF_TENANT], body: None, answers: &[answer(200, "The version.", &[(JSON, "ToolVersion")])], refusals: &[404, 422] },
    Operation { method: "delete", path: "/tools/{name}", name: "remove_tool", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "Forget versions of a tool", description: "The one of `version`, else all; only what registered itself or was added, and of one's own: of any owner of one's tenant with `admin`, of the node's with `operator`.",
        parameters: &[TOOL, TOOL_VERSION, OF_TENANT, OF_PRINCIPAL, OF_SCOPE], body: None, answers: &[answer(200, "How many versions are forgotten.", &[(JSON, "Removed")])], refusals: &[404, 409, 422] },
    Operation { method: "get", path: "/tools/{name}/versions", name: "tool_versions", tag: "tools", under_agent: false, scope: Some("read"),
        summary: "The versions of a tool", description: "Highest first, with what changed and the verdict. The scope `tools` will do too.",
        parameters: &[TOOL, OF_TENANT, LIMIT, VERSION_CURSOR], body: None, answers: &[answer(200, "A page.", &[(JSON, "VersionPage")])], refusals: &[400, 404, 422] },
    Operation { method: "delete", path: "/tools/{name}/instances/{instance}", name: "withdraw_tool", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "Take an instance out", description: "What a tool does when it stops. Its version stays known.",
        parameters: &[TOOL, INSTANCE, OF_TENANT, OF_PRINCIPAL, OF_SCOPE], body: None, answers: &[answer(204, "It is out.", &[])], refusals: &[404, 409, 422] },
    Operation { method: "post", path: "/tools/{name}/invoke", name: "invoke_tool", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "Call a tool on an agent's grant", description: "Arguments are validated before anything is sent; the call is recorded under its key, which is the principal's own, before it is sent, and goes on although the caller leaves. With `run` it is a runtime's call, whose record is the run's journal, and needs `operator`. Every refusal of the call has a member `outcome`: `{status: failed | not_sent | wait | refused | unknown, …}`.",
        parameters: &[TOOL, CALL_KEY, TRACE], body: Some(bodies::INVOKE), answers: &[answer(200, "The result.", &[(JSON, "CallAnswer")])], refusals: &[404, 409, 502, 504] },
    Operation { method: "post", path: "/tools/{name}/admit", name: "admit_call", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "For runtimes: whether a call may go now", description: "Takes one of the calls that the tool's `rate_limit` allows the agent in any 60 s, under the name `run.send`: twice under one name is once. Needs `operator`.",
        parameters: &[TOOL, KNOWN_KEY], body: Some(bodies::ADMIT), answers: &[answer(200, "It may, or how long to wait.", &[(JSON, "AdmitAnswer")])], refusals: &[404, 409] },
    Operation { method: "post", path: "/tools/{name}/probe", name: "probe_call", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "Whether a call in doubt happened", description: "Asks the tool's `probe_url` about the run's call of `run.key`, which needs `operator`, or the direct call of `key`.",
        parameters: &[TOOL, KNOWN_KEY], body: Some(bodies::PROBE), answers: &[answer(200, "What the tool says.", &[(JSON, "ProbeAnswer")])], refusals: &[404, 409] },
    Operation { method: "post", path: "/mcp", name: "mcp", tag: "tools", under_agent: false, scope: Some("tools"),
        summary: "A message of the Model Context Protocol", description: "Streamable HTTP without sessions, versions 2024-11-05 to 2026-07-28. Serves the tools of the agents that the token may use (scope `tools`) and each agent as the tool `agent_NAME` (scope `run`), to clients that speak the tasks extension as tasks.",
        parameters: &[TRACE], body: Some(bodies::MESSAGE), answers: &[answer(200, "The answer, or its events.", &[(JSON, "McpMessage"), (SSE, "")]), answer(202, "Taken: a notification has no answer.", &[]), answer(400, "An error in the words of the protocol.", &[(JSON, "McpMessage")])], refusals: &[406] },
    Operation { method: "get", path: "/agents", name: "agents", tag: "node", under_agent: false, scope: Some("read"),
        summary: "The agents of this node", description: "By name; those the token may use.",
        parameters: &[LIMIT, AGENT_CURSOR], body: None, answers: &[leading(200, "A page.", &[(JSON, "AgentPage")], links::AGENTS)], refusals: &[422] },
    Operation { method: "get", path: "/health", name: "health", tag: "node", under_agent: false, scope: None,
        summary: "Whether the process lives", description: "Never shed.",
        parameters: &[], body: None, answers: &[answer(200, "It does.", &[(JSON, "Health")])], refusals: &[] },
    Operation { method: "get", path: "/ready", name: "ready", tag: "node", under_agent: false, scope: None,
        summary: "Whether this role can work", description: "503 names each part: with what ails it to those who may see the metrics, by its kind alone to others.",
        parameters: &[], body: None, answers: &[answer(200, "It can.", &[(JSON, "Readiness")])], refusals: &[503] },
    Operation { method: "get", path: "/metrics", name: "metrics", tag: "node", under_agent: false, scope: Some("operator"),
        summary: "Metrics", description: "Prometheus text. The token `metrics.token` of the settings will do too.",
        parameters: &[], body: None, answers: &[answer(200, "The metrics.", &[("text/plain", "")])], refusals: &[] },
    Operation { method: "get", path: "/openapi.json", name: "openapi", tag: "node", under_agent: false, scope: None,
        summary: "This description", description: "Generated from the types that are sent.",
        parameters: &[], body: None, answers: &[answer(200, "OpenAPI 3.1.", &[(JSON, "object")])], refusals: &[] },
    Operation { method: "get", path: "/docs", name: "docs", tag: "node", under_agent: false, scope: None,
        summary: "This description as a page", description: "Loads nothing from elsewhere.",
        parameters: &[], body: None, answers: &[answer(200, "The page.", &[("text/html", "")])], refusals: &[] },
    Operation { method: "get", path: "/docs/tools", name: "tool_docs", tag: "tools", under_agent: false, scope: None,
        summary: "The catalogue as a page", description: "Searchable, with schema, example call, versions and health. It asks GET /tools, with a token where one is needed, and loads nothing from elsewhere.",
        parameters: &[], body: None, answers: &[answer(200, "The page.", &[("text/html", "")])], refusals: &[] },
];
