//! What a failed model call is.
//!
//! | what came | fault |
//! |---|---|
//! | 429 | throttled; money where it says that credit, quota or a spending limit is used up |
//! | 402; any 4xx that says the balance is too low | money |
//! | 503, 529 | overloaded |
//! | 408, 500, 502, 504 and other 5xx | failed |
//! | no connection | unreachable |
//! | 400, 413, 422, 500 that say the prompt is too long; any 413 | context too long |
//! | 400, 500 because the model wrote a call that cannot be read | cut after |
//! | 400, 403 of a content filter | refused |
//! | 401, 403 | denied |
//! | 501, 505, a redirect, any other 4xx | invalid |
//! | an error inside a 200 | what it says where that is money, window, filter, key, a rate limit or overload; else cut after |

mod said;
mod waits;

pub use said::Said;
pub use waits::in_headers;

use maniple_core::model::{Fault, FaultKind};
use serde_json::Value;
use std::time::Duration;

/// The most of a provider's error body that is read.
pub const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;
/// The most of it that people see.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// The fault of an answer that is no 2xx and says this.
pub fn of_status(status: u16, retry_after: Option<Duration>, said: &Said) -> Fault {
    let retry_after = retry_after.or_else(|| said.wait());
    let kind = match status {
        402 => FaultKind::Money,
        429 if said.out_of_money(retry_after.is_some()) => FaultKind::Money,
        429 => FaultKind::Throttled,
        400 | 403 if said.filtered() => FaultKind::Refused,
        400..=499 if said.no_credit() => FaultKind::Money,
        400 | 500 if said.garbled() => FaultKind::CutAfter,
        400 | 422 | 500 if said.too_long() => FaultKind::ContextTooLong,
        401 | 403 => FaultKind::Denied,
        413 => FaultKind::ContextTooLong,
        408 => FaultKind::Failed,
        503 | 529 => FaultKind::Overloaded,
        501 | 505 => FaultKind::Invalid,
        500..=599 => FaultKind::Failed,
        _ => FaultKind::Invalid,
    };
    let mut fault = Fault::new(kind, format!("HTTP {status}: {}", said.text()));
    fault.retry_after = retry_after;
    fault
}

/// The fault of an error that came inside a 200 answer: where it says what it would be as a status, it is that.
pub fn of_error(error: &Value) -> Fault {
    of_said(&Said::of(error))
}

/// The same of an answer that is something else: JSON of an error, a page, words.
pub fn of_text(text: &str) -> Fault {
    of_said(&Said::read(text))
}

fn of_said(said: &Said) -> Fault {
    let code = |numbers: &[&str]| said.codes.iter().any(|c| numbers.contains(&c.as_str()));
    let kind = if code(&["402"]) || said.no_credit() || code(&["429"]) && said.out_of_money(said.wait().is_some()) {
        FaultKind::Money
    } else if said.filtered() {
        FaultKind::Refused
    } else if said.too_long() {
        FaultKind::ContextTooLong
    } else if code(&["401", "403", "authentication_error", "permission_error"]) {
        FaultKind::Denied
    } else if let Some(status) = said.capacity() {
        of_status(status, None, said).kind
    } else {
        FaultKind::CutAfter
    };
    let mut fault = Fault::new(kind, format!("an error inside the answer: {}", said.text()));
    fault.retry_after = said.wait();
    fault
}

/// A 200 answer that is not what it should be: all of it is discarded.
pub fn cut_after(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::CutAfter, message)
}

/// Names the provider, takes `secrets` out, says what to do about it, and bounds the message.
pub fn explain<'a>(mut fault: Fault, provider: &str, key_hint: &str, secrets: impl IntoIterator<Item = &'a str>) -> Fault {
    let advice = match fault.kind {
        FaultKind::Denied => format!(": {key_hint}"),
        FaultKind::Money => format!(": look at the account's credit and limits, or {key_hint}"),
        _ => String::new(),
    };
    let hidden = |said: String, secret: &str| if secret.is_empty() { said } else { said.replace(secret, "***") };
    let said = secrets.into_iter().fold(fault.message, hidden);
    let room = MAX_MESSAGE_BYTES.saturating_sub(provider.len() + advice.len() + 2);
    fault.message = format!("{provider}: {}{advice}", head(&said, room));
    fault
}

/// The longest beginning of `text` that has at most `bytes` bytes.
pub fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests;
