//! A model request as Messages JSON.
//!
//! Tools, then system, are the same from step to step and from task to task: each ends in a cache mark.

use crate::{
    answer::form::{self, Form, PURPOSE},
    history::{self, Ids, Kin},
    profile::{Profile, Thinking},
};
use maniple_core::{
    digits,
    message::{Message, Reasoning, ToolCall},
    model::{Effort, ModelRequest},
};
use serde_json::{Map, Value, json};

/// The least number of tokens that a model can be told to think.
const LEAST_THOUGHT: u32 = 1_024;

/// The body of `POST …/v1/messages`.
pub fn body(request: &ModelRequest, model: &str, profile: &Profile, max_tokens: u32) -> Map<String, Value> {
    let form = form::form(request, profile);
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| {
        if profile.takes(name) {
            body.insert(name.to_owned(), value);
        }
    };
    set("model", model.into());
    set("max_tokens", max_tokens.into());
    let system = system(request, form, profile);
    if !system.is_empty() {
        set("system", system.into());
    }
    let thinking = thinking(request, profile, max_tokens);
    let tools = tools(request, profile, form);
    if !tools.is_empty() {
        let choice = match (form, form::may_call(request, profile)) {
            // A model that thinks cannot be made to call.
            (Form::Tool(name, _), false) if thinking.is_none() => Some(json!({ "type": "tool", "name": name })),
            (Form::Tool(..), false) => None,
            (_, false) => Some(json!({ "type": "none" })),
            (_, true) => profile.parallel_calls.map(|may| json!({ "type": "auto", "disable_parallel_tool_use": !may })),
        };
        if let Some(choice) = choice {
            set("tool_choice", choice);
        }
        set("tools", tools.into());
    }
    options(request, form, thinking, profile, &mut set);
    set("messages", turns(request, profile).into());
    if profile.stream {
        set("stream", true.into());
    }
    body.extend(request.options.extra.clone());
    body
}

fn options(request: &ModelRequest, form: Form, thinking: Option<Value>, profile: &Profile, set: &mut impl FnMut(&str, Value)) {
    let options = &request.options;
    // A model that thinks chooses its words itself.
    if thinking.as_ref().is_none_or(|thinking| thinking["type"] == "disabled") {
        if let Some(temperature) = options.temperature {
            set("temperature", temperature.min(1.0).into());
        }
        if let Some(top_p) = options.top_p {
            set("top_p", top_p.into());
        }
    }
    if !options.stop.is_empty() {
        set("stop_sequences", options.stop.clone().into());
    }
    let mut output = Map::new();
    if let Form::Native(schema) = form {
        output.insert("format".into(), json!({ "type": "json_schema", "schema": schema }));
    }
    if let (Some(effort), Thinking::Adaptive) = (options.reasoning.filter(|effort| *effort != Effort::None), profile.thinking) {
        let word = if effort == Effort::Minimal { Effort::Low } else { effort };
        output.insert("effort".into(), word.as_str().into());
    }
    if !output.is_empty() {
        set("output_config", output.into());
    }
    if let Some(thinking) = thinking {
        set("thinking", thinking);
    }
}

/// How much the model is to think, where somebody said so and there is room for it.
fn thinking(request: &ModelRequest, profile: &Profile, max_tokens: u32) -> Option<Value> {
    let tokens = match request.options.reasoning.filter(|_| profile.takes("thinking"))? {
        Effort::None => return Some(json!({ "type": "disabled" })),
        _ if profile.thinking == Thinking::Adaptive => return Some(json!({ "type": "adaptive" })),
        Effort::Minimal => LEAST_THOUGHT,
        Effort::Low => 2_048,
        Effort::Medium => 8_192,
        Effort::High => 24_576,
    };
    // What is thought counts as output, and something is to be said behind it.
    let tokens = tokens.min(max_tokens / 4 * 3);
    (tokens >= LEAST_THOUGHT).then(|| json!({ "type": "enabled", "budget_tokens": tokens }))
}

