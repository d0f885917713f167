//! Answers, and refusals as problem details.

use axum::{
    body::Body,
    extract::OriginalUri,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use maniple_api::{
    Malformed, Problem,
    problem::{self, MEDIA_TYPE},
};
use maniple_core::{Error, Kind, task::AgentResult};
use serde::Serialize;
use std::any::Any;

/// Says on a replayed answer that the Idempotency-Key was known.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request that is not done.
#[derive(Debug)]
pub(super) struct Refusal(pub Box<Problem>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}
impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Problem::from(malformed).into()
    }
}
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.kind {
            Kind::Internal => tracing::error!(%error, source = ?error.source, "a request failed"),
            Kind::Unavailable => tracing::warn!(%error, source = ?error.source, "a request was turned away"),
            Kind::Invalid | Kind::NotFound | Kind::Conflict | Kind::Denied | Kind::Exhausted => {}
        }
        Problem::from(&error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_as(status, MEDIA_TYPE, &problem);
        let headers = response.headers_mut();
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            // What is left of the body is not read, so nothing can follow it here.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    json_as(status, "application/json", value)
}

fn json_as<T: Serialize>(status: StatusCode, media_type: &'static str, value: &T) -> Response {
    // Our own types: they have no non-string keys.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A task that goes on elsewhere: 202 and where to ask for it.
pub(super) fn accepted(result: &AgentResult) -> Response {
    located(json(StatusCode::ACCEPTED, result), result)
}

/// Adds where the task can be asked for.
pub(super) fn located(mut response: Response, result: &AgentResult) -> Response {
    if let Ok(location) = HeaderValue::from_str(&format!("/tasks/{}", result.task_id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Says so, if the Idempotency-Key was known.
pub(super) fn replayed(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// 404 for a path nobody serves.
pub(super) async fn nothing_here(OriginalUri(uri): OriginalUri) -> Refusal {
    Problem::no_such_path(uri.path()).into()
}

/// 405; axum adds `Allow`.
pub(super) async fn not_offered(method: Method, OriginalUri(uri): OriginalUri) -> Refusal {
    Problem::method_not_allowed(method.as_str(), uri.path()).into()
}

/// 500 for a bug. The process lives on; the log has the message.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = message.unwrap_or("?"), "a request handler panicked");
    let error = Error::internal("the request ran into a bug of ours: its log line says where");
    Refusal::from(problem::Problem::from(&error)).into_response()
}
