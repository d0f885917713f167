//! Connections for which there is no place: each is heard for a moment. Who asks how the node is gets an answer, everybody else
//! hears that it is full. The newest push the oldest out, so that silent ones keep nobody from asking.

use super::{super::answer::Refusal, Patient};
use axum::{Router, extract::Request, response::IntoResponse};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use maniple_api::Problem;
use maniple_core::Error;
use std::{collections::VecDeque, convert::Infallible, fs::File, time::Duration};
use tokio::{net::TcpStream, task::AbortHandle};
use tower::ServiceExt;

/// How long one is heard.
const HEARD: Duration = Duration::from_secs(2);
/// How long it may take to say what it wants.
const HEAD_READ: Duration = Duration::from_millis(500);

pub(super) struct Spare {
    router: Router,
    most: usize,
    heard: VecDeque<AbortHandle>,
    /// A descriptor for when there is no other: a connection is taken with it.
    kept: Option<File>,
}

impl Spare {
    pub(super) fn new(router: Router, most: usize) -> Self {
        Self { router, most, heard: VecDeque::new(), kept: keep() }
    }

    pub(super) fn hear(&mut self, stream: TcpStream) {
        self.heard.retain(|heard| !heard.is_finished());
        while self.heard.len() >= self.most {
            if let Some(oldest) = self.heard.pop_front() {
                oldest.abort();
            }
        }
        self.heard.push_back(tokio::spawn(hear(stream, self.router.clone())).abort_handle());
    }

    /// Lets the descriptor go that is kept, so that one connection can be taken. Says whether there was one.
    pub(super) fn give(&mut self) -> bool {
        self.kept.take().is_some()
    }
    /// Keeps a descriptor again, if there is one.
    pub(super) fn keep(&mut self) {
        if self.kept.is_none() {
            self.kept = keep();
        }
    }
}

fn keep() -> Option<File> {
    File::open("/dev/null").ok()
}

async fn hear(stream: TcpStream, router: Router) {
    let answer = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let asks_how_it_is = request.uri().path() == "/health";
            let response = if asks_how_it_is { router.oneshot(request.map(axum::body::Body::new)).await? } else { full() };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ)
        .keep_alive(false)
        .serve_connection(TokioIo::new(Patient::new(stream)), TowerToHyperService::new(answer));
    let _ = tokio::time::timeout(HEARD, connection).await;
}

fn full() -> axum::response::Response {
    let error = Error::unavailable("this node has all the connections it takes at once: try again").after(Duration::from_secs(1));
    Refusal::from(Problem::from(&error)).into_response()
}
