//! Idempotency-Keys: what was asked under each, and the id of what was made; never the answer.

use super::{
    args::args,
    failure::Refusal,
    tx::{Ask, LockName, Tx},
    writes::Rows,
};
use crate::rules;
use maniple_core::{
    Result, Tenant, Time,
    ports::{Idempotency, KeyWas},
};
use tokio_postgres::Row as SqlRow;

/// A key as it is kept.
pub(super) struct Known {
    pub(super) body_hash: String,
    pub(super) made: String,
    at: Time,
}

impl Known {
    /// Whether it is too old to count.
    fn is_forgotten(&self, now: Time) -> bool {
        self.at.0 <= now.0.saturating_sub(rules::KEYS_KEPT.as_millis() as i64)
    }
}

/// The lock of a key: two submissions under one key come one after the other.
pub(super) fn lock(tenant: &Tenant, idempotency: &Idempotency) -> LockName {
    LockName { text: format!("{tenant}/{}/{}", idempotency.scope, idempotency.key), kind: 5 }
}

/// A question for a key: what was made under it. The rest of the transaction depends on the answer, so whoever writes the same
/// key at the same time fails, and tries again.
pub(super) fn of(tenant: &Tenant, idempotency: &Idempotency) -> Ask {
    let sql = "SELECT body_hash, made, at FROM keys WHERE tenant = $1 AND scope = $2 AND key = $3";
    Ask(sql, args![tenant.as_str(), &idempotency.scope, &idempotency.key])
}

/// What that found: the key, and whether there is one that no longer counts.
pub(super) fn found(rows: &[SqlRow], now: Time) -> Result<(Option<Known>, bool), Refusal> {
    let Some(row) = rows.first() else { return Ok((None, false)) };
    let known = Known { body_hash: row.try_get(0)?, made: row.try_get(1)?, at: Time(row.try_get(2)?) };
    let is_forgotten = known.is_forgotten(now);
    Ok((Some(known).filter(|_| !is_forgotten), is_forgotten))
}

/// Writes the key of a call that does something now, in the transaction of what it does.
pub(super) fn keep(tx: &mut Tx<'_>, tenant: &Tenant, idempotency: &Idempotency, is_forgotten: bool, made: &str) {
    let Idempotency { scope, key, body_hash } = idempotency;
    if is_forgotten {
        tx.write("DELETE FROM keys WHERE tenant = $1 AND scope = $2 AND key = $3", args![tenant.as_str(), scope, key]);
    }
    tx.put(Rows::Keys, args![tenant.as_str(), scope, key, body_hash, made, tx.now]);
}

/// A key on its way through a call that is not a submission: asked for, then kept.
pub(super) struct Passing<'a> {
    tenant: &'a Tenant,
    idempotency: Option<&'a Idempotency>,
    is_forgotten: bool,
    pub(super) was: KeyWas,
}

impl<'a> Passing<'a> {
    /// Looks it up, at the transaction's time; refused under another body.
    pub(super) async fn look(tx: &Tx<'_>, tenant: &'a Tenant, idempotency: Option<&'a Idempotency>) -> Result<Self, Refusal> {
        let mut passing = Self { tenant, idempotency, is_forgotten: false, was: KeyWas::New };
        if let Some(idempotency) = idempotency {
            let Ask(sql, values) = of(tenant, idempotency);
            let (known, is_forgotten) = found(&tx.rows(sql, values).await?, tx.now)?;
            passing.is_forgotten = is_forgotten;
            if let Some(known) = known {
                rules::same_body(&known.body_hash, idempotency)?;
                passing.was = KeyWas::Known;
            }
        }
        Ok(passing)
    }
    /// Keeps it with what was made.
    pub(super) fn keep(&self, tx: &mut Tx<'_>, made: &str) {
        if let Some(idempotency) = self.idempotency {
            keep(tx, self.tenant, idempotency, self.is_forgotten, made);
        }
    }
}

pub(super) async fn remember(tx: &mut Tx<'_>, tenant: &Tenant, idempotency: &Idempotency, made: &str) -> Result<KeyWas, Refusal> {
    tx.under_locks(Vec::new()).await?;
    let passing = Passing::look(tx, tenant, Some(idempotency)).await?;
    if passing.was == KeyWas::New {
        passing.keep(tx, made);
    }
    Ok(passing.was)
}

pub(super) async fn recall(tx: &Tx<'_>, tenant: &Tenant, idempotency: &Idempotency) -> Result<Option<String>, Refusal> {
    let Ask(sql, values) = of(tenant, idempotency);
    let (known, _) = found(&tx.rows(sql, values).await?, tx.now)?;
    let Some(known) = known else { return Ok(None) };
    rules::same_body(&known.body_hash, idempotency)?;
    Ok(Some(known.made))
}
