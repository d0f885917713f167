//! What a client hears of a call besides its result: how far it is, and pictures, sounds and resources as they came.

use maniple_core::ports::Audience;
use rmcp::{
    RoleServer,
    model::{ContentBlock, ProgressNotificationParam},
    service::RequestContext,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// How much of what a tool says of its progress waits for a slow client; what is beyond is left out.
const PROGRESS_MAX: usize = 64;

/// How far a call is.
pub(super) struct Progress {
    progress: f64,
    total: Option<f64>,
    message: Option<String>,
}

/// Listens to one call.
#[derive(Debug)]
pub(super) struct Listener {
    progress: mpsc::Sender<Progress>,
    pieces: Mutex<Vec<Value>>,
}

impl Listener {
    /// A listener, and what it hears of progress.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Progress>) {
        let (progress, told) = mpsc::channel(PROGRESS_MAX);
        (Arc::new(Self { progress, pieces: Mutex::default() }), told)
    }

    /// The pieces of the answer, where they say more than its text and the protocol can carry all of them.
    pub(super) fn pieces(&self) -> Option<Vec<ContentBlock>> {
        let pieces = std::mem::take(&mut *self.pieces.lock().unwrap_or_else(PoisonError::into_inner));
        let is_more = |piece: &Value| piece.get("type").and_then(Value::as_str) != Some("text");
        if !pieces.iter().any(is_more) {
            return None;
        }
        pieces.into_iter().map(|piece| ContentBlock::deserialize(piece).ok()).collect()
    }
}

impl Audience for Listener {
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<String>) {
        let _ = self.progress.try_send(Progress { progress, total, message });
    }
    fn content(&self, pieces: &[Value]) {
        *self.pieces.lock().unwrap_or_else(PoisonError::into_inner) = pieces.to_vec();
    }
}

/// Waits for a call, and tells a client that asked for it how far it is meanwhile.
pub(super) async fn listened<T>(
    calling: impl Future<Output = T>,
    mut told: mpsc::Receiver<Progress>,
    context: &RequestContext<RoleServer>,
) -> T {
    let Some(token) = context.meta.get_progress_token() else { return calling.await };
    let mut calling = std::pin::pin!(calling);
    loop {
        tokio::select! {
            biased;
            Some(Progress { progress, total, message }) = told.recv() => {
                let mut param = ProgressNotificationParam::new(token.clone(), progress);
                (param.total, param.message) = (total, message);
                // A client that cannot be told gets its result all the same.
                let _ = context.peer.notify_progress(param).await;
            }
            outcome = &mut calling => return outcome,
        }
    }
}
