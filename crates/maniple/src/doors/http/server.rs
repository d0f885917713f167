//! Listens: one task a connection, each with its bounds, and a way to leave.

mod patient;
mod spare;

pub use patient::STALLED;

use super::CLOSE_MAX;
use crate::descriptors::Shares;
use axum::Router;
use futures::FutureExt;
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

/// The largest head of a request, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// What a connection may leave unsent in the kernel, in bytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_MAX: u32 = 64 << 10;

/// Serves until `stop`; then no connection is taken, idle ones are closed, and what is in flight has [`CLOSE_MAX`].
/// A request's head may take `header_read`, and a connection may be idle as long. Beyond the connections that `shares` has
/// places for, one hears only how the node is.
///
/// Cancel [`super::Door::closing`] together with `stop`, or before: event streams end by it.
pub async fn serve(listener: TcpListener, router: Router, header_read: Period, shares: Shares, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(shares.connections.min(Semaphore::MAX_PERMITS)));
    let mut spare = Spare::new(router.clone(), shares.spare);
    let over = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let Ok(place) = places.clone().try_acquire_owned() else {
                    metrics::counter!("maniple_http_shed_total", "what" => "connections").increment(1);
                    spare.hear(stream);
                    continue;
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
            }
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
    drop(listener);
    connections.close();
    if tokio::time::timeout(CLOSE_MAX, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are cut at the bound; their tasks go on");
        over.cancel();
        connections.wait().await;
    }
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
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read.duration())
        .max_buf_size(HEAD_MAX)
        // Who has said all it has to say still hears the answer: `nc -N`, and clients that close their side early.
        .half_close(true)
        .serve_connection(io, TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection broke off");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
