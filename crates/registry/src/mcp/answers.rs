//! What a server's answers, and the errors of its transport, come to.

use super::{outcome, reading, stdio::LastLine};
use maniple_core::ports::{Audience, Invoked};
use rmcp::{model::ServerResult, service::ClientInitializeError, transport::streamable_http_client::StreamableHttpError};
use serde_json::Value;
use std::sync::Arc;

/// A page of tools and the cursor of the next. Read member by member where rmcp cannot read the whole, so that one bad
/// definition does not hide the others.
pub(super) fn page(answer: ServerResult) -> Result<(Vec<Value>, Option<String>), String> {
    let answer = match answer {
        ServerResult::ListToolsResult(page) => serde_json::to_value(page),
        ServerResult::CustomResult(page) => Ok(reading::result(&page.0).unwrap_or(page.0)),
        other => serde_json::to_value(other),
    };
    let mut answer = answer.map_err(|error| format!("its list of tools cannot be read: {error}"))?;
    let tools = match answer.get_mut("tools").map(Value::take) {
        Some(Value::Array(tools)) => tools,
        // As a language writes an empty list that nobody made.
        Some(Value::Null) => Vec::new(),
        _ => return Err("its list of tools cannot be read: `tools` is no list".into()),
    };
    let next = answer.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
    Ok((tools, next))
}

/// How a call went that was answered; `returns` is what its tool promises. An audience hears the pieces of the answer.
pub(super) fn answered(answer: ServerResult, returns: Option<&Value>, audience: Option<&Arc<dyn Audience>>) -> Invoked {
    let ServerResult::CustomResult(passed) = answer else { return outcome::unusable("the server's answer is no result of a tool") };
    let result = reading::result(&passed.0).unwrap_or(passed.0);
    if let (Some(audience), Some(pieces)) = (audience, result.get("content").and_then(Value::as_array)) {
        audience.content(pieces);
    }
    outcome::of(result, returns)
}

/// The error of the HTTP transport among the causes of another.
fn over_http<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a StreamableHttpError<reqwest::Error>> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// Why there is no connection.
pub(super) fn no_handshake(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::TransportError { error, .. } => told(error.error.as_ref()),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => no_handshake(fallback),
        other => told(other),
    }
}

/// An error with its causes, without the names of the types it came through.
pub(super) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let error: &(dyn std::error::Error + 'static) = match over_http(error) {
        Some(StreamableHttpError::Client(error)) => error,
        Some(error) => error,
        None => error,
    };
    // Without its URL: a secret may be in it.
    let named = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref::<reqwest::Error>().and_then(reqwest::Error::url) {
        Some(url) => error.to_string().replace(&format!(" for url ({url})"), ""),
        None => error.to_string(),
    };
    let mut causes: Vec<String> = std::iter::successors(Some(error), |error| error.source()).map(named).collect();
    causes.retain(|cause| !cause.starts_with("Transport"));
    if causes.is_empty() {
        causes.push("the connection is closed".into());
    }
    let mut text = causes.join(": ");
    text.truncate(text.floor_char_boundary(1_000));
    text
}

/// With what a command said last on standard error.
pub(super) fn with_last_line(why: String, last_line: Option<&LastLine>) -> String {
    match last_line.and_then(LastLine::said) {
        Some(line) => format!("{why}; its last line on standard error: {line}"),
        None => why,
    }
}
