//! What a complaint says, whatever its shape.

use super::waits::in_words;
use maniple_core::waits;
use serde_json::Value;
use std::time::Duration;

/// What an error body says, whatever its shape.
pub struct Said {
    /// `code`, `type` and `status`, lower case, integers as text.
    pub codes: Vec<String>,
    pub message: String,
    lower: String,
    /// Whether it says anything to people: else the message is its JSON.
    is_told: bool,
    /// How long to wait, where it stands apart from the message.
    delay: Option<String>,
}

impl Said {
    /// Of a body: JSON, a page, or words.
    pub fn read(body: &str) -> Self {
        Self::read_by(Self::of, body)
    }

    fn read_by(of: fn(&Value) -> Self, body: &str) -> Self {
        let body = body.trim();
        match serde_json::from_str::<Value>(body) {
            Ok(json) => of(&json),
            Err(_) if body.starts_with('<') => Self::new(Vec::new(), &words(body)),
            Err(_) => Self::amid_words(of, body).unwrap_or_else(|| Self::new(Vec::new(), body)),
        }
    }

    /// JSON behind some words, such as `data: {…}` or `upstream said: {…}`.
    fn amid_words(of: fn(&Value) -> Self, body: &str) -> Option<Self> {
        let at = body.find('{')?;
        let json = serde_json::Deserializer::from_str(&body[at..]).into_iter::<Value>().next()?.ok().filter(Value::is_object)?;
        let mut said = of(&json);
        let words = body[..at].trim();
        if !words.ends_with("data:") {
            said.message = format!("{words} {}", said.message);
            said.lower = said.message.to_lowercase();
        }
        Some(said)
    }

    /// `{error: {…}}`, `{error: "…"}`, `[{error}]`, `{object: "error", message}`, `{detail}`; and what a router quotes of the provider
    /// behind it.
    pub fn of(json: &Value) -> Self {
        let mut said = Self::unquoted(json);
        let error = error_in(json);
        for quoted in [&error["metadata"]["raw"], &error["cause"], &error["innererror"], &error["upstream_error"]] {
            said.quote(quoted);
        }
        said
    }

    /// The same without what is quoted.
    fn unquoted(json: &Value) -> Self {
        let error = error_in(json);
        let codes = ["code", "type", "status", "status_code"].iter().filter_map(|field| match &error[*field] {
            Value::String(code) => Some(code.to_lowercase()),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        });
        let message = ["message", "detail", "error", "msg", "status_msg", "error_msg", "error_message"];
        let message = message.iter().find_map(|field| error[*field].as_str()).or(error.as_str()).map(str::to_owned);
        let message = message.or_else(|| listed(&error["detail"]));
        let is_told = message.is_some();
        let mut said = Self { is_told, ..Self::new(codes.collect(), &message.unwrap_or_else(|| error.to_string())) };
        // RetryInfo of Google's.
        let delays = error["details"].as_array().into_iter().flatten().filter_map(|detail| detail["retryDelay"].as_str());
        said.delay = delays.map(str::to_owned).next().or_else(|| {
            ["retry_after", "retryAfter", "retry_after_seconds"].iter().find_map(|field| Some(error[*field].as_f64()?.to_string()))
        });
        said
    }

    /// Adds what another provider said, which this one only passes on.
    fn quote(&mut self, quoted: &Value) {
        let other = match quoted {
            Value::String(text) if !text.trim().is_empty() => Self::read_by(Self::unquoted, text),
            Value::Object(_) => Self::unquoted(quoted),
            _ => return,
        };
        self.codes.extend(other.codes);
        self.delay = other.delay.or(self.delay.take());
        if !self.message.contains(&other.message) {
            self.message = if self.is_told { format!("{}: {}", self.message, other.message) } else { other.message };
            self.lower = self.message.to_lowercase();
            self.is_told |= other.is_told;
        }
    }

    fn new(codes: Vec<String>, message: &str) -> Self {
        let message = super::head(message, super::MAX_ERROR_BODY_BYTES);
        Self { codes, message: message.to_owned(), lower: message.to_lowercase(), is_told: true, delay: None }
    }

