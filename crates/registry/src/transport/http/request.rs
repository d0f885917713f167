//! From arguments to a URL and a body. Pure.

mod form;
mod written;

use crate::transport::{client, media};
use maniple_core::tool::{Body, Carrier, Method, Place, Sent, ToolDefinition};
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use url::Url;

/// A piece of an endpoint: text as it stands, or an argument to fill in.
enum Part<'a> {
    Text(&'a str),
    Argument(&'a str),
}

pub(super) fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Head => reqwest::Method::HEAD,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

/// The rules of an endpoint: an http(s) URL without credentials, `{argument}` in its path only, each one a
/// required parameter.
pub(super) fn check(tool: &ToolDefinition) -> Result<(), String> {
    let mut filled = String::new();
    for part in parts(&tool.endpoint)? {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Argument(name) => {
                known(tool, name)?;
                filled.push('x');
            }
        }
    }
    let url = Url::parse(&filled).map_err(|e| format!("endpoint `{}` is no URL: {e}", tool.endpoint))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("endpoint `{}` must begin with http://, https:// or builtin:", tool.endpoint));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("endpoint must not hold credentials: a definition never holds a secret".into());
    }
    places(tool)
}

/// Headers that a credential writes, not an argument.
const FOR_CREDENTIALS: [&str; 2] = ["authorization", "cookie"];

/// The media type of a body where none is said.
const JSON: &str = "application/json";

/// The rules of `places` and `body`: each place names a parameter, headers are legal and not ours, a body of its own leaves no room for
/// members.
fn places(tool: &ToolDefinition) -> Result<(), String> {
    let properties = tool.parameters.get("properties").and_then(Value::as_object);
    let in_path: Vec<&str> =
        parts(&tool.endpoint)?.into_iter().filter_map(|part| if let Part::Argument(name) = part { Some(name) } else { None }).collect();
    let mut whole = Vec::new();
    for (argument, place) in &tool.places {
        if !properties.is_some_and(|properties| properties.contains_key(argument)) {
            return Err(format!("places: `{argument}` is no parameter"));
        }
        let name = place.name.as_deref().unwrap_or(argument);
        match place.carrier {
            Carrier::Query => {}
            Carrier::Path if in_path.contains(&argument.as_str()) => {}
            Carrier::Path => return Err(format!("places: `{argument}` is not in the path: write `{{{argument}}}` in the endpoint")),
            Carrier::Cookie if is_token(name) => {}
            Carrier::Cookie => return Err(format!("places: `{argument}` cannot travel as the cookie `{name}`")),
            Carrier::Header => {
                let name = name.to_ascii_lowercase();
                if HeaderName::from_bytes(name.as_bytes()).is_err()
                    || (client::WIRE_HEADERS.contains(&name.as_str()) || FOR_CREDENTIALS.contains(&name.as_str()))
                    || name.starts_with("proxy-")
                {
                    return Err(format!("places: `{argument}` cannot travel as the header `{name}`"));
                }
            }
            Carrier::Body if tool.has_body() => whole.push(argument),
            Carrier::Body => return Err(format!("places: `{argument}` cannot be the body of a method that has none: write `body: {{}}`")),
        }
    }
    let homeless =
        properties.into_iter().flat_map(Map::keys).find(|name| !tool.places.contains_key(*name) && !in_path.contains(&name.as_str()));
    match (whole.as_slice(), homeless) {
        ([], _) | ([_], None) => {}
        ([_], Some(name)) => return Err(format!("places: with a body of its own, `{name}` needs a place too")),
        (_, _) => return Err("places: only one argument can be the body".into()),
    }
    body(tool, whole.len() == 1)
}

