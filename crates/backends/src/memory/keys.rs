//! Idempotency-Keys: what was asked under each, and the id of what was made; never the answer.

use super::table::{Known, Table};
use crate::rules;
use maniple_core::{
    Result, Tenant, Time,
    ports::{Idempotency, KeyWas},
};

impl Table {
    /// The key, if it is not forgotten.
    pub(super) fn key(&self, tenant: &Tenant, idempotency: &Idempotency, now: Time) -> Option<&Known> {
        let name = (tenant.clone(), idempotency.scope.clone(), idempotency.key.clone());
        self.keys.get(&name).filter(|known| known.at.plus(rules::KEYS_KEPT) > now)
    }

    /// What was made under the key; refused under another body.
    pub(super) fn recall(&self, tenant: &Tenant, idempotency: &Idempotency, now: Time) -> Result<Option<String>> {
        let Some(known) = self.key(tenant, idempotency, now) else { return Ok(None) };
        rules::same_body(&known.body_hash, idempotency)?;
        Ok(Some(known.made.clone()))
    }

    /// Whether the key of a call is known; refused under another body.
    pub(super) fn knows(&self, tenant: &Tenant, idempotency: Option<&Idempotency>, now: Time) -> Result<KeyWas> {
        let known = idempotency.map(|idempotency| self.recall(tenant, idempotency, now)).transpose()?;
        Ok(if known.flatten().is_some() { KeyWas::Known } else { KeyWas::New })
    }

    /// Writes the key of a call that does something now.
    pub(super) fn keep_key(&mut self, tenant: &Tenant, idempotency: Option<Idempotency>, made: &str, now: Time) {
        let Some(Idempotency { scope, key, body_hash }) = idempotency else { return };
        self.keys.insert((tenant.clone(), scope, key), Known { body_hash, made: made.to_owned(), at: now });
    }

    pub(super) fn remember(&mut self, tenant: &Tenant, idempotency: Option<Idempotency>, made: &str, now: Time) -> Result<KeyWas> {
        let remembered = self.knows(tenant, idempotency.as_ref(), now)?;
        if remembered == KeyWas::New {
            self.keep_key(tenant, idempotency, made, now);
        }
        Ok(remembered)
    }
}
