//! What a look at something that a node stands on found.

use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub said: String,
    /// What to do about it.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and something will come of it.
    Warning,
    /// A promise does not hold, or nothing works.
    Failed,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, said: impl Into<String>) -> Self {
        Self { check, state: State::Ok, said: said.into(), next: None }
    }
    /// It works, and something will come of it; `next` says what to do about that.
    pub fn warning(check: &'static str, said: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, state: State::Warning, said: said.into(), next: Some(next.into()) }
    }
    /// A promise does not hold, or nothing works; `next` says what to do about that.
    pub fn failed(check: &'static str, said: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, state: State::Failed, said: said.into(), next: Some(next.into()) }
    }
}