/// The rules of `body`: a media type that a header can carry, and one argument where it is not one of members.
fn body(tool: &ToolDefinition, is_whole: bool) -> Result<(), String> {
    let Some(body) = &tool.body else { return Ok(()) };
    let media_type = body.media_type.as_deref().unwrap_or(JSON);
    let legal = |media: &str| media.len() <= 255 && media.contains('/') && HeaderValue::from_str(media).is_ok() && !media.contains('*');
    let of_parts = body.fields.values().filter_map(|field| field.media_type.as_deref());
    if let Some(wrong) = std::iter::once(media_type).chain(of_parts).find(|media| !legal(media)) {
        return Err(format!("body: `{wrong}` is no media type such as application/json"));
    }
    match Form::of(media_type) {
        Form::Text if !is_whole && body.sent != Sent::Never => {
            Err(format!("body: {media_type} is the text of one argument: give that the place `{{ in: body }}`"))
        }
        Form::Urlencoded | Form::Multipart if is_whole => {
            Err(format!("body: {media_type} has fields, so no argument is the whole of it: remove the place `{{ in: body }}`"))
        }
        Form::Json | Form::Urlencoded | Form::Multipart | Form::Text => Ok(()),
    }
}

/// A name that a cookie may have (RFC 6265, §4.1.1).
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// How a body is written.
enum Form {
    Json,
    Urlencoded,
    Multipart,
    Text,
}

impl Form {
    fn of(media_type: &str) -> Self {
        match media::plain(media_type).as_str() {
            "application/x-www-form-urlencoded" => Self::Urlencoded,
            "multipart/form-data" => Self::Multipart,
            _ if media::is_json(media_type) => Self::Json,
            _ => Self::Text,
        }
    }
}

fn known(tool: &ToolDefinition, name: &str) -> Result<(), String> {
    let properties = tool.parameters.get("properties").and_then(Value::as_object);
    if !properties.is_some_and(|p| p.contains_key(name)) {
        return Err(format!("endpoint fills `{{{name}}}`, but `{name}` is no parameter"));
    }
    let required = tool.parameters.get("required").and_then(Value::as_array);
    if !required.is_some_and(|r| r.iter().any(|v| v == name)) {
        return Err(format!("endpoint fills `{{{name}}}`, so parameters.required must list `{name}`"));
    }
    Ok(())
}

/// A request's parts that come from arguments.
pub(super) struct Prepared {
    pub(super) url: Url,
    pub(super) body: Option<Vec<u8>>,
    pub(super) headers: HeaderMap,
}

/// Where each argument travels: in its place if it has one, else in the path, the body or the query.
pub(super) fn prepare(tool: &ToolDefinition, arguments: &Value) -> Result<Prepared, String> {
    let no_arguments = Map::new();
    let members = match arguments {
        Value::Object(members) => members,
        Value::Null => &no_arguments,
        _ => return Err("arguments must be an object".into()),
    };
    let (url, in_path) = fill(&tool.endpoint, &tool.places, members)?;
    let mut prepared = Prepared { url, body: None, headers: HeaderMap::new() };
    let (mut query, mut cookies, mut fields, mut whole) = (Vec::new(), Vec::new(), Map::new(), None);
    for (name, value) in members.iter().filter(|(name, _)| !in_path.contains(&name.as_str())) {
        let place = tool.places.get(name);
        let wire_name = place.and_then(|place| place.name.as_deref()).unwrap_or(name);
        match place.map(|place| place.carrier) {
            Some(Carrier::Header) => header(&mut prepared.headers, wire_name, value, place)?,
            Some(Carrier::Cookie) => cookies.extend(written::pairs(wire_name, value, place)),
            Some(Carrier::Body) => whole = Some(value),
            Some(Carrier::Query) => query.extend(written::pairs(wire_name, value, place)),
            // It is in the path, or nowhere.
            Some(Carrier::Path) => {}
            None if tool.has_body() => drop(fields.insert(name.clone(), value.clone())),
            None => query.extend(written::pairs(wire_name, value, None)),
        }
    }
    if let Some((media_type, bytes)) = written_body(tool, fields, whole)? {
        let media_type = HeaderValue::from_str(&media_type).map_err(|_| format!("`{media_type}` is no media type"))?;
        prepared.headers.insert(CONTENT_TYPE, media_type);
        prepared.body = Some(bytes);
    }
    if !cookies.is_empty() {
        let text = joined(cookies, "; ");
        prepared.headers.insert(COOKIE, HeaderValue::from_str(&text).map_err(|_| "the cookies cannot be written as a header".to_owned())?);
    }
    if !query.is_empty() {
        let before = prepared.url.query().filter(|query| !query.is_empty()).map(|query| format!("{query}&")).unwrap_or_default();
        prepared.url.set_query(Some(&format!("{before}{}", joined(query, "&"))));
    }
    Ok(prepared)
}

