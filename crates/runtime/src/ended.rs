//! Counts tasks by how they ended, whoever ended them.

use maniple_core::{AgentName, event::StoredEvent, task::TaskStatus};

/// A task of this agent ended like this.
pub(crate) fn count(agent: &AgentName, status: TaskStatus) {
    metrics::counter!("maniple_tasks_total", "agent" => agent.to_string(), "status" => status.as_str()).increment(1);
}

/// The same, from its final event.
pub(crate) fn count_event(event: &StoredEvent) {
    if let Some(result) = event.result() {
        count(&result.agent, result.status);
    }
}
