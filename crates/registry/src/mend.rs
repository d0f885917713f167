//! Definitions and names in the wild, made legal where that keeps their meaning.

use maniple_core::{Error, Result, tool::ToolDefinition};
use serde_json::Value;
use std::collections::HashSet;

/// A definition, and what was changed in it.
pub struct Mended {
    /// The definition.
    pub definition: ToolDefinition,
    /// What was changed, a line each.
    pub notes: Vec<String>,
}

/// Reads a definition as it came.
pub fn mend(raw: Value) -> Result<Mended> {
    let definition = serde_json::from_value(raw).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(Mended { definition, notes: Vec::new() })
}

/// A name that a model accepts and that nobody has yet; it is taken from then on.
pub fn legal_name(name: &str, taken: &mut HashSet<String>) -> String {
    const LONGEST: usize = 64;
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let wanted: String = name.chars().map(legal).take(LONGEST).collect();
    let mut chosen = wanted.clone();
    let mut number = 1;
    while !taken.insert(chosen.clone()) {
        number += 1;
        let ending = format!("_{number}");
        chosen = format!("{}{ending}", &wanted[..wanted.len().min(LONGEST - ending.len())]);
    }
    chosen
}
