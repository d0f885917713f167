//! Decides by a request's head alone whether it comes in, before a byte of its body is read.

use super::{Door, answer::Refusal};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use maniple_core::Error;
use std::sync::Arc;

/// In this order: is there room, who is it, do they come too often or too many at once.
pub(super) async fn admit(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    // Shedding is ordinary under overload: it is counted, not logged.
    let quiet = |error: Error| Refusal::from(maniple_api::Problem::from(&error));
    let _seat = door.desk.gate().enter().map_err(quiet)?;
    let principal = door.auth.principal(request.headers(), &door.cors).map_err(Refusal)?;
    let _presence = door.desk.gate().let_in(&principal).map_err(quiet)?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// Who is it, and nothing more: for what is asked of the node itself, in an overload too.
pub(super) async fn known(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let principal = door.looker(request.headers())?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}
