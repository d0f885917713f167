//! Listens: one task a connection, each with its bounds, and a way to leave.

mod patient;

pub use patient::STALLED;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use patient::Patient;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a request's head may take; an idle connection is closed after it too. Default 10 s.
    pub header_read: Duration,
    /// The largest head, in bytes. Default 64 KiB.
    pub head_max: usize,
    /// Connections at once; more are closed unheard. Default 40,000.
    pub connections_max: usize,
    /// How long requests in flight have once the node leaves. Default 30 s.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { header_read: Duration::from_secs(10), head_max: 64 << 10, connections_max: 40_000, drain: Duration::from_secs(30) }
    }
}

/// Serves until `stop`; then no connection is taken, idle ones are closed, and what is in flight has `settings.drain`.
///
/// Cancel [`super::Door::closing`] together with `stop`, or before: event streams end by it.
pub async fn serve(listener: TcpListener, router: Router, settings: Settings, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(settings.connections_max));
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
                    continue;
                };
                let connection = talk(stream, router.clone(), settings, stop.clone());
                let over = over.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        () = over.cancelled() => {}
                    }
                    drop(place);
                });
            }
            Err(error) => wait_after(error).await,
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(settings.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are cut at the drain bound; their tasks go on");
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

async fn talk(stream: TcpStream, router: Router, settings: Settings, stop: CancellationToken) {
    // Answers are small and written whole: waiting to fill a packet only costs time.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_read)
        .max_buf_size(settings.head_max)
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