/// The prompt, and what the answer must fit.
fn system(request: &ModelRequest, form: Form, profile: &Profile) -> Vec<Value> {
    let prompt = Some(request.system.clone()).filter(|text| !text.trim().is_empty());
    let mut texts: Vec<Value> = prompt.into_iter().chain(form.told()).map(|text| json!({ "type": "text", "text": text })).collect();
    mark(texts.last_mut(), profile);
    texts
}

fn tools(request: &ModelRequest, profile: &Profile, form: Form) -> Vec<Value> {
    let own = request.tools.iter().filter(|_| profile.tools);
    let tool = |name: &str, description: &str, schema: &Value| json!({ "name": name, "description": description, "input_schema": schema });
    let mut tools: Vec<Value> =
        own.map(|own| profile.shape.of(own)).map(|own| tool(&own.name, &own.description, &own.parameters)).collect();
    if let Form::Tool(name, schema) = form {
        tools.push(tool(name, PURPOSE, schema));
    }
    mark(tools.last_mut(), profile);
    tools
}

fn mark(last: Option<&mut Value>, profile: &Profile) {
    if let Some(last) = last.filter(|_| profile.takes("cache_control")) {
        last["cache_control"] = json!({ "type": "ephemeral" });
    }
}

/// Turns alternate: neighbours of one role become one, and blank text, which is refused, goes.
fn turns(request: &ModelRequest, profile: &Profile) -> Vec<Value> {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut ids = Ids::of(profile.call_ids, &request.messages, &request.model);
    for message in &request.messages {
        let (role, blocks) = blocks(message, request, profile, &mut ids);
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, content)) if *last == role => content.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    turns.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect()
}

fn blocks<'a>(message: &'a Message, request: &ModelRequest, profile: &Profile, ids: &mut Ids<'a>) -> (&'static str, Vec<Value>) {
    match message {
        Message::User { content } => ("user", text(content).into_iter().collect()),
        Message::Assistant { content, calls, reasoning, by } => {
            let kin = Kin::of(by.as_ref(), &request.model);
            ids.answer(calls, kin);
            let calls: Vec<Value> = calls.iter().map(|call| called(call, ids)).collect();
            let content = content.as_deref().unwrap_or_default();
            let reasoning = reasoning.as_ref().filter(|_| profile.gives_back);
            ("assistant", with_thought(content, calls, reasoning, kin))
        }
        Message::Tool { call_id, content, is_error, .. } => {
            let mut result = json!({ "type": "tool_result", "tool_use_id": ids.id(call_id), "content": content });
            if *is_error {
                result["is_error"] = true.into();
            }
            ("user", vec![result])
        }
    }
}

fn text(content: &str) -> Option<Value> {
    (!content.trim().is_empty()).then(|| json!({ "type": "text", "text": content }))
}

fn called(call: &ToolCall, ids: &Ids) -> Value {
    let input: Value = serde_json::from_str(&digits::kept(history::arguments(&call.arguments).get())).unwrap_or_default();
    json!({ "type": "tool_use", "id": ids.id(&call.id), "name": history::tool_name(&call.name), "input": input })
}

/// An answer with the blocks that its model thought in, each where it stood.
fn with_thought(content: &str, calls: Vec<Value>, reasoning: Option<&Reasoning>, kin: Kin) -> Vec<Value> {
    let (_, signed) = kin.gives_back(reasoning);
    let places = signed.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let said: usize = places.iter().filter_map(|place| place["text_bytes"].as_u64()).map(|bytes| bytes as usize).sum();
    let called = places.iter().filter(|place| place["call"] == true).count();
    let thought = |place: &&Value| place["type"].is_string();
    if said != content.len() || called != calls.len() {
        return places.iter().filter(thought).cloned().chain(text(content)).chain(calls).collect();
    }
    let (mut rest, mut calls) = (content, calls.into_iter());
    let block = |place: &Value| match (place["text_bytes"].as_u64(), place["call"] == true) {
        (Some(bytes), _) => {
            let (block, behind) = rest.split_at_checked(bytes as usize)?;
            rest = behind;
            text(block)
        }
        (None, true) => calls.next(),
        (None, false) => Some(place.clone()),
    };
    places.iter().filter_map(block).collect()
}
