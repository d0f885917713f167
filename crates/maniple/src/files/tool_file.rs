//! `tools/NAME.yaml`: one tool definition.

use crate::yaml::{self, Problem};
use maniple_contract::mend;
use maniple_core::tool::ToolDefinition;
use maniple_registry::catalog;
use serde_json::Value;
use std::path::Path;

pub(super) fn read(file: &Path, text: &str) -> Result<ToolDefinition, Problem> {
    yaml::read::<ToolDefinition>(file, text, 1)
        .and_then(|tool| {
            let checked = catalog::check(&tool);
            checked.map_err(|error| Problem::of_field(file, text, 1, error.field.as_deref().unwrap_or("name"), error.to_string()))?;
            Ok(tool)
        })
        .map_err(|problem| Problem { hint: problem.hint.clone().or_else(|| hint(text)), ..problem })
}

/// What is legal and looks like a slip.
pub(super) fn remarks(file: &Path, tool: &ToolDefinition) -> Vec<Problem> {
    let schemas = [("/parameters", Some(&tool.parameters)), ("/returns", tool.returns.as_ref())];
    let slips = schemas.into_iter().flat_map(|(at, schema)| schema.map(|schema| mend::slips(schema, at)).unwrap_or_default());
    slips.map(|slip| Problem::of_file(file, slip.to_string())).collect()
}

/// What mending would change in a definition that somebody else wrote; in a project's own file it is only proposed.
fn hint(text: &str) -> Option<String> {
    let raw: Value = maniple_registry::yaml::read(text).ok()?;
    let notes: Vec<String> = match mend::mend(raw) {
        Ok(mended) => mended.notes.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.message.into_owned()],
    };
    (!notes.is_empty()).then(|| notes.join("; "))
}
