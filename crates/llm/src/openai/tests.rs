//! Golden files of the translation, and what a stream must not be taken for.

use super::request::body;
use crate::{
    fixture::{full_request, hear, openai, plain, profile, request},
    profile::{Profile, ProfileSettings},
};
use maniple_core::{
    message::{Message, Reasoning, ToolCall},
    model::{FaultKind, ModelName, ModelRequest, ToolChoice},
};
use serde_json::{Value, json};

const TOOL_CALL: &str = include_str!("../../golden/openai/tool-call.sse");

fn known(host: &str) -> Profile {
    Profile::of(host, "m1", &ProfileSettings::default(), &ProfileSettings::default())
}
fn asked(request: &ModelRequest, profile: &Profile) -> Value {
    Value::Object(body(request, "m1", profile, request.max_output_tokens))
}

macro_rules! golden {
    ($name:literal, $value:expr) => {
        insta::with_settings!({ snapshot_path => "../../golden/openai", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_json_snapshot!($name, $value)
        })
    };
}

#[test]
fn a_request_with_everything_becomes_chat_completions() {
    golden!("request", asked(&full_request(), &profile()));
}

#[test]
fn a_small_request_has_nothing_it_does_not_need() {
    let plain = Profile { stream: false, ..known("api.openai.com") };
    let messages = json!([{ "role": "user", "content": "hello" }]);
    assert_eq!(asked(&request("hello"), &plain), json!({ "model": "m1", "messages": messages, "max_completion_tokens": 500 }));
}

#[test]
fn a_choice_is_not_sent_without_tools() {
    let mut request = full_request();
    request.tools = [].into();
    assert_eq!(request.tool_choice, ToolChoice::None);
    assert_eq!(asked(&request, &profile()).get("tool_choice"), None);
}

