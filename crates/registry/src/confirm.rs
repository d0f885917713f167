//! Whose claims about effects an operator takes for true.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{collections::BTreeSet, fmt};

/// Whose proposed effects an operator has confirmed. A proposal alone is a claim of the source: until it is confirmed, every tool
/// that is not read with GET or HEAD is `at_most_once`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Confirm {
    /// Nobody's.
    #[default]
    Nothing,
    /// Everybody's, also of tools that the source adds later.
    All,
    /// Those of these tools, by their name here or at their source.
    These(BTreeSet<String>),
}

impl Confirm {
    /// Whether it confirms nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
    /// Whether the proposal for a tool of one of these names is confirmed.
    pub fn covers(&self, names: &[&str]) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::These(confirmed) => names.iter().any(|name| confirmed.contains(*name)),
        }
    }
}

/// Written `all`, as a list of tools, or not at all.
impl Serialize for Confirm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_none(),
            Self::All => serializer.serialize_str("all"),
            Self::These(confirmed) => serializer.collect_seq(confirmed),
        }
    }
}

impl<'de> Deserialize<'de> for Confirm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> de::Visitor<'de> for Written {
    type Value = Confirm;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`all`, or a list of tools")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Confirm, E> {
        Ok(Confirm::Nothing)
    }
    fn visit_str<E: de::Error>(self, word: &str) -> Result<Confirm, E> {
        if word == "all" {
            Ok(Confirm::All)
        } else {
            Err(E::custom(format_args!("`{word}` confirms nothing: write `all`, or a list of tools")))
        }
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, tools: A) -> Result<Confirm, A::Error> {
        BTreeSet::deserialize(de::value::SeqAccessDeserializer::new(tools)).map(Confirm::These)
    }
}
