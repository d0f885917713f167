//! What a registry knows of its tools, as its callers see it.

use super::{Effect, ToolDefinition};
use crate::{Error, Result, Tenant, Time};
use semver::Version;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A tool as an agent may use it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Offer {
    /// The definition, of one of its instances.
    pub definition: ToolDefinition,
    /// Whether an operator wrote its URLs. All others pass the egress rules.
    pub trusted: bool,
}

/// Whose runs a tool serves, and beside whose names its own stands. Two tenants may each have a tool of one name, and neither
/// hears of the other's; a name that the node has is no tenant's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Option<Tenant>", into = "Option<Tenant>")]
pub enum Realm {
    /// Everybody's: what is built in, what the project's files and imports define, what an operator brings.
    #[default]
    Node,
    /// This tenant's alone.
    Of(Tenant),
}

impl Realm {
    /// Whether it is everybody's.
    pub fn is_node(&self) -> bool {
        *self == Self::Node
    }
    /// The tenant whose it is; none where it is everybody's.
    pub fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::Node => None,
            Self::Of(tenant) => Some(tenant),
        }
    }
}

impl From<Option<Tenant>> for Realm {
    fn from(tenant: Option<Tenant>) -> Self {
        tenant.map_or(Self::Node, Self::Of)
    }
}
impl From<Realm> for Option<Tenant> {
    fn from(realm: Realm) -> Self {
        realm.tenant().cloned()
    }
}

/// Where a definition came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Part of the program.
    Builtin,
    /// A file of the project.
    File,
    /// Published from the command line; it stays until it is removed.
    Added,
    /// It registered itself; it leaves when it is silent.
    Registered,
    /// An MCP server.
    Mcp,
    /// An OpenAPI document.
    Openapi,
}

impl Source {
    /// The name on the wire and in storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::File => "file",
            Self::Added => "added",
            Self::Registered => "registered",
            Self::Mcp => "mcp",
            Self::Openapi => "openapi",
        }
    }
    /// Whether an operator wrote its URLs, so that they are trusted.
    pub fn is_operators(self) -> bool {
        match self {
            Self::Builtin | Self::File | Self::Mcp => true,
            Self::Added | Self::Registered | Self::Openapi => false,
        }
    }
}

/// How a version, or one instance of it, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ToolState {
    /// It may be called.
    Healthy,
    /// It does not answer; it is not offered until it does again.
    Unhealthy,
    /// It is not what `tools.lock` says; it is not used.
    Quarantined,
    /// It is known, and nobody serves it now.
    Gone,
}

impl ToolState {
    /// The name on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Quarantined => "quarantined",
            Self::Gone => "gone",
        }
    }
}

/// One version of a tool with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToolVersion {
    /// The definition; endpoint, limits and tags are those of its first instance. To those who do not run the tool no endpoint, no
    /// other URL and no credential is shown: the endpoint is empty.
    pub definition: ToolDefinition,
    /// The hash of its contract.
    pub contract: String,
    /// The effect class in force, said or by the method.
    pub effect: Effect,
    /// The principal that the name belongs to; of a tenant's tool empty for those who do not run it.
    pub owner: String,
    /// The tenant whose runs alone it serves; absent where it serves everybody's.
    #[serde(default, rename = "tenant", skip_serializing_if = "Realm::is_node")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub realm: Realm,
    /// Where it came from.
    pub source: Source,
    /// How it is.
    pub state: ToolState,
    /// Why it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Those that serve it.
    pub instances: Vec<Instance>,
    /// When it was first published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub published_at: Option<Time>,
    /// The version before, that it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub previous: Option<Version>,
    /// What the comparison came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What changed since the version before, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Who took it in against the checker's doubts, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<String>,
    /// What was mended in the definition as it came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The effect that its source claims and that nobody has confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed_effect: Option<Effect>,
    /// The definition as it was published, which the contract is of, where it is quarantined as its source says another one now.
    /// Shown to those who run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Box<ToolDefinition>>,
}

impl ToolVersion {
    /// Whether it is the node's own, which serves every tenant.
    pub fn is_nodes(&self) -> bool {
        self.realm.is_node()
    }
}

/// Something of an import that is no tool, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeftOut {
    /// The import: `openapi:NAME`.
    pub from: String,
    /// What it is there: an operation.
    pub place: String,
    /// The name of the tool that it would be, where it came so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why it is left out.
    pub why: String,
}

impl LeftOut {
    /// How many of one import are told; how many more there are is told as one.
    pub const TOLD_MAX: usize = 1_000;
}

/// One that serves a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Instance {
    /// Its name in the registry: made of the version and the endpoint.
    pub id: String,
    /// Where calls go; empty for those who do not run the tool.
    pub endpoint: String,
    /// How it is.
    pub state: ToolState,
    /// Why it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it came from.
    pub source: Source,
    /// How long until it leaves if it stays silent, in ms; absent for one that does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
}

/// What a comparison of two versions came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Proven: what the old one accepted, the new one accepts.
    Compatible,
    /// A witness or a named rule says that callers break.
    Breaking,
    /// Neither could be shown.
    Unproven,
}

/// The answer to a registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    /// The definition as it was taken in.
    pub definition: ToolDefinition,
    /// The hash of its contract.
    pub contract: String,
    /// The instance; `DELETE /tools/{name}/instances/{id}` takes it out.
    pub instance: String,
    /// Register again within this many ms; absent where nothing expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// Whether this version was not known before.
    pub new_version: bool,
    /// The version before, that it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub previous: Option<Version>,
    /// What the comparison came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What changed since the version before, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// What was mended in the definition as it came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A version as it is remembered, so that it only ever moves compatibly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The definition as it was first published.
    pub definition: Arc<ToolDefinition>,
    /// The hash of its contract.
    pub contract: String,
    /// The principal that the name belongs to.
    pub owner: String,
    /// Whose runs it serves.
    #[serde(default, rename = "tenant", skip_serializing_if = "Realm::is_node")]
    pub realm: Realm,
    /// Where it came from.
    pub source: Source,
    /// When. Given by the store.
    #[serde(default)]
    pub at: Time,
    /// The version before, that it was compared with.
    pub previous: Option<Version>,
    /// What the comparison came to.
    pub verdict: Option<Verdict>,
    /// What changed since the version before, a line each.
    #[serde(default)]
    pub changes: Vec<String>,
    /// Who took it in against the checker's doubts, and why.
    pub overridden: Option<String>,
    /// Where it was added to stay, by whoever used `maniple tool add`: one definition for each endpoint, all of one contract.
    #[serde(default)]
    pub added: Vec<ToolDefinition>,
}

impl Published {
    /// How many endpoints one version can be added at.
    pub const ADDED_MAX: usize = 100;

    /// Serves this definition too, in the place of the one before at the same endpoint. Says whether that is news;
    /// `Exhausted` at [`Published::ADDED_MAX`].
    pub fn add(&mut self, definition: &ToolDefinition) -> Result<bool> {
        let known = self.added.iter().position(|known| known.endpoint == definition.endpoint);
        match known {
            Some(at) if self.added[at] == *definition => return Ok(false),
            Some(at) => self.added[at] = definition.clone(),
            None if self.added.len() < Self::ADDED_MAX => self.added.push(definition.clone()),
            None => {
                let (version, most) = (&definition.version, Self::ADDED_MAX);
                let told = format!("version {version} was added at {most} endpoints, which is all it takes: remove it and add it anew");
                return Err(Error::exhausted(told).at("endpoint"));
            }
        }
        Ok(true)
    }
}
