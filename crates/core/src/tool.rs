//! A tool: what it takes, where it is called, and what may be done when nobody knows how a call went.

use crate::{Error, Result, canonical, message::ToolSpec, schema};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

mod known;
mod place;
mod way;
pub use known::{Instance, LeftOut, Offer, Published, Realm, Registered, Source, ToolState, ToolVersion, Verdict};
pub use place::{Body, Carrier, FormField, Place, Sent, Style};
pub use way::Way;

/// A tool as its file or its registration defines it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ToolDefinition {
    /// `[a-zA-Z0-9_-]{1,64}`
    pub name: String,
    /// SemVer.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: Version,
    /// What a model reads to know when to call it.
    pub description: String,
    /// JSON Schema (2020-12; draft-07 is read) of the arguments.
    #[serde(default = "no_parameters")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub parameters: Value,
    /// Where calls go: `http(s)://…`, possibly with `{argument}` in its path, or `builtin:NAME`.
    pub endpoint: String,
    /// Polled by the registry: an instance that does not answer 2xx gets no calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_url: Option<String>,
    /// Asked with `?key=` of a call in doubt: 2xx says that it happened and its body is the result, 404 that it
    /// did not and never will. Anything else leaves the doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_url: Option<String>,
    /// How calls are authorised. Anything but `none` needs a `credential`.
    #[serde(default)]
    pub auth_type: AuthType,
    /// The name of a credential in maniple.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// At most so many calls of each agent in any 60 s; 1 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// How long one call may take. Default 10,000 ms; 1 to 600,000.
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u64,
    /// The HTTP method. Default POST.
    #[serde(default)]
    pub method: Method,
    /// Where arguments travel that do not go where the others do: in the body where there is one, else in the query.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, Place>,
    /// How the body is written. Unsaid: POST, PUT and PATCH have one in JSON, the rest none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub returns: Option<Value>,
    /// What may be done when nobody knows how a call went. Unsaid: pure for GET and HEAD, else `at_most_once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What a run does with a call in doubt.
    #[serde(default)]
    pub on_in_doubt: OnInDoubt,
    /// A person must agree to each call.
    #[serde(default)]
    pub requires_approval: bool,
    /// What a principal needs. Refused until tokens can carry scopes of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// How long the result of a pure call may be used again, in ms; 1 to 86,400,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ttl_ms: Option<u64>,
    /// Calling it again and again with the same result is what it is for.
    #[serde(default)]
    pub poll: bool,
    /// For people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Why not to use it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
}

fn no_parameters() -> Value {
    serde_json::json!({ "type": "object", "properties": {} })
}
fn ten_seconds() -> u64 {
    10_000
}

/// How calls are authorised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuthType {
    /// A header with a key.
    ApiKey,
    /// Client credentials.
    Oauth2,
    /// Not at all.
    #[default]
    None,
}

/// The HTTP method of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    #[default]
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Whether arguments travel in the body where nothing else is said; else in the query.
    pub fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

/// What may be done with a call when nobody knows how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It changes nothing: it may run again.
    Pure,
    /// It may be sent again, under the same key and arguments only.
    Idempotent,
    /// It is never sent twice: what is not known is in doubt.
    AtMostOnce,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pure => "pure",
            Self::Idempotent => "idempotent",
            Self::AtMostOnce => "at_most_once",
        })
    }
}

/// What a run does with a call in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnInDoubt {
    /// The model is told, and the run goes on.
    #[default]
    Tell,
    /// A person is asked whether it happened; the run is parked until then.
    Ask,
}

impl ToolDefinition {
    /// How long a name may be.
    pub const NAME_MAX: usize = 64;
    /// How long a call may take at most, in ms.
    pub const TIMEOUT_MS_MAX: u64 = 600_000;
    /// The largest `rate_limit`.
    pub const RATE_LIMIT_MAX: u32 = 1_000_000;
    /// The longest that a result is used again, in ms.
    pub const CACHE_TTL_MS_MAX: u64 = 86_400_000;

    /// The effect class, said or by the method.
    pub fn effect(&self) -> Effect {
        self.effect.unwrap_or(match self.method {
            Method::Get | Method::Head => Effect::Pure,
            Method::Post | Method::Put | Method::Patch | Method::Delete => Effect::AtMostOnce,
        })
    }

    /// Whether calls may have a body: by what `body` says, else by the method.
    pub fn has_body(&self) -> bool {
        self.body.as_ref().map_or(self.method.has_body(), |body| body.sent != Sent::Never)
    }

    /// The hash of what callers rely on: not the endpoint, limits or tags, which belong to an instance.
    pub fn contract_hash(&self) -> String {
        canonical::hash(&serde_json::json!({
            "name": self.name, "version": self.version, "description": self.description,
            "parameters": self.parameters, "returns": self.returns, "method": self.method,
            "effect": self.effect(), "requires_approval": self.requires_approval, "scopes": self.scopes,
        }))
    }

