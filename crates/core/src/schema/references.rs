//! Where the references of a schema lead. All are local: to a place by its pointer, or to a name that a subschema gives itself.

use serde_json::Value;
use std::collections::HashMap;

/// Schemas by the names they give themselves.
pub(super) type Anchors<'a> = HashMap<&'a str, Vec<&'a Value>>;

/// Schemas by the names they give themselves. The schema is already known to be shallow.
pub(super) fn anchors(schema: &Value) -> Result<Anchors<'_>, String> {
    let mut anchors = Anchors::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let (false, Some(Value::String(id))) = (std::ptr::eq(value, schema), members.get("$id")) {
                    return Err(format!("`$id` {id} stands inside: only the schema as a whole may have one"));
                }
                if let Some(Value::String(uri)) = members.get("$schema")
                    && draft_of(value) != draft_of(schema)
                {
                    return Err(format!("`$schema` {uri} stands inside: a schema is read by one draft as a whole"));
                }
                for keyword in ["$anchor", "$dynamicAnchor"] {
                    if let Some(Value::String(name)) = members.get(keyword) {
                        anchors.entry(name).or_default().push(value);
                    }
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(anchors)
}

/// The supported draft that a schema says it is of, 2020-12 where it says nothing; `None` for any other.
fn draft_of(schema: &Value) -> Option<&'static str> {
    match schema.get("$schema").and_then(Value::as_str) {
        None => Some("2020-12"),
        Some(uri) => ["2020-12", "draft-07"].into_iter().find(|draft| uri.contains(draft)),
    }
}

/// What a reference leads to: several where a name is given more than once.
pub(super) fn targets<'a>(schema: &'a Value, anchors: &Anchors<'a>, reference: &str) -> Result<Vec<&'a Value>, String> {
    let nothing = || format!("the reference {reference} leads nowhere");
    let fragment = percent_decoded(reference.strip_prefix('#').unwrap_or(reference)).ok_or_else(nothing)?;
    if fragment.is_empty() || fragment.starts_with('/') {
        return schema.pointer(&fragment).map(|target| vec![target]).ok_or_else(nothing);
    }
    anchors.get(fragment.as_str()).cloned().ok_or_else(nothing)
}

/// What a text of a URL says; `None` where it is not percent-encoded UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}
