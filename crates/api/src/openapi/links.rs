//! What an answer leads to: the calls that take what it names.

use serde_json::{Map, Value, json};

/// Where an answer names what another call takes: the call, its parameter, and the value in the answer's body.
#[derive(Debug)]
pub(super) struct Link {
    to: &'static str,
    parameters: &'static [(&'static str, &'static str)],
}

impl Link {
    /// By the name of the call that it leads to.
    pub(super) fn all(links: &[Self]) -> Map<String, Value> {
        let one = |link: &Self| {
            let values = link.parameters.iter().map(|(name, pointer)| ((*name).to_owned(), format!("$response.body#{pointer}").into()));
            let parameters: Map<String, Value> = values.collect();
            (link.to.to_owned(), json!({ "operationId": link.to, "parameters": parameters }))
        };
        links.iter().map(one).collect()
    }
}

const fn link(to: &'static str, parameters: &'static [(&'static str, &'static str)]) -> Link {
    Link { to, parameters }
}

const TASK_OF: &[(&str, &str)] = &[("agent", "/agent"), ("id", "/task_id")];

pub(super) const TASK: &[Link] = &[
    link("task", &[("id", "/task_id")]),
    link("status", &[("id", "/task_id")]),
    link("events", &[("id", "/task_id")]),
    link("cancel", &[("id", "/task_id")]),
    link("delete_task", &[("id", "/task_id")]),
    link("retry", &[("id", "/task_id")]),
    link("messages", &[("id", "/session_id"), ("agent", "/agent")]),
    link("erase", &[("id", "/session_id"), ("agent", "/agent")]),
    link("task_of_agent", TASK_OF),
    link("events_of_agent", TASK_OF),
    link("cancel_of_agent", TASK_OF),
    link("delete_task_of_agent", TASK_OF),
    link("messages_of_agent", &[("id", "/session_id"), ("agent", "/agent")]),
];
pub(super) const APPROVALS: &[Link] = &[link("approval", &[("id", "/approvals/0/id")]), link("decide", &[("id", "/approvals/0/id")])];
pub(super) const DEAD_LETTERS: &[Link] = &[link("requeue", &[("id", "/tasks/0/task_id")]), link("drop", &[("id", "/tasks/0/task_id")])];
pub(super) const AGENTS: &[Link] = &[
    link("run_of_agent", &[("agent", "/agents/0/name")]),
    link("submit_of_agent", &[("agent", "/agents/0/name")]),
    link("tasks_of_agent", &[("agent", "/agents/0/name")]),
    link("sessions_of_agent", &[("agent", "/agents/0/name")]),
    link("tools", &[("agent", "/agents/0/name")]),
];
pub(super) const SESSIONS: &[Link] = &[link("messages", &[("id", "/sessions/0/session_id"), ("agent", "/sessions/0/agent")])];
pub(super) const REGISTERED: &[Link] = &[
    link("tool", &[("name", "/definition/name"), ("version", "/definition/version")]),
    link("tool_versions", &[("name", "/definition/name")]),
    link("withdraw_tool", &[("name", "/definition/name"), ("instance", "/instance")]),
    link("remove_tool", &[("name", "/definition/name"), ("version", "/definition/version")]),
];
