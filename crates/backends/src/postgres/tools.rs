//! Published versions, and the ledger of calls.

use super::{
    TaskStore,
    args::args,
    failure::Refusal,
    tx::{Ask, Tx, look, transact},
};
use crate::rules::{
    self,
    tools::{self, Found, Record},
};
use async_trait::async_trait;
use maniple_core::{
    Error, Result, Tenant, Time,
    ports::{self, LedgerKey, Opened, Opening, Outcome},
    tool::{Effect, Published, Realm},
};
use semver::Version;
use std::time::Duration;

#[async_trait]
impl ports::ToolStore for TaskStore {
    async fn publish(&self, version: Published) -> Result<Published> {
        let text = text(&version)?;
        transact!(self.link, tx => publish(&mut tx, &version, &text))
    }

    async fn published(&self) -> Result<Vec<Published>> {
        let mut published = look!(self.link, tx => all(&tx))?;
        // The database orders versions as text.
        let order = |one: &Published| (one.realm.clone(), one.definition.name.clone(), one.definition.version.clone());
        published.sort_by_cached_key(order);
        Ok(published)
    }

    async fn unpublish(&self, realm: &Realm, name: &str, version: Option<&Version>) -> Result<u64> {
        let sql = "WITH gone AS (DELETE FROM tool_versions WHERE realm = $1 AND name = $2 AND ($3::text IS NULL OR version = $3) RETURNING 1) \
                   SELECT count(*) FROM gone";
        let gone = self.link.ask(sql, args![column(realm), name, version.map(Version::to_string)]).await?;
        Ok(gone.first().map_or(0, |row| row.get::<_, i64>(0)) as u64)
    }

    async fn open_call(&self, call: &LedgerKey, opening: &Opening) -> Result<Opened> {
        tools::check_key(call)?;
        transact!(self.link, tx => open(&mut tx, call, opening))
    }

    async fn renew_call(&self, call: &LedgerKey, holder: &str, lease: Duration) -> Result<bool> {
        transact!(self.link, tx => renew(&mut tx, call, holder, lease))
    }

    async fn close_call(&self, call: &LedgerKey, outcome: &Outcome) -> Result<()> {
        tools::check_outcome(outcome)?;
        let (is_ok, result) = match outcome {
            Outcome::Ok(result) => (true, result.to_string()),
            Outcome::Failed(result) => (false, result.to_string()),
        };
        let found = transact!(self.link, tx => close(&mut tx, call, is_ok, &result))?;
        if found { Ok(()) } else { Err(tools::no_call(call)) }
    }

    async fn leave_call(&self, call: &LedgerKey, holder: &str) -> Result<()> {
        transact!(self.link, tx => leave(&mut tx, call, holder))
    }

    async fn drop_call(&self, call: &LedgerKey, holder: &str) -> Result<()> {
        transact!(self.link, tx => drop_or_leave(&mut tx, call, holder))
    }

    async fn forget_calls(&self, keep: Duration, limit: usize) -> Result<u64> {
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        transact!(self.link, tx => forget(&mut tx, keep, limit.min(rules::READ_MAX)))
    }
}

/// The row of a call.
const OF_CALL: &str = "tenant = $1 AND tool = $2 AND key = $3 AND principal = $4";
/// It if the holder $5 is at it.
const HELD: &str = "tenant = $1 AND tool = $2 AND key = $3 AND principal = $4 AND holder = $5 AND result IS NULL";

/// The values of those, and more behind them.
macro_rules! of_call {
    ($call:expr $(, $more:expr)*) => { args![$call.tenant.as_str(), &$call.tool, &$call.key, &$call.principal $(, $more)*] };
}

fn text(version: &Published) -> Result<String> {
    serde_json::to_string(version).map_err(|e| Error::internal("a tool's version cannot be written").because(e))
}

/// A realm in its column: no tenant's name is empty.
fn column(realm: &Realm) -> &str {
    realm.tenant().map_or("", Tenant::as_str)
}

