//! What is known, and who has the last word.

use super::*;
use crate::fixture::request;
use settings::Like;

fn profile(host: &str, model: &str) -> Profile {
    Profile::of(host, model, &ProfileSettings::default(), &ProfileSettings::default())
}

#[test]
fn well_known_hosts_have_profiles_of_their_own() {
    for host in
        ["api.openai.com", "eu.api.openai.com", "mine.openai.azure.com", "mine.cognitiveservices.azure.com", "mine.services.ai.azure.com"]
    {
        let known = profile(host, "gpt-4o");
        assert_eq!((known.tokens, known.structured_beside_tools), (TokensField::MaxCompletionTokens, Structured::Native), "{host}");
    }
    assert_eq!(profile("mine.services.ai.azure.com", "Llama-3.3-70B-Instruct").tokens, TokensField::MaxTokens);
    assert_eq!(profile("notopenai.com", "gpt-4o").tokens, TokensField::MaxTokens);
    let gemini = profile("generativelanguage.googleapis.com", "gemini-2.5-flash");
    assert!(gemini.stands_in_for_signatures && !gemini.takes("seed") && gemini.max_output == Some(65_536));
    let mistral = profile("api.mistral.ai", "whatever");
    assert_eq!((mistral.call_ids, mistral.stream_usage, mistral.seed_field), (CallIds::Nine, false, "random_seed"));
    assert_eq!(profile("api.deepseek.com", "deepseek-chat").structured, Structured::Prompted);
    assert_eq!(profile("127.0.0.1", "mistralai/Devstral-Small").call_ids, CallIds::Nine, "wherever it is served");
    assert_eq!(profile("127.0.0.1", "qwen3"), Profile::usual());
}

#[test]
fn what_an_operator_says_of_a_model_is_over_what_is_said_of_the_provider_and_over_what_is_known() {
    let provider = ProfileSettings { max_output: Some(1_000), context: Some(9_000), like: Some(Like::Mistral), ..Default::default() };
    let own = ProfileSettings { max_output: Some(500), structured: Some(Structured::Tool), ..Default::default() };
    let profile = Profile::of("gateway.test", "gpt-4o", &provider, &own);
    assert_eq!((profile.max_output, profile.context, profile.call_ids), (Some(500), Some(9_000), CallIds::Nine));
    assert_eq!((profile.structured(false), profile.structured(true)), (Structured::Tool, Structured::Tool));
}

#[test]
fn no_request_asks_for_more_than_the_model_can_say_or_its_window_leaves() {
    let mut asked = request(&"word ".repeat(400));
    asked.max_output_tokens = 32_000;
    assert_eq!(profile("api.openai.com", "gpt-4o").max_tokens(&asked), 16_384);
    assert_eq!(profile("x", "unheard-of").max_tokens(&asked), 32_000);
    let mut small = Profile { context: Some(4_096), overhead: 100, ..Profile::usual() };
    let input = maniple_core::estimate::request_tokens(&asked);
    assert_eq!(u64::from(small.max_tokens(&asked)), 4_096 - 100 - input);
    small.context = Some(100);
    assert_eq!(small.max_tokens(&asked), 32_000, "what seems too long is left for the provider to say");
}

#[test]
fn reasons_to_stop_are_understood_in_many_words_and_an_operator_may_add_his() {
    let usual = Profile::usual();
    for (word, meant) in [
        ("stop", Some(FinishReason::Stop)),
        ("eos", Some(FinishReason::Stop)),
        ("STOP", Some(FinishReason::Stop)),
        ("MAX_TOKENS", Some(FinishReason::Length)),
        ("SAFETY", Some(FinishReason::Refusal)),
        ("tool_use", Some(FinishReason::ToolCalls)),
        ("error", None),
    ] {
        assert_eq!(usual.stop_reason(word), meant, "{word}");
    }
    let mut own = usual;
    own.stop_reasons.insert("halted".into(), FinishReason::Length);
    assert_eq!(own.stop_reason("halted"), Some(FinishReason::Length));
}
