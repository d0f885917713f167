//! What a server's answer to a call means. Pure.
//!
//! A result is read piece by piece: a piece that nobody knows is told as it is, and costs no other.

use crate::transport::answer::{FAILURE_BYTES, truncated};
use maniple_core::{ports::Invoked, tool::STORED_RESULT_BYTES};
use rmcp::model::ErrorData;
use serde_json::{Map, Value, json};

/// Under this name a failure stands that the transport tells: an HTTP answer that is no result.
pub(super) const FAILED: &str = "io.maniple/failed";

/// A complete answer: a result, or a failure that the server told.
///
/// Structured content is the result where there is any; else the text, all pieces of it; else a list that
/// describes each piece, pictures and sounds by their type and size only. Where the tool `returns` something that is no text, a
/// text that is JSON is that: many servers give what they promise only so.
pub(super) fn of(result: Value, returns: Option<&Value>) -> Invoked {
    let mut members = match result {
        Value::Object(members) => members,
        other => return Invoked::Ok(bounded(other)),
    };
    if let Some(failure) = members.remove(FAILED) {
        return Invoked::Failed(within_bounds(failure));
    }
    match members.get("resultType").and_then(Value::as_str) {
        Some("input_required") => return unusable("the server asks a person for input before it goes on, and nobody can be asked here"),
        Some("task") => return unusable("the server answers with a task to be asked for later, which nobody asked it to"),
        Some(_) | None => {}
    }
    let structured = members.remove("structuredContent").filter(|value| !value.is_null());
    let is_error = members.get("isError").is_some_and(|said| *said == true || *said == "true");
    let content = match (members.remove("content"), members.remove("toolResult")) {
        (None | Some(Value::Null), Some(old)) => return told(is_error, old, structured),
        (None, None) if structured.is_none() && !members.contains_key("isError") => match rest(members) {
            Some(whole) => return Invoked::Ok(bounded(whole)),
            None => Value::Null,
        },
        (content, _) => value_of(content),
    };
    match structured {
        Some(structured) if !is_error => Invoked::Ok(bounded(structured)),
        structured => {
            let content = if is_error { content } else { as_promised(content, returns) };
            told(is_error, content, structured)
        }
    }
}

fn told(is_error: bool, content: Value, structured: Option<Value>) -> Invoked {
    if !is_error {
        return Invoked::Ok(bounded(structured.unwrap_or(content)));
    }
    let mut failure = Map::new();
    match (content.is_null() || content == "", structured) {
        (true, Some(structured)) => _ = failure.insert("error".into(), cut(structured)),
        (true, None) => _ = failure.insert("error".into(), "the tool failed, and does not say why".into()),
        (false, structured) => {
            failure.insert("error".into(), cut(content));
            failure.extend(structured.map(|structured| ("data".to_owned(), cut(structured))));
        }
    }
    Invoked::Failed(Value::Object(failure))
}

/// A JSON-RPC error: the server took the call and refused it.
pub(super) fn refused(error: ErrorData) -> Invoked {
    let mut failure = json!({ "error": cut(error.message.into_owned().into()), "code": error.code.0 });
    if let Some(data) = error.data {
        failure["data"] = cut(data);
    }
    Invoked::Failed(failure)
}

/// A failure of which no member is longer than what is stored.
fn within_bounds(failure: Value) -> Value {
    match failure {
        Value::Object(members) => Value::Object(members.into_iter().map(|(name, value)| (name, cut(value))).collect()),
        other => cut(other),
    }
}

/// An answer that is neither result nor error of the call.
pub(super) fn unusable(why: &str) -> Invoked {
    Invoked::Failed(json!({ "error": why }))
}

/// At most what is stored of a result.
pub(super) fn bounded(value: Value) -> Value {
    let written = value.to_string();
    if written.len() <= STORED_RESULT_BYTES {
        return value;
    }
    truncated(match value {
        Value::String(text) => text,
        _ => written,
    })
}

