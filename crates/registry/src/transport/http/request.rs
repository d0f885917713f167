//! From arguments to a URL and a body. Pure.

use crate::transport::client;
use maniple_core::tool::{Carrier, Method, ToolDefinition};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::fmt::Write;
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

/// The rules of `places`: each names a parameter, headers are legal and not ours, a body of its own leaves no room for members.
fn places(tool: &ToolDefinition) -> Result<(), String> {
    let properties = tool.parameters.get("properties").and_then(Value::as_object);
    let in_path: Vec<&str> =
        parts(&tool.endpoint)?.into_iter().filter_map(|part| if let Part::Argument(name) = part { Some(name) } else { None }).collect();
    let mut whole = Vec::new();
    for (argument, place) in &tool.places {
        if !properties.is_some_and(|properties| properties.contains_key(argument)) {
            return Err(format!("places: `{argument}` is no parameter"));
        }
        match place.carrier {
            Carrier::Query => {}
            Carrier::Header => {
                let name = place.name.as_deref().unwrap_or(argument).to_ascii_lowercase();
                if HeaderName::from_bytes(name.as_bytes()).is_err()
                    || (client::WIRE_HEADERS.contains(&name.as_str()) || FOR_CREDENTIALS.contains(&name.as_str()))
                    || name.starts_with("proxy-")
                {
                    return Err(format!("places: `{argument}` cannot travel as the header `{name}`"));
                }
            }
            Carrier::Body if tool.method.has_body() => whole.push(argument),
            Carrier::Body => return Err(format!("places: `{argument}` cannot be the body of a method that has none")),
        }
    }
    let homeless =
        properties.into_iter().flat_map(Map::keys).find(|name| !tool.places.contains_key(*name) && !in_path.contains(&name.as_str()));
    match (whole.as_slice(), homeless) {
        ([], _) | ([_], None) => Ok(()),
        ([_], Some(name)) => Err(format!("places: with a body of its own, `{name}` needs a place too")),
        (_, _) => Err("places: only one argument can be the body".into()),
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
    let (mut url, in_path) = fill(&tool.endpoint, members)?;
    let mut prepared = Prepared { url: url.clone(), body: None, headers: HeaderMap::new() };
    let (mut query, mut body, mut whole) = (Vec::new(), Map::new(), None);
    for (name, value) in members.iter().filter(|(name, _)| !in_path.contains(&name.as_str())) {
        let place = tool.places.get(name);
        let wire_name = place.and_then(|place| place.name.as_deref()).unwrap_or(name);
        match place.map(|place| place.carrier) {
            Some(Carrier::Header) => header(&mut prepared.headers, wire_name, value)?,
            Some(Carrier::Body) => whole = Some(value),
            Some(Carrier::Query) => pairs(&mut query, wire_name, value),
            None if tool.method.has_body() => drop(body.insert(name.clone(), value.clone())),
            None => pairs(&mut query, wire_name, value),
        }
    }
    if tool.method.has_body() {
        let bytes = whole.map_or_else(|| serde_json::to_vec(&body), serde_json::to_vec).map_err(|e| e.to_string())?;
        prepared.body = Some(bytes);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
        prepared.url = url;
    }
    Ok(prepared)
}

fn pairs<'a>(query: &mut Vec<(&'a str, String)>, name: &'a str, value: &Value) {
    match value {
        Value::Array(items) => query.extend(items.iter().filter_map(|item| Some((name, scalar(item)?)))),
        other => query.extend(scalar(other).map(|text| (name, text))),
    }
}

fn header(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), String> {
    let Some(text) = scalar(value) else { return Ok(()) };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header"))?;
    let value = HeaderValue::from_str(&text).map_err(|_| format!("argument `{name}` cannot be written as a header"))?;
    headers.insert(name, value);
    Ok(())
}

/// One value of a query: text as it is, the rest as JSON text. `null` is left out.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

