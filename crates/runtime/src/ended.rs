//! Tells of tasks that ended, whoever ended them: a count, and one line of the log each.

use maniple_core::{
    event::StoredEvent,
    task::{AgentResult, ErrorCode},
};

/// A task ended like this.
pub(crate) fn tell(result: &AgentResult) {
    let status = result.status.as_str();
    metrics::counter!("maniple_tasks_total", "agent" => result.agent.to_string(), "status" => status).increment(1);
    // By itself: the fields of the run's span would make a long line of it.
    tracing::info!(
        parent: None,
        task = %result.task_id,
        agent = %result.agent,
        session = %result.session_id,
        error = result.error.map(ErrorCode::as_str),
        steps = result.steps_used,
        tool_calls = result.tool_calls,
        tokens = result.tokens_used,
        duration_ms = result.duration_ms,
        model = result.model.as_deref(),
        trace_id = result.trace_id.as_deref(),
        "task {status}"
    );
}

/// The same, from its final event.
pub(crate) fn tell_event(event: &StoredEvent) {
    if let Some(result) = event.result() {
        tell(&result);
    }
}
