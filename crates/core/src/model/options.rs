//! How a model is to speak: what an agent file says of it, and every provider is told in its own words.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// How a model is to speak. What is not set is left to the provider.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelOptions {
    /// 0 to 2: how freely it chooses its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1: among how much of the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The same seed, the same answer, where a provider can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// It stops before one of these, at most [`ModelOptions::STOPS_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// How much it thinks before it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Effort>,
    /// The most it may say in one answer, in tokens. What is left of the task's budget, and what the model can, are bounds all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Members of the request's body as they stand, for what has no word here.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl ModelOptions {
    /// How many stop sequences there may be: what the strictest of the large providers takes.
    pub const STOPS_MAX: usize = 4;
    /// The least `max_output_tokens`: less is no answer.
    pub const OUTPUT_MIN: u32 = 16;
    /// Members that the platform writes itself.
    const OURS: [&str; 8] = ["model", "messages", "system", "tools", "tool_choice", "stream", "max_tokens", "max_completion_tokens"];

    /// Whether nothing is said.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The rules of the fields: each complaint names its field.
    pub fn problems(&self) -> Vec<Error> {
        let mut problems = Vec::new();
        let mut check = |field: &'static str, told: Result<(), String>| {
            problems.extend(told.err().map(|told| Error::invalid(format!("{field} {told}")).at(field)));
        };
        let within = |value: Option<f64>, most: f64| match value {
            Some(value) if !(0.0..=most).contains(&value) => Err(format!("must be 0 to {most}, not {value}")),
            _ => Ok(()),
        };
        check("temperature", within(self.temperature, 2.0));
        check("top_p", within(self.top_p, 1.0));
        check(
            "stop",
            match () {
                () if self.stop.len() > Self::STOPS_MAX => Err(format!("takes at most {} texts, not {}", Self::STOPS_MAX, self.stop.len())),
                () if self.stop.iter().any(String::is_empty) => Err("must not be empty".into()),
                () => Ok(()),
            },
        );
        check(
            "max_output_tokens",
            match self.max_output_tokens {
                Some(tokens) if tokens < Self::OUTPUT_MIN => Err(format!("must be {} or more, not {tokens}", Self::OUTPUT_MIN)),
                _ => Ok(()),
            },
        );
        check(
            "extra",
            match Self::OURS.iter().find(|ours| self.extra.contains_key(**ours)) {
                Some(ours) => Err(format!("may not hold `{ours}`, which is written for every call")),
                None => Ok(()),
            },
        );
        problems
    }
}

/// How much a model thinks before it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Not at all, where it can be told so.
    None,
    /// As little as it can.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

impl Effort {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
