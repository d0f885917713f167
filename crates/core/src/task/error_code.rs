//! Why a run ended as it did.

use serde::{Deserialize, Serialize};

/// Why a run ended as it did. The first five go with status completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ErrorCode {
    /// Its model calls used up `token_budget`.
    TokenBudgetExceeded,
    /// Its model calls used up `cost_budget_usd`.
    CostBudgetExceeded,
    /// Step `max_steps` still wanted tools.
    MaxStepsReached,
    /// The model stopped at its output limit.
    OutputTruncated,
    /// The model answered with nothing, twice.
    OutputEmpty,
    /// `deadline_ms` passed.
    DeadlineExceeded,
    /// The answer does not fit `output_schema`, after the repairs.
    OutputInvalid,
    /// The same call with the same result six times in a row.
    RepeatedCalls,
    /// What its agent may use cannot be had now: a registry elsewhere refuses to say.
    ToolsUnavailable,
    /// No model of the agent could be reached.
    ModelUnavailable,
    /// The model will not answer this.
    ModelRefused,
    /// The provider refuses the key or the account.
    ModelDenied,
    /// It does not fit the model's window.
    ContextTooLong,
    /// It kept killing its worker.
    Poisoned,
    /// A fault of the platform.
    Internal,
}

impl ErrorCode {
    /// The name in storage and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenBudgetExceeded => "token_budget_exceeded",
            Self::CostBudgetExceeded => "cost_budget_exceeded",
            Self::MaxStepsReached => "max_steps_reached",
            Self::OutputTruncated => "output_truncated",
            Self::OutputEmpty => "output_empty",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::OutputInvalid => "output_invalid",
            Self::RepeatedCalls => "repeated_calls",
            Self::ToolsUnavailable => "tools_unavailable",
            Self::ModelUnavailable => "model_unavailable",
            Self::ModelRefused => "model_refused",
            Self::ModelDenied => "model_denied",
            Self::ContextTooLong => "context_too_long",
            Self::Poisoned => "poisoned",
            Self::Internal => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode::*;

    #[test]
    fn its_name_is_what_is_written() {
        let all = [
            TokenBudgetExceeded,
            CostBudgetExceeded,
            MaxStepsReached,
            OutputTruncated,
            OutputEmpty,
            DeadlineExceeded,
            OutputInvalid,
            RepeatedCalls,
            ToolsUnavailable,
            ModelUnavailable,
            ModelRefused,
            ModelDenied,
            ContextTooLong,
            Poisoned,
            Internal,
        ];
        for code in all {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
