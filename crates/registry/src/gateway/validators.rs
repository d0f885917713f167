//! The schemas of the catalogue, ready to check with: made when first asked for, bounded in sum.
//!
//! Over the bound, whoever holds the most loses what was not used for the longest time, so that one owner's many schemas push out
//! each other and nobody else's. What is made again costs its making, aside where that takes long.

use crate::catalog::Entry;
use maniple_aside::{Aside, SMALL_COST};
use maniple_core::{
    Result,
    schema::{self, Validator},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// A schema ready to check with, or why there is none: it is from before its bounds were what they are.
pub(crate) type Compiled = Arc<Result<Validator, String>>;

/// Which schema of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Parameters,
    Returns,
}

pub(crate) struct Validators {
    aside: Aside,
    most: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_contract: HashMap<(String, Part), One>,
    bytes: u64,
    uses: u64,
}

struct One {
    compiled: Compiled,
    owner: String,
    bytes: u64,
    used: u64,
}

impl Validators {
    /// At most so many bytes, estimated.
    pub(crate) fn new(aside: Aside, most: u64) -> Self {
        Self { aside, most, kept: Mutex::default() }
    }

    /// That of a published version; `None` for a result of which nothing is promised. Errors are those of [`Aside::run`].
    pub(crate) async fn of(&self, entry: &Entry, part: Part, tenant: &str) -> Result<Option<Compiled>> {
        let definition = &entry.published.definition;
        let Some(schema) = (match part {
            Part::Parameters => Some(&definition.parameters),
            Part::Returns => definition.returns.as_ref(),
        }) else {
            return Ok(None);
        };
        let key = (entry.published.contract.clone(), part);
        if let Some(known) = self.kept().find(&key) {
            return Ok(Some(known));
        }
        let compiled = self.compile(schema, tenant).await?;
        self.kept().keep(key, compiled.clone(), &entry.published.owner, self.most);
        Ok(Some(compiled))
    }

    /// That of a schema which is nobody's any more: it is not kept.
    pub(crate) async fn compile(&self, schema: &Value, tenant: &str) -> Result<Compiled> {
        let (large, schema) = (schema::is_heavy(schema), schema.clone());
        self.aside.run(large, tenant, move || Arc::new(Validator::compile(&schema))).await
    }

    /// Why a value does not fit, if it does not.
    pub(crate) async fn complaint(&self, compiled: &Compiled, value: &Value, tenant: &str) -> Result<Option<String>> {
        let validator = match &**compiled {
            Ok(validator) => validator,
            Err(why) => return Ok(Some(why.clone())),
        };
        if validator.cost(value) <= SMALL_COST {
            return Ok(validator.check(value).err());
        }
        let (compiled, value) = (compiled.clone(), value.clone());
        self.aside.run(true, tenant, move || compiled.as_ref().as_ref().ok().and_then(|validator| validator.check(&value).err())).await
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, key: &(String, Part)) -> Option<Compiled> {
        self.uses += 1;
        let known = self.by_contract.get_mut(key)?;
        known.used = self.uses;
        Some(known.compiled.clone())
    }

    fn keep(&mut self, key: (String, Part), compiled: Compiled, owner: &str, most: u64) {
        let bytes = compiled.as_ref().as_ref().map_or(1_024, Validator::weight);
        self.uses += 1;
        self.bytes += bytes;
        let one = One { compiled, owner: owner.to_owned(), bytes, used: self.uses };
        if let Some(before) = self.by_contract.insert(key, one) {
            self.bytes -= before.bytes; // two asked for it at once
        }
        while self.bytes > most {
            let Some(key) = self.next_to_go() else { break };
            if let Some(gone) = self.by_contract.remove(&key) {
                self.bytes -= gone.bytes;
            }
        }
    }

    fn next_to_go(&self) -> Option<(String, Part)> {
        let mut held: BTreeMap<&str, u64> = BTreeMap::new();
        self.by_contract.values().for_each(|one| *held.entry(&one.owner).or_default() += one.bytes);
        let (heaviest, _) = held.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        let theirs = self.by_contract.iter().filter(|(_, one)| one.owner == heaviest);
        theirs.min_by_key(|(_, one)| one.used).map(|(key, _)| key.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compiled(n: usize) -> Compiled {
        Arc::new(Validator::compile(&json!({ "title": format!("{n}") })))
    }

    #[test]
    fn what_one_owner_has_in_plenty_pushes_out_nothing_of_another() {
        let each = compiled(0).as_ref().as_ref().unwrap().weight();
        let (mut kept, most) = (Kept::default(), each * 12);
        let key = |owner: &str, n: usize| (format!("{owner}{n}"), Part::Parameters);
        for n in 0..3 {
            kept.keep(key("beta", n), compiled(n), "beta", most);
        }
        for n in 0..1_000 {
            kept.keep(key("acme", n), compiled(n), "acme", most);
            assert!(kept.bytes <= most, "{n}");
        }
        assert!((0..3).all(|n| kept.find(&key("beta", n)).is_some()));
        assert!(kept.find(&key("acme", 0)).is_none() && kept.find(&key("acme", 999)).is_some(), "the oldest goes first");
    }

    #[test]
    fn one_that_is_heavier_than_the_bound_is_used_and_not_kept() {
        let mut kept = Kept::default();
        kept.keep(("a".into(), Part::Returns), compiled(0), "acme", 1);
        assert_eq!((kept.by_contract.len(), kept.bytes), (0, 0));
    }
}
