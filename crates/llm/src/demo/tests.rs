//! The demo model in a loop of its own.

use super::{PREFIX, reply};
use crate::{
    Demo,
    fixture::{request, tool},
};
use maniple_core::{
    message::{FinishReason, Message, ToolSpec},
    model::{ModelRequest, ToolChoice},
    ports::Model,
    schema::Validator,
};
use serde_json::{Value, json};
use std::sync::Arc;

fn tools() -> Arc<[ToolSpec]> {
    let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    [
        tool("clock", "Tells the current date and time.", object(json!({"time_zone": {"type": "string"}}), json!([]))),
        tool(
            "calculator",
            "Calculates an arithmetic expression.",
            object(json!({"expression": {"type": "string"}}), json!(["expression"])),
        ),
        tool("http_fetch", "Fetches a web page.", object(json!({"url": {"type": "string", "format": "uri"}}), json!(["url"]))),
        tool(
            "send_money",
            "Pays an amount to somebody.",
            object(
                json!({"to": {"type": "string"}, "amount": {"type": "number"}, "currency": {"enum": ["USD", "EUR"]}}),
                json!(["to", "amount", "currency"]),
            ),
        ),
    ]
    .into()
}

fn asked(prompt: &str) -> ModelRequest {
    ModelRequest { tools: tools(), ..request(prompt) }
}

/// The calls of its first step, as `name(arguments)`.
fn calls(prompt: &str) -> Vec<String> {
    reply(&asked(prompt)).calls.iter().map(|call| format!("{}({})", call.name, call.arguments)).collect()
}

#[test]
fn it_calls_the_tools_that_the_prompt_speaks_of_with_arguments_from_it() {
    assert_eq!(calls("What time is it?"), ["clock({})"]);
    assert_eq!(calls("What time is it in Europe/Berlin?"), [r#"clock({"time_zone":"Europe/Berlin"})"#]);
    assert_eq!(calls("please calculate (2 + 3) * 4"), [r#"calculator({"expression":"(2 + 3) * 4"})"#]);
    assert_eq!(calls("How much is 17*23?"), [r#"calculator({"expression":"17*23"})"#]);
    assert_eq!(calls("fetch https://a.example/x."), [r#"http_fetch({"url":"https://a.example/x"})"#]);
    assert_eq!(calls("Send 12.5 EUR of money to \"Ann\""), [r#"send_money({"amount":12.5,"currency":"EUR","to":"Ann"})"#]);
    assert_eq!(calls("the time, and 1 + 1"), [r#"calculator({"expression":"1 + 1"})"#, "clock({})"]);
}

#[test]
fn it_leaves_alone_what_the_prompt_does_not_speak_of_or_has_no_arguments_for() {
    assert_eq!(calls("Hello, how are you?"), [""; 0]);
    assert_eq!(calls("What does somebody like you do?"), [""; 0], "one word of a description is not enough to pay");
    assert_eq!(calls("fetch a page for me"), [""; 0], "an address cannot be made up");
}

#[test]
fn a_run_ends_with_a_report_and_no_tool_is_called_twice() {
    let mut request = asked("The time, and 1 + 1, and fetch https://a.example");
    let mut called: Vec<String> = Vec::new();
    let answer = loop {
        assert!(called.len() < 10, "it never ends");
        let reply = reply(&request);
        assert_eq!(super::reply(&request), reply, "the same request has the same reply");
        if reply.calls.is_empty() {
            break reply;
        }
        assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
        request.messages.push(Message::Assistant { content: None, calls: reply.calls.clone(), reasoning: None, by: None });
        for call in reply.calls {
            request.messages.push(Message::Tool {
                call_id: call.id,
                name: call.name.clone(),
                content: format!("<{}>", call.name),
                is_error: call.name == "http_fetch",
            });
            called.push(call.name);
        }
    };
    called.sort();
    assert_eq!(called, ["calculator", "clock", "http_fetch"]);
    let text = answer.text.expect("words");
    assert!(text.starts_with(PREFIX), "{text}");
    for part in ["clock; it answered: <clock>", "calculator; it answered: <calculator>", "http_fetch; it failed: <http_fetch>"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn it_calls_nothing_when_it_must_answer() {
    let answer = reply(&ModelRequest { tool_choice: ToolChoice::None, ..asked("What time is it?") });
    assert_eq!((answer.calls.len(), answer.finish_reason), (0, FinishReason::Stop));
}

#[test]
fn its_structured_answers_fit_their_schema() {
    for schema in [
        json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}, "o": {"type": "string"}}, "required": ["n"], "additionalProperties": false}),
        json!({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2}),
        json!({"type": "string", "minLength": 7}),
        json!({"type": "string", "maxLength": 2}),
        json!({"type": ["null", "number"], "exclusiveMinimum": 1, "multipleOf": 5}),
        json!({"anyOf": [{"const": {"a": 1}}, {"type": "null"}]}),
        json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "boolean"}}, "required": ["v"]}}}),
        json!({"allOf": [{"required": ["a"], "properties": {"a": {"type": "integer"}}}, {"required": ["b"]}]}),
        json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "items": {"type": "null"}}),
        json!(true),
    ] {
        let answer = reply(&ModelRequest { output_schema: Some(schema.clone()), ..request("hi") });
        let json: Value = serde_json::from_str(&answer.text.expect("words")).expect("JSON");
        assert_eq!(Validator::compile(&schema).expect("a schema").check(&json), Ok(()), "{json} for {schema}");
    }
}

#[test]
fn a_schema_that_nothing_fits_does_not_keep_it_busy() {
    let endless = json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "required": ["a", "b"],
        "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}}}}});
    assert_eq!(super::fill::minimal(&endless), Value::Null);
    assert_eq!(super::fill::minimal(&json!({"type": "string", "minLength": 1_000_000_000})), Value::Null);
    assert_eq!(super::fill::minimal(&json!({"type": "array", "minItems": 1_000_000_000})), Value::Null);
}

#[test]
fn it_says_no_more_than_it_may() {
    let answer = reply(&ModelRequest { max_output_tokens: 20, ..asked("Hello") });
    let text = answer.text.expect("words");
    assert_eq!(answer.finish_reason, FinishReason::Length);
    assert!(maniple_core::estimate::tokens(&text) <= 20 && PREFIX.starts_with(text.trim_end()), "{text}");
}

#[tokio::test(start_paused = true)]
async fn its_words_come_one_by_one_and_are_its_answer() {
    let mut heard: Vec<String> = Vec::new();
    let begun = tokio::time::Instant::now();
    let answer = Demo::default().call(&asked("Hello"), &mut |word| heard.push(word.to_owned())).await.expect("an answer");
    assert_eq!(Some(heard.concat()), answer.text);
    assert!(heard.len() > 10 && begun.elapsed() > std::time::Duration::from_millis(100));
    assert!(begun.elapsed() < std::time::Duration::from_millis(500));
    assert!(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
}
