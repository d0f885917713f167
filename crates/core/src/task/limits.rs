//! How much a task may ask for.

use crate::{
    Error, Result,
    settings::{Bound, Section},
};
use serde::{Deserialize, Serialize};

/// The most that a task of this node may ask for. It shares its section of the file with others: who reads that refuses
/// unknown keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ceilings {
    /// In model calls, 1 to 1,000. Default 25.
    pub max_steps: u32,
    /// In tokens of its own model calls, 512 to 10,000,000. Default 32,768.
    pub token_budget: u64,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self { max_steps: 25, token_budget: 32_768 }
    }
}

impl Section for Ceilings {
    fn bounds(&self) -> Vec<Bound> {
        vec![
            Bound::of("max_steps", self.max_steps, STEPS_MIN..=1_000),
            Bound::of("token_budget", self.token_budget, TOKENS_MIN..=10_000_000),
        ]
    }
}

/// The least `max_steps` of a task.
pub const STEPS_MIN: u32 = 1;
/// The least `token_budget` of a task: less is no answer.
pub const TOKENS_MIN: u64 = 512;

/// The ceilings of a node and the defaults of an agent, against which a request is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLimits {
    /// The most a task may ask for.
    pub max_steps: u32,
    /// What a task gets that does not say. 10.
    pub default_max_steps: u32,
    /// The most a task may ask for.
    pub token_budget: u64,
    /// What a task gets that does not say. 8,192.
    pub default_token_budget: u64,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self::below(Ceilings::default())
    }
}

impl TaskLimits {
    /// Those of a node with these ceilings; the defaults stay below them.
    pub fn below(Ceilings { max_steps, token_budget }: Ceilings) -> Self {
        Self { max_steps, default_max_steps: max_steps.min(10), token_budget, default_token_budget: token_budget.min(8_192) }
    }
    /// `max_steps` of a request, checked, never clamped.
    pub fn steps(&self, asked: Option<i64>) -> Result<u32> {
        in_range("max_steps", asked.unwrap_or(self.default_max_steps.into()), STEPS_MIN.into(), self.max_steps.into()).map(|n| n as u32)
    }
    /// `token_budget` of a request, checked, never clamped.
    pub fn tokens(&self, asked: Option<i64>) -> Result<u64> {
        in_range("token_budget", asked.unwrap_or(self.default_token_budget as i64), TOKENS_MIN as i64, self.token_budget as i64)
            .map(|n| n as u64)
    }
}

/// `value` if it lies in the bounds, else an error that names the field and both bounds.
pub fn in_range(field: &'static str, value: i64, low: i64, high: i64) -> Result<i64> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(format!("{field} must be {low} to {high}, not {value}")).at(field))
}
