//! Idempotency-Keys: whatever is asked with one is done once.
//!
//! | asked for | scope | when it is remembered |
//! |---|---|---|
//! | a task, of whichever agent | `tasks` | with the task, in its transaction |
//! | a retry, a requeue | the path | with the new task, in its transaction |
//! | a cancel, a drop, a decision | the path | with what was done, in its transaction |
//! | a registration, a question about tools | the path | when it was answered |
//! | a call of a tool | the principal and the tool | in the registry, before it is sent |
//!
//! All of them live in the store and hold the id of what was made, never an answer: the same again is answered in the present
//! state, whichever process is asked and by whichever door. The scopes of other acts are the paths they have over HTTP,
//! without an agent, because that is how stores have known them from the first version on.

use super::Desk;
use maniple_core::{
    Error, Principal, Result, canonical,
    ports::{Idempotency, KeyWas},
};
use serde_json::Value;

/// A key as a caller chose it: 1 to 255 printable characters of ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Checks one.
    pub fn parse(text: &str) -> Result<Self> {
        if (1..=Idempotency::KEY_MAX).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
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
    /// For what no task's transaction remembers: `Invalid` where the key was used for something else. Then, once it is done,
    /// [`Desk::remember`].
    pub(super) async fn recall(&self, who: &Principal, key: Option<Idempotency>) -> Result<Option<Idempotency>> {
        if let Some(key) = &key {
            self.parts.tasks.recall(&who.tenant, key).await?;
        }
        Ok(key)
    }

    /// Remembers the key of what was done, and what it made or was about.
    pub(super) async fn remember(&self, who: &Principal, key: Option<Idempotency>, made: &str) -> Result<KeyWas> {
        match key {
            Some(key) => self.parts.tasks.remember(&who.tenant, &key, made).await,
            None => Ok(KeyWas::New),
        }
    }
}