fn joined(pairs: Vec<(String, String)>, separator: &str) -> String {
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(separator)
}

/// The media type and the bytes of the body, if there is one.
fn written_body(tool: &ToolDefinition, fields: Map<String, Value>, whole: Option<&Value>) -> Result<Option<(String, Vec<u8>)>, String> {
    let usual = Body::default();
    let body = tool.body.as_ref().unwrap_or(&usual);
    if !tool.has_body() || (body.sent == Sent::IfGiven && fields.is_empty() && whole.is_none()) {
        return Ok(None);
    }
    let media_type = body.media_type.as_deref().unwrap_or(JSON);
    let bytes = match (Form::of(media_type), whole) {
        (Form::Json, Some(whole)) => serde_json::to_vec(whole).map_err(|e| e.to_string())?,
        (Form::Json, None) => serde_json::to_vec(&fields).map_err(|e| e.to_string())?,
        (Form::Urlencoded, _) => form::urlencoded(&fields, body),
        (Form::Multipart, _) => return Ok(Some(form::multipart(&fields, body))),
        (Form::Text, whole) => whole.and_then(written::scalar).unwrap_or_default().into_bytes(),
    };
    Ok(Some((media_type.to_owned(), bytes)))
}

fn header(headers: &mut HeaderMap, name: &str, value: &Value, place: Option<&Place>) -> Result<(), String> {
    let Some(text) = written::in_header(value, place) else { return Ok(()) };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header"))?;
    let value = HeaderValue::from_str(&text).map_err(|_| format!("argument `{name}` cannot be written as a header"))?;
    headers.insert(name, value);
    Ok(())
}

fn fill<'a>(endpoint: &'a str, places: &BTreeMap<String, Place>, arguments: &Map<String, Value>) -> Result<(Url, Vec<&'a str>), String> {
    let mut text = String::with_capacity(endpoint.len());
    let mut filled = Vec::new();
    for part in parts(endpoint)? {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::Argument(name) => {
                filled.push(name);
                text.push_str(&segment(name, arguments.get(name), places.get(name))?);
            }
        }
    }
    // A value, or two side by side, that make a segment of dots would lead to another path.
    let path_end = text.find(['?', '#']).unwrap_or(text.len());
    if !filled.is_empty() && text[..path_end].split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(format!("argument `{}` would change the path of the call", filled.join("`, `")));
    }
    let url = Url::parse(&text).map_err(|e| format!("the endpoint is no URL: {e}"))?;
    Ok((url, filled))
}

/// A value as (part of) one path segment: all but unreserved characters (RFC 3986, §2.3) percent-encoded.
fn segment(name: &str, value: Option<&Value>, place: Option<&Place>) -> Result<String, String> {
    let wire_name = place.and_then(|place| place.name.as_deref()).unwrap_or(name);
    let written = value.filter(|value| !value.is_null()).and_then(|value| written::in_path(wire_name, value, place));
    written.ok_or_else(|| {
        let lists = if place.is_some_and(|place| place.style.is_some()) { ", or a list or an object that is not empty" } else { "" };
        format!("argument `{name}` is part of the URL: it must be a text that is not empty, a number or a boolean{lists}")
    })
}

fn parts(endpoint: &str) -> Result<Vec<Part<'_>>, String> {
    let authority = endpoint.find("://").map_or(0, |at| at + 3);
    let path = endpoint[authority..].find(['/', '?', '#']).map_or(endpoint.len(), |at| authority + at);
    let end = endpoint[path..].find(['?', '#']).map_or(endpoint.len(), |at| path + at);
    if endpoint[..path].contains(['{', '}']) || endpoint[end..].contains(['{', '}']) {
        return Err(format!("endpoint `{endpoint}`: arguments are filled in only in the path"));
    }
    let mut parts = vec![Part::Text(&endpoint[..path])];
    let mut rest = &endpoint[path..end];
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| format!("endpoint `{endpoint}`: a {{ is not closed"))?;
        parts.extend([Part::Text(text), Part::Argument(name)]);
        rest = after;
    }
    parts.extend([Part::Text(rest), Part::Text(&endpoint[end..])]);
    Ok(parts)
}

#[cfg(test)]
mod tests;
