//! What complaints that providers were seen to make come to.

use super::*;
use crate::{
    fixture::{full_request, request},
    openai,
    profile::ProfileSettings,
};
use maniple_core::model::{ModelOptions, ToolChoice};
use serde_json::json;

fn usual() -> Profile {
    Profile::of("lab.test", "m1", &ProfileSettings::default(), &ProfileSettings::default())
}

fn taught(request: &ModelRequest, profile: &Profile, status: u16, complaint: &str) -> Option<Lesson> {
    let max_tokens = profile.max_tokens(request);
    let body = openai::request::body(request, "m1", profile, max_tokens);
    lesson(status, complaint, &Said::read(complaint), &Sent { request, profile, body: &body, max_tokens })
}

/// What the request of the next attempt looks like.
fn again(request: &ModelRequest, profile: &Profile, complaint: &str) -> Value {
    let lesson = taught(request, profile, 400, complaint).unwrap_or_else(|| panic!("nothing is learnt from {complaint}"));
    let most = lesson.most.unwrap_or(request.max_output_tokens);
    Value::Object(openai::request::body(request, "m1", &lesson.profile, most))
}

fn asked() -> ModelRequest {
    let options = ModelOptions {
        temperature: Some(0.0),
        top_p: Some(0.5),
        seed: Some(7),
        stop: vec!["END".into()],
        reasoning: Some(Effort::Low),
        ..ModelOptions::default()
    };
    ModelRequest { options, tool_choice: ToolChoice::None, output_schema: None, ..full_request() }
}

