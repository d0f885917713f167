//! What every tool store decides alike.

use maniple_core::{
    Error, Result, Time, canonical,
    ports::{LedgerKey, Opened, Opening, Outcome},
    tool::{Effect, Published, STORED_RESULT_BYTES},
};
use std::time::Duration;

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
    Err(Error::denied(format!("tool `{name}` belongs to another principal: choose another name")).at("name"))
}

pub(crate) fn full() -> Error {
    Error::exhausted(format!("{VERSIONS_MAX} versions of tools are published, which is all that are kept: remove some"))
}

/// What is known of a call whose outcome is not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) arguments_hash: String,
    /// Under which it was last sent.
    pub(crate) effect: Effect,
    /// Whether it was sent under the key as it was given, which is no principal's: an older version did that.
    pub(crate) is_as_given: bool,
    /// Who is at it, and until when.
    pub(crate) held: Option<(String, Time)>,
    /// How often somebody was told to send it.
    pub(crate) sends: i64,
}

/// What somebody who opens a call that is on record is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    OtherArguments,
    /// It is theirs already: the reply was lost.
    Theirs,
    UnderWay(Duration),
    InDoubt,
    /// It becomes theirs.
    Free,
}

impl Record {
    /// One that is new.
    pub(crate) fn new(opening: &Opening, now: Time) -> Self {
        let held = Some((opening.holder.clone(), now.plus(opening.lease)));
        Self { arguments_hash: opening.arguments_hash.clone(), effect: opening.effect, is_as_given: false, held, sends: 1 }
    }

    /// What its holder is told.
    pub(crate) fn told(&self) -> Opened {
        match self.sends {
            1 => Opened::New,
            _ if self.is_as_given => Opened::AgainAsGiven,
            _ => Opened::Again,
        }
    }

    /// It is taken over.
    pub(crate) fn take(&mut self, opening: &Opening, now: Time) {
        (self.effect, self.held) = (opening.effect, Some((opening.holder.clone(), now.plus(opening.lease))));
        self.sends += 1;
    }

    pub(crate) fn found(&self, opening: &Opening, now: Time) -> Found {
        if self.arguments_hash != opening.arguments_hash {
            return Found::OtherArguments;
        }
        match &self.held {
            Some((holder, _)) if *holder == opening.holder => return Found::Theirs,
            Some((_, until)) if *until > now => return Found::UnderWay(until.since(now)),
            Some(_) | None => {}
        }
        match (self.effect, opening.effect) {
            (Effect::AtMostOnce, _) | (_, Effect::AtMostOnce) => Found::InDoubt,
            (Effect::Pure | Effect::Idempotent, Effect::Pure | Effect::Idempotent) => Found::Free,
        }
    }

    pub(crate) fn is_held_by(&self, holder: &str) -> bool {
        self.held.as_ref().is_some_and(|(by, _)| by == holder)
    }
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
