//! Listens: one task a connection, each with its bounds, and a way to leave.

mod patient;
mod spare;

pub use patient::STALLED;

use super::CLOSE_MAX;
use crate::descriptors::Shares;
use axum::{Router, response::Response};
use futures::FutureExt;
use http::{HeaderValue, StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use maniple_core::error::is_starved;
use maniple_core::settings::Period;
use patient::Patient;
use spare::Spare;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::util::MapResponse;

/// The largest head of a request, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// What a connection may leave unsent in the kernel, in bytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_MAX: u32 = 64 << 10;

/// How long idle connections are still heard once this leaves: a request may be on its way on one of them, and would be lost without an
/// answer. Whoever uses no connection again that was idle for [`maniple_api::client::IDLE_MAX`] never meets one that is being closed: what
/// was answered since then on it said that it closes.
const LINGER: Duration = maniple_api::client::IDLE_MAX.saturating_mul(2);

/// Serves until `stop`; then no connection is taken that the system has not let in already, idle ones are closed after [`LINGER`],
/// every answer closes its connection, and what is in flight has [`CLOSE_MAX`].
/// A request's head may take `header_read`, and a connection may be idle as long. Beyond the connections that `shares` has
/// places for, one hears only how the node is.
///
/// Cancel [`super::Door::closing`] together with `stop`, or before: event streams end by it.
pub async fn serve(listener: TcpListener, router: Router, header_read: Period, shares: Shares, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(shares.connections.min(Semaphore::MAX_PERMITS)));
    let mut spare = Spare::new(router.clone(), shares.spare);
    let over = CancellationToken::new();
    let take = |stream: TcpStream, spare: &mut Spare| {
        let Ok(place) = places.clone().try_acquire_owned() else {
            metrics::counter!("maniple_http_shed_total", "what" => "connections").increment(1);
            spare.hear(stream);
            return;
        };
        let connection = talk(stream, router.clone(), header_read, stop.clone());
        let over = over.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = over.cancelled() => {}
            }
            drop(place);
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => take(stream, &mut spare),
            Err(error) => {
                if is_starved(&error)
                    && spare.give()
                    && let Some(Ok((stream, _))) = listener.accept().now_or_never()
                {
                    spare.hear(stream);
                }
                wait_after(error).await;
            }
        }
        spare.keep();
    }
    let_in(listener).for_each(|stream| take(stream, &mut spare));
    connections.close();
    if tokio::time::timeout(CLOSE_MAX, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are cut at the bound; their tasks go on");
        over.cancel();
        connections.wait().await;
    }
}

/// Closes the door to others, and names those who were let in by the system and not taken yet: closed unheard, they would be reset.
fn let_in(listener: TcpListener) -> impl Iterator<Item = TcpStream> {
    // Asked past the runtime, which may not have heard of the last ones.
    let listener = listener.into_std().ok();
    std::iter::from_fn(move || {
        let (stream, _) = listener.as_ref()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    })
}

/// A connection that failed before it was one says nothing; without file descriptors there is nothing to do but wait.
async fn wait_after(error: io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "no connection can be taken; trying again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn talk(stream: TcpStream, router: Router, header_read: Period, stop: CancellationToken) {
    // Answers are small and written whole: waiting to fill a packet only costs time.
    let _ = stream.set_nodelay(true);
    // What a client does not take stays with us, where it is bounded and shared.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX);
    let io = TokioIo::new(Patient::new(stream));
    let leaves = stop.clone();
    let closing = move |mut answer: Response| {
        if leaves.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read.duration())
        .max_buf_size(HEAD_MAX)
        // Who has said all it has to say still hears the answer: `nc -N`, and clients that close their side early.
        .half_close(true)
        .serve_connection(io, TowerToHyperService::new(MapResponse::new(router, closing)))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => match tokio::time::timeout(LINGER, connection.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        },
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection broke off");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