/// At most what is stored of a failure.
fn cut(value: Value) -> Value {
    let written = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if written.len() <= FAILURE_BYTES {
        return value;
    }
    format!("{} [cut]", &written[..written.floor_char_boundary(FAILURE_BYTES)]).into()
}

/// What a result says that has nothing of what results have: all of it.
fn rest(mut members: Map<String, Value>) -> Option<Value> {
    ["_meta", "resultType"].into_iter().for_each(|name| _ = members.remove(name));
    (!members.is_empty()).then_some(Value::Object(members))
}

/// A text as the JSON it is, where the tool promises something that is no text.
fn as_promised(content: Value, returns: Option<&Value>) -> Value {
    let promises_more = returns.is_some_and(|schema| schema.get("type").and_then(Value::as_str) != Some("string"));
    match &content {
        Value::String(text) if promises_more => super::reading::json_of(text).unwrap_or(content),
        _ => content,
    }
}

fn value_of(content: Option<Value>) -> Value {
    let pieces = match content {
        None | Some(Value::Null) => return Value::Null,
        Some(Value::Array(pieces)) => pieces,
        Some(one) => vec![one],
    };
    let pieces: Vec<Value> = pieces.into_iter().filter_map(described).collect();
    let text = |piece: &Value| (piece["type"] == "text").then(|| piece["text"].as_str().map(str::to_owned)).flatten();
    match pieces.iter().map(text).collect::<Option<Vec<String>>>() {
        _ if pieces.is_empty() => Value::Null,
        Some(texts) => texts.join("\n").into(),
        None => Value::Array(pieces),
    }
}

/// A piece as it is told; nothing where there is nothing in it.
fn described(piece: Value) -> Option<Value> {
    let of_text = |text: Value| match text {
        Value::Null => None,
        Value::String(text) => Some(json!({ "type": "text", "text": text })),
        other => Some(json!({ "type": "text", "text": other.to_string() })),
    };
    let mut members = match piece {
        Value::Object(members) => members,
        other => return of_text(other),
    };
    let kind = members.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let bytes = |data: Option<&Value>| data.and_then(Value::as_str).map(|data| decoded_bytes(data).into());
    let mime_type = |members: &Map<String, Value>| members.get("mimeType").filter(|said| !said.is_null()).cloned();
    match &*kind {
        "text" => of_text(members.remove("text").unwrap_or_default()),
        "image" | "audio" => Some(said([
            ("type", Some(kind.into())),
            ("mime_type", mime_type(&members)),
            ("bytes", Some(bytes(members.get("data")).unwrap_or(0.into()))),
        ])),
        "resource_link" => Some(said([
            ("type", Some(kind.into())),
            ("uri", members.remove("uri")),
            ("name", members.remove("name")),
            ("description", members.remove("description")),
            ("mime_type", mime_type(&members)),
            ("bytes", members.remove("size")),
        ])),
        "resource" => {
            let resource = match members.remove("resource") {
                Some(Value::Object(resource)) => resource,
                _ => members,
            };
            let (text, blob) = (resource.get("text").filter(|text| !text.is_null()), bytes(resource.get("blob")));
            Some(said([
                ("type", Some(kind.into())),
                ("uri", resource.get("uri").cloned()),
                ("mime_type", mime_type(&resource)),
                ("text", text.cloned()),
                ("bytes", blob),
            ]))
        }
        _ => {
            ["annotations", "_meta"].into_iter().for_each(|name| _ = members.remove(name));
            (!members.is_empty()).then_some(Value::Object(members))
        }
    }
}

fn said<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.filter(|value| !value.is_null())?)));
    Value::Object(members.collect::<Map<_, _>>())
}

/// How many bytes a Base64 text stands for, a `data:` URL too.
fn decoded_bytes(data: &str) -> usize {
    let data = match data.strip_prefix("data:") {
        Some(url) => url.split_once(',').map_or("", |(_, data)| data),
        None => data,
    };
    let digits = data.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=').count();
    digits * 3 / 4
}

#[cfg(test)]
mod tests;
