//! A model request as Chat Completions JSON.

use crate::{
    answer::form::{self, Form, PURPOSE},
    history::{self, Ids, Kin},
    profile::{Profile, SystemRole, TokensField},
};
use maniple_core::{
    message::{Message, Reasoning, ToolCall},
    model::ModelRequest,
};
use serde_json::{Map, Value, json};

/// What Gemini takes for the signature of a call that another model made.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The body of `POST …/chat/completions`.
pub fn body(request: &ModelRequest, model: &str, profile: &Profile, max_tokens: u32) -> Map<String, Value> {
    let form = form::form(request, profile);
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| {
        if profile.takes(name) {
            body.insert(name.to_owned(), value);
        }
    };
    set("model", model.into());
    set("messages", messages(request, profile, form.told().as_deref()).into());
    match profile.tokens {
        TokensField::MaxTokens => set("max_tokens", max_tokens.into()),
        TokensField::MaxCompletionTokens => set("max_completion_tokens", max_tokens.into()),
        TokensField::None => {}
    }
    let tools = tools(request, profile, form);
    if !tools.is_empty() {
        match (form, form::may_call(request, profile)) {
            (Form::Tool(name, _), false) => set("tool_choice", json!({ "type": "function", "function": { "name": name } })),
            (_, false) => set("tool_choice", "none".into()),
            // `auto` is everyone's default.
            (_, true) => {}
        }
        if let Some(may) = profile.parallel_calls {
            set("parallel_tool_calls", may.into());
        }
        set("tools", tools.into());
    }
    if let Form::Native(schema) = form {
        // Not strict: that would refuse every schema with an optional member. What comes back is checked anyway.
        let named = json!({ "name": "answer", "strict": false, "schema": schema });
        set("response_format", json!({ "type": "json_schema", "json_schema": named }));
    }
    options(request, profile, &mut set);
    if profile.stream {
        set("stream", true.into());
        if profile.stream_usage {
            set("stream_options", json!({ "include_usage": true }));
        }
    }
    // What an operator writes himself has the last word.
    body.extend(request.options.extra.clone());
    body
}

fn options(request: &ModelRequest, profile: &Profile, set: &mut impl FnMut(&str, Value)) {
    let options = &request.options;
    if let Some(temperature) = options.temperature {
        set("temperature", temperature.into());
    }
    if let Some(top_p) = options.top_p {
        set("top_p", top_p.into());
    }
    if let Some(seed) = options.seed {
        set(profile.seed_field, seed.into());
    }
    if !options.stop.is_empty() {
        set("stop", options.stop.clone().into());
    }
    match (options.reasoning.filter(|_| profile.takes("reasoning_effort")), profile.effort) {
        (Some(effort), _) => set("reasoning_effort", effort.as_str().into()),
        (None, Some(effort)) => set("reasoning_effort", effort.as_str().into()),
        (None, None) => {}
    }
}

fn tools(request: &ModelRequest, profile: &Profile, form: Form) -> Vec<Value> {
    let own = request.tools.iter().filter(|_| profile.tools);
    let mut tools: Vec<Value> = own.map(|tool| json!({ "type": "function", "function": profile.shape.of(tool) })).collect();
    if let Form::Tool(name, schema) = form {
        tools.push(json!({ "type": "function", "function": { "name": name, "description": PURPOSE, "parameters": schema } }));
    }
    tools
}

