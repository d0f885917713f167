//! Whose definitions may use a credential, as it is written: `operator` for the node's own, `tenant:NAME` for what that tenant's
//! principals bring.
//!
//! A definition decides to which path of the credential's hosts a secret goes, and with which arguments: to name one is to hold it.

use maniple_core::{Error, Result, Tenant, tool::Realm};
use serde::{Deserialize, Deserializer, Serializer, de};
use std::collections::BTreeSet;

/// The default: the node's own tools alone.
pub(super) fn operator_only() -> BTreeSet<Realm> {
    [Realm::Node].into()
}

pub(super) fn serialize<S: Serializer>(users: &BTreeSet<Realm>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(users.iter().map(written))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Realm>, D::Error> {
    let written: Vec<String> = Vec::deserialize(deserializer)?;
    written.iter().map(|text| read(text)).collect::<Result<_>>().map_err(de::Error::custom)
}

fn written(realm: &Realm) -> String {
    realm.tenant().map_or_else(|| "operator".to_owned(), |tenant| format!("tenant:{tenant}"))
}

fn read(text: &str) -> Result<Realm> {
    let wrong = || Error::invalid(format!("`{text}` is nobody: write `operator` or `tenant:NAME`"));
    match text.split_once(':') {
        None if text == "operator" => Ok(Realm::Node),
        Some(("tenant", name)) => Tenant::parse(name).map(Realm::Of).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_as_they_are_written_and_nobody_else_is_one() {
        let acme = Realm::Of(Tenant::parse("acme").unwrap());
        for (text, realm) in [("operator", Realm::Node), ("tenant:acme", acme)] {
            assert_eq!((read(text).unwrap(), written(&realm)), (realm.clone(), text.to_owned()));
        }
        for text in ["", "everyone", "*", "tenant:", "tenant", "tenant:a b", "operator:acme", "acme"] {
            assert!(read(text).unwrap_err().message.contains("tenant:NAME"), "{text}");
        }
    }
}
