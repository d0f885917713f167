//! Golden files of the translation, and what a stream must not be taken for.

use super::{reply, request::body};
use crate::fixture::{anthropic, as_json, full_request, hear, request};
use maniple_core::{message::Message, model::FaultKind};
use serde_json::json;

const TOOL_CALL: &str = include_str!("../../golden/anthropic/tool-call.sse");

macro_rules! golden {
    ($name:literal, $value:expr) => {
        insta::with_settings!({ snapshot_path => "../../golden/anthropic", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_json_snapshot!($name, $value)
        })
    };
}

#[test]
fn a_request_with_everything_becomes_messages() {
    golden!("request", as_json(&body(&full_request(), "m1", true)));
}

#[test]
fn a_small_request_has_nothing_it_does_not_need() {
    let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": "hello" }] }]);
    let expected = json!({ "model": "m1", "max_tokens": 500, "messages": messages });
    assert_eq!(as_json(&body(&request("hello"), "m1", false)), expected);
}

#[test]
fn neighbours_of_one_role_are_merged_and_blank_text_goes() {
    let mut request = request("one");
    request.messages.push(Message::Assistant { content: Some("\n".into()), calls: vec![] });
    request.messages.push(Message::User { content: "two".into() });
    let content = json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
    assert_eq!(as_json(&body(&request, "m1", false))["messages"], json!([{ "role": "user", "content": content }]));
}

#[test]
fn plain_answers_become_replies() {
    let read = |json: &str| reply::read(json.as_bytes(), &request("what is it")).expect("an answer");
    golden!("tool-call.json", read(include_str!("../../golden/anthropic/tool-call.json")));
    golden!("refusal.json", read(include_str!("../../golden/anthropic/refusal.json")));
}

#[test]
fn a_stream_of_blocks_becomes_a_reply() {
    let (reply, heard) = hear(anthropic(), [TOOL_CALL.as_bytes()]);
    assert_eq!(heard, "Let me look: é");
    golden!("tool-call.sse", reply.expect("an answer"));
}

#[test]
fn bytes_that_come_one_at_a_time_are_the_same_reply() {
    assert_eq!(hear(anthropic(), TOOL_CALL.as_bytes().chunks(1)), hear(anthropic(), [TOOL_CALL.as_bytes()]));
}

#[test]
fn a_stream_cut_at_any_byte_is_no_reply() {
    assert!(hear(anthropic(), [TOOL_CALL.as_bytes()]).0.is_ok());
    for cut in 0..TOOL_CALL.len() {
        let fault = hear(anthropic(), [&TOOL_CALL.as_bytes()[..cut]]).0.expect_err("cut");
        assert_eq!(fault.kind, FaultKind::CutAfter, "cut at {cut}");
    }
}

#[test]
fn an_error_inside_a_stream_is_what_it_says() {
    for (error, kind) in [
        (json!({ "type": "overloaded_error", "message": "Overloaded" }), FaultKind::CutAfter),
        (json!({ "type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum" }), FaultKind::ContextTooLong),
        (json!({ "type": "invalid_request_error", "message": "Your credit balance is too low" }), FaultKind::Money),
        (json!({ "type": "authentication_error", "message": "invalid x-api-key" }), FaultKind::Denied),
    ] {
        let event = json!({ "type": "error", "error": error });
        let stream = format!("event: error\ndata: {event}\n\n");
        assert_eq!(hear(anthropic(), [stream.as_bytes()]).0.expect_err("an error").kind, kind, "{event}");
    }
}

#[test]
fn a_stop_reason_ends_nothing_by_itself_and_arguments_need_their_call() {
    let lost = r#"data: {"type":"content_block_delta","index":7,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#;
    assert_eq!(hear(anthropic(), [format!("{lost}\n\n").as_bytes()]).0.expect_err("lost").kind, FaultKind::CutAfter);
    let stopped = "data: {\"type\":\"message_stop\"}\n\n";
    assert_eq!(hear(anthropic(), [stopped.as_bytes()]).0.expect_err("no stop_reason").kind, FaultKind::CutAfter);
}
