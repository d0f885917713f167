//! What a model of a provider takes and gives: every dialect is written and read by it.
//!
//! ```text
//! built in (known hosts, known models) ◄─ models.NAME.profile ◄─ models.NAME.models.MODEL ◄─ what its complaints taught
//! ```

mod known;
mod settings;

pub use settings::{Like, ProfileSettings};

use crate::shape::Shape;
use maniple_core::{
    estimate,
    message::FinishReason,
    model::{Effort, ModelRequest},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The least output that is asked for, in tokens: where a window leaves less, the request is too long.
pub const LEAST_OUTPUT: u32 = 64;

/// The member that bounds the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokensField {
    /// What every compatible server knows.
    MaxTokens,
    /// What OpenAI's reasoning models insist on.
    MaxCompletionTokens,
    /// Not at all.
    None,
}

/// How an answer is held to a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// The provider does it.
    Native,
    /// The answer is the arguments of a tool.
    Tool,
    /// The model is told.
    Prompted,
}

/// Who the system prompt is said to be from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemRole {
    /// What nearly everybody knows.
    System,
    /// OpenAI's newer word for it.
    Developer,
    /// For models without one: it stands at the beginning of what the user says first.
    User,
}

/// What ids of calls must look like that another model gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallIds {
    /// At most 40 of `[a-zA-Z0-9_-]`: what everybody takes who is not Mistral.
    Usual,
    /// Mistral's nine letters and digits.
    Nine,
}

/// How a model of Anthropic's is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// By a number of tokens.
    Budget,
    /// By a word, as the newer ones want it.
    Adaptive,
}

/// See the module. The fields an operator can set are documented in [`ProfileSettings`].
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Profile {
    pub tokens: TokensField,
    pub max_output: Option<u32>,
    pub context: Option<u32>,
    /// Tokens of input that a provider counts beside what we estimate: its template, its instructions.
    pub overhead: u64,
    pub tools: bool,
    /// How it takes the parameters of tools.
    pub shape: Shape,
    pub structured: Structured,
    /// The same where tools are offered. Elsewhere than at OpenAI a schema is often a grammar for whatever the model says, so
    /// that it cannot call.
    pub structured_beside_tools: Structured,
    pub parallel_calls: Option<bool>,
    pub stream: bool,
    pub stream_usage: bool,
    pub system_role: SystemRole,
    pub call_ids: CallIds,
    pub stop_reasons: BTreeMap<String, FinishReason>,
    /// What it calls the seed.
    pub seed_field: &'static str,
    pub thinking: Thinking,
    /// Members of a request that it does not take.
    pub left_out: BTreeSet<String>,
    /// An effort that is told although nobody asked for one, because the model refuses tools without.
    pub effort: Option<Effort>,
    /// Whether it is given back what it thought.
    pub gives_back: bool,
    /// A member that every message of an assistant must have, empty where nothing was thought.
    pub thought_field: Option<String>,
    /// Whether calls without a signature get the word that stands for none.
    pub stands_in_for_signatures: bool,
}

impl Profile {
    /// What is not known to be otherwise.
    fn usual() -> Self {
        Self {
            tokens: TokensField::MaxTokens,
            max_output: None,
            context: None,
            overhead: 0,
            tools: true,
            shape: Shape::OPENAI,
            structured: Structured::Native,
            structured_beside_tools: Structured::Prompted,
            parallel_calls: None,
            stream: true,
            stream_usage: true,
            system_role: SystemRole::System,
            call_ids: CallIds::Usual,
            stop_reasons: BTreeMap::new(),
            seed_field: "seed",
            thinking: Thinking::Budget,
            left_out: BTreeSet::new(),
            effort: None,
            gives_back: true,
            thought_field: None,
            stands_in_for_signatures: false,
        }
    }

    /// What Anthropic's API is, whoever serves it: it holds no answer to a schema unless somebody says that it does.
    pub fn like_anthropic(&mut self, is_said: bool) {
        self.shape = Shape::ANTHROPIC;
        if !is_said {
            (self.structured, self.structured_beside_tools) = (Structured::Prompted, Structured::Prompted);
        }
    }

    /// Takes over what a lesson changed of another profile: several may be learnt at once.
    pub fn adopt(&mut self, before: &Self, after: &Self) {
        fn take<T: PartialEq + Clone>(kept: &mut T, before: &T, after: &T) {
            if before != after {
                kept.clone_from(after);
            }
        }
        take(&mut self.tokens, &before.tokens, &after.tokens);
        take(&mut self.max_output, &before.max_output, &after.max_output);
        take(&mut self.context, &before.context, &after.context);
        take(&mut self.structured, &before.structured, &after.structured);
        take(&mut self.structured_beside_tools, &before.structured_beside_tools, &after.structured_beside_tools);
        take(&mut self.stream, &before.stream, &after.stream);
        take(&mut self.stream_usage, &before.stream_usage, &after.stream_usage);
        take(&mut self.system_role, &before.system_role, &after.system_role);
        take(&mut self.thinking, &before.thinking, &after.thinking);
        take(&mut self.effort, &before.effort, &after.effort);
        take(&mut self.gives_back, &before.gives_back, &after.gives_back);
        take(&mut self.thought_field, &before.thought_field, &after.thought_field);
        take(&mut self.stands_in_for_signatures, &before.stands_in_for_signatures, &after.stands_in_for_signatures);
        self.overhead = self.overhead.max(after.overhead);
        self.left_out.retain(|member| after.left_out.contains(member) || !before.left_out.contains(member));
        self.left_out.extend(after.left_out.iter().cloned());
    }

    /// Whether it takes a member of a request.
    pub fn takes(&self, member: &str) -> bool {
        !self.left_out.contains(member)
    }

    /// The most a request may ask for: never more than the model can say, or than its window leaves after an estimate of the input.
    pub fn max_tokens(&self, request: &ModelRequest) -> u32 {
        let mut most = request.max_output_tokens;
        if let Some(max_output) = self.max_output {
            most = most.min(max_output);
        }
        if let Some(context) = self.context {
            let input = estimate::request_tokens(request).saturating_add(self.overhead);
            // Where it seems too long, its provider is asked all the same: ours is an estimate.
            let left = u64::from(context).checked_sub(input).filter(|left| *left >= LEAST_OUTPUT.into());
            most = left.map_or(most, |left| most.min(u32::try_from(left).unwrap_or(u32::MAX)));
        }
        most.max(1)
    }

    /// How this request's answer is held to its schema.
    pub fn structured(&self, has_tools: bool) -> Structured {
        if has_tools { self.structured_beside_tools } else { self.structured }
    }

    /// What a reason to stop means; none for one that says that something broke.
    pub fn stop_reason(&self, reason: &str) -> Option<FinishReason> {
        let word = reason.to_lowercase();
        if let Some(meant) = self.stop_reasons.get(reason).or_else(|| self.stop_reasons.get(&word)) {
            return Some(*meant);
        }
        match word.as_str() {
            "length" | "max_tokens" | "max_output_tokens" | "model_length" | "model_context_window_exceeded" => Some(FinishReason::Length),
            "content_filter" | "refusal" | "safety" | "recitation" | "prohibited_content" | "blocklist" | "spii" | "sensitive" => {
                Some(FinishReason::Refusal)
            }
            "error" | "network_error" | "malformed_function_call" | "abort" | "aborted" | "cancelled" | "insufficient_system_resource" => {
                None
            }
            "tool_calls" | "tool_use" | "function_call" => Some(FinishReason::ToolCalls),
            _ => Some(FinishReason::Stop),
        }
    }
}

#[cfg(test)]
mod tests;
