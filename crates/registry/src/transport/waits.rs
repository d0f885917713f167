//! When a server wants to be asked again, by the headers of its answer.

use maniple_core::waits;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// How long an answer with these headers asks to wait, as [`waits`] reads it.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    waits::in_headers(header, jiff::Timestamp::now())
}
