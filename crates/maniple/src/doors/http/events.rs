//! A task's events: as SSE, or as a WebSocket on upgrade. The same objects, the same numbers.
//!
//! A stream holds a reader and nothing else: a slow client is left behind by the bus and loses deltas first;
//! one whose connection takes nothing for [`super::server::STALLED`] loses it. Nothing that happens here touches the task.

use super::{
    Door,
    answer::Refusal,
    auth::Who,
    place::{Asked, Place},
};
use axum::{
    body::Body,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maniple_api::{Problem, event::DELTA, page};
use maniple_core::{Error, TaskId, ports::Delta};
use maniple_runtime::desk::{Act, Reader, Told};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a stream may be silent before a comment, or a ping, keeps it open.
const KEPT_OPEN: Duration = Duration::from_secs(15);
/// How long the other side has to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// A reader has nothing to say to us: frames from it may be small.
const WS_MESSAGE_MAX: usize = 64 << 10;

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    after: Option<String>,
}

pub(super) async fn events(
    State(door): State<Arc<Door>>,
    Who(who): Who,
    place: Place,
    Asked(query): Asked<EventsQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    Act::Follow.by(&who)?;
    let after = resume_after(&headers, query.after.as_deref())?;
    let reader = door.desk.events(&who, &place.task()?, after).await?;
    if wants_upgrade(&headers) {
        check_origin(&headers)?;
        let upgrade = upgrade.map_err(|e| Problem::malformed(format!("the WebSocket handshake is wrong: {e}")))?;
        let upgrade = upgrade.max_message_size(WS_MESSAGE_MAX).max_frame_size(WS_MESSAGE_MAX);
        let following = reader.map(|reader| Following::of(&door, reader));
        return Ok(upgrade.on_upgrade(move |socket| tell(socket, following)));
    }
    match reader {
        Some(reader) => Ok(stream(&door, reader)),
        // 204 is what stops a browser's EventSource.
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// A reader on its way out.
struct Following {
    reader: Reader,
    closing: CancellationToken,
}

/// What a connection is to be sent next.
enum Next {
    Told(Told),
    /// Nothing happened for a while.
    KeepOpen,
    /// The final event was told.
    End,
    /// The node leaves: the reader resumes elsewhere.
    Leave,
    /// The journal could not be read: the reader tries again.
    Broken(Error),
}

impl Following {
    fn of(door: &Door, reader: Reader) -> Self {
        Self { reader, closing: door.closing.clone() }
    }

    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Next {
        let told = tokio::time::timeout(KEPT_OPEN, self.reader.next());
        let told = tokio::select! {
            told = told => told,
            () = self.closing.cancelled() => return Next::Leave,
        };
        match told {
            Ok(Ok(Some(told))) => Next::Told(told),
            Ok(Ok(None)) => Next::End,
            Ok(Err(error)) => Next::Broken(error),
            Err(_) => Next::KeepOpen,
        }
    }
}

/// What a reader is told, as SSE.
pub(super) fn stream(door: &Door, reader: Reader) -> Response {
    let pieces = futures::stream::unfold(Following::of(door, reader), |mut following| async move {
        let piece = match following.next().await {
            Next::Told(told) => Ok(sse(&told, &following.reader.key().id)),
            Next::KeepOpen => Ok(Bytes::from_static(b":\n\n")),
            Next::End | Next::Leave => return None,
            Next::Broken(error) => {
                tracing::warn!(%error, source = ?error.source, "an event stream broke off; its reader will resume");
                Err(error)
            }
        };
        Some((piece, following))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One SSE frame. JSON text has no line breaks, so its data is one line.
fn sse(told: &Told, task_id: &TaskId) -> Bytes {
    let frame = match told {
        Told::Event(event) => format!("id: {}\nevent: {}\ndata: {}\n\n", event.seq, event.name, event.frame(task_id)),
        Told::Delta(delta) => format!("event: {DELTA}\ndata: {}\n\n", serde_json::to_string(delta).unwrap_or_default()),
    };
    frame.into()
}

async fn tell(mut socket: WebSocket, following: Option<Following>) {
    let mut code = close_code::NORMAL;
    if let Some(mut following) = following {
        loop {
            let next = tokio::select! {
                next = following.next() => next,
                heard = socket.recv() => match heard {
                    Some(Ok(Message::Close(_))) | Some(Err(_)) | None => return,
                    Some(Ok(_)) => continue,
                },
            };
            let message = match next {
                Next::Told(told) => Message::Text(frame(&told, &following.reader.key().id).into()),
                Next::KeepOpen => Message::Ping(Bytes::new()),
                Next::End => break,
                Next::Leave => {
                    code = close_code::RESTART;
                    break;
                }
                Next::Broken(error) => {
                    tracing::warn!(%error, source = ?error.source, "an event stream broke off; its reader will resume");
                    code = close_code::AGAIN;
                    break;
                }
            };
            if socket.send(message).await.is_err() {
                return;
            }
        }
    }
    let goodbye = async {
        let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
        while let Some(Ok(_)) = socket.recv().await {}
    };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

/// One text frame.
fn frame(told: &Told, task_id: &TaskId) -> String {
    #[derive(Serialize)]
    struct Piece<'a> {
        r#type: &'static str,
        task_id: &'a TaskId,
        step: u32,
        data: &'a Delta,
    }
    match told {
        Told::Event(event) => event.frame(task_id),
        Told::Delta(delta) => serde_json::to_string(&Piece { r#type: DELTA, task_id, step: delta.step, data: delta }).unwrap_or_default(),
    }
}

/// The number to resume after: the header wins over the query.
fn resume_after(headers: &HeaderMap, query: Option<&str>) -> Result<u64, Refusal> {
    let (name, given) = match headers.get("last-event-id") {
        Some(id) => ("Last-Event-ID", id.to_str().ok()),
        None => match query {
            Some(after) => ("after", Some(after)),
            None => return Ok(0),
        },
    };
    let number = given.filter(|text| !text.is_empty()).and_then(page::number).filter(|number| *number <= i64::MAX as u64);
    number.ok_or_else(|| Problem::malformed(format!("{name} must be the number of an event")).at(name).into())
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Browsers let any page open a WebSocket to any host, so a page of another host is refused here.
fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes());
    if of_origin.is_some() && of_origin == host {
        return Ok(());
    }
    Err(Error::denied("a page of another origin may not read events over a WebSocket").at("Origin").into())
}
