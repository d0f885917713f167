//! Golden files of the translation, and what a stream must not be taken for.

use super::request::body;
use crate::{
    fixture::{anthropic, full_request, hear, plain, profile, request},
    profile::{Profile, Thinking},
};
use maniple_core::{
    message::Message,
    model::{Effort, FaultKind, ModelName, ModelRequest},
};
use serde_json::{Value, json};

const TOOL_CALL: &str = include_str!("../../golden/anthropic/tool-call.sse");

macro_rules! golden {
    ($name:literal, $value:expr) => {
        insta::with_settings!({ snapshot_path => "../../golden/anthropic", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_json_snapshot!($name, $value)
        })
    };
}

fn of_anthropic() -> Profile {
    let mut profile = profile();
    profile.like_anthropic(false);
    profile
}
fn asked(request: &ModelRequest) -> Value {
    Value::Object(body(request, "m1", &of_anthropic(), request.max_output_tokens))
}

#[test]
fn a_request_with_everything_becomes_messages() {
    golden!("request", asked(&full_request()));
}

#[test]
fn a_small_request_has_nothing_it_does_not_need() {
    let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": "hello" }] }]);
    let expected = json!({ "model": "m1", "max_tokens": 500, "messages": messages, "stream": true });
    assert_eq!(asked(&request("hello")), expected);
}

#[test]
fn neighbours_of_one_role_are_merged_and_blank_text_goes() {
    let mut request = request("one");
    request.messages.push(Message::assistant("\n"));
    request.messages.push(Message::User { content: "two".into() });
    let content = json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
    assert_eq!(asked(&request)["messages"], json!([{ "role": "user", "content": content }]));
}

