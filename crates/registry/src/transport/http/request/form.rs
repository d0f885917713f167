//! Bodies that are forms: `application/x-www-form-urlencoded` and `multipart/form-data` (RFC 7578).

use super::written::{pairs, scalar};
use crate::transport::media::is_json;
use maniple_core::{
    canonical,
    tool::{Body, Carrier, FormField, Place},
};
use serde_json::{Map, Value};

/// The fields of a form of the web.
pub(super) fn urlencoded(members: &Map<String, Value>, body: &Body) -> Vec<u8> {
    let fields = members.iter().flat_map(|(name, value)| {
        let place = body.fields.get(name).filter(|field| field.style.is_some() || field.explode.is_some());
        let place = place.map(|field| Place { style: field.style, explode: field.explode, ..Place::of(Carrier::Query) });
        pairs(in_form(name, body), value, place.as_ref())
    });
    fields.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&").into_bytes()
}

/// The parts of a form with files, and its media type with the boundary between them.
pub(super) fn multipart(members: &Map<String, Value>, body: &Body) -> (String, Vec<u8>) {
    let mut parts: Vec<(String, String)> = Vec::new();
    let usual = FormField::default();
    for (name, value) in members {
        let field = body.fields.get(name).unwrap_or(&usual);
        let name = in_form(name, body);
        match value {
            // Each item is a part of its own (OpenAPI 3.0.3, "Special Considerations for multipart Content").
            Value::Array(items) if field.media_type.is_none() => {
                parts.extend(items.iter().filter_map(|item| part(name, item, field)));
            }
            value => parts.extend(part(name, value, field)),
        }
    }
    // Two contents with one boundary would take a collision of SHA-256; one that holds its own boundary cannot be made.
    let content: String = parts.iter().flat_map(|(head, content)| [head.as_str(), content]).collect();
    let boundary = format!("maniple-{}", &canonical::hash_bytes(content.as_bytes())[..32]);
    let mut bytes = String::new();
    for (head, content) in parts {
        bytes.extend(["--", &boundary, "\r\n", &head, "\r\n\r\n", &content, "\r\n"]);
    }
    bytes.extend(["--", &boundary, "--\r\n"]);
    (format!("multipart/form-data; boundary={boundary}"), bytes.into_bytes())
}

fn part(name: &str, value: &Value, field: &FormField) -> Option<(String, String)> {
    let is_json = field.media_type.as_deref().is_some_and(is_json);
    let content = if is_json && !value.is_null() { value.to_string() } else { scalar(value)? };
    let name = quoted(name);
    let mut head = format!("Content-Disposition: form-data; name=\"{name}\"");
    if field.file {
        head.push_str(&format!("; filename=\"{name}\""));
    }
    let usual = match value {
        Value::Object(_) | Value::Array(_) => Some("application/json"),
        _ if field.file => Some("application/octet-stream"),
        _ => None,
    };
    if let Some(media) = field.media_type.as_deref().or(usual) {
        head.push_str(&format!("\r\nContent-Type: {media}"));
    }
    Some((head, content))
}

/// The name of an argument in the form.
fn in_form<'a>(argument: &'a str, body: &'a Body) -> &'a str {
    body.fields.get(argument).and_then(|field| field.name.as_deref()).unwrap_or(argument)
}

/// A name in quotes (RFC 7578, §2, as browsers write it).
fn quoted(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control() || matches!(c, '\r' | '\n'))
        .collect::<String>()
        .replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}