async fn publish(tx: &mut Tx<'_>, version: &Published, new: &str) -> Result<Published, Refusal> {
    let (realm, name, number) = (column(&version.realm), &version.definition.name, version.definition.version.to_string());
    // Versions of a name come one after the other: it is the first one's owner's.
    let lock = Ask("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", args![format!("{realm}/{name}")]);
    tx.under_locks(vec![lock]).await?;
    let owner = "SELECT owner FROM tool_versions WHERE realm = $1 AND name = $2 LIMIT 1";
    if let Some(row) = tx.row(owner, args![realm, name]).await? {
        tools::same_owner(name, row.try_get(0)?, version)?;
    }
    let known = "SELECT data, at FROM tool_versions WHERE realm = $1 AND name = $2 AND version = $3";
    if let Some(row) = tx.row(known, args![realm, name, &number]).await? {
        let (known, is_news) = tools::again(read(row.try_get(0)?, row.try_get(1)?, version.realm.clone())?, version)?;
        if is_news {
            let update = "UPDATE tool_versions SET data = $4 WHERE realm = $1 AND name = $2 AND version = $3";
            tx.write(update, args![realm, name, &number, text(&known)?]);
        }
        return Ok(known);
    }
    let count: i64 = tx.row("SELECT count(*) FROM tool_versions", args![]).await?.map_or(0, |row| row.get(0));
    if count >= tools::VERSIONS_MAX as i64 {
        return Err(tools::full().into());
    }
    let insert = "INSERT INTO tool_versions (realm, name, version, owner, data, at) VALUES ($1, $2, $3, $4, $5, $6)";
    tx.write(insert, args![realm, name, &number, &version.owner, new, tx.now]);
    Ok(Published { at: tx.now, ..version.clone() })
}

async fn all(tx: &Tx<'_>) -> Result<Vec<Published>, Refusal> {
    let mut found = Vec::new();
    for row in tx.rows("SELECT data, at, realm FROM tool_versions", args![]).await? {
        let realm = match row.try_get::<_, &str>(2)? {
            "" => Realm::Node,
            tenant => Realm::Of(Tenant::parse(tenant).map_err(|_| damaged())?),
        };
        found.push(read(row.try_get(0)?, row.try_get(1)?, realm)?);
    }
    Ok(found)
}

fn read(data: &str, at: i64, realm: Realm) -> Result<Published> {
    let published: Published = serde_json::from_str(data).map_err(|e| damaged().because(e))?;
    Ok(Published { at: Time(at), realm, ..published })
}

async fn open(tx: &mut Tx<'_>, call: &LedgerKey, opening: &Opening) -> Result<Opened, Refusal> {
    let Some((mut record, outcome)) = found(tx, call).await? else {
        let insert = "INSERT INTO tool_calls (tenant, tool, key, principal, arguments_hash, effect, holder, until, at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let until = tx.now.plus(opening.lease);
        // Who opens the same at the same time fails here, and finds this one when it tries again.
        tx.write(insert, of_call!(call, &opening.arguments_hash, opening.effect.to_string(), &opening.holder, until, tx.now));
        return Ok(Opened::New);
    };
    Ok(match (record.found(opening, tx.now), outcome) {
        (Found::OtherArguments, _) => Opened::OtherArguments,
        (_, Some(outcome)) => Opened::Done(outcome),
        (Found::UnderWay(left), None) => Opened::UnderWay(left),
        (Found::InDoubt, None) => Opened::InDoubt,
        (Found::Theirs, None) => record.told(),
        (Found::Free, None) => {
            record.take(opening, tx.now);
            let update = format!("UPDATE tool_calls SET effect = $5, holder = $6, until = $7, sends = $8 WHERE {OF_CALL}");
            let until = tx.now.plus(opening.lease);
            tx.write(update, of_call!(call, record.effect.to_string(), &opening.holder, until, record.sends));
            record.told()
        }
    })
}

