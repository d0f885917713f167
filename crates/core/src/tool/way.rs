//! The way of a call: where it goes and as whom. A contract does not say it, and a person who agrees to a call agrees to it.

use super::{Body, Place, ToolDefinition};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Where calls of a definition go, and as whom.
///
/// Two definitions lead the same way when nothing of this differs, to the letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Way {
    /// The host with its scheme, and its port where it is not the usual one: `https://pay.example.com`; `mcp:SERVER`; `builtin`.
    pub host: String,
    /// What follows it: the path, with `{argument}` where one is filled in, and the query. The tool's name at an MCP server.
    pub path: String,
    /// The name of the credential that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Where arguments travel that do not go where the method says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, Place>,
    /// How the body is written, where the method does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
}

impl Way {
    /// The way of a definition's calls.
    pub fn of(tool: &ToolDefinition) -> Self {
        let (host, path) = split(&tool.endpoint);
        Self {
            host: host.to_owned(),
            path: path.to_owned(),
            credential: tool.credential.clone(),
            places: tool.places.clone(),
            body: tool.body.clone(),
        }
    }
}

/// Where it goes, in one line: the endpoint.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains("://") {
            true => write!(f, "{}{}", self.host, self.path),
            false => write!(f, "{} {}", self.host, self.path),
        }
    }
}

/// Host and path. A backslash ends a host as a slash does, as URLs of the web are read.
fn split(endpoint: &str) -> (&str, &str) {
    if let Some(authority) = endpoint.find("://").map(|at| at + "://".len()) {
        let end = endpoint[authority..].find(['/', '\\', '?', '#']).map_or(endpoint.len(), |at| authority + at);
        return endpoint.split_at(end);
    }
    let separator = if endpoint.starts_with("mcp:") { '/' } else { ':' };
    endpoint.split_once(separator).unwrap_or((endpoint, ""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_a_host_and_what_follows_it() {
        for (endpoint, host, path) in [
            ("https://pay.test/charge/{id}?fixed=1", "https://pay.test", "/charge/{id}?fixed=1"),
            ("http://10.0.0.1:8080", "http://10.0.0.1:8080", ""),
            ("https://good.test\\@evil.test/", "https://good.test", "\\@evil.test/"),
            ("https://x.test?to=https://y.test/", "https://x.test", "?to=https://y.test/"),
            ("mcp:files/read", "mcp:files", "read"),
            ("builtin:clock", "builtin", "clock"),
        ] {
            assert_eq!(split(endpoint), (host, path), "{endpoint}");
        }
    }

    #[test]
    fn another_host_path_credential_or_place_of_an_argument_is_another_way() {
        let of = |fields: serde_json::Value| {
            let mut tool = serde_json::json!({ "name": "pay", "version": "1.0.0", "description": "d", "endpoint": "https://pay.test/a" });
            tool.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            Way::of(&serde_json::from_value(tool).unwrap())
        };
        let way = of(serde_json::json!({}));
        assert_eq!(way.to_string(), "https://pay.test/a");
        assert_eq!(way, of(serde_json::json!({ "timeout_ms": 5, "rate_limit": 1, "tags": ["x"] })), "limits and tags are no part of it");
        for other in [
            serde_json::json!({ "endpoint": "https://evil.test/a" }),
            serde_json::json!({ "endpoint": "http://pay.test/a" }),
            serde_json::json!({ "endpoint": "https://pay.test/b" }),
            serde_json::json!({ "auth_type": "api_key", "credential": "c" }),
            serde_json::json!({ "places": { "to": { "in": "query", "name": "from" } } }),
            serde_json::json!({ "body": { "media_type": "text/plain" } }),
        ] {
            assert_ne!(way, of(other.clone()), "{other}");
        }
    }
}
