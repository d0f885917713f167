//! Names that the compiler can tell apart. Each is checked once, where it enters.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// A task's id: 1–128 of `A-Za-z0-9._:-`, unique in its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TaskId(Arc<str>);

/// A conversation's id: 1–256 characters, chosen by the caller or made for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SessionId(Arc<str>);

/// An agent's name: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct AgentName(Arc<str>);

/// On whose behalf: 1–64 of `A-Za-z0-9._-`. Without authentication there is one, `default`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Tenant(Arc<str>);

impl TaskId {
    /// How long one may be.
    pub const CHARS_MAX: usize = 128;
    /// Checks an id a caller chose.
    pub fn parse(text: &str) -> Result<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        if text.is_empty() || text.len() > Self::CHARS_MAX || !text.bytes().all(legal) {
            return Err(Error::invalid("id must be 1 to 128 characters of A-Z a-z 0-9 . _ : -").at("id"));
        }
        Ok(Self(text.into()))
    }
    /// The UUIDv7 made by the caller for a task without an id.
    pub fn of_uuid(id: uuid::Uuid) -> Self {
        Self(id.to_string().into())
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SessionId {
    /// How long one may be, in characters.
    pub const CHARS_MAX: usize = 256;
    /// Checks an id a caller chose.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.chars().count() > Self::CHARS_MAX {
            return Err(Error::invalid("session_id must be 1 to 256 characters").at("session_id"));
        }
        Ok(Self(text.into()))
    }
    /// The session made for a task that named none.
    pub fn of_uuid(id: uuid::Uuid) -> Self {
        Self(id.to_string().into())
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AgentName {
    /// How long one may be.
    pub const CHARS_MAX: usize = 63;
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let edge_is_dash = bytes.first() == Some(&b'-') || bytes.last() == Some(&b'-');
        if bytes.is_empty() || bytes.len() > Self::CHARS_MAX || edge_is_dash || !bytes.iter().all(inner) {
            return Err(Error::invalid("agent must be 1 to 63 of a-z 0-9 -, beginning and ending with a letter or digit").at("agent"));
        }
        Ok(Self(text.into()))
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tenant {
    /// How long one may be.
    pub const CHARS_MAX: usize = 64;
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if text.is_empty() || text.len() > Self::CHARS_MAX || !text.bytes().all(legal) {
            return Err(Error::invalid("tenant must be 1 to 64 characters of A-Z a-z 0-9 . _ -").at("tenant"));
        }
        Ok(Self(text.into()))
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Whether this is the tenant of a node without authentication.
    pub fn is_default(&self) -> bool {
        &*self.0 == "default"
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

/// A task, wherever it is named together with whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its id.
    pub id: TaskId,
}

/// A session: conversation, order and "one running task" are per tenant and agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Whose it is.
    pub tenant: Tenant,
    /// The agent it talks to.
    pub agent: AgentName,
    /// Its id.
    pub id: SessionId,
}

impl TryFrom<String> for TaskId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
impl TryFrom<String> for SessionId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
impl TryFrom<String> for AgentName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
impl TryFrom<String> for Tenant {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
