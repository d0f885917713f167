//! Idempotency-Keys: whatever is asked with one is done once.
//!
//! | asked for | scope | when it is remembered |
//! |---|---|---|
//! | a task, of whichever agent | `tasks` | with the task, in its transaction |
//! | a retry, a requeue | the path | with the new task, in its transaction |
//! | a cancel, a drop, a decision | the path | with what was done, in its transaction |
//!
//! All of them live in the store and hold the id of what was made, never an answer: the same again is answered in the present
//! state, whichever process is asked and by whichever door. The scopes of other acts are the paths they have over HTTP,
//! without an agent, because that is how stores have known them from the first version on.

use super::Desk;
use maniple_core::{
    Error, Result, Tenant, canonical,
    ports::{Idempotency, KeyWas},
};
use serde_json::Value;

/// A key as a caller chose it: 1 to 255 printable characters of ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Checks one.
    pub fn parse(text: &str) -> Result<Self> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid("Idempotency-Key must be 1 to 255 printable characters of ASCII").at("Idempotency-Key"))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For a task with this content.
    pub(super) fn of_task(self, content_hash: String) -> Idempotency {
        Idempotency { scope: "tasks".into(), key: self.0, body_hash: content_hash }
    }

    /// For an act that says nothing beside what it is done to.
    pub(super) fn of_act(self, path: String) -> Idempotency {
        Idempotency { scope: path, key: self.0, body_hash: canonical::hash_bytes(b"") }
    }

    /// For an act that says this.
    pub(super) fn of_saying(self, path: String, said: &Value) -> Idempotency {
        Idempotency { scope: path, key: self.0, body_hash: canonical::hash(said) }
    }
}

impl Desk {
    /// Remembers the key of a call that does nothing to a task; see [`maniple_core::ports::Tasks::remember`].
    pub async fn remember(&self, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas> {
        self.parts.tasks.remember(tenant, idempotency, made).await
    }

    /// What was made under a key; see [`maniple_core::ports::Tasks::recall`].
    pub async fn recall(&self, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<String>> {
        self.parts.tasks.recall(tenant, idempotency).await
    }
}
