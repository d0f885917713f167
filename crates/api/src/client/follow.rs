//! Follows a task's events over any number of connections: no gap, no repeat, to the last.

use super::{Client, not_ours};
use crate::event::{DELTA, TaskEvent};
use eventsource_stream::{Event, Eventsource};
use futures::{Stream, StreamExt, stream::BoxStream};
use maniple_core::{Error, Kind, Result, TaskId};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::Value;
use std::time::Duration;

/// How often in a row a connection may fail before the reader is told.
const MAX_FAILURES: u32 = 8;
/// Three comments are missed before a silent connection counts as dead.
const SILENCE: Duration = Duration::from_secs(45);

/// A reader that has seen everything up to `after`.
pub struct Follow {
    client: Client,
    task: Option<String>,
    after: u64,
    frames: Option<BoxStream<'static, Result<Event, ()>>>,
    failures: u32,
    ended: bool,
}

impl Follow {
    /// Of a task whose id is known.
    pub(super) fn of(client: Client, task: String, after: u64) -> Self {
        Self { client, task: Some(task), after, frames: None, failures: 0, ended: false }
    }
    /// Of the task that this streaming answer belongs to.
    pub(super) fn begun(client: Client, response: Response) -> Self {
        Self { client, task: None, after: 0, frames: Some(frames(response)), failures: 0, ended: false }
    }

    /// Every event once, in order, and what deltas come by. Ends after the final event or an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<TaskEvent>> + use<> {
        futures::stream::unfold(self, |mut follow| async move {
            match follow.next().await {
                Ok(event) => event.map(|event| (Ok(event), follow)),
                Err(error) => {
                    follow.ended = true;
                    Some((Err(error), follow))
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<TaskEvent>> {
        while !self.ended {
            let Some(frames) = &mut self.frames else {
                self.connect().await?;
                continue;
            };
            match tokio::time::timeout(SILENCE, frames.next()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(event) = self.take(&frame)? {
                        return Ok(Some(event));
                    }
                }
                Ok(Some(Err(()))) | Ok(None) | Err(_) => {
                    self.frames = None;
                    self.failed(Error::unavailable("the event stream breaks off again and again")).await?;
                }
            }
        }
        Ok(None)
    }

    async fn connect(&mut self) -> Result<()> {
        let Some(task) = &self.task else {
            return Err(Error::unavailable("the connection broke before the task was known: ask again with the same Idempotency-Key"));
        };
        let request = self.client.to(Method::GET, &["tasks", task, "events"]).header(header::ACCEPT, "text/event-stream");
        match self.client.sent(request.header("Last-Event-ID", self.after)).await {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => self.ended = true,
            Ok(response) if response.status() == StatusCode::OK => self.frames = Some(frames(response)),
            Ok(response) => return Err(not_ours(&self.client.base, response.status())),
            Err(error) if matches!(error.kind, Kind::Unavailable | Kind::Exhausted) => self.failed(error).await?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Waits before the next try, or gives the error up.
    async fn failed(&mut self, error: Error) -> Result<()> {
        self.failures += 1;
        if self.failures > MAX_FAILURES {
            return Err(error);
        }
        let backoff = Duration::from_millis(50 << self.failures.min(7));
        tokio::time::sleep(error.retry_after.unwrap_or(backoff).max(backoff)).await;
        Ok(())
    }

    /// The event of a frame, if the reader has not seen it.
    fn take(&mut self, frame: &Event) -> Result<Option<TaskEvent>> {
        let unreadable = |e| Error::internal("an event cannot be read: are both sides the same version?").because(e);
        if frame.event == DELTA {
            let data: Value = serde_json::from_str(&frame.data).map_err(unreadable)?;
            let Some(task_id) = self.task.as_deref().and_then(|id| TaskId::parse(id).ok()) else { return Ok(None) };
            let step = data.get("step").and_then(Value::as_u64).unwrap_or_default() as u32;
            return Ok(Some(TaskEvent { id: None, kind: DELTA.into(), task_id, at: None, step, data }));
        }
        let event: TaskEvent = serde_json::from_str(&frame.data).map_err(unreadable)?;
        let Some(id) = event.id else { return Ok(None) };
        if id <= self.after {
            return Ok(None);
        }
        self.task.get_or_insert_with(|| event.task_id.to_string());
        self.after = id;
        self.failures = 0;
        self.ended = event.is_final();
        Ok(Some(event))
    }
}

fn frames(response: Response) -> BoxStream<'static, Result<Event, ()>> {
    response.bytes_stream().eventsource().map(|frame| frame.map_err(drop)).boxed()
}