#[test]
fn a_schema_beside_tools_is_a_grammar_at_openai_and_words_elsewhere() {
    let mut request = full_request();
    request.tool_choice = ToolChoice::Auto;
    let system = |json: &Value| json["messages"][0]["content"].as_str().map(str::to_owned);
    let openai = asked(&request, &known("api.openai.com"));
    assert_eq!(openai["response_format"]["json_schema"]["schema"], *request.output_schema.as_ref().expect("set"));
    assert_eq!(system(&openai).expect("text"), request.system);
    let other = asked(&request, &profile());
    assert_eq!(other.get("response_format"), None);
    assert!(system(&other).expect("text").contains(r#""answer":{"type":"string"}"#));
}

#[test]
fn an_answer_may_be_the_arguments_of_a_tool() {
    let own = ProfileSettings { structured: Some(crate::profile::Structured::Tool), ..Default::default() };
    let profile = Profile::of("lab.test", "m1", &ProfileSettings::default(), &own);
    let mut request = full_request();
    let last = asked(&request, &profile);
    assert_eq!(last["tool_choice"], json!({ "type": "function", "function": { "name": "answer" } }), "in the last step it must");
    request.tool_choice = ToolChoice::Auto;
    let body = asked(&request, &profile);
    assert_eq!((body.get("tool_choice"), body["tools"].as_array().map(Vec::len)), (None, Some(3)));
    let called = r#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"answer","arguments":"{\"answer\":\"x\"}"}}]},"finish_reason":"tool_calls"}]}"#;
    let mut events = openai();
    events.event(&crate::sse::Event { name: String::new(), data: called.into() }, &mut |_| {}).expect("a piece");
    let reply = events.finish(&request, &profile, &mut |_| {}).expect("a reply");
    assert_eq!((reply.text.as_deref(), reply.calls.len()), (Some(r#"{"answer":"x"}"#), 0));
}

fn of_model(by: &str) -> Message {
    let call = ToolCall {
        id: "functions.clock:0".into(),
        name: "clock".into(),
        arguments: "{}".into(),
        extra: Some(json!({ "extra_content": { "google": { "thought_signature": "S" } } })),
    };
    let reasoning = Reasoning {
        text: "hm".into(),
        fields: vec!["reasoning_content".into()],
        verbatim: Some(json!({ "reasoning_details": [{ "type": "reasoning.encrypted", "data": "x" }] })),
        note: None,
    };
    Message::Assistant { content: None, calls: vec![call], reasoning: Some(reasoning), by: ModelName::parse(by).ok() }
}

#[test]
fn what_a_model_thought_and_signed_goes_back_to_it_and_to_nobody_else() {
    let shown = |by: &str| {
        let mut request = request("hi");
        request.messages.push(of_model(by));
        request.messages.push(Message::Tool {
            call_id: "functions.clock:0".into(),
            name: "clock".into(),
            content: "noon".into(),
            is_error: false,
        });
        asked(&request, &profile())["messages"].clone()
    };
    let own = shown("lab/m1");
    let call = json!({ "id": "functions.clock:0", "type": "function", "function": { "name": "clock", "arguments": "{}" }, "extra_content": { "google": { "thought_signature": "S" } } });
    let expected = json!({ "role": "assistant", "content": null, "tool_calls": [call], "reasoning_content": "hm", "reasoning_details": [{ "type": "reasoning.encrypted", "data": "x" }] });
    assert_eq!((&own[1], &own[2]["tool_call_id"]), (&expected, &json!("functions.clock:0")));
    let sibling = shown("lab/m2");
    assert_eq!((&sibling[1]["reasoning_content"], sibling[1].get("reasoning_details")), (&json!("hm"), None));
    let stranger = shown("other/m1");
    assert!(!stranger.to_string().contains("hm") && !stranger.to_string().contains("signature"), "{stranger}");
    assert_eq!(stranger[1]["tool_calls"][0]["id"], stranger[2]["tool_call_id"]);
    assert_ne!(stranger[2]["tool_call_id"], "functions.clock:0");
}

#[test]
fn a_model_that_cannot_call_is_shown_earlier_calls_as_words() {
    let own = ProfileSettings { tools: Some(false), ..Default::default() };
    let profile = Profile::of("lab.test", "m1", &ProfileSettings::default(), &own);
    let body = asked(&full_request(), &profile);
    assert_eq!(body.get("tools"), None);
    let roles: Vec<&str> = body["messages"].as_array().expect("a list").iter().filter_map(|message| message["role"].as_str()).collect();
    assert!(!roles.contains(&"tool") && !body.to_string().contains("tool_calls"), "{body}");
}

#[test]
fn plain_answers_become_replies() {
    let read = |json: &str| plain(openai(), json).expect("an answer");
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
        (r#"data: {"error":{"message":"slow down","code":429}}"#, FaultKind::Throttled),
        (r#"data: {"choices":[{"error":{"message":"slow down","code":429},"finish_reason":"error"}]}"#, FaultKind::Throttled),
        (r#"{"error":{"message":"Insufficient credits","code":402}}"#, FaultKind::Money),
        ("{\n  \"error\": {\"message\": \"Insufficient credits\",\n \"code\": 402}}", FaultKind::Money),
        (r#"data: {"code":20015,"message":"worker died","data":null}"#, FaultKind::CutAfter),
        (r#"data: {"base_resp":{"status_code":1004,"status_msg":"login fail"}}"#, FaultKind::CutAfter),
        (r#"data: {"error":{"message":"Insufficient credits","code":402}}"#, FaultKind::Money),
        (r#"data: {"error":{"message":"x","type":"exceed_context_size_error","code":400}}"#, FaultKind::ContextTooLong),
        (r#"data: {"error":{"message":"x","code":"content_filter"}}"#, FaultKind::Refused),
        (r#"data: {"error":{"message":"no auth","code":401}}"#, FaultKind::Denied),
        ("data: {\"choices\":[{\"delta\":", FaultKind::CutAfter),
        ("data: worker died", FaultKind::CutAfter),
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

#[test]
fn nothing_but_text_calls_and_the_reason_can_void_an_answer() {
    for odd in [
        r#""usage":{"prompt_tokens":"many","completion_tokens":-3,"total_tokens":1e999}"#,
        r#""usage":[1],"id":7,"created":NaN,"system_fingerprint":{"a":[]},"error":null"#,
        r#""usage":{"prompt_tokens":20.0,"completion_tokens":"7","prompt_tokens_details":null},"model":5"#,
        r#""citations":[1],"x":"\ud83d""#,
    ] {
        let piece = format!(
            r#"data: {{"choices":[{{"index":0,"delta":{{"content":"whole","annotations":7,"tool_calls":null}},"finish_reason":"stop","logprobs":Infinity}}],{odd}}}"#
        );
        let (reply, _) = hear(openai(), [format!("{piece}\n\ndata: [DONE]\n\n").as_bytes()]);
        let reply = reply.unwrap_or_else(|fault| panic!("{odd}: {fault}"));
        assert!(reply.text.as_deref() == Some("whole") && (1..1_000).contains(&reply.usage.total()), "{odd}: {reply:?}");
    }
}

#[test]
fn a_reason_that_is_none_ends_nothing() {
    for none in ["\"\"", "\"null\"", "null", "\"None\""] {
        let piece = |text: &str, reason: &str| {
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{reason}}}]}}\n\n")
        };
        let cut = piece("Do not ", none);
        let fault = hear(openai(), [cut.as_bytes()]).0.expect_err(none);
        assert_eq!(fault.kind, FaultKind::CutAfter);
        assert!(fault.usage.is_some_and(|usage| usage.output_tokens > 0), "what was heard cost something");
        let whole = [cut.clone(), piece("pay.", "\"stop\"")].concat();
        assert_eq!(hear(openai(), [whole.as_bytes()]).0.expect("whole").text.as_deref(), Some("Do not pay."));
    }
}

#[test]
fn what_is_thought_is_kept_apart_from_what_is_said() {
    let stream = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"It is \"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"reasoning_content\":\"4.\",\"content\":\"4\"},\"finish_reason\":\"stop\"}]}\n\n";
    let (reply, heard) = hear(openai(), [stream.as_bytes()]);
    let reply = reply.expect("a reply");
    let thought = reply.reasoning.expect("a thought");
    assert_eq!((reply.text.as_deref(), heard.as_str(), thought.text.as_str()), (Some("4"), "4", "It is 4."));
    assert!(reply.usage.output_tokens >= 3, "and counted");
    let aloud = plain(openai(), r#"{"choices":[{"message":{"content":"<think>hm</think>4"},"finish_reason":"stop"}]}"#).expect("a reply");
    assert_eq!((aloud.text.as_deref(), aloud.reasoning.map(|thought| thought.text).as_deref()), (Some("4"), Some("hm")));
}

#[test]
fn an_error_that_says_nothing_voids_no_answer() {
    for nothing in ["[]", "0", "null", "false", "\"\"", "{}"] {
        let answered =
            format!(r#"{{"errors":{nothing},"error":{nothing},"choices":[{{"message":{{"content":"whole"}},"finish_reason":"stop"}}]}}"#);
        assert_eq!(plain(openai(), &answered).expect(nothing).text.as_deref(), Some("whole"));
    }
    assert!(plain(openai(), r#"{"errors":[{"message":"no"}],"choices":[]}"#).is_err());
}
