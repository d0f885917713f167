//! An event as readers are sent it: the same object in an SSE frame and in a WebSocket text frame.

use maniple_core::{TaskId, Time, event::EventKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The `type` of what is between the events: unnumbered, never recorded, never replayed.
pub const DELTA: &str = "delta";

/// One event of a task. Types a reader does not know are to be skipped: more may come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEvent {
    /// 1, 2, 3 … without gaps; a `delta` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// `task.accepted`, `model.finished`, `tool.started` …, or `delta`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The task.
    pub task_id: TaskId,
    /// When it was recorded; a `delta` is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// The step it belongs to; 0 before the first.
    pub step: u32,
    /// What happened, by type. Of the last one it is the AgentResult; of a `delta` `{step, attempt, index, text}`.
    pub data: Value,
}

impl TaskEvent {
    /// Whether nothing follows it.
    pub fn is_final(&self) -> bool {
        EventKind::named(&self.kind).is_some_and(EventKind::is_final)
    }
    /// The piece of text of a `delta`.
    pub fn text(&self) -> Option<&str> {
        (self.kind == DELTA).then(|| self.data.get("text")?.as_str()).flatten()
    }
}
