//! Security schemes, and the named credentials that stand for them.
//!
//! An operation lists alternatives. The first one that can be served is taken: `{}` by anybody; one scheme by the credential that the
//! settings map it to, else the import's own, else the one of the scheme's name, of whatever kind that is: a key that does not expire
//! serves a scheme of OAuth as well.

use super::{Configured, Document, ImportSettings};
use maniple_core::tool::AuthType;
use serde_json::{Map, Value};

/// How calls are authorised, or why they cannot be.
pub(super) fn of(
    document: &Document,
    operation: &Value,
    settings: &ImportSettings,
    configured: &Configured,
) -> Result<(AuthType, Option<String>), String> {
    let asked = operation.get("security").or(document.root.get("security")).and_then(Value::as_array);
    let Some(ways) = asked.filter(|ways| !ways.is_empty()) else { return Ok((AuthType::None, None)) };
    let mut missing: Vec<String> = Vec::new();
    for way in ways.iter().filter_map(Value::as_object) {
        match served(document, way, settings, configured) {
            Ok(served) => return Ok(served),
            Err(why) if missing.contains(&why) => {}
            Err(why) => missing.push(why),
        }
    }
    Err(format!("it needs a credential: {}", missing.join(", or ")))
}

fn served(
    document: &Document,
    way: &Map<String, Value>,
    settings: &ImportSettings,
    configured: &Configured,
) -> Result<(AuthType, Option<String>), String> {
    let mut schemes = way.keys();
    let (scheme, None) = (schemes.next(), schemes.next()) else {
        return Err(format!("several at once ({}), which no tool can have", way.keys().cloned().collect::<Vec<_>>().join(" and ")));
    };
    let Some(scheme) = scheme else { return Ok((AuthType::None, None)) };
    let described =
        document.root.pointer("/components/securitySchemes").and_then(|all| all.get(scheme)).map(|found| document.resolved(found));
    let text = |key: &str| described.and_then(|found| found.get(key)?.as_str()).unwrap_or_default();
    let sort = format!("{} {}{}", text("type"), text("in"), text("scheme"));
    let is_kept_elsewhere = text("type") == "mutualTLS"
        || (text("type") == "http" && !matches!(text("scheme").to_ascii_lowercase().as_str(), "bearer" | "basic" | ""));
    let mapped = settings.credentials.get(scheme).or(settings.credential.as_ref());
    if is_kept_elsewhere && mapped.is_none() {
        return Err(format!("`{scheme}` ({}) is of a sort that is not supported", sort.trim()));
    }
    let name = mapped.unwrap_or(scheme);
    match configured.get(name) {
        Some(kind) => Ok((*kind, Some(name.clone()))),
        None => Err(format!(
            "there is no credential `{name}` for `{scheme}` ({}): name one under `credentials` of the import, or as its `credential`",
            sort.trim()
        )),
    }
}
