//! Events as SSE: a body that is read as fast as its client takes it.

use super::{
    Following, Next,
    outgoing::{Outgoing, PIECE, RESTS_AFTER, Tail},
};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use maniple_api::event::DELTA;
use maniple_core::{Error, Result, TaskId};
use maniple_runtime::desk::Told;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

struct Sse {
    following: Following,
    out: Option<Outgoing>,
    /// What may lie in the connection's own buffer, in bytes: taken with a piece, given back when it is written.
    room: Arc<Semaphore>,
}

/// A piece that gives its room back when it is written, or thrown away.
struct Piece {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(super) fn response(following: Following) -> Response {
    let sse = Sse { following, out: None, room: Arc::new(Semaphore::new(PIECE)) };
    let pieces = futures::stream::unfold(sse, |mut sse| async move { sse.next().await.map(|piece| (piece, sse)) });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Sse {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        let mut out = match self.out.take() {
            Some(out) => out,
            None => match self.following.next().await {
                Next::Told(told) => frame(told, &self.following.reader.key().id),
                Next::KeepOpen => Outgoing::text(":\n\n".into()),
                Next::End | Next::Leave => return None,
                Next::Broken(error) => return Some(Err(broken(error))),
            },
        };
        let room = match self.room_for(&mut out).await {
            Ok(room) => room,
            Err(error) => return Some(Err(error)),
        };
        let bytes = match out.piece(&mut self.following).await {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(broken(error))),
        };
        self.out = Some(out).filter(|out| out.left() > 0);
        Some(Ok(Bytes::from_owner(Piece { bytes, _room: room })))
    }

    /// Waits until what was sent before is written, and holds nothing that can be read again while that takes time.
    async fn room_for(&mut self, out: &mut Outgoing) -> Result<OwnedSemaphorePermit> {
        let bytes = out.left().min(PIECE) as u32;
        let mut room = std::pin::pin!(self.room.clone().acquire_many_owned(bytes));
        let soon = tokio::time::timeout(RESTS_AFTER, &mut room).await;
        let room = match soon {
            Ok(room) => room,
            Err(_) => {
                out.let_go();
                self.following.reader.rest();
                room.await
            }
        };
        room.map_err(|_| Error::internal("the room of a stream is never closed"))
    }
}

fn broken(error: Error) -> Error {
    tracing::warn!(%error, source = ?error.source, "an event stream broke off; its reader will resume");
    error
}

/// One SSE frame. JSON text has no line breaks, so its data is one line.
fn frame(told: Told, task_id: &TaskId) -> Outgoing {
    match told {
        Told::Event(event) => {
            let before = format!("id: {}\nevent: {}\ndata: ", event.seq, event.name);
            Outgoing::event(event, task_id, before, Tail::Frame)
        }
        Told::Delta(delta) => Outgoing::text(format!("event: {DELTA}\ndata: {}\n\n", serde_json::to_string(&delta).unwrap_or_default())),
    }
}
