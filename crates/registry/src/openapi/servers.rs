//! Where an operation's path begins: what the operator says, else the nearest `servers`, else where the document came from.

use super::ImportSettings;
use serde_json::{Value, json};
use url::Url;

/// The URL of the first server of the operation, its path or the document.
pub(super) fn base(settings: &ImportSettings, places: [&Value; 3]) -> Result<String, String> {
    if let Some(base) = &settings.base_url {
        return Ok(base.clone());
    }
    let of = |place: &Value| place.get("servers")?.as_array()?.first().cloned();
    // A document without servers is served where it is (OpenAPI 3.0.3, "OpenAPI Object").
    let unsaid = || settings.url.is_some().then(|| json!({ "url": "/" }));
    let Some(server) = places.into_iter().find_map(of).or_else(unsaid) else {
        return Err("the document names no server: say `base_url`".into());
    };
    let url = filled(&server)?;
    if url.contains("://") {
        return Ok(url);
    }
    let from = settings.url.as_deref().and_then(|from| Url::parse(from).ok()).filter(|from| from.has_host());
    let whole = from.and_then(|from| from.join(&url).ok());
    whole.map(String::from).ok_or_else(|| format!("its server `{url}` is relative: say `base_url`"))
}

/// A server's URL with its variables filled in: by their default, else by the first value that they may have.
fn filled(server: &Value) -> Result<String, String> {
    let url = server.get("url").and_then(Value::as_str).unwrap_or("/").trim();
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some((text, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        let variable = server.get("variables").and_then(|variables| variables.get(name));
        let text_of = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let value = variable.and_then(|variable| {
            let first = || variable.get("enum").and_then(Value::as_array).and_then(|values| values.iter().find_map(text_of));
            variable.get("default").and_then(text_of).or_else(first)
        });
        let value = value.ok_or_else(|| format!("its server `{url}` has a variable `{name}` without a default: say `base_url`"))?;
        out.extend([text, &value]);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// A base and a path below it; what the base has as a query stays behind the path.
pub(super) fn joined(base: &str, path: &str) -> String {
    let base = base.split('#').next().unwrap_or_default();
    match base.split_once('?') {
        Some((base, query)) => format!("{}{path}?{query}", base.trim_end_matches('/')),
        None => format!("{}{path}", base.trim_end_matches('/')),
    }
}