#[test]
fn a_member_that_is_refused_is_left_out_and_nothing_else() {
    for (member, complaint) in [
        ("stream_options", r#"{"error":{"message":"Argument not supported: stream_options","param":"stream_options"}}"#),
        (
            "stream_options",
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#,
        ),
        ("stream_options", r#"{"message":"Unknown field: include_usage"}"#),
        (
            "temperature",
            r#"{"error":{"message":"Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported.","param":"temperature","code":"unsupported_value"}}"#,
        ),
        ("temperature", "deepseek-reasoner does not support the parameter `temperature`"),
        ("top_p", r#"{"error":{"message":"`temperature` and `top_p` cannot both be specified for this model."}}"#),
        (
            "seed",
            r#"[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"seed\": Cannot find field.","status":"INVALID_ARGUMENT"}}]"#,
        ),
        ("stop", r#"{"error":{"message":"Unsupported parameter: 'stop' is not supported with this model.","param":"stop"}}"#),
        ("reasoning_effort", r#"{"error":{"message":"Unrecognized request argument supplied: reasoning_effort"}}"#),
        ("tool_choice", r#"{"error":{"message":"tool_choice 'none' is incompatible with thinking enabled"}}"#),
        (
            "stream_options",
            r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":\"unexpected field \\\"stream_options\\\"\"}"}}}"#,
        ),
    ] {
        let request = asked();
        let before = Value::Object(openai::request::body(&request, "m1", &usual(), 500));
        let mut expected = before.clone();
        expected.as_object_mut().expect("an object").remove(member).unwrap_or_else(|| panic!("`{member}` was sent"));
        assert_eq!(again(&request, &usual(), complaint), expected, "{complaint}");
    }
}

#[test]
fn the_other_word_for_the_bound_is_tried_and_then_none() {
    let refused = |word: &str| format!("Unsupported parameter: '{word}' is not supported with this model.");
    let first = taught(&request("hi"), &usual(), 400, &refused("max_tokens")).expect("a lesson");
    assert_eq!(first.profile.tokens, TokensField::MaxCompletionTokens);
    let second = taught(&request("hi"), &first.profile, 400, &refused("max_completion_tokens")).expect("a lesson");
    assert_eq!(second.profile.tokens, TokensField::None);
}

#[test]
fn a_window_is_remembered_with_what_the_provider_counts_beside_our_estimate() {
    let mut request = request("Say hello");
    request.max_output_tokens = 8_005;
    let complaint = "'max_tokens' is too large: 8005. This model's maximum context length is 8192 tokens and your request has 420 input tokens (8005 > 8192 - 420).";
    let lesson = taught(&request, &usual(), 400, complaint).expect("a lesson");
    assert_eq!(lesson.most, Some(8_192 - 420));
    assert_eq!(lesson.profile.max_tokens(&request), 8_192 - 420, "the next call asks for what is left at once");
    let too_long = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 input tokens.";
    assert_eq!(taught(&request, &usual(), 400, too_long), None, "a prompt that is too long is none for asking for less output");
}

#[test]
fn a_count_that_is_only_a_least_is_met_with_half() {
    let mut request = request("Say hello");
    request.max_output_tokens = 4_000;
    let complaint = "This model's maximum context length is 4096 tokens. However, you requested 4000 output tokens and your prompt contains at least 97 input tokens, for a total of at least 4097 tokens.";
    assert_eq!(taught(&request, &usual(), 400, complaint).expect("a lesson").most, Some(2_000));
}

#[test]
fn a_schema_that_is_refused_is_told_instead() {
    let request = ModelRequest { output_schema: Some(json!({ "type": "object" })), ..request("hi") };
    for complaint in [
        r#"{"error":{"message":"This response_format type is unavailable now"}}"#,
        "Failed to deserialize the JSON body into the target type: response_format: response_format.type `json_schema` is unavailable now",
        r#"{"error":{"message":"Cannot use custom grammar constraints with tools."}}"#,
    ] {
        let body = again(&request, &usual(), complaint);
        assert_eq!(body.get("response_format"), None, "{complaint}");
        assert!(body["messages"][0]["content"].as_str().expect("text").contains("JSON Schema"), "{complaint}");
    }
    let last_step = ModelRequest { tool_choice: ToolChoice::None, ..full_request() };
    let body = again(&last_step, &usual(), "response_format is not supported with tools");
    assert_eq!(body.get("response_format"), None);
}

#[test]
fn a_role_that_is_not_known_gives_way_to_the_next() {
    let request = ModelRequest { system: "Be brief.".into(), ..request("hi") };
    let developer = Profile { system_role: SystemRole::Developer, ..usual() };
    let body = again(&request, &developer, "'developer' is not one of ['system', 'assistant', 'user', 'tool'] - 'messages.0.role'");
    assert_eq!(body["messages"][0], json!({ "role": "system", "content": "Be brief." }));
    let body = again(&request, &usual(), "Unsupported value: 'messages[0].role' does not support 'system' with this model.");
    assert_eq!(body["messages"], json!([{ "role": "user", "content": "Be brief.\n\nhi" }]));
}

#[test]
fn what_was_thought_is_filled_in_or_left_out_as_its_provider_wants() {
    let mut request = full_request();
    request.output_schema = None;
    let body = again(&request, &usual(), "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2");
    let of_assistant = body["messages"].as_array().expect("a list").iter().filter(|message| message["role"] == "assistant");
    assert!(of_assistant.clone().count() > 1 && of_assistant.clone().all(|message| message["reasoning_content"] == ""));
    let body = again(&request, &usual(), "Function call is missing a thought_signature in functionCall parts.");
    assert!(body["messages"].to_string().contains("skip_thought_signature_validator"));
    let lesson = taught(&request, &usual(), 400, "messages.1.content.0: Invalid `signature` in `thinking` block").expect("a lesson");
    assert!(!lesson.profile.gives_back && !lesson.lasts, "of this call alone");
}

#[test]
fn what_names_nothing_that_can_be_mended_teaches_nothing() {
    let request = asked();
    for complaint in [
        "",
        "Bad request",
        r#"{"error":{"message":"model `m1` not found"}}"#,
        r#"{"error":{"message":"Invalid schema for function 'clock': object schema missing properties"}}"#,
        r#"{"error":{"message":"unknown parameter: 'logit_bias'"}}"#,
        r#"{"error":{"message":"I had to stop: your seed of doubt is invalid"}}"#,
        r#"{"error":{"message":"registry.ollama.ai/library/gemma does not support tools"}}"#,
    ] {
        assert_eq!(taught(&request, &usual(), 400, complaint), None, "{complaint}");
    }
    assert_eq!(taught(&request, &usual(), 500, "stream_options unsupported"), None, "only what says that the request is wrong");
    let mut extra = request.clone();
    extra.options.extra.insert("temperature".into(), json!(3));
    assert_eq!(taught(&extra, &usual(), 400, "temperature must be at most 2"), None, "what an operator wrote himself is his");
}

#[test]
fn an_account_that_can_pay_for_less_is_asked_for_less_this_once() {
    let complaint = r#"{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 500 tokens, but can only afford 400.","code":402}}"#;
    let lesson = taught(&request("hi"), &usual(), 402, complaint).expect("a lesson");
    assert_eq!((lesson.most, lesson.lasts, &lesson.profile), (Some(400), false, &usual()));
    assert_eq!(taught(&request("hi"), &usual(), 402, &complaint.replace("400", "10")), None, "too little for an answer");
    assert_eq!(taught(&request("hi"), &usual(), 402, "Payment required"), None);
}

#[test]
fn a_limit_is_read_from_what_is_said_to_people_and_not_from_the_numbers_beside_it() {
    let other_word = r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","param":"max_tokens","code":"400","request":417}}"#;
    let lesson = taught(&asked(), &usual(), 400, other_word).expect("a lesson");
    assert_eq!((lesson.most, lesson.profile.max_output, lesson.profile.tokens), (None, None, TokensField::MaxCompletionTokens));
    let listed = r#"{"detail":[{"type":"less_than_equal","loc":["body","max_tokens"],"msg":"Input should be less than or equal to 200","input":450,"ctx":{"le":300}}]}"#;
    assert_eq!(taught(&asked(), &usual(), 422, listed).expect("a lesson").most, Some(200));
    assert_eq!(taught(&asked(), &usual(), 400, r#"{"max_tokens":499,"status":400}"#), None, "nothing is said");
}

#[test]
fn a_value_that_is_refused_is_left_out_of_that_call_alone_and_a_member_that_is_unknown_of_every_call() {
    for (complaint, lasts) in [
        ("temperature must be between 0 and 1.5", false),
        (
            r#"{"error":{"message":"Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.","type":"invalid_request_error","param":"temperature","code":"decimal_above_max_value"}}"#,
            false,
        ),
        ("Unsupported value: 'reasoning_effort' does not support 'low' with this model. Supported values are: 'high'.", false),
        ("reasoning_effort: unknown variant `low`, expected one of `high`, `max`", false),
        ("`temperature` and `top_p` cannot both be specified for this model.", false),
        ("tool_choice 'none' is incompatible with thinking enabled", false),
        ("Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported.", true),
        ("Unsupported parameter: 'stop' is not supported with this model.", true),
        (r#"{"detail":[{"type":"extra_forbidden","loc":["body","top_p"],"msg":"Extra inputs are not permitted"}]}"#, true),
        (r#"{"error":{"message":"Unknown name \"seed\": Cannot find field.","status":"INVALID_ARGUMENT"}}"#, true),
    ] {
        assert_eq!(taught(&asked(), &usual(), 400, complaint).expect(complaint).lasts, lasts, "{complaint}");
    }
}

#[test]
fn a_schema_that_is_refused_is_its_own_agents_and_a_form_that_is_not_known_is_the_models() {
    let request = ModelRequest { tool_choice: ToolChoice::None, ..full_request() };
    for (complaint, lasts) in [
        (
            "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is required to be supplied and to be false.",
            false,
        ),
        ("response_format.json_schema.schema: For 'object' type, 'additionalProperties: object' is not supported", false),
        (r#"Invalid JSON payload received. Unknown name "oneOf" at 'generation_config.response_schema': Cannot find field."#, false),
        ("JSON schema conversion failed: Unrecognized schema: {\"type\":\"any\"}", false),
        ("Failed to parse grammar of json_schema: unsupported keyword `if`", false),
        ("This response_format type is unavailable now", true),
        ("response_format of type json_schema is not supported by this model", true),
        ("response_format: unknown variant `json_schema`, expected `text` or `json_object`", true),
        ("response_format is not supported with tools", true),
        ("Cannot use custom grammar constraints with tools.", true),
    ] {
        assert_eq!(taught(&request, &usual(), 400, complaint).expect(complaint).lasts, lasts, "{complaint}");
    }
}

#[test]
fn a_prompt_that_was_estimated_too_low_leaves_the_answers_of_others_as_long_as_they_were() {
    let mut request = request("Say hello");
    request.max_output_tokens = 8_005;
    let complaint = "'max_tokens' is too large: 8005. This model's maximum context length is 8192 tokens and your request has 6000 input tokens (8005 > 8192 - 6000).";
    let lesson = taught(&request, &usual(), 400, complaint).expect("a lesson");
    assert_eq!(lesson.most, Some(8_192 - 6_000), "this call asks for what is left");
    let next = lesson.profile.max_tokens(&request);
    assert!(next > 7_500, "the next one for {next}");
}
