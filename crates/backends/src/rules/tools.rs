//! What every tool store decides alike.

use maniple_core::{
    Error, Result, canonical,
    ports::{LedgerKey, Outcome},
    tool::{Published, STORED_RESULT_BYTES},
};

/// The most versions of all tools together.
pub const VERSIONS_MAX: usize = 100_000;
/// The longest Idempotency-Key, in bytes.
pub const KEY_MAX: usize = 255;
/// How deep a recorded result may nest: it must be readable again, inside what else it is put into.
pub const RESULT_DEPTH_MAX: usize = 100;

/// The version that is remembered when it is published again: as it was, and added where the new one is. Says whether that is news.
pub(crate) fn again(mut known: Published, new: &Published) -> Result<(Published, bool)> {
    if known.contract != new.contract {
        let told = "is published with another contract: raise its version, or take back what changed";
        let definition = &new.definition;
        return Err(Error::conflict(format!("tool `{}` {} {told}", definition.name, definition.version)).at("version"));
    }
    let mut is_news = false;
    for definition in &new.added {
        is_news |= known.add(definition)?;
    }
    Ok((known, is_news))
}

pub(crate) fn same_owner(name: &str, owner: &str, new: &Published) -> Result<()> {
    if owner == new.owner {
        return Ok(());
    }
    Err(Error::denied(format!("tool `{name}` belongs to `{owner}`: choose another name, or have `{owner}` publish it")).at("name"))
}

pub(crate) fn full() -> Error {
    Error::exhausted(format!("{VERSIONS_MAX} versions of tools are published, which is all that are kept: remove some"))
}

pub(crate) fn check_key(call: &LedgerKey) -> Result<()> {
    if call.key.is_empty() || call.key.len() > KEY_MAX {
        return Err(Error::invalid(format!("an Idempotency-Key must be 1 to {KEY_MAX} bytes long")).at("Idempotency-Key"));
    }
    Ok(())
}

pub(crate) fn check_outcome(outcome: &Outcome) -> Result<()> {
    let (Outcome::Ok(result) | Outcome::Failed(result)) = outcome;
    if !canonical::nests_within(result, RESULT_DEPTH_MAX) {
        return Err(Error::invalid(format!("a result may nest {RESULT_DEPTH_MAX} deep, and this one is deeper")));
    }
    if result.to_string().len() > STORED_RESULT_BYTES {
        return Err(Error::invalid(format!("a result may be {STORED_RESULT_BYTES} bytes of JSON, and this one is longer")));
    }
    Ok(())
}

pub(crate) fn no_call(call: &LedgerKey) -> Error {
    Error::not_found(format!("no call of tool `{}` is recorded under the key `{}`: open it before it is sent", call.tool, call.key))
}
