//! Reads tasks and their events over HTTP, through every death of the node.

use futures::StreamExt;
use maniple_core::{TaskId, Time, event::StoredEvent, task::AgentResult};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::time::Instant;

/// The node's door, whoever stands behind it at the moment.
#[derive(Clone)]
pub struct Door {
    pub url: String,
    pub client: reqwest::Client,
}

impl Door {
    /// Calls that get no answer at all come to an end; no answer is expected to take so long.
    pub fn new(url: String) -> Self {
        // No connection is used again that a node may be closing.
        let idle_max = maniple_api::client::IDLE_MAX;
        let client = reqwest::Client::builder().no_proxy().read_timeout(Duration::from_secs(60)).pool_idle_timeout(idle_max);
        let client = client.build().expect("a client");
        Self { url, client }
    }
}

/// A task as it is now; `None` where nobody answers. An accepted task that is not there is lost.
pub async fn seen(door: &Door, id: &TaskId) -> Option<AgentResult> {
    let answer = door.client.get(format!("{}/tasks/{id}", door.url)).send().await.ok()?;
    assert_ne!(answer.status(), 404, "{id} was accepted and is gone");
    answer.json().await.ok()
}

/// Takes a task out of the dead letters, to be tried again. The new task's id.
pub async fn requeue(door: &Door, id: &TaskId) -> TaskId {
    let answer = door.client.post(format!("{}/dead-letters/{id}/requeue", door.url)).send().await.expect("the node answers");
    assert_eq!(answer.status(), 202, "{id} is not in the dead letters");
    answer.json::<AgentResult>().await.expect("a task").task_id
}

/// A task at its end; as it is, where it does not end in time.
pub async fn ended(door: &Door, id: &TaskId, until: Instant) -> Option<AgentResult> {
    loop {
        let result = seen(door, id).await;
        if Instant::now() > until || result.as_ref().is_some_and(|result| result.status.is_final()) {
            return result;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All events of an ended task.
pub async fn events(door: &Door, id: &TaskId) -> Vec<StoredEvent> {
    let mut events = Vec::new();
    read(door, id, &mut events, usize::MAX).await;
    events
}

/// The events of an ended task after that number.
pub async fn events_after(door: &Door, id: &TaskId, after: u64) -> Vec<StoredEvent> {
    let mut events = Vec::new();
    read_after(door, id, after, &mut events, usize::MAX).await;
    events
}

/// Follows a task from its first event to its last, coming back wherever the stream breaks off.
pub async fn follow(door: Door, id: TaskId) {
    let mut events: Vec<StoredEvent> = Vec::new();
    while !events.last().is_some_and(StoredEvent::is_final) {
        read(&door, &id, &mut events, usize::MAX).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "{id}");
}

#[derive(Deserialize)]
struct Frame {
    id: u64,
    r#type: String,
    at: Time,
    step: u32,
    data: Box<RawValue>,
}

/// Reads on after what is known, until the stream ends, whoever ends it, or so many more have come.
pub async fn read(door: &Door, id: &TaskId, events: &mut Vec<StoredEvent>, more: usize) {
    let enough = events.len().saturating_add(more);
    let after = events.last().map_or(0, |event| event.seq);
    read_after(door, id, after, events, enough).await;
}

async fn read_after(door: &Door, id: &TaskId, after: u64, events: &mut Vec<StoredEvent>, enough: usize) {
    let request = door.client.get(format!("{}/tasks/{id}/events", door.url)).header("last-event-id", after);
    let Ok(answer) = request.send().await else { return };
    assert_ne!(answer.status(), 404, "{id} was accepted and is gone");
    let mut pieces = answer.bytes_stream();
    let mut unread = Vec::new();
    while let Some(Ok(piece)) = pieces.next().await {
        unread.extend_from_slice(&piece);
        while let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = unread.drain(..end + 2).collect();
            events.extend(event(&String::from_utf8(block).expect("UTF-8")));
            if events.len() >= enough {
                return;
            }
        }
    }
}

/// The event of a block; deltas and comments are none.
fn event(block: &str) -> Option<StoredEvent> {
    block.lines().find(|line| line.starts_with("id:"))?;
    let data = block.lines().find_map(|line| line.strip_prefix("data:"))?;
    let Frame { id, r#type, at, step, data } = serde_json::from_str(data).expect("a frame");
    Some(StoredEvent { seq: id, at, step, name: r#type.into(), data, made: None })
}