#[test]
fn plain_answers_become_replies() {
    let read = |json: &str| plain(anthropic(), json).expect("an answer");
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
fn a_stream_cut_at_any_byte_is_no_reply_until_its_stop_reason_is_whole() {
    let whole = hear(anthropic(), [TOOL_CALL.as_bytes()]).0.expect("an answer");
    let stopped = TOOL_CALL.find("\"stop_reason\":\"tool_use\"").expect("it is there");
    let stopped = stopped + TOOL_CALL[stopped..].find("\n\n").expect("the event ends") + 2;
    for cut in 0..TOOL_CALL.len() {
        match hear(anthropic(), [&TOOL_CALL.as_bytes()[..cut]]).0 {
            Ok(reply) => {
                assert!(cut >= stopped, "cut at {cut}: a reply before its stop_reason");
                assert_eq!(reply, whole, "cut at {cut}");
            }
            Err(fault) => {
                assert!(cut < stopped, "cut at {cut}: {fault}");
                assert_eq!(fault.kind, FaultKind::CutAfter, "cut at {cut}");
            }
        }
    }
}

#[test]
fn an_error_inside_a_stream_is_what_it_says() {
    for (error, kind) in [
        (json!({ "type": "api_error", "message": "Internal server error" }), FaultKind::CutAfter),
        (json!({ "type": "rate_limit_error", "message": "slow down" }), FaultKind::Throttled),
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
fn an_end_without_a_stop_reason_is_none_and_arguments_need_their_call() {
    let lost = r#"data: {"type":"content_block_delta","index":7,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#;
    assert_eq!(hear(anthropic(), [format!("{lost}\n\n").as_bytes()]).0.expect_err("lost").kind, FaultKind::CutAfter);
    let stopped = "data: {\"type\":\"message_stop\"}\n\n";
    assert_eq!(hear(anthropic(), [stopped.as_bytes()]).0.expect_err("no stop_reason").kind, FaultKind::CutAfter);
}

fn block(index: u64, start: Value, deltas: &[Value]) -> String {
    let event = |event: Value| format!("data: {event}\n\n");
    let begun = event(json!({ "type": "content_block_start", "index": index, "content_block": start }));
    let more = deltas.iter().map(|delta| event(json!({ "type": "content_block_delta", "index": index, "delta": delta })));
    begun + &more.collect::<String>()
}

#[test]
fn blocks_that_a_model_thought_in_come_back_to_it_as_they_were_and_where_they_were() {
    let thinking = |thought: &str, signature: &str| {
        [json!({ "type": "thinking_delta", "thinking": thought }), json!({ "type": "signature_delta", "signature": signature })]
    };
    let stream = [
        block(0, json!({ "type": "thinking", "thinking": "", "signature": "" }), &thinking("First.", "S1")),
        block(1, json!({ "type": "text", "text": "" }), &[json!({ "type": "text_delta", "text": "So: é" })]),
        block(2, json!({ "type": "redacted_thinking", "data": "R" }), &[]),
        block(
            3,
            json!({ "type": "server_tool_use", "id": "s", "name": "web", "input": {} }),
            &[json!({ "type": "input_json_delta", "partial_json": "{" })],
        ),
        block(4, json!({ "type": "thinking", "thinking": "", "signature": "" }), &thinking("Then.", "S2")),
        block(
            5,
            json!({ "type": "tool_use", "id": "toolu_1", "name": "clock", "input": {} }),
            &[json!({ "type": "input_json_delta", "partial_json": "{}" })],
        ),
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":9}}\n\n".to_owned(),
    ];
    let (reply, heard) = hear(anthropic(), [stream.concat().as_bytes()]);
    let reply = reply.expect("a reply");
    let thought = reply.reasoning.clone().expect("a thought");
    assert_eq!((thought.text.as_str(), heard.as_str()), ("First.\n\nThen.", "So: é"));
    let shown = |by: &str, text: &str| {
        let mut request = request("hi");
        let (calls, reasoning) = (reply.calls.clone(), Some(thought.clone()));
        request.messages.push(Message::Assistant { content: Some(text.into()), calls, reasoning, by: ModelName::parse(by).ok() });
        asked(&request)["messages"][1]["content"].clone()
    };
    let (first, redacted, then) = (
        json!({ "type": "thinking", "thinking": "First.", "signature": "S1" }),
        json!({ "type": "redacted_thinking", "data": "R" }),
        json!({ "type": "thinking", "thinking": "Then.", "signature": "S2" }),
    );
    let call = json!({ "type": "tool_use", "id": "toolu_1", "name": "clock", "input": {} });
    let text = |text: &str| json!({ "type": "text", "text": text });
    assert_eq!(shown("lab/m1", "So: é"), json!([first, text("So: é"), redacted, then, call]));
    assert_eq!(shown("lab/m1", "other"), json!([first, redacted, then, text("other"), call]), "the text is not what it was");
    for stranger in ["lab/m2", "other/m1"] {
        assert_eq!(shown(stranger, "So: é"), json!([text("So: é"), call]), "a signature is its model's own");
    }
}

#[test]
fn how_much_to_think_is_said_as_each_model_wants_it_and_as_there_is_room() {
    let mut request = request("hi");
    request.options.reasoning = Some(Effort::Medium);
    request.options.temperature = Some(0.5);
    request.max_output_tokens = 8_000;
    let body = asked(&request);
    assert_eq!((&body["thinking"], body.get("temperature")), (&json!({ "type": "enabled", "budget_tokens": 6_000 }), None));
    request.max_output_tokens = 1_000;
    assert_eq!((asked(&request).get("thinking"), &asked(&request)["temperature"]), (None, &json!(0.5)), "no room to think");
    let adaptive = Profile { thinking: Thinking::Adaptive, ..of_anthropic() };
    let body = Value::Object(super::request::body(&request, "m1", &adaptive, 1_000));
    assert_eq!((&body["thinking"], &body["output_config"]), (&json!({ "type": "adaptive" }), &json!({ "effort": "medium" })));
}

#[test]
fn an_answer_of_countless_empty_blocks_is_none() {
    let block = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
    let stream = block.repeat(20_000);
    let fault = hear(anthropic(), [stream.as_bytes()]).0.expect_err("too much");
    assert!(fault.message.contains("says more than"), "{fault}");
}

#[test]
fn integers_of_earlier_arguments_keep_their_digits() {
    let mut request = full_request();
    let digits = "123456789012345678901234567890";
    for message in &mut request.messages {
        if let Message::Assistant { calls, .. } = message {
            calls.iter_mut().for_each(|call| call.arguments = format!("{{\"wei\": {digits}}}"));
        }
    }
    assert!(asked(&request).to_string().contains(digits));
}