fn fill<'a>(endpoint: &'a str, arguments: &Map<String, Value>) -> Result<(Url, Vec<&'a str>), String> {
    let mut text = String::with_capacity(endpoint.len());
    let mut filled = Vec::new();
    for part in parts(endpoint)? {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::Argument(name) => {
                filled.push(name);
                text.push_str(&segment(name, arguments.get(name))?);
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
fn segment(name: &str, value: Option<&Value>) -> Result<String, String> {
    let text = match value {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(_) | Value::Bool(_)) => value.map(Value::to_string).unwrap_or_default(),
        _ => return Err(format!("argument `{name}` is part of the URL: it must be a text that is not empty, a number or a boolean")),
    };
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            write!(encoded, "%{byte:02X}").map_err(|e| e.to_string())?;
        }
    }
    Ok(encoded)
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
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(method: &str, endpoint: &str, arguments: Value) -> Result<(String, Option<Value>), String> {
        let definition = json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": endpoint, "method": method });
        let tool: ToolDefinition = serde_json::from_value(definition).expect("a definition");
        let prepared = prepare(&tool, &arguments)?;
        Ok((prepared.url.to_string(), prepared.body.map(|b| serde_json::from_slice(&b).expect("JSON"))))
    }

    #[test]
    fn arguments_are_the_body_of_a_post_and_what_fills_the_path_is_not_in_it() {
        let arguments = json!({ "id": 7, "note": "a b", "deep": { "x": [1] } });
        let expected = ("http://x.test/pay/7?fixed=1".to_owned(), Some(json!({ "note": "a b", "deep": { "x": [1] } })));
        for method in ["POST", "PUT", "PATCH"] {
            assert_eq!(sent(method, "http://x.test/pay/{id}?fixed=1", arguments.clone()), Ok(expected.clone()));
        }
        assert_eq!(sent("POST", "http://x.test/", Value::Null), Ok(("http://x.test/".into(), Some(json!({})))));
    }

    #[test]
    fn a_query_repeats_arrays_writes_objects_as_json_and_leaves_null_out() {
        let arguments = json!({ "a": [1, "two", { "x": 1 }], "b": true, "n": null, "o": { "k": [1] }, "q": "ä&=+ ", "z": -1.5 });
        let query = "k=v&a=1&a=two&a=%7B%22x%22%3A1%7D&b=true&o=%7B%22k%22%3A%5B1%5D%7D&q=%C3%A4%26%3D%2B+&z=-1.5";
        for method in ["GET", "HEAD", "DELETE"] {
            assert_eq!(sent(method, "http://x.test/s?k=v", arguments.clone()), Ok((format!("http://x.test/s?{query}"), None)));
        }
        assert_eq!(sent("GET", "http://x.test/s", json!({ "n": null })), Ok(("http://x.test/s".into(), None)));
    }

    #[test]
    fn a_path_argument_cannot_leave_its_segment() {
        for (value, path) in [
            ("a/b", "a%2Fb"),
            ("../../admin", "..%2F..%2Fadmin"),
            ("a?x=1#f", "a%3Fx%3D1%23f"),
            ("%2e%2e", "%252e%252e"),
            ("a\\b\r\nX: y", "a%5Cb%0D%0AX%3A%20y"),
            ("ä.~_-", "%C3%A4.~_-"),
            ("@evil.test:80", "%40evil.test%3A80"),
            ("...", "..."),
        ] {
            let url = sent("GET", "http://x.test/users/{id}/edit", json!({ "id": value })).expect(value).0;
            assert_eq!(url, format!("http://x.test/users/{path}/edit"));
        }
        for value in [json!("."), json!(".."), json!(""), json!(null), json!([1]), json!({}), Value::Null] {
            let refused = sent("GET", "http://x.test/users/{id}/edit", json!({ "id": value }));
            assert!(refused.as_ref().is_err_and(|why| why.contains("`id`")), "{value}: {refused:?}");
        }
        assert!(sent("GET", "http://x.test/{a}{b}/", json!({ "a": ".", "b": "." })).is_err());
    }

    #[test]
    fn an_argument_with_a_place_travels_there_under_its_name_there() {
        let definition = json!({
            "name": "t", "version": "1.0.0", "description": "d", "endpoint": "http://x.test/{id}", "method": "POST",
            "parameters": { "type": "object", "required": ["id"], "properties": { "id": {}, "page": {}, "tenant": {}, "body": {} } },
            "places": { "page": { "in": "query", "name": "p[]" }, "tenant": { "in": "header", "name": "X-Tenant" }, "body": { "in": "body" } },
        });
        let tool: ToolDefinition = serde_json::from_value(definition).expect("a definition");
        check(&tool).expect("legal places");
        let arguments = json!({ "id": 1, "page": [1, 2], "tenant": "a", "body": ["x", null] });
        let prepared = prepare(&tool, &arguments).expect("a request");
        assert_eq!(prepared.url.as_str(), "http://x.test/1?p%5B%5D=1&p%5B%5D=2");
        assert_eq!((prepared.body.as_deref(), prepared.headers["x-tenant"].as_bytes()), (Some(&br#"["x",null]"#[..]), &b"a"[..]));
        assert!(prepare(&tool, &json!({ "id": 1, "tenant": "a\r\nX-Evil: 1" })).is_err());

        for (argument, place, why) in [
            ("other", json!({ "in": "query" }), "is no parameter"),
            ("tenant", json!({ "in": "header", "name": "Host" }), "cannot travel"),
            ("tenant", json!({ "in": "header", "name": "Idempotency-Key" }), "cannot travel"),
            ("tenant", json!({ "in": "header", "name": "a b" }), "cannot travel"),
            ("tenant", json!({ "in": "body" }), "only one"),
        ] {
            let mut wrong = tool.clone();
            wrong.places.insert(argument.into(), serde_json::from_value(place).expect("a place"));
            let told = check(&wrong).expect_err(why);
            assert!(told.contains(why), "{told}");
        }
        let mut homeless = tool.clone();
        homeless.places.remove("page");
        assert!(check(&homeless).is_err_and(|why| why.contains("`page` needs a place")));
    }
}
