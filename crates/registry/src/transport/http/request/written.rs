//! How a value is written outside of a JSON body, by the styles of OpenAPI 3 (RFC 6570).
//!
//! | style | list | list, exploded | object | object, exploded |
//! |---|---|---|---|---|
//! | form | `p=a,b` | `p=a&p=b` | `p=k,v` | `k=v` |
//! | spaceDelimited, pipeDelimited | `p=a%20b` | `p=a&p=b` | `p=k%20v` | `k=v` |
//! | deepObject | `p[]=a` | the same | `p[k]=v` | the same |
//! | simple | `a,b` | `a,b` | `k,v` | `k=v` |
//! | label | `.a,b` | `.a.b` | `.k,v` | `.k=v` |
//! | matrix | `;p=a,b` | `;p=a;p=b` | `;p=k,v` | `;k=v` |
//!
//! A `null` is left out. What stands inside a list or an object that is written out is JSON text where it is no scalar.

use maniple_core::tool::{Carrier, Place, Style};
use serde_json::Value;
use std::fmt::Write;

/// How deep `deepObject` goes; deeper, it is JSON text.
const DEEP_MAX: usize = 8;

/// What stays as it is in a part of a URL, beside the unreserved characters of RFC 3986.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    Nothing,
    /// The reserved characters that neither end the query nor begin another parameter.
    Reserved,
}

