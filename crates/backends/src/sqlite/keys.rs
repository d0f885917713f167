//! Idempotency-Keys: what was asked under each, and the id of what was made; never the answer.

use super::{failure::Refusal, writer::Tx};
use crate::rules;
use maniple_core::{
    Tenant, Time,
    ports::{Idempotency, KeyWas},
};
use rusqlite::{Connection, OptionalExtension};

/// A key as it is kept.
pub(super) struct Known {
    pub(super) body_hash: String,
    pub(super) made: String,
}

/// The key, if it is not forgotten.
pub(super) fn find(db: &Connection, tenant: &Tenant, idempotency: &Idempotency, now: Time) -> rusqlite::Result<Option<Known>> {
    let mut known = db.prepare_cached("SELECT body_hash, made FROM keys WHERE tenant = ?1 AND scope = ?2 AND key = ?3 AND at > ?4")?;
    let forgotten = now.0.saturating_sub(rules::KEYS_KEPT.as_millis() as i64);
    let name = (tenant.as_str(), &idempotency.scope, &idempotency.key, forgotten);
    known.query_row(name, |row| Ok(Known { body_hash: row.get(0)?, made: row.get(1)? })).optional()
}

/// What was made under the key; refused under another body.
pub(super) fn recall(db: &Connection, tenant: &Tenant, idempotency: &Idempotency, now: Time) -> Result<Option<String>, Refusal> {
    let Some(known) = find(db, tenant, idempotency, now)? else { return Ok(None) };
    rules::same_body(&known.body_hash, idempotency)?;
    Ok(Some(known.made))
}

/// Writes the key of a call that does something now, in the transaction of what it does.
pub(super) fn keep(tx: &Tx, tenant: &Tenant, idempotency: Option<&Idempotency>, made: &str) -> rusqlite::Result<()> {
    let Some(Idempotency { scope, key, body_hash }) = idempotency else { return Ok(()) };
    let mut keep =
        tx.db.prepare_cached("INSERT OR REPLACE INTO keys (tenant, scope, key, body_hash, made, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    keep.execute((tenant.as_str(), scope, key, body_hash, made, tx.now.0))?;
    Ok(())
}

/// Whether the key of a call is known; refused under another body.
pub(super) fn known(tx: &Tx, tenant: &Tenant, idempotency: Option<&Idempotency>) -> Result<KeyWas, Refusal> {
    let known = idempotency.map(|idempotency| recall(tx.db, tenant, idempotency, tx.now)).transpose()?;
    Ok(if known.flatten().is_some() { KeyWas::Known } else { KeyWas::New })
}

pub(super) fn remember(tx: &Tx, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas, Refusal> {
    let remembered = known(tx, tenant, Some(idempotency))?;
    if remembered == KeyWas::New {
        keep(tx, tenant, Some(idempotency), made)?;
    }
    Ok(remembered)
}
