//! Whose claims about effects an operator takes for true.

use std::collections::BTreeSet;

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
    /// Whether the proposal for a tool of one of these names is confirmed.
    pub fn covers(&self, names: &[&str]) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::These(confirmed) => names.iter().any(|name| confirmed.contains(*name)),
        }
    }
}
