//! Published versions, and the ledger of calls.

use super::{TaskStore, failure::Refusal, writer::Tx};
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
use rusqlite::{Connection, OptionalExtension};
use semver::Version;
use std::time::Duration;

#[async_trait]
impl ports::ToolStore for TaskStore {
    async fn publish(&self, version: Published) -> Result<Published> {
        let text = text(&version)?;
        self.write(move |tx| publish(tx, &version, &text)).await
    }

    async fn published(&self) -> Result<Vec<Published>> {
        let mut published = self.read(all).await?;
        // The database orders versions as text.
        let order = |one: &Published| (one.realm.clone(), one.definition.name.clone(), one.definition.version.clone());
        published.sort_by_cached_key(order);
        Ok(published)
    }

    async fn unpublish(&self, realm: &Realm, name: &str, version: Option<&Version>) -> Result<u64> {
        let (realm, name, version) = (realm.clone(), name.to_owned(), version.map(Version::to_string));
        self.write(move |tx| {
            let mut delete =
                tx.db.prepare_cached("DELETE FROM tool_versions WHERE tenant = ?1 AND name = ?2 AND (?3 IS NULL OR version = ?3)")?;
            Ok(delete.execute((column(&realm), &name, &version))? as u64)
        })
        .await
    }

    async fn open_call(&self, call: &LedgerKey, opening: &Opening) -> Result<Opened> {
        tools::check_key(call)?;
        let (call, opening) = (call.clone(), opening.clone());
        self.write(move |tx| open(tx, &call, &opening)).await
    }

    async fn renew_call(&self, call: &LedgerKey, holder: &str, lease: Duration) -> Result<bool> {
        let (call, holder) = (call.clone(), holder.to_owned());
        self.write(move |tx| {
            let mut update = tx.db.prepare_cached(&format!("UPDATE tool_calls SET until = ?6 WHERE {OF_CALL} {AND_HELD}"))?;
            let (tenant, tool, key, principal) = names(&call);
            Ok(update.execute((tenant, tool, key, principal, &holder, tx.now.plus(lease).0))? == 1)
        })
        .await
    }

    async fn close_call(&self, call: &LedgerKey, outcome: &Outcome) -> Result<()> {
        tools::check_outcome(outcome)?;
        let (is_ok, result) = match outcome {
            Outcome::Ok(result) => (true, result.to_string()),
            Outcome::Failed(result) => (false, result.to_string()),
        };
        let call = call.clone();
        self.write(move |tx| close(tx, &call, is_ok, &result)).await
    }

    async fn leave_call(&self, call: &LedgerKey, holder: &str) -> Result<()> {
        let (call, holder) = (call.clone(), holder.to_owned());
        self.write(move |tx| leave(tx, &call, &holder)).await
    }

    async fn drop_call(&self, call: &LedgerKey, holder: &str) -> Result<()> {
        let (call, holder) = (call.clone(), holder.to_owned());
        self.write(move |tx| {
            let mut delete = tx.db.prepare_cached(&format!("DELETE FROM tool_calls WHERE {OF_CALL} {AND_HELD} AND sends = 1"))?;
            let (tenant, tool, key, principal) = names(&call);
            delete.execute((tenant, tool, key, principal, &holder))?;
            leave(tx, &call, &holder)
        })
        .await
    }

    async fn forget_calls(&self, keep: Duration, limit: usize) -> Result<u64> {
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let limit = limit.min(rules::READ_MAX) as i64;
        self.write(move |tx| {
            let mut delete = tx.db.prepare_cached(
                "DELETE FROM tool_calls WHERE row IN (SELECT row FROM tool_calls WHERE at <= ?1 ORDER BY at, row LIMIT ?2)",
            )?;
            Ok(delete.execute((tx.now.0.saturating_sub(keep), limit))? as u64)
        })
        .await
    }
}

/// The rows of a call: its principal's, or one from before principals were recorded.
const OF_CALL: &str = "tenant = ?1 AND tool = ?2 AND key = ?3 AND (principal = ?4 OR principal IS NULL)";
/// Of those the one that the holder ?5 is at.
const AND_HELD: &str = "AND holder = ?5 AND result IS NULL";

fn names(call: &LedgerKey) -> (&str, &str, &str, &str) {
    (call.tenant.as_str(), &call.tool, &call.key, &call.principal)
}

fn text(version: &Published) -> Result<String> {
    serde_json::to_string(version).map_err(|e| Error::internal("a tool's version cannot be written").because(e))
}

/// A realm in its column: no tenant's name is empty.
fn column(realm: &Realm) -> &str {
    realm.tenant().map_or("", Tenant::as_str)
}

