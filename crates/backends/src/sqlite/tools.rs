//! Published versions, and the ledger of calls.

use super::{TaskStore, failure::Refusal, writer::Tx};
use crate::rules::{self, tools};
use async_trait::async_trait;
use maniple_core::{
    Error, Result, Time,
    ports::{self, LedgerKey, Opened, Outcome},
    tool::Published,
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
        published.sort_by(|a, b| (&a.definition.name, &a.definition.version).cmp(&(&b.definition.name, &b.definition.version)));
        Ok(published)
    }

    async fn unpublish(&self, name: &str, version: Option<&Version>) -> Result<u64> {
        let (name, version) = (name.to_owned(), version.map(Version::to_string));
        self.write(move |tx| {
            let mut delete = tx.db.prepare_cached("DELETE FROM tool_versions WHERE name = ?1 AND (?2 IS NULL OR version = ?2)")?;
            Ok(delete.execute((&name, &version))? as u64)
        })
        .await
    }

    async fn open_call(&self, call: &LedgerKey, arguments_hash: &str) -> Result<Opened> {
        tools::check_key(call)?;
        let (call, arguments_hash) = (call.clone(), arguments_hash.to_owned());
        self.write(move |tx| open(tx, &call, &arguments_hash)).await
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

    async fn drop_call(&self, call: &LedgerKey) -> Result<()> {
        let call = call.clone();
        self.write(move |tx| {
            let mut delete =
                tx.db.prepare_cached("DELETE FROM tool_calls WHERE tenant = ?1 AND tool = ?2 AND key = ?3 AND result IS NULL")?;
            delete.execute(names(&call))?;
            Ok(())
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

fn names(call: &LedgerKey) -> (&str, &str, &str) {
    (call.tenant.as_str(), &call.tool, &call.key)
}

fn text(version: &Published) -> Result<String> {
    serde_json::to_string(version).map_err(|e| Error::internal("a tool's version cannot be written").because(e))
}

fn publish(tx: &mut Tx, version: &Published, new: &str) -> Result<Published, Refusal> {
    let (name, number) = (&version.definition.name, version.definition.version.to_string());
    let mut owner = tx.db.prepare_cached("SELECT owner FROM tool_versions WHERE name = ?1 LIMIT 1")?;
    if let Some(owner) = owner.query_row([name], |row| row.get::<_, String>(0)).optional()? {
        tools::same_owner(name, &owner, version)?;
    }
    let mut known = tx.db.prepare_cached("SELECT data, at FROM tool_versions WHERE name = ?1 AND version = ?2")?;
    if let Some((data, at)) = known.query_row((name, &number), |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()? {
        let (known, is_news) = tools::again(read(&data, at)?, version)?;
        if is_news {
            let mut update = tx.db.prepare_cached("UPDATE tool_versions SET data = ?3 WHERE name = ?1 AND version = ?2")?;
            update.execute((name, &number, text(&known)?))?;
        }
        return Ok(known);
    }
    let count: i64 = tx.db.prepare_cached("SELECT count(*) FROM tool_versions")?.query_row([], |row| row.get(0))?;
    if count >= tools::VERSIONS_MAX as i64 {
        return Err(tools::full().into());
    }
    let mut insert = tx.db.prepare_cached("INSERT INTO tool_versions (name, version, owner, data, at) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    insert.execute((name, &number, &version.owner, new, tx.now.0))?;
    Ok(Published { at: tx.now, ..version.clone() })
}

fn all(db: &Connection) -> Result<Vec<Published>, Refusal> {
    let mut select = db.prepare_cached("SELECT data, at FROM tool_versions")?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row.get_ref(0)?.as_str().map_err(|_| damaged())?, row.get(1)?)?);
    }
    Ok(found)
}

fn read(data: &str, at: i64) -> Result<Published> {
    let published: Published = serde_json::from_str(data).map_err(|e| damaged().because(e))?;
    Ok(Published { at: Time(at), ..published })
}

fn open(tx: &mut Tx, call: &LedgerKey, arguments_hash: &str) -> Result<Opened, Refusal> {
    let mut known =
        tx.db.prepare_cached("SELECT arguments_hash, is_ok, result FROM tool_calls WHERE tenant = ?1 AND tool = ?2 AND key = ?3")?;
    let found = known
        .query_row(names(call), |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<bool>>(1)?, row.get::<_, Option<String>>(2)?)));
    let Some((hash, is_ok, result)) = found.optional()? else {
        let mut insert =
            tx.db.prepare_cached("INSERT INTO tool_calls (tenant, tool, key, arguments_hash, at) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let (tenant, tool, key) = names(call);
        insert.execute((tenant, tool, key, arguments_hash, tx.now.0))?;
        return Ok(Opened::New);
    };
    if hash != arguments_hash {
        return Ok(Opened::OtherArguments);
    }
    let (Some(is_ok), Some(result)) = (is_ok, result) else { return Ok(Opened::Before) };
    let result = serde_json::from_str(&result).map_err(|e| damaged().because(e))?;
    Ok(Opened::Done(if is_ok { Outcome::Ok(result) } else { Outcome::Failed(result) }))
}

fn close(tx: &mut Tx, call: &LedgerKey, is_ok: bool, result: &str) -> Result<(), Refusal> {
    let mut update = tx
        .db
        .prepare_cached("UPDATE tool_calls SET is_ok = ?4, result = ?5 WHERE tenant = ?1 AND tool = ?2 AND key = ?3 AND result IS NULL")?;
    let (tenant, tool, key) = names(call);
    if update.execute((tenant, tool, key, is_ok, result))? == 1 {
        return Ok(());
    }
    let mut known = tx.db.prepare_cached("SELECT 1 FROM tool_calls WHERE tenant = ?1 AND tool = ?2 AND key = ?3")?;
    if known.exists(names(call))? { Ok(()) } else { Err(tools::no_call(call).into()) }
}

fn damaged() -> Error {
    Error::internal("what the database knows of tools is damaged: restore a copy")
}
