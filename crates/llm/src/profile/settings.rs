//! What an operator says of a model, over what is known of it.

use super::{CallIds, Profile, Structured, SystemRole, TokensField, known};
use maniple_core::message::FinishReason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `models.NAME.profile`, and `models.NAME.models.MODEL` for one model. What is not set is as it is known, or learnt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileSettings {
    /// The known provider that a gateway stands before: its profile is begun with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<Like>,
    /// The member that bounds the output: `max_tokens`, `max_completion_tokens`, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensField>,
    /// The most it can say in one answer, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u32>,
    /// The most it can be shown and say together, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// Whether it can call tools. Without, none are offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// How an answer is held to a schema, beside tools too: `native`, `tool` or `prompted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured: Option<Structured>,
    /// Whether it may ask for several calls at once. Unset: it is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_calls: Option<bool>,
    /// Whether it is asked to report usage at the end of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_usage: Option<bool>,
    /// Who the system prompt is said to be from: `system`, `developer` or `user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_role: Option<SystemRole>,
    /// What ids of calls of other models are mapped to: `usual` or `nine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_ids: Option<CallIds>,
    /// What its reasons to stop mean: `{ WORD: stop | tool_calls | length | refusal }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stop_reasons: BTreeMap<String, FinishReason>,
}

/// Providers whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Like {
    OpenAi,
    Azure,
    Anthropic,
    Gemini,
    Mistral,
    DeepSeek,
    Groq,
    Together,
    OpenRouter,
    Vllm,
    Sglang,
    LlamaCpp,
    Ollama,
    LmStudio,
}

impl ProfileSettings {
    /// Whether nothing is said.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Over a profile.
    fn over(&self, profile: &mut Profile) {
        profile.tokens = self.tokens.unwrap_or(profile.tokens);
        profile.max_output = self.max_output.or(profile.max_output);
        profile.context = self.context.or(profile.context);
        profile.tools = self.tools.unwrap_or(profile.tools);
        profile.structured = self.structured.unwrap_or(profile.structured);
        profile.structured_beside_tools = self.structured.unwrap_or(profile.structured_beside_tools);
        profile.parallel_calls = self.parallel_calls.or(profile.parallel_calls);
        profile.stream_usage = self.stream_usage.unwrap_or(profile.stream_usage);
        profile.system_role = self.system_role.unwrap_or(profile.system_role);
        profile.call_ids = self.call_ids.unwrap_or(profile.call_ids);
        profile.stop_reasons.extend(self.stop_reasons.iter().map(|(word, meant)| (word.clone(), *meant)));
    }
}

impl Profile {
    /// Of a model at a host: what is known, then what is said of the provider, then of the model.
    pub fn of(host: &str, model: &str, provider: &ProfileSettings, own: &ProfileSettings) -> Self {
        let mut profile = Self::usual();
        if let Some(like) = own.like.or(provider.like).or_else(|| known::host(host)) {
            known::provider(like, model, &mut profile);
        }
        known::model(model, &mut profile);
        provider.over(&mut profile);
        own.over(&mut profile);
        profile
    }
}
