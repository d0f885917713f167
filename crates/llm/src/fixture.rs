//! Requests and streams that the tests of both APIs share.

use crate::{
    profile::{Profile, ProfileSettings},
    read::Events,
    sse,
};
use maniple_core::{
    message::{Message, ModelReply, ToolCall, ToolSpec},
    model::{CallTimes, Fault, ModelName, ModelOptions, ModelRequest, ToolChoice},
};
use serde_json::json;
use std::time::Duration;

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// A request with one user message.
pub fn request(prompt: &str) -> ModelRequest {
    ModelRequest {
        model: ModelName::parse("lab/m1").expect("a name"),
        system: String::new(),
        messages: vec![Message::User { content: prompt.into() }],
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 500,
        output_schema: None,
        options: ModelOptions::default(),
        times: CallTimes { first_byte: HALF_A_MINUTE, between_chunks: HALF_A_MINUTE, bytes_a_minute: 10, whole: 20 * HALF_A_MINUTE },
    }
}

/// A tool as a model is shown it.
pub fn tool(name: &str, description: &str, parameters: serde_json::Value) -> ToolSpec {
    ToolSpec { name: name.into(), description: description.into(), parameters }
}

/// Everything a request can have: system, history, tools, calls good and bad, results, a schema, no more tools.
pub fn full_request() -> ModelRequest {
    let call =
        |id: &str, name: &str, arguments: &str| ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), extra: None };
    let result = |id: &str, name: &str, content: &str, is_error| Message::Tool {
        call_id: id.into(),
        name: name.into(),
        content: content.into(),
        is_error,
    };
    let clock = tool("clock", "Tells the time.", json!({"type": "object", "properties": {}}));
    let search = json!({"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]});
    ModelRequest {
        system: "You are a researcher.".into(),
        messages: vec![
            Message::User { content: "hello".into() },
            Message::assistant("Hi."),
            Message::User { content: "find rust".into() },
            Message::Assistant {
                content: None,
                calls: vec![call("a|1", "web_search", "{\"query\": \"rust\"}"), call("b", "functions.clock", "{\"zone\":")],
                reasoning: None,
                by: None,
            },
            result("a|1", "web_search", "a language", false),
            result("b", "functions.clock", "no such tool", true),
            Message::assistant(" "),
            Message::User { content: "your answer does not fit: try again".into() },
        ],
        tools: [clock, tool("web_search", "Searches the web.", search)].into(),
        tool_choice: ToolChoice::None,
        output_schema: Some(json!({"type": "object", "properties": {"answer": {"type": "string"}}})),
        ..request("")
    }
}

/// What a stream of these pieces comes to if it then ends, and the text heard.
pub fn hear<'a>(mut events: Events, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Result<ModelReply, Fault>, String) {
    let (mut parser, mut heard) = (sse::Parser::default(), String::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            let event = parser.feed(&mut piece).expect("framing");
            let ended = event.map(|event| events.event(&event, &mut |text| heard.push_str(text)));
            match ended {
                None | Some(Ok(false)) => {}
                Some(Ok(true)) => break,
                Some(Err(fault)) => return (Err(fault), heard),
            }
        }
    }
    let reply = events.finish(&request(""), &profile(), &mut |text| heard.push_str(text));
    (reply, heard)
}

/// Of a model of which nothing is known.
pub fn profile() -> Profile {
    Profile::of("lab.test", "m1", &ProfileSettings::default(), &ProfileSettings::default())
}

/// A fresh Chat Completions stream.
pub fn openai() -> Events {
    Events::openai()
}
/// A fresh Messages stream.
pub fn anthropic() -> Events {
    Events::anthropic()
}

/// The reply in a plain answer.
pub fn plain(mut events: Events, json: &str) -> Result<ModelReply, Fault> {
    events.event(&sse::Event { name: String::new(), data: json.to_owned() }, &mut |_| {})?;
    events.finish(&request("what is it"), &profile(), &mut |_| {})
}