/// The record of a call under its lock, and its outcome.
async fn found(tx: &mut Tx<'_>, call: &LedgerKey) -> Result<Option<(Record, Option<Outcome>)>, Refusal> {
    const SQL: &str = "SELECT arguments_hash, effect, holder, until, sends, is_ok, result FROM tool_calls \
                       WHERE tenant = $1 AND tool = $2 AND key = $3 AND principal = $4 FOR UPDATE";
    let answers = tx.under_locks(vec![Ask(SQL, of_call!(call))]).await?;
    let Some(row) = answers.first().and_then(|rows| rows.first()) else { return Ok(None) };
    let effect = row.try_get::<_, &str>(1)?;
    let effect = [Effect::Pure, Effect::Idempotent, Effect::AtMostOnce].into_iter().find(|known| known.to_string() == effect);
    let held = row.try_get::<_, Option<String>>(2)?.zip(row.try_get::<_, Option<i64>>(3)?.map(Time));
    let record =
        Record { arguments_hash: row.try_get(0)?, effect: effect.ok_or_else(damaged)?, is_as_given: false, held, sends: row.try_get(4)? };
    let outcome = match (row.try_get::<_, Option<bool>>(5)?, row.try_get::<_, Option<&str>>(6)?) {
        (Some(is_ok), Some(result)) => {
            let result = serde_json::from_str(result).map_err(|e| damaged().because(e))?;
            Some(if is_ok { Outcome::Ok(result) } else { Outcome::Failed(result) })
        }
        _ => None,
    };
    Ok(Some((record, outcome)))
}

async fn renew(tx: &mut Tx<'_>, call: &LedgerKey, holder: &str, lease: Duration) -> Result<bool, Refusal> {
    let Some((record, outcome)) = found(tx, call).await? else { return Ok(false) };
    if outcome.is_some() || !record.is_held_by(holder) {
        return Ok(false);
    }
    tx.write(format!("UPDATE tool_calls SET until = $6 WHERE {HELD}"), of_call!(call, holder, tx.now.plus(lease)));
    Ok(true)
}

async fn leave(tx: &mut Tx<'_>, call: &LedgerKey, holder: &str) -> Result<(), Refusal> {
    tx.write(format!("UPDATE tool_calls SET holder = NULL, until = NULL WHERE {HELD}"), of_call!(call, holder));
    Ok(())
}

async fn drop_or_leave(tx: &mut Tx<'_>, call: &LedgerKey, holder: &str) -> Result<(), Refusal> {
    tx.write(format!("DELETE FROM tool_calls WHERE {HELD} AND sends = 1"), of_call!(call, holder));
    leave(tx, call, holder).await
}

/// Whether there is such a call.
async fn close(tx: &mut Tx<'_>, call: &LedgerKey, is_ok: bool, result: &str) -> Result<bool, Refusal> {
    let Some((_, outcome)) = found(tx, call).await? else { return Ok(false) };
    if outcome.is_none() {
        let update = format!("UPDATE tool_calls SET is_ok = $5, result = $6, holder = NULL, until = NULL WHERE {OF_CALL}");
        tx.write(update, of_call!(call, is_ok, result));
    }
    Ok(true)
}

async fn forget(tx: &mut Tx<'_>, keep: i64, limit: usize) -> Result<u64, Refusal> {
    tx.under_locks(Vec::new()).await?;
    let sql = "WITH gone AS (DELETE FROM tool_calls WHERE (tenant, tool, key, principal) IN (\
                 SELECT tenant, tool, key, principal FROM tool_calls WHERE at <= $1 ORDER BY at LIMIT $2) RETURNING 1) SELECT count(*) FROM gone";
    let gone = tx.row(sql, args![tx.now.0.saturating_sub(keep), limit]).await?;
    Ok(gone.map_or(0, |row| row.get::<_, i64>(0)) as u64)
}

fn damaged() -> Error {
    Error::internal("what the database knows of tools is damaged: restore a copy")
}