    /// As a model is shown it.
    pub fn spec(&self) -> ToolSpec {
        ToolSpec { name: self.name.clone(), description: self.description.clone(), parameters: self.parameters.clone() }
    }

    /// Every rule a definition must keep, the unenforced parts refused by name.
    pub fn check(&self) -> Result<()> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if self.name.is_empty() || self.name.len() > Self::NAME_MAX || !self.name.bytes().all(legal) {
            return Err(Error::invalid("name must be 1 to 64 characters of A-Z a-z 0-9 _ -").at("name"));
        }
        if self.description.trim().is_empty() {
            return Err(Error::invalid("description must say what the tool is for").at("description"));
        }
        if !(1..=Self::TIMEOUT_MS_MAX).contains(&self.timeout_ms) {
            return Err(Error::invalid("timeout_ms must be 1 to 600000").at("timeout_ms"));
        }
        if !self.scopes.is_empty() {
            return Err(Error::invalid("scopes is not enforced by this version, so it is refused: remove it").at("scopes"));
        }
        if self.rate_limit.is_some_and(|most| !(1..=Self::RATE_LIMIT_MAX).contains(&most)) {
            return Err(Error::invalid("rate_limit must be 1 to 1000000 calls of each agent in any 60 s").at("rate_limit"));
        }
        match (self.auth_type, &self.credential) {
            (AuthType::None, Some(_)) => {
                return Err(Error::invalid("credential is set, so auth_type must be api_key or oauth2").at("auth_type"));
            }
            (AuthType::ApiKey | AuthType::Oauth2, None) => {
                return Err(Error::invalid("auth_type needs `credential: NAME`, the name of one in maniple.yaml").at("credential"));
            }
            (AuthType::None, None) | (AuthType::ApiKey | AuthType::Oauth2, Some(_)) => {}
        }
        if let Some(ttl) = self.cache_ttl_ms {
            if self.effect() != Effect::Pure {
                return Err(Error::invalid("cache_ttl_ms is for pure tools: the result of any other call is its own").at("cache_ttl_ms"));
            }
            if !(1..=Self::CACHE_TTL_MS_MAX).contains(&ttl) {
                return Err(Error::invalid("cache_ttl_ms must be 1 to 86400000").at("cache_ttl_ms"));
            }
        }
        schema::Validator::compile(&self.parameters).map_err(|e| Error::invalid(format!("parameters: {e}")).at("parameters"))?;
        if self.parameters.get("type").and_then(Value::as_str).is_some_and(|t| t != "object") {
            return Err(Error::invalid("parameters must describe an object").at("parameters"));
        }
        if let Some(returns) = &self.returns {
            schema::Validator::compile(returns).map_err(|e| Error::invalid(format!("returns: {e}")).at("returns"))?;
        }
        Ok(())
    }
}

/// A tool an agent asks for: `NAME` or `NAME@RANGE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolWish {
    /// The tool's name.
    pub name: String,
    /// The versions that will do; `*` where the agent does not say.
    pub range: VersionReq,
}

impl ToolWish {
    /// Reads `web_search@^2.1`.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, range) = text.split_once('@').unwrap_or((text, "*"));
        let range = VersionReq::parse(range)
            .map_err(|e| Error::invalid(format!("tool `{text}`: `{range}` is no version range: {e}")).at("tools"))?;
        if name.is_empty() {
            return Err(Error::invalid(format!("tool `{text}` has no name")).at("tools"));
        }
        Ok(Self { name: name.to_owned(), range })
    }
}
impl TryFrom<String> for ToolWish {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
impl From<ToolWish> for String {
    fn from(wish: ToolWish) -> Self {
        wish.to_string()
    }
}
impl fmt::Display for ToolWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.range == VersionReq::STAR { f.write_str(&self.name) } else { write!(f, "{}@{}", self.name, self.range) }
    }
}

/// The most of a tool's result that is stored, in bytes.
pub const STORED_RESULT_BYTES: usize = 1 << 20;
/// The most of a tool's result that a model is shown, in bytes.
pub const SHOWN_RESULT_BYTES: usize = 16 << 10;

/// A result as the model reads it: text as it is, anything else as JSON, at most 16 KiB with the note that it was cut.
pub fn shown(result: &Value) -> String {
    let text = match result {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() <= SHOWN_RESULT_BYTES {
        return text;
    }
    const NOTE_BYTES: usize = 64;
    let end = text.floor_char_boundary(SHOWN_RESULT_BYTES - NOTE_BYTES);
    format!("{}\n(cut: the first {end} of {} bytes)", &text[..end], text.len())
}
