//! Golden files of the translation, and what a stream must not be taken for.

use super::{
    reply,
    request::{Dialect, body},
};
use crate::{
    fixture::{as_json, full_request, hear, openai, request},
    provider::MaxTokensField,
};
use maniple_core::model::{FaultKind, ToolChoice};

const TOOL_CALL: &str = include_str!("../../golden/openai/tool-call.sse");

const COMPATIBLE: Dialect = Dialect { stream: true, max_tokens: MaxTokensField::MaxTokens, schema_beside_tools: false };
const OPENAI: Dialect = Dialect { stream: false, max_tokens: MaxTokensField::MaxCompletionTokens, schema_beside_tools: true };

macro_rules! golden {
    ($name:literal, $value:expr) => {
        insta::with_settings!({ snapshot_path => "../../golden/openai", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_json_snapshot!($name, $value)
        })
    };
}

#[test]
fn a_request_with_everything_becomes_chat_completions() {
    golden!("request", as_json(&body(&full_request(), "m1", COMPATIBLE)));
}

#[test]
fn a_small_request_has_nothing_it_does_not_need() {
    let plain = as_json(&body(&request("hello"), "m1", OPENAI));
    let messages = serde_json::json!([{ "role": "user", "content": "hello" }]);
    assert_eq!(plain, serde_json::json!({ "model": "m1", "messages": messages, "max_completion_tokens": 500 }));
}

#[test]
fn a_choice_is_not_sent_without_tools() {
    let mut request = full_request();
    request.tools = [].into();
    assert_eq!(request.tool_choice, ToolChoice::None);
    assert_eq!(as_json(&body(&request, "m1", COMPATIBLE)).get("tool_choice"), None);
}

#[test]
fn a_schema_beside_tools_is_a_grammar_at_openai_and_words_elsewhere() {
    let mut request = full_request();
    request.tool_choice = ToolChoice::Auto;
    let system = |json: &serde_json::Value| json["messages"][0]["content"].as_str().map(str::to_owned);
    let openai = as_json(&body(&request, "m1", OPENAI));
    assert_eq!(openai["response_format"]["json_schema"]["schema"], *request.output_schema.as_ref().expect("set"));
    assert_eq!(system(&openai).expect("text"), request.system);
    let other = as_json(&body(&request, "m1", COMPATIBLE));
    assert_eq!(other.get("response_format"), None);
    assert!(system(&other).expect("text").contains(r#""answer":{"type":"string"}"#));
}

#[test]
fn plain_answers_become_replies() {
    let read = |json: &str| reply::read(json.as_bytes(), &request("what is it")).expect("an answer");
    golden!("tool-call.json", read(include_str!("../../golden/openai/tool-call.json")));
    golden!("answer.json", read(include_str!("../../golden/openai/answer.json")));
    golden!("no-usage.json", read(include_str!("../../golden/openai/no-usage.json")));
    golden!("refusal.json", read(include_str!("../../golden/openai/refusal.json")));
}

#[test]
fn a_stream_with_null_content_ids_once_and_arguments_in_pieces_becomes_a_reply() {
    let (reply, heard) = hear(openai(), [TOOL_CALL.as_bytes()]);
    assert_eq!(heard, "Let me look: é");
    golden!("tool-call.sse", reply.expect("an answer"));
}

#[test]
fn calls_without_index_or_with_one_index_for_all_are_told_apart() {
    let (reply, _) = hear(openai(), [include_bytes!("../../golden/openai/odd-calls.sse").as_slice()]);
    golden!("odd-calls.sse", reply.expect("an answer"));
}

#[test]
fn bytes_that_come_one_at_a_time_are_the_same_reply() {
    assert_eq!(hear(openai(), TOOL_CALL.as_bytes().chunks(1)), hear(openai(), [TOOL_CALL.as_bytes()]));
}

#[test]
fn a_stream_cut_at_any_byte_is_no_reply_until_its_finish_reason_is_whole() {
    let whole = hear(openai(), [TOOL_CALL.as_bytes()]).0.expect("an answer");
    let finished = TOOL_CALL.find("\"finish_reason\":\"tool_calls\"").expect("it is there");
    let finished = finished + TOOL_CALL[finished..].find("\n\n").expect("the event ends") + 2;
    for cut in 0..TOOL_CALL.len() {
        let (reply, _) = hear(openai(), [&TOOL_CALL.as_bytes()[..cut]]);
        match reply {
            Ok(reply) => {
                assert!(cut >= finished, "cut at {cut}: a reply before its finish_reason");
                assert_eq!((reply.text, reply.calls), (whole.text.clone(), whole.calls.clone()), "cut at {cut}");
            }
            Err(fault) => {
                assert!(cut < finished, "cut at {cut}: {fault}");
                assert_eq!(fault.kind, FaultKind::CutAfter, "cut at {cut}");
            }
        }
    }
}

#[test]
fn an_error_inside_a_stream_is_what_it_says() {
    let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"so\"}}]}\n\n";
    for (event, kind) in [
        (r#"data: {"error":{"message":"worker died","code":500}}"#, FaultKind::CutAfter),
        (r#"data: {"error":"worker died"}"#, FaultKind::CutAfter),
        ("event: error\ndata: {\"message\":\"worker died\"}", FaultKind::CutAfter),
        ("event: error\ndata: worker died", FaultKind::CutAfter),
        (r#"data: {"object":"error","message":"worker died","code":50000}"#, FaultKind::CutAfter),
        (r#"data: {"error":{"message":"slow down","code":429}}"#, FaultKind::CutAfter),
        (r#"data: {"error":{"message":"Insufficient credits","code":402}}"#, FaultKind::Money),
        (r#"data: {"error":{"message":"x","type":"exceed_context_size_error","code":400}}"#, FaultKind::ContextTooLong),
        (r#"data: {"error":{"message":"x","code":"content_filter"}}"#, FaultKind::Refused),
        (r#"data: {"error":{"message":"no auth","code":401}}"#, FaultKind::Denied),
        ("data: {\"choices\":[{\"delta\":", FaultKind::CutAfter),
        ("data: [DONE]", FaultKind::CutAfter),
        (r#"data: {"choices":[{"delta":{},"finish_reason":"error"}]}"#, FaultKind::CutAfter),
    ] {
        let stream = format!("{begun}{event}\n\n");
        let (reply, heard) = hear(openai(), [stream.as_bytes()]);
        assert_eq!(reply.expect_err(event).kind, kind, "{event}");
        assert_eq!(heard, "so");
    }
}

#[test]
fn too_many_calls_are_no_answer() {
    let call = |n: usize| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{n},\"id\":\"{n}\",\"function\":{{\"name\":\"f\"}}}}]}}}}]}}\n\n"
        )
    };
    let stream: String = (0..=crate::answer::MAX_CALLS).map(call).collect();
    assert_eq!(hear(openai(), [stream.as_bytes()]).0.expect_err("too many").kind, FaultKind::CutAfter);
}
