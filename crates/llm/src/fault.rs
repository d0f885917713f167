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
//! | 400, 403 of a content filter | refused |
//! | 401, 403 | denied |
//! | 501, 505, a redirect, any other 4xx | invalid |
//! | an error inside a 200 | what it says where that is money, window, filter or key; else cut after |

use maniple_core::model::{Fault, FaultKind};
use serde_json::Value;
use std::time::Duration;

/// The most of a provider's error body that is read.
pub const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;
/// The most of it that people see.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// No wait a provider asks for is believed beyond this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The fault of an answer that is no 2xx.
pub fn of_status(status: u16, retry_after: Option<Duration>, body: &str) -> Fault {
    let said = Said::read(body);
    let kind = match status {
        402 => FaultKind::Money,
        429 if said.out_of_money(retry_after.is_some()) => FaultKind::Money,
        429 => FaultKind::Throttled,
        400 | 403 if said.filtered() => FaultKind::Refused,
        400..=499 if said.no_credit() => FaultKind::Money,
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

/// The fault of an error that came inside a 200 answer.
pub fn of_error(error: &Value) -> Fault {
    let said = Said::of(error);
    let code = |numbers: &[&str]| said.codes.iter().any(|c| numbers.contains(&c.as_str()));
    let kind = if code(&["402"]) || said.no_credit() || code(&["429"]) && said.out_of_money(false) {
        FaultKind::Money
    } else if said.filtered() {
        FaultKind::Refused
    } else if said.too_long() {
        FaultKind::ContextTooLong
    } else if code(&["401", "403", "authentication_error", "permission_error"]) {
        FaultKind::Denied
    } else {
        FaultKind::CutAfter
    };
    Fault::new(kind, format!("an error inside the answer: {}", said.text()))
}

/// A 200 answer that is not what it should be: all of it is discarded.
pub fn cut_after(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::CutAfter, message)
}

/// Names the provider, takes `secret` out, says what to do about it, and bounds the message.
pub fn explain(mut fault: Fault, provider: &str, key_hint: &str, secret: Option<&str>) -> Fault {
    let advice = match fault.kind {
        FaultKind::Denied => format!(": {key_hint}"),
        FaultKind::Money => format!(": look at the account's credit and limits, or {key_hint}"),
        _ => String::new(),
    };
    let said = match secret.filter(|s| !s.is_empty()) {
        Some(secret) => fault.message.replace(secret, "***"),
        None => fault.message,
    };
    let room = MAX_MESSAGE_BYTES.saturating_sub(provider.len() + advice.len() + 2);
    fault.message = format!("{provider}: {}{advice}", head(&said, room));
    fault
}

/// `Retry-After` in seconds or as an HTTP date, which `now` (the answer's own `Date` where it has one) is taken from.
pub fn retry_after(header: &str, now: jiff::Timestamp) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(MAX_RETRY_AFTER),
        Ok(_) => return None,
        Err(_) => {
            let then = jiff::fmt::rfc2822::parse(header).ok()?.timestamp();
            Duration::from_millis(then.as_millisecond().saturating_sub(now.as_millisecond()).max(0) as u64)
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The longest beginning of `text` that has at most `bytes` bytes.
pub fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// What an error body says, whatever its shape.
struct Said {
    /// `code`, `type` and `status`, lower case, integers as text.
    codes: Vec<String>,
    message: String,
    lower: String,
}

impl Said {
    fn read(body: &str) -> Self {
        match serde_json::from_str::<Value>(body) {
            Ok(json) => Self::of(&json),
            Err(_) => Self::new(Vec::new(), body.trim()),
        }
    }

    /// `{error: {…}}`, `{error: "…"}`, `[{error}]`, `{object: "error", message}`, `{detail}`.
    fn of(json: &Value) -> Self {
        let json = json.get(0).unwrap_or(json);
        let error = json.get("error").filter(|e| !e.is_null()).unwrap_or(json);
        let codes = ["code", "type", "status"].iter().filter_map(|field| match &error[*field] {
            Value::String(code) => Some(code.to_lowercase()),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        });
        let message = ["message", "detail", "error"].iter().find_map(|field| error[*field].as_str()).or(error.as_str());
        Self::new(codes.collect(), message.unwrap_or(&error.to_string()))
    }

    fn new(codes: Vec<String>, message: &str) -> Self {
        Self { codes, message: message.to_owned(), lower: message.to_lowercase() }
    }

    fn text(&self) -> &str {
        if self.message.is_empty() { "no reason given" } else { &self.message }
    }
    fn code_has(&self, parts: &[&str]) -> bool {
        self.codes.iter().any(|code| parts.iter().any(|part| code.contains(part)))
    }
    fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.lower.contains(phrase))
    }

    /// It cannot mean anything else, whatever the status.
    fn no_credit(&self) -> bool {
        const CODES: [&str; 5] = ["insufficient_quota", "billing", "insufficient_balance", "insufficient_credit", "payment_required"];
        const PHRASES: [&str; 8] = [
            "credit balance",
            "insufficient credit",
            "insufficient balance",
            "insufficient funds",
            "out of credit",
            "spend limit",
            "spending limit",
            "specified api usage limits",
        ];
        self.code_has(&CODES) || self.says(&PHRASES)
    }

    /// For a 429: free tiers speak of billing and quota where waiting helps, and then say how long or name a rate limit.
    fn out_of_money(&self, says_when: bool) -> bool {
        let waiting_helps = says_when || self.code_has(&["rate_limit"]);
        self.no_credit() || !waiting_helps && self.says(&["billing", "credit", "quota", "payment"])
    }

    fn too_long(&self) -> bool {
        const CODES: [&str; 4] = ["context_length", "exceed_context_size", "context_window", "request_too_large"];
        const PHRASES: [&str; 8] = [
            "prompt is too long",
            "input is too long",
            "context length",
            "context window",
            "context size",
            "exceed context limit",
            "maximum number of tokens allowed",
            "reduce the length of",
        ];
        self.code_has(&CODES) || self.says(&PHRASES)
    }

    fn filtered(&self) -> bool {
        const CODES: [&str; 5] = ["content_filter", "content_policy", "moderation", "responsibleaipolicy", "data_inspection_failed"];
        const PHRASES: [&str; 5] =
            ["content management policy", "content filter", "content policy", "safety system", "flagged as potentially"];
        self.code_has(&CODES) || self.says(&PHRASES)
    }
}

#[cfg(test)]
mod tests;