/// Percent-encoded (RFC 3986, §2.1).
pub(super) fn encoded(text: &str, keeps: Keeps) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let kept =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keeps == Keeps::Reserved && b":/?@!$'()*,;[]".contains(&byte));
        if kept {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// One value as text: as it is, the rest as JSON text. `null` is left out.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// The parameters of a query, the fields of a form, or the cookies that a value comes to: names and values, already encoded.
pub(super) fn pairs(name: &str, value: &Value, place: Option<&Place>) -> Vec<(String, String)> {
    let keeps = if place.is_some_and(|place| place.allow_reserved) { Keeps::Reserved } else { Keeps::Nothing };
    let style = place.and_then(|place| place.style);
    let explodes = place.is_none_or(Place::explodes);
    let is_styled = place.is_some_and(|place| place.style.is_some() || place.allow_reserved);
    // A `+` is a space in a query only.
    let is_cookie = place.is_some_and(|place| place.carrier == Carrier::Cookie);
    let plain = |text: &str| if is_cookie { encoded(text, Keeps::Nothing) } else { plus(text) };
    let text = |value: &Value| scalar(value).map(|text| if is_styled { encoded(&text, keeps) } else { plain(&text) });
    let named = |text: String| vec![(plain(name), text)];
    let delimiter = match style {
        Some(Style::SpaceDelimited) => "%20",
        Some(Style::PipeDelimited) => "%7C",
        _ => ",",
    };
    match (style, value) {
        (Some(Style::Json), Value::Null) => Vec::new(),
        (Some(Style::Json), value) => named(encoded(&value.to_string(), keeps)),
        (Some(Style::DeepObject), Value::Object(_) | Value::Array(_)) => {
            let mut all = Vec::new();
            deep(&plus(name), value, 0, &mut |name, value| all.extend(text(value).map(|text| (name, text))));
            all
        }
        (_, Value::Array(items)) if explodes => items.iter().filter_map(text).map(|text| (plain(name), text)).collect(),
        (_, Value::Array(items)) if items.is_empty() => Vec::new(),
        (_, Value::Array(items)) => named(items.iter().filter_map(text).collect::<Vec<_>>().join(delimiter)),
        (Some(_), Value::Object(members)) if explodes => {
            members.iter().filter_map(|(member, value)| Some((plain(member), text(value)?))).collect()
        }
        (Some(_), Value::Object(members)) if members.is_empty() => Vec::new(),
        (Some(_), Value::Object(members)) => {
            let listed = members.iter().filter_map(|(member, value)| Some([encoded(member, keeps), text(value)?]));
            named(listed.flatten().collect::<Vec<_>>().join(delimiter))
        }
        (_, value) => text(value).map(named).unwrap_or_default(),
    }
}

/// `p[k]=v` for each member, whatever it nests; the scalars of a list go as `p[]`, its objects by their number.
fn deep(name: &str, value: &Value, depth: usize, add: &mut dyn FnMut(String, &Value)) {
    match value {
        Value::Object(members) if depth < DEEP_MAX => {
            members.iter().for_each(|(member, value)| deep(&format!("{name}%5B{}%5D", plus(member)), value, depth + 1, add));
        }
        Value::Array(items) if depth < DEEP_MAX => {
            for (number, item) in items.iter().enumerate() {
                let is_plain = !item.is_object() && !item.is_array();
                let at = if is_plain { String::new() } else { number.to_string() };
                deep(&format!("{name}%5B{at}%5D"), item, depth + 1, add);
            }
        }
        value => add(name.to_owned(), value),
    }
}

/// A value as (part of) a path. `None` where nothing would stand there, or what cannot be written by the style.
pub(super) fn in_path(name: &str, value: &Value, place: Option<&Place>) -> Option<String> {
    let style = place.and_then(|place| place.style);
    let explodes = place.is_some_and(Place::explodes);
    let text = |value: &Value| scalar(value).map(|text| encoded(&text, Keeps::Nothing));
    let name = encoded(name, Keeps::Nothing);
    let listed = |parts: Vec<String>, each: &str| match style {
        Some(Style::Label) => format!(".{}", parts.join(if explodes { "." } else { "," })),
        Some(Style::Matrix) if explodes => parts.iter().map(|part| format!(";{each}{part}")).collect(),
        Some(Style::Matrix) => format!(";{name}={}", parts.join(",")),
        _ => parts.join(","),
    };
    let written = match (style, value) {
        (Some(Style::Json), value) => encoded(&value.to_string(), Keeps::Nothing),
        // Without a style only a scalar goes into a path.
        (None, Value::Array(_) | Value::Object(_)) => return None,
        (_, Value::Array(items)) => listed(items.iter().filter_map(text).collect(), &format!("{name}=")),
        (_, Value::Object(members)) => {
            let pairs = members.iter().filter_map(|(member, value)| Some((encoded(member, Keeps::Nothing), text(value)?)));
            let parts = match explodes {
                true => pairs.map(|(member, value)| format!("{member}={value}")).collect(),
                false => pairs.flat_map(|(member, value)| [member, value]).collect(),
            };
            listed(parts, "")
        }
        (_, value) => match (style, text(value)?) {
            (Some(Style::Matrix), text) => format!(";{name}={text}"),
            (Some(Style::Label), text) => format!(".{text}"),
            (_, text) => text,
        },
    };
    let is_empty = matches!(value, Value::Array(items) if items.is_empty())
        || matches!(value, Value::Object(members) if members.is_empty())
        || value.as_str().is_some_and(str::is_empty);
    (!is_empty).then_some(written)
}

/// A value as that of a header: nothing in it is encoded. `null` is left out.
pub(super) fn in_header(value: &Value, place: Option<&Place>) -> Option<String> {
    let explodes = place.is_some_and(Place::explodes);
    match (place.and_then(|place| place.style), value) {
        (Some(Style::Json), Value::Null) => None,
        (Some(Style::Json), value) => Some(value.to_string()),
        (Some(_), Value::Array(items)) => Some(items.iter().filter_map(scalar).collect::<Vec<_>>().join(",")),
        (Some(_), Value::Object(members)) => {
            let separator = if explodes { "=" } else { "," };
            let parts = members.iter().filter_map(|(member, value)| Some(format!("{member}{separator}{}", scalar(value)?)));
            Some(parts.collect::<Vec<_>>().join(","))
        }
        (_, value) => scalar(value),
    }
}

/// As a form of the web writes it: a space is `+`.
fn plus(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
