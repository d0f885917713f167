//! `tools/NAME.yaml`: one tool definition.

use crate::yaml::{self, Problem};
use maniple_core::tool::ToolDefinition;
use std::path::Path;

pub(super) fn read(file: &Path, text: &str) -> Result<ToolDefinition, Problem> {
    let tool: ToolDefinition = yaml::read(file, text, 1)?;
    let checked = maniple_registry::catalog::check(&tool);
    checked.map_err(|error| Problem::of_field(file, text, 1, error.field.as_deref().unwrap_or("name"), error.to_string()))?;
    Ok(tool)
}
