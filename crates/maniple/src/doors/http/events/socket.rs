//! Events over a WebSocket, one object a text frame.
//!
//! A library reads what comes, and writes what is small. A large event is written past it, as one frame in pieces: the library would
//! hold all of it for every client that takes nothing.

use super::{
    Following, Next,
    outgoing::{Outgoing, PIECE, RESTS_AFTER, Tail},
};
use axum::{body::Body, extract::FromRequestParts, response::Response};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use maniple_api::{Problem, event::DELTA};
use maniple_core::{TaskId, ports::Delta};
use maniple_runtime::desk::Told;
use serde::Serialize;
use std::{convert::Infallible, time::Duration};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::task::TaskTracker;

/// How long the other side has to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// A reader has nothing to say to us: frames from it may be small.
const MESSAGE_MAX: usize = 64 << 10;
/// What each direction may have in the library's hands, in bytes.
const BUFFER: usize = 4 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A wish to speak WebSocket, if it was put as the protocol has it.
pub(crate) struct Upgrade(Result<(HeaderValue, OnUpgrade), &'static str>);

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        Ok(Self(accepted(parts).and_then(|accept| Ok((accept, on_upgrade.ok_or("this connection cannot be upgraded")?)))))
    }
}

fn accepted(parts: &Parts) -> Result<HeaderValue, &'static str> {
    let headers = &parts.headers;
    let listed = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if !listed.into_iter().any(|word| word.trim().eq_ignore_ascii_case("upgrade")) {
        return Err("`Connection` must name `upgrade`");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("`Sec-WebSocket-Version` must be 13");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("`Sec-WebSocket-Key` is missing")?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| "`Sec-WebSocket-Key` cannot be answered")
}

impl Upgrade {
    /// Switches protocols and tells the reader's events, as one of `sockets`; without a reader there is nothing to tell.
    pub(super) fn tell(self, following: Option<Following>, sockets: &TaskTracker) -> Result<Response, Problem> {
        let (accept, on_upgrade) = self.0.map_err(|why| Problem::malformed(format!("the WebSocket handshake is wrong: {why}")))?;
        sockets.spawn(async move {
            let Ok(upgraded) = on_upgrade.await else { return };
            let config = WebSocketConfig::default()
                .max_message_size(Some(MESSAGE_MAX))
                .max_frame_size(Some(MESSAGE_MAX))
                .read_buffer_size(BUFFER)
                .write_buffer_size(BUFFER)
                .max_write_buffer_size(16 * PIECE);
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
            tell(socket, following).await;
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        Ok(response)
    }
}

async fn tell(mut socket: Socket, following: Option<Following>) {
    let mut code = CloseCode::Normal;
    if let Some(mut following) = following {
        loop {
            let next = tokio::select! {
                next = following.next() => next,
                heard = socket.next() => match heard {
                    // The library has its answer ready: it goes out before the connection does.
                    Some(Ok(Message::Close(_))) => return goodbye(&mut socket).await,
                    Some(Err(_)) | None => return,
                    Some(Ok(_)) => continue,
                },
            };
            let sent = match next {
                Next::Told(told) => {
                    let out = frame(told, &following.reader.key().id);
                    send(&mut socket, out, &mut following).await
                }
                Next::KeepOpen => socket.send(Message::Ping(Bytes::new())).await.map_err(std::io::Error::other),
                Next::End => break,
                Next::Leave => {
                    code = CloseCode::Restart;
                    break;
                }
                Next::Broken(error) => {
                    tracing::warn!(%error, source = ?error.source, "an event stream broke off; its reader will resume");
                    code = CloseCode::Again;
                    break;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
    let closed = socket.close(Some(CloseFrame { code, reason: "".into() }));
    if tokio::time::timeout(GOODBYE, closed).await.is_ok() {
        goodbye(&mut socket).await;
    }
}

/// Says what is still to be said, and waits until the other side has gone.
async fn goodbye(socket: &mut Socket) {
    let last = async {
        let _ = socket.flush().await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = tokio::time::timeout(GOODBYE, last).await;
}

/// One text frame.
async fn send(socket: &mut Socket, mut out: Outgoing, following: &mut Following) -> std::io::Result<()> {
    use std::io::Error;
    // What the library has to say comes first, and nothing comes between the pieces of a frame.
    socket.flush().await.map_err(Error::other)?;
    let stream = socket.get_mut();
    let mut piece = header(out.len());
    while out.left() > 0 {
        piece.extend(out.piece(following).await.map_err(Error::other)?);
        let mut writing = std::pin::pin!(stream.write_all(&piece));
        match tokio::time::timeout(RESTS_AFTER, &mut writing).await {
            Ok(written) => written?,
            Err(_) => {
                out.let_go();
                following.reader.rest();
                writing.await?;
            }
        }
        piece.clear();
    }
    stream.flush().await
}

/// The head of an unmasked text frame that is whole (RFC 6455, 5.2).
fn header(bytes: usize) -> Vec<u8> {
    let mut header = vec![0x81];
    match bytes {
        0..126 => header.push(bytes as u8),
        126..=0xffff => {
            header.push(126);
            header.extend((bytes as u16).to_be_bytes());
        }
        _ => {
            header.push(127);
            header.extend((bytes as u64).to_be_bytes());
        }
    }
    header
}

fn frame(told: Told, task_id: &TaskId) -> Outgoing {
    #[derive(Serialize)]
    struct Piece<'a> {
        r#type: &'static str,
        task_id: &'a TaskId,
        step: u32,
        data: &'a Delta,
    }
    match told {
        Told::Event(event) => Outgoing::event(event, task_id, String::new(), Tail::Object),
        Told::Delta(delta) => {
            let piece = Piece { r#type: DELTA, task_id, step: delta.step, data: &delta };
            Outgoing::text(serde_json::to_string(&piece).unwrap_or_default())
        }
    }
}
