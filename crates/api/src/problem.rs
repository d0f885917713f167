//! Errors on the wire: RFC 9457 problem details, and the one table from kinds to HTTP.

use crate::json::Malformed;
use maniple_core::{Error, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Waited before another try when nobody knows better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A refusal a program can act on and a person can read (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// What sort of problem: `urn:maniple:problem:NAME`. The same for the same cause, whatever the detail.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sort in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what to do about it.
    pub detail: String,
    /// The field or header at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// How long to wait, in seconds, as the header `Retry-After` says too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// What belongs to this sort of problem only, such as the `parts` that are not ready.
    #[serde(flatten)]
    #[schema(ignore)]
    pub more: Map<String, Value>,
}

impl Problem {
    pub(crate) fn new(name: &str, title: &str, status: u16, detail: impl Into<String>) -> Self {
        let kind = format!("urn:maniple:problem:{name}");
        Self { kind, title: title.into(), status, detail: detail.into(), field: None, retry_after: None, more: Map::new() }
    }
    /// 400: bytes, a header or a query that cannot be read at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new("malformed", "The request cannot be read", 400, detail)
    }
    /// 401.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new("unauthorized", "A valid token is needed", 401, detail)
    }
    /// 405. The header `Allow` says what is allowed.
    pub fn method_not_allowed(method: &str, path: &str) -> Self {
        let detail = format!("{method} is not offered at {path}: the header Allow says what is");
        Self::new("method-not-allowed", "This method is not offered here", 405, detail)
    }
    /// 408: the body came too slowly.
    pub fn too_slow(detail: impl Into<String>) -> Self {
        Self::new("too-slow", "The request came too slowly", 408, detail)
    }
    /// 404: a call of a run is asked about that this process was not asked to make, or has forgotten.
    pub fn call_not_known() -> Self {
        let detail = "this process does not know of that send: another one may have it, and may be asked";
        Self::new("call-not-known", "This process does not know of that call", 404, detail)
    }
    /// Whether it is [`Self::call_not_known`].
    pub fn is_call_not_known(&self) -> bool {
        self.kind == Self::call_not_known().kind
    }
    /// 413.
    pub fn too_large(max_bytes: usize) -> Self {
        Self::new("too-large", "The body is too large", 413, format!("the body may have at most {max_bytes} bytes"))
    }
    /// 415.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new("unsupported-media-type", "This media type is not read", 415, detail)
    }
    /// 404 for a path nobody serves.
    pub fn no_such_path(path: &str) -> Self {
        Self::from(&Error::not_found(format!("there is nothing at {path}: /docs lists what there is")))
    }

    /// Names the field or header at fault.
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
    /// Adds what belongs to this sort of problem only.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

/// The one table from kinds to HTTP.
impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let (name, title, status) = match error.kind {
            Kind::Invalid => ("invalid", "The request cannot be right as it stands", 422),
            Kind::NotFound => ("not-found", "There is nothing of that name", 404),
            Kind::Conflict => ("conflict", "Something else holds that name or state", 409),
            Kind::Denied => ("denied", "This principal may not do that", 403),
            Kind::Exhausted => ("exhausted", "A limit of yours is used up", 429),
            Kind::Unavailable => ("unavailable", "We cannot now", 503),
            Kind::Internal => ("internal", "A fault of ours", 500),
        };
        let mut problem = Self::new(name, title, status, error.message.clone());
        problem.field = error.field.clone();
        if matches!(error.kind, Kind::Exhausted | Kind::Unavailable) {
            // A part of a second is rounded up: coming back early helps nobody.
            let wait = error.retry_after.unwrap_or(RETRY_AFTER);
            problem.retry_after = Some(wait.as_millis().div_ceil(1000).max(1) as u64);
        }
        problem
    }
}
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}
impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::malformed(malformed.0)
    }
}

/// The way back, for the client: what was refused is the same error on both sides of the wire.
impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let make = match problem.status {
            401 | 403 => Error::denied,
            404 => Error::not_found,
            409 => Error::conflict,
            429 => Error::exhausted,
            400..=499 => Error::invalid,
            503 => Error::unavailable,
            _ => Error::internal,
        };
        let mut error = make(std::borrow::Cow::Owned(problem.detail));
        error.field = problem.field;
        error.retry_after = problem.retry_after.map(Duration::from_secs);
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status_and_the_way_back_keeps_kind_field_and_wait() {
        let table = [
            (Error::invalid("x").at("prompt"), 422),
            (Error::not_found("x"), 404),
            (Error::conflict("x"), 409),
            (Error::denied("x"), 403),
            (Error::exhausted("x").after(Duration::from_secs(7)), 429),
            (Error::unavailable("x").after(Duration::from_secs(2)), 503),
            (Error::internal("x"), 500),
        ];
        for (error, status) in table {
            let problem = Problem::from(&error);
            assert_eq!(problem.status, status);
            let back = Error::from(problem);
            assert_eq!((back.kind, back.field, back.retry_after), (error.kind, error.field, error.retry_after));
        }
    }

    #[test]
    fn a_shed_request_always_says_when_to_come_back() {
        assert_eq!(Problem::from(&Error::exhausted("x")).retry_after, Some(1));
        assert_eq!(Problem::from(&Error::unavailable("x").after(Duration::from_millis(1_001))).retry_after, Some(2));
    }

    #[test]
    fn the_wire_has_the_members_of_rfc_9457() {
        let problem = Problem::from(&Error::invalid("no").at("prompt")).with("agents", vec!["a"]);
        let wire = serde_json::to_value(&problem).unwrap();
        let expected = serde_json::json!({"type": "urn:maniple:problem:invalid", "title": "The request cannot be right as it stands",
            "status": 422, "detail": "no", "field": "prompt", "agents": ["a"]});
        assert_eq!(wire, expected);
        assert_eq!(serde_json::from_value::<Problem>(wire).unwrap(), problem);
    }
}
