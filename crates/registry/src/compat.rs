//! What a new version does to the callers of the one before.

use maniple_core::tool::{ToolDefinition, Verdict};

/// What a comparison came to.
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// What changed, a line each.
    pub changes: Vec<String>,
}

/// Compares two versions. Equal schemas are compatible; nothing is claimed of any others.
pub fn compare(old: &ToolDefinition, new: &ToolDefinition) -> Report {
    let pairs = [
        ("parameters", old.parameters == new.parameters),
        ("returns", old.returns == new.returns),
        ("effect", old.effect() == new.effect()),
    ];
    let changed = pairs.iter().filter(|(_, same)| !same).map(|(part, _)| format!("{part}: changed"));
    let changes: Vec<String> = changed.collect();
    Report { verdict: if changes.is_empty() { Verdict::Compatible } else { Verdict::Unproven }, changes }
}