fn messages(request: &ModelRequest, profile: &Profile, told: Option<&str>) -> Vec<Value> {
    let system: Vec<&str> = [request.system.as_str(), told.unwrap_or_default()].into_iter().filter(|text| !text.is_empty()).collect();
    let system = system.join("\n\n");
    let mut ids = Ids::of(profile.call_ids, &request.messages, &request.model);
    let mut messages: Vec<Value> = request.messages.iter().map(|message| turn(message, request, profile, &mut ids)).collect();
    if system.is_empty() {
        return messages;
    }
    match (profile.system_role, messages.first_mut()) {
        (SystemRole::User, Some(first)) if first["role"] == "user" => {
            let asked = first["content"].as_str().unwrap_or_default();
            first["content"] = format!("{system}\n\n{asked}").into();
        }
        (role, _) => {
            let role = match role {
                SystemRole::System => "system",
                SystemRole::Developer => "developer",
                SystemRole::User => "user",
            };
            messages.insert(0, json!({ "role": role, "content": system }));
        }
    }
    messages
}

fn turn<'a>(message: &'a Message, request: &ModelRequest, profile: &Profile, ids: &mut Ids<'a>) -> Value {
    match message {
        Message::User { content } => json!({ "role": "user", "content": content }),
        Message::Assistant { content, calls, .. } if !profile.tools && !calls.is_empty() => {
            let called = calls.iter().map(|call| format!("(calls {} with {})", call.name, call.arguments));
            let lines: Vec<String> = content.iter().cloned().chain(called).collect();
            json!({ "role": "assistant", "content": lines.join("\n") })
        }
        Message::Tool { name, content, .. } if !profile.tools => {
            json!({ "role": "user", "content": format!("({name} answers)\n{content}") })
        }
        Message::Assistant { content, calls, reasoning, by } => {
            let kin = Kin::of(by.as_ref(), &request.model);
            ids.answer(calls, kin);
            // `null` is for calls alone: an empty answer is a string.
            let content = content.as_deref().or(if calls.is_empty() { Some("") } else { None });
            let mut turn = json!({ "role": "assistant", "content": content });
            if !calls.is_empty() {
                let calls: Vec<Value> = calls.iter().map(|call| called(call, kin, profile, ids)).collect();
                turn["tool_calls"] = calls.into();
            }
            thought(&mut turn, reasoning.as_ref(), kin, profile);
            stand_in(&mut turn, profile);
            turn
        }
        Message::Tool { call_id, content, .. } => json!({ "role": "tool", "tool_call_id": ids.id(call_id), "content": content }),
    }
}

fn called(call: &ToolCall, kin: Kin, profile: &Profile, ids: &Ids) -> Value {
    let function = json!({ "name": history::tool_name(&call.name), "arguments": history::arguments(&call.arguments).get() });
    let mut shown = json!({ "id": ids.id(&call.id), "type": "function", "function": function });
    let extra = call.extra.as_ref().and_then(Value::as_object).filter(|_| kin == Kin::Itself && profile.gives_back);
    for (name, value) in extra.into_iter().flatten() {
        shown[name] = value.clone();
    }
    shown
}

/// Gives back what the model thought, as it gave it.
fn thought(turn: &mut Value, reasoning: Option<&Reasoning>, kin: Kin, profile: &Profile) {
    let (plain, signed) = kin.gives_back(reasoning.filter(|_| profile.gives_back));
    if let Some(plain) = plain {
        for field in &plain.fields {
            turn[field] = plain.text.clone().into();
        }
    }
    for (name, value) in signed.and_then(Value::as_object).into_iter().flatten() {
        turn[name] = value.clone();
    }
    if let Some(field) = &profile.thought_field
        && turn.get(field).is_none()
    {
        turn[field] = "".into();
    }
}

/// A model that signs its calls wants a signature on the first of each answer, others' too.
fn stand_in(turn: &mut Value, profile: &Profile) {
    let calls = turn.get_mut("tool_calls").and_then(Value::as_array_mut);
    let Some(calls) = calls.filter(|_| profile.stands_in_for_signatures) else { return };
    let is_signed = calls.iter().any(|call| call["extra_content"]["google"]["thought_signature"].is_string());
    if let Some(first) = calls.first_mut().filter(|_| !is_signed) {
        first["extra_content"] = json!({ "google": { "thought_signature": NO_SIGNATURE } });
    }
}
