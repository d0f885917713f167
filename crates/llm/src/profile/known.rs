//! What is known of providers and models without being told. What is wrong here is learnt by the first complaint.

use super::{CallIds, Profile, Structured, Thinking, TokensField, settings::Like};

/// Hosts, or what they end in.
const HOSTS: [(&str, Like); 14] = [
    ("openai.azure.com", Like::Azure),
    ("cognitiveservices.azure.com", Like::Azure),
    ("services.ai.azure.com", Like::Azure),
    ("openai.com", Like::OpenAi),
    ("anthropic.com", Like::Anthropic),
    ("generativelanguage.googleapis.com", Like::Gemini),
    ("aiplatform.googleapis.com", Like::Gemini),
    ("mistral.ai", Like::Mistral),
    ("deepseek.com", Like::DeepSeek),
    ("groq.com", Like::Groq),
    ("together.xyz", Like::Together),
    ("together.ai", Like::Together),
    ("openrouter.ai", Like::OpenRouter),
    ("ollama.com", Like::Ollama),
];

/// The most that models can say, and be shown, in tokens, by how the last part of their name begins; the first that fits counts.
const LIMITS: [(&str, u32, Option<u32>); 33] = [
    ("gpt-4o", 16_384, Some(128_000)),
    ("chatgpt-4o", 16_384, Some(128_000)),
    ("gpt-4.1", 32_768, Some(1_047_576)),
    ("gpt-4-turbo", 4_096, Some(128_000)),
    ("gpt-4-32k", 32_768, Some(32_768)),
    ("gpt-4", 8_192, Some(8_192)),
    ("gpt-35-turbo", 4_096, Some(16_385)),
    ("gpt-3.5-turbo", 4_096, Some(16_385)),
    ("gpt-5-chat", 16_384, Some(128_000)),
    ("gpt-5", 128_000, Some(400_000)),
    ("o1-mini", 65_536, Some(128_000)),
    ("o1-preview", 32_768, Some(128_000)),
    ("o1", 100_000, Some(200_000)),
    ("o3", 100_000, Some(200_000)),
    ("o4", 100_000, Some(200_000)),
    ("claude-3-opus", 4_096, Some(200_000)),
    ("claude-3-sonnet", 4_096, Some(200_000)),
    ("claude-3-haiku", 4_096, Some(200_000)),
    ("claude-3-5", 8_192, Some(200_000)),
    ("claude-3.5", 8_192, Some(200_000)),
    ("claude-3-7", 64_000, Some(200_000)),
    ("claude-3.7", 64_000, Some(200_000)),
    ("claude-opus-4-5", 64_000, Some(200_000)),
    ("claude-opus-4-0", 32_000, Some(200_000)),
    ("claude-opus-4-1", 32_000, Some(200_000)),
    ("claude-opus-4-2", 32_000, Some(200_000)),
    ("claude-sonnet-4", 64_000, Some(200_000)),
    ("claude-haiku-4", 64_000, Some(200_000)),
    ("gemini-1.5", 8_192, None),
    ("gemini-2.0", 8_192, Some(1_048_576)),
    ("gemini-2.5", 65_536, Some(1_048_576)),
    ("gemini-3", 65_536, Some(1_048_576)),
    ("deepseek-chat", 8_192, None),
];

/// Newer models of Anthropic's, which take a word for how much they think.
const ADAPTIVE: [&str; 6] =
    ["claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-4-6", "claude-opus-5", "claude-sonnet-5"];

/// Families that insist on Mistral's ids, wherever they are served.
const MISTRAL: [&str; 7] = ["mistral", "ministral", "magistral", "mixtral", "codestral", "devstral", "pixtral"];

/// Who serves there.
pub fn host(host: &str) -> Option<Like> {
    let is = |known: &str| host == known || host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
    HOSTS.iter().find(|(known, _)| is(known)).map(|(_, like)| *like)
}

/// What a provider's models have in common.
pub fn provider(like: Like, model: &str, profile: &mut Profile) {
    let leave_out = |profile: &mut Profile, members: &[&str]| profile.left_out.extend(members.iter().map(|member| (*member).to_owned()));
    match like {
        Like::OpenAi => {
            profile.tokens = TokensField::MaxCompletionTokens;
            profile.structured_beside_tools = Structured::Native;
        }
        // One of its hosts serves models of others too, which do not know OpenAI's newer words.
        Like::Azure if is_openais(model) => {
            profile.tokens = TokensField::MaxCompletionTokens;
            profile.structured_beside_tools = Structured::Native;
        }
        Like::Gemini => {
            leave_out(profile, &["seed", "parallel_tool_calls"]);
            profile.stands_in_for_signatures = true;
        }
        Like::Mistral => {
            leave_out(profile, &["reasoning_effort"]);
            profile.call_ids = CallIds::Nine;
            profile.stream_usage = false;
            profile.seed_field = "random_seed";
        }
        Like::DeepSeek => {
            leave_out(profile, &["seed", "parallel_tool_calls"]);
            profile.structured = Structured::Prompted;
        }
        Like::Groq => profile.tokens = TokensField::MaxCompletionTokens,
        Like::Azure | Like::Anthropic | Like::Together | Like::OpenRouter => {}
        // Small models copy lengths and patterns into their arguments.
        Like::Vllm | Like::Sglang | Like::LlamaCpp | Like::Ollama | Like::LmStudio => profile.shape.lengths = false,
    }
}

/// What is known of a model, whoever serves it.
pub fn model(model: &str, profile: &mut Profile) {
    let name = last_part(model);
    if let Some((_, max_output, context)) = LIMITS.iter().find(|(known, ..)| name.starts_with(known)) {
        profile.max_output = Some(*max_output);
        profile.context = *context;
    }
    if ADAPTIVE.iter().any(|known| name.starts_with(known)) {
        profile.thinking = Thinking::Adaptive;
    }
    if MISTRAL.iter().any(|family| name.contains(family)) {
        profile.call_ids = CallIds::Nine;
    }
    if name.starts_with("gemini-3") {
        profile.stands_in_for_signatures = true;
    }
}

fn is_openais(model: &str) -> bool {
    let name = last_part(model);
    name.starts_with("gpt") || name.starts_with("chatgpt") || matches!(name.as_bytes(), [b'o', b'1'..=b'9', ..])
}

fn last_part(model: &str) -> String {
    model.rsplit('/').next().unwrap_or(model).to_lowercase()
}
