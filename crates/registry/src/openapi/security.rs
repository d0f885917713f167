//! Security schemes, and the named credentials that stand for them.

use super::{Document, ImportSettings};
use maniple_core::tool::AuthType;
use serde_json::Value;

/// Whether the operation cannot be called by just anybody.
pub(super) fn is_needed(document: &Document, operation: &Value) -> bool {
    let asked = operation.get("security").or(document.root.get("security")).and_then(Value::as_array);
    asked.is_some_and(|ways| !ways.is_empty() && ways.iter().all(|way| way.as_object().is_some_and(|schemes| !schemes.is_empty())))
}

/// How calls are authorised: by the first way that takes one scheme we can speak.
pub(super) fn of(document: &Document, operation: &Value, settings: &ImportSettings) -> Result<(AuthType, Option<String>), String> {
    if !is_needed(document, operation) {
        return Ok((AuthType::None, None));
    }
    let ways = operation.get("security").or(document.root.get("security")).and_then(Value::as_array);
    let mut refused = Vec::new();
    for way in ways.into_iter().flatten().filter_map(Value::as_object) {
        let mut schemes = way.keys();
        let (Some(scheme), None) = (schemes.next(), schemes.next()) else {
            refused.push("several schemes at once".to_owned());
            continue;
        };
        let described = document.at(&format!("#/components/securitySchemes/{scheme}")).map(|found| document.resolved(found));
        let text = |key: &str| described.and_then(|found| found.get(key)?.as_str()).unwrap_or_default();
        let auth_type = match (text("type"), text("in"), text("scheme").to_ascii_lowercase().as_str()) {
            ("apiKey", "header" | "query", _) | ("http", _, "bearer" | "basic") => AuthType::ApiKey,
            ("oauth2" | "openIdConnect", ..) => AuthType::Oauth2,
            (kind, place, _) => {
                refused.push(format!("`{scheme}` ({kind} {place})"));
                continue;
            }
        };
        let named = settings.credentials.get(scheme).or(settings.credential.as_ref()).unwrap_or(scheme);
        return Ok((auth_type, Some(named.clone())));
    }
    Err(format!("it asks for a credential of a sort that is not supported: {}", refused.join(", ")))
}
