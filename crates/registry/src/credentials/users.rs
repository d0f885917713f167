//! Whose definitions may use a credential.

use crate::catalog::OPERATOR;
use maniple_core::{Error, Result, Tenant};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{collections::BTreeSet, fmt};

/// Who brought a definition, as far as credentials ask. A definition decides to which path of the credential's hosts a secret
/// goes, and with which arguments: to name one is to hold it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// The operator: files, imports, and what holders of the scope `operator` bring.
    Operator,
    /// Principals of that tenant, who register or add tools.
    Tenant(Tenant),
}

impl User {
    /// Of what was added in an earlier process, by the owner of its name. Who acted on the node then is not known any more, so that it
    /// counts as its tenant's.
    pub(crate) fn of_owner(owner: &str) -> Self {
        let tenant = owner.split_once('/').and_then(|(tenant, _)| Tenant::parse(tenant).ok());
        if owner == OPERATOR { Self::Operator } else { Self::Tenant(tenant.unwrap_or_default()) }
    }

    fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("`{text}` is nobody: write `operator` or `tenant:NAME`"));
        match text.split_once(':') {
            None if text == "operator" => Ok(Self::Operator),
            Some(("tenant", name)) => Tenant::parse(name).map(Self::Tenant).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

/// As it is written in the settings.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
        }
    }
}

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The default: the operator alone.
pub(super) fn operator_only() -> BTreeSet<User> {
    [User::Operator].into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_as_they_are_written_and_nobody_else_is_one() {
        let acme = User::Tenant(Tenant::parse("acme").unwrap());
        for (text, user) in [("operator", User::Operator), ("tenant:acme", acme)] {
            assert_eq!((User::parse(text).unwrap(), user.to_string()), (user.clone(), text.to_owned()));
        }
        for text in ["", "everyone", "*", "tenant:", "tenant", "tenant:a b", "operator:acme", "acme"] {
            assert!(User::parse(text).unwrap_err().message.contains("tenant:NAME"), "{text}");
        }
    }
}
