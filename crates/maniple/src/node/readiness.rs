//! What `/ready` asks for.

use serde::{Deserialize, Serialize};

/// What `/ready` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadinessSettings {
    /// For each agent one model whose breaker is not open: `require`, or `report` it as degraded. Default require.
    pub model: Need,
    /// A registry elsewhere that answers: `require`, or `report` it as degraded. Default report.
    pub registry: Need,
}

impl Default for ReadinessSettings {
    fn default() -> Self {
        Self { model: Need::Require, registry: Need::Report }
    }
}

/// What a part's failure does to readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Not ready.
    Require,
    /// Ready, and named as degraded.
    Report,
}