    /// For people.
    pub fn text(&self) -> String {
        match &*self.message {
            "" => "no reason given".to_owned(),
            message if self.garbled() => format!("the model wrote a tool call that its server could not read: {message}"),
            message => message.to_owned(),
        }
    }
    /// What it says to people, in lower case: nothing of what stands beside it.
    pub fn words(&self) -> &str {
        if self.is_told { &self.lower } else { "" }
    }
    fn code_has(&self, parts: &[&str]) -> bool {
        self.codes.iter().any(|code| parts.iter().any(|part| code.contains(part)))
    }
    fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.lower.contains(phrase))
    }

    /// How long it asks to wait.
    pub fn wait(&self) -> Option<Duration> {
        self.delay.as_deref().and_then(waits::span).or_else(|| in_words(&self.lower))
    }

    /// The status that an error within an answer stands for, where waiting helps.
    pub fn capacity(&self) -> Option<u16> {
        let code = |words: &[&str]| self.codes.iter().any(|code| words.contains(&code.as_str()));
        if code(&["429", "rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "too_many_requests", "throttlingexception"]) {
            return Some(429);
        }
        if code(&["503", "unavailable", "service_unavailable", "engine_overloaded_error"]) {
            return Some(503);
        }
        code(&["529", "overloaded_error", "overloaded"]).then_some(529)
    }

    /// It cannot mean anything else, whatever the status.
    pub fn no_credit(&self) -> bool {
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
    pub fn out_of_money(&self, says_when: bool) -> bool {
        let waiting_helps = says_when || self.code_has(&["rate_limit"]);
        self.no_credit() || !waiting_helps && self.says(&["billing", "credit", "quota", "payment"])
    }

    pub fn too_long(&self) -> bool {
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

    /// It is the model's own doing: it wrote a call that its provider could not read. Asked again, it may do better.
    pub fn garbled(&self) -> bool {
        self.code_has(&["tool_use_failed", "output_parse_failed", "malformed_function_call"])
            || self.says(&["model produced output that does not match"])
    }

    pub fn filtered(&self) -> bool {
        const CODES: [&str; 5] = ["content_filter", "content_policy", "moderation", "responsibleaipolicy", "data_inspection_failed"];
        const PHRASES: [&str; 5] =
            ["content management policy", "content filter", "content policy", "safety system", "flagged as potentially"];
        self.code_has(&CODES) || self.says(&PHRASES)
    }
}

/// Where the members of an error stand.
fn error_in(json: &Value) -> &Value {
    let json = json.get(0).unwrap_or(json);
    let error = json.get("error").filter(|e| !e.is_null()).unwrap_or(json);
    error.get(0).unwrap_or(error)
}

/// `[{loc: ["body", "max_tokens"], msg: "…"}]`, as FastAPI writes what is wrong with a request.
fn listed(detail: &Value) -> Option<String> {
    let one = |part: &Value| {
        let place = part["loc"].as_array().into_iter().flatten();
        let place: Vec<String> = place.map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned)).collect();
        let message = part["msg"].as_str()?;
        Some(if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) })
    };
    let told: Vec<String> = detail.as_array()?.iter().filter_map(one).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What a page says to people, without its markup.
fn words(page: &str) -> String {
    let mut said = String::new();
    let mut rest = super::head(page, super::MAX_ERROR_BODY_BYTES);
    while let Some(open) = rest.find('<') {
        said.push_str(&rest[..open]);
        said.push(' ');
        let tag = &rest[open..];
        // What stands in these is for machines.
        let hidden =
            [("<script", "</script>"), ("<style", "</style>"), ("<!--", "-->")].into_iter().find(|(name, _)| tag.starts_with(name));
        let close = hidden.map_or(">", |(_, close)| close);
        let end = tag.find(close).map(|at| at + close.len());
        rest = &tag[end.unwrap_or(tag.len())..];
    }
    said.push_str(rest);
    let said: Vec<&str> = said.split_whitespace().collect();
    format!("a page, not an answer: {}", super::head(&said.join(" "), 500))
}
