//! The ledger behind HTTP, on loopback: `POST /tool/{name}`.

use super::{Ledger, Mode};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
    serve::Listener,
};
use serde_json::Value;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A tool server that remembers. It ends when it is dropped.
pub struct Server {
    ledger: Ledger,
    address: SocketAddr,
    closing: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Listens on a port of its own.
    pub async fn start(ledger: Ledger) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let closing = Arc::new(AtomicU64::new(0));
        let router = Router::new().route("/tool/{name}", any(call)).with_state(ledger.clone());
        let listener = Moody { listener, closing: closing.clone() };
        let serving = tokio::spawn(async move {
            // It ends with its listener, which never does.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { ledger, address, closing, serving })
    }
    /// What it remembers.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
    /// Where calls of `tool` go.
    pub fn endpoint(&self, tool: &str) -> String {
        format!("http://{}/tool/{tool}", self.address)
    }
    /// Closes the next `count` connections before reading anything.
    pub fn close_next(&self, count: u64) {
        self.closing.store(count, Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn call(State(ledger): State<Ledger>, Path(tool): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let mode = ledger.mode(&tool);
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    ledger.arrived(&tool, key, serde_json::from_slice(&body).unwrap_or(Value::Null));
    match mode {
        Mode::Ok(result) => Json(result).into_response(),
        Mode::Fail(status) => {
            (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "the tool failed").into_response()
        }
        Mode::Slow(wait) => {
            tokio::time::sleep(wait).await;
            Json(serde_json::json!({ "tool": tool, "ok": true })).into_response()
        }
        Mode::Hang => std::future::pending().await,
        Mode::Reset | Mode::Close | Mode::NotSent => broken_off(),
    }
}

/// A 200 whose body ends in the middle of its JSON.
fn broken_off() -> Response {
    let pieces = [Ok(Bytes::from_static(b"{\"ok\": tr")), Err(io::Error::other("as the test wished"))];
    let body = Body::from_stream(futures::stream::iter(pieces));
    ([("content-type", "application/json")], body).into_response()
}

/// Accepts, and sometimes closes at once.
struct Moody {
    listener: TcpListener,
    closing: Arc<AtomicU64>,
}

impl Listener for Moody {
    type Io = TcpStream;
    type Addr = SocketAddr;
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let accepted = Listener::accept(&mut self.listener).await;
            let closes = self.closing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if !closes {
                return accepted;
            }
        }
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
