//! The HTTP door: routes, who may come in, and how fast.
//!
//! ```text
//! shed? ─► who? ─► too often? ─► may they? ─► media type ─► size ─► JSON ─► bounds ─► desk
//!  503      401       429          403           415         413     400     422
//! ```
//! What is left of the body is refused unread. `/health`, `/ready` and the descriptions are outside of it:
//! a node at its limit still says how it is.

mod admit;
mod answer;
mod approvals;
pub mod auth;
mod body;
mod cors;
mod dead_letters;
mod describe;
mod door;
mod events;
mod idempotency;
mod limits;
mod mcp;
mod place;
mod run;
pub mod scrape;
pub mod server;
mod sessions;
mod tasks;
mod tools;
mod visitor;
mod wire;

pub use auth::Auth;
pub use cors::CorsSettings;
pub use door::{Door, Readiness, Serves};
pub use limits::Limits;

use crate::descriptors::Shares;
use axum::{
    Router, middleware,
    routing::{delete, get, post},
};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

/// How long open requests have once the door closes. Streams and waiting runs end at once.
pub const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Serves a door until `stop`, and leaves within [`CLOSE_MAX`].
pub async fn serve(listener: TcpListener, door: Door, stop: CancellationToken) {
    let (header_read, closing, sockets) = (door.limits.header_read, door.closing.clone(), door.sockets.clone());
    let shares = Shares::of(door.limits.connections);
    let router = router(door).layer(middleware::from_fn(visitor::hosted));
    let serving = server::serve(listener, router, header_read, shares, stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return,
        () = stop.cancelled() => closing.cancel(),
    }
    let until = tokio::time::Instant::now() + CLOSE_MAX;
    serving.await;
    // A WebSocket has left its connection's task, and says goodbye in one of its own.
    sockets.close();
    if tokio::time::timeout_at(until, sockets.wait()).await.is_err() {
        tracing::warn!(open = sockets.len(), "WebSockets are cut at the bound; their readers resume elsewhere");
    }
}

/// The routes of a door.
pub fn router(door: Door) -> Router {
    let description = describe::openapi(&door);
    let door = Arc::new(door);
    let tasks = Router::new()
        .merge(task_routes())
        .nest("/agents/{agent}", task_routes())
        .route("/agents", get(describe::agents))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{id}", get(approvals::get).post(approvals::decide))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/{id}/requeue", post(dead_letters::requeue))
        .route("/dead-letters/{id}/drop", post(dead_letters::drop));
    let tools = tools::routes().route("/mcp", post(mcp::serve)).route("/mcp/", post(mcp::serve));
    let admit = middleware::from_fn_with_state(door.clone(), admit::admit);
    let offered = match door.serves {
        Serves::All => tasks.merge(tools).route_layer(admit),
        Serves::Registry => tools.route_layer(admit),
        Serves::Itself => Router::new(),
    };
    let guarded = offered.route("/metrics", get(describe::metrics).route_layer(middleware::from_fn_with_state(door.clone(), admit::known)));
    let open = Router::new()
        .route("/", get(describe::home))
        .route("/health", get(describe::health))
        .route("/ready", get(describe::ready))
        .route("/openapi.json", get(description))
        .route("/docs", get(describe::docs))
        .route("/docs/tools", get(describe::tool_docs));
    let cors = tower::util::option_layer(door.cors.layer());
    guarded
        .merge(open)
        .fallback(answer::nothing_here)
        .method_not_allowed_fallback(answer::not_offered)
        .layer(CatchPanicLayer::custom(answer::panicked))
        .layer(middleware::from_fn(visitor::named))
        .layer(cors)
        .layer(middleware::from_fn(wire::observe))
        .with_state(door)
}

/// The calls that are offered under an agent's path too.
fn task_routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/run", post(run::run))
        .route("/tasks", post(run::submit).get(tasks::list))
        .route("/tasks/{id}", get(tasks::get).delete(tasks::delete))
        .route("/status/{id}", get(tasks::get))
        .route("/tasks/{id}/cancel", post(tasks::cancel))
        .route("/tasks/{id}/retry", post(tasks::retry))
        .route("/tasks/{id}/events", get(events::events))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}", delete(sessions::erase))
        .route("/sessions/{id}/messages", get(sessions::messages))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