fn publish(tx: &mut Tx, version: &Published, new: &str) -> Result<Published, Refusal> {
    let (tenant, name, number) = (column(&version.realm), &version.definition.name, version.definition.version.to_string());
    let mut owner = tx.db.prepare_cached("SELECT owner FROM tool_versions WHERE tenant = ?1 AND name = ?2 LIMIT 1")?;
    if let Some(owner) = owner.query_row((tenant, name), |row| row.get::<_, String>(0)).optional()? {
        tools::same_owner(name, &owner, version)?;
    }
    let mut known = tx.db.prepare_cached("SELECT data, at FROM tool_versions WHERE tenant = ?1 AND name = ?2 AND version = ?3")?;
    if let Some((data, at)) = known.query_row((tenant, name, &number), |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()? {
        let (known, is_news) = tools::again(read(&data, at, version.realm.clone())?, version)?;
        if is_news {
            let mut update = tx.db.prepare_cached("UPDATE tool_versions SET data = ?4 WHERE tenant = ?1 AND name = ?2 AND version = ?3")?;
            update.execute((tenant, name, &number, text(&known)?))?;
        }
        return Ok(known);
    }
    let count: i64 = tx.db.prepare_cached("SELECT count(*) FROM tool_versions")?.query_row([], |row| row.get(0))?;
    if count >= tools::VERSIONS_MAX as i64 {
        return Err(tools::full().into());
    }
    let mut insert =
        tx.db.prepare_cached("INSERT INTO tool_versions (tenant, name, version, owner, data, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    insert.execute((tenant, name, &number, &version.owner, new, tx.now.0))?;
    Ok(Published { at: tx.now, ..version.clone() })
}

fn all(db: &Connection) -> Result<Vec<Published>, Refusal> {
    let mut select = db.prepare_cached("SELECT data, at, tenant FROM tool_versions")?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let realm = match row.get_ref(2)?.as_str().map_err(|_| damaged())? {
            "" => Realm::Node,
            tenant => Realm::Of(Tenant::parse(tenant).map_err(|_| damaged())?),
        };
        found.push(read(row.get_ref(0)?.as_str().map_err(|_| damaged())?, row.get(1)?, realm)?);
    }
    Ok(found)
}

fn read(data: &str, at: i64, realm: Realm) -> Result<Published> {
    let published: Published = serde_json::from_str(data).map_err(|e| damaged().because(e))?;
    // Its column counts: what was written before there were realms says nothing of one.
    Ok(Published { at: Time(at), realm, ..published })
}

fn open(tx: &mut Tx, call: &LedgerKey, opening: &Opening) -> Result<Opened, Refusal> {
    let Some((row, mut record, outcome)) = found(tx.db, call)? else {
        let mut insert = tx.db.prepare_cached(
            "INSERT INTO tool_calls (tenant, tool, key, principal, arguments_hash, effect, holder, until, at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        let (tenant, tool, key, principal) = names(call);
        let (effect, until) = (opening.effect.to_string(), tx.now.plus(opening.lease).0);
        insert.execute((tenant, tool, key, principal, &opening.arguments_hash, effect, &opening.holder, until, tx.now.0))?;
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
            let mut update =
                tx.db.prepare_cached("UPDATE tool_calls SET effect = ?2, holder = ?3, until = ?4, sends = ?5 WHERE row = ?1")?;
            let until = tx.now.plus(opening.lease).0;
            update.execute((row, record.effect.to_string(), &opening.holder, until, record.sends))?;
            record.told()
        }
    })
}

/// The record of a call: its row, who is at it, and its outcome.
fn found(db: &Connection, call: &LedgerKey) -> Result<Option<(i64, Record, Option<Outcome>)>, Refusal> {
    let mut select = db.prepare_cached(&format!(
        "SELECT row, arguments_hash, effect, holder, until, sends, is_ok, result, principal IS NULL FROM tool_calls WHERE {OF_CALL} \
         ORDER BY principal IS NULL LIMIT 1"
    ))?;
    let mut rows = select.query(names(call))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let hash: String = row.get(1)?;
    let (arguments_hash, effect) = match row.get::<_, Option<String>>(2)? {
        Some(effect) => (hash, self::effect(&effect)?),
        // An older version wrote whether it may be sent again behind the hash.
        None => match hash.strip_suffix(":once") {
            Some(hash) => (hash.to_owned(), Effect::AtMostOnce),
            None => (hash, Effect::Idempotent),
        },
    };
    let held = row.get::<_, Option<String>>(3)?.zip(row.get::<_, Option<i64>>(4)?.map(Time));
    let record = Record { arguments_hash, effect, is_as_given: row.get(8)?, held, sends: row.get(5)? };
    let outcome = match (row.get::<_, Option<bool>>(6)?, row.get::<_, Option<String>>(7)?) {
        (Some(is_ok), Some(result)) => {
            let result = serde_json::from_str(&result).map_err(|e| damaged().because(e))?;
            Some(if is_ok { Outcome::Ok(result) } else { Outcome::Failed(result) })
        }
        _ => None,
    };
    Ok(Some((row.get(0)?, record, outcome)))
}

fn effect(text: &str) -> Result<Effect> {
    [Effect::Pure, Effect::Idempotent, Effect::AtMostOnce].into_iter().find(|effect| effect.to_string() == text).ok_or_else(damaged)
}

fn leave(tx: &mut Tx, call: &LedgerKey, holder: &str) -> Result<(), Refusal> {
    let mut update = tx.db.prepare_cached(&format!("UPDATE tool_calls SET holder = NULL, until = NULL WHERE {OF_CALL} {AND_HELD}"))?;
    let (tenant, tool, key, principal) = names(call);
    update.execute((tenant, tool, key, principal, holder))?;
    Ok(())
}

fn close(tx: &mut Tx, call: &LedgerKey, is_ok: bool, result: &str) -> Result<(), Refusal> {
    let Some((row, _, outcome)) = found(tx.db, call)? else { return Err(tools::no_call(call).into()) };
    if outcome.is_none() {
        let mut update =
            tx.db.prepare_cached("UPDATE tool_calls SET is_ok = ?2, result = ?3, holder = NULL, until = NULL WHERE row = ?1")?;
        update.execute((row, is_ok, result))?;
    }
    Ok(())
}

fn damaged() -> Error {
    Error::internal("what the database knows of tools is damaged: restore a copy")
}
