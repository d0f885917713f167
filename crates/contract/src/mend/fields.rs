//! The fields of a definition, read strictly.

use super::{escaped, refused, short};
use maniple_core::{Result, tool::ToolDefinition};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

/// What a definition may have. A test holds it against [`ToolDefinition`].
const FIELDS: [&str; 23] = [
    "name",
    "version",
    "description",
    "parameters",
    "endpoint",
    "health_url",
    "probe_url",
    "auth_type",
    "credential",
    "rate_limit",
    "timeout_ms",
    "method",
    "places",
    "body",
    "returns",
    "effect",
    "on_in_doubt",
    "requires_approval",
    "scopes",
    "cache_ttl_ms",
    "poll",
    "tags",
    "deprecated",
];

/// The definition, which keeps every rule of [`ToolDefinition::check`].
pub(super) fn definition(members: Map<String, Value>) -> Result<ToolDefinition> {
    let definition: ToolDefinition = serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        let segments = error.path().iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(escaped(key)),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let place: String = segments.map(|segment| format!("/{segment}")).collect();
        refused(&place, error.into_inner())
    })?;
    definition.check().map_err(|error| refused(&error.field.map_or_else(String::new, |field| format!("/{field}")), error.message))?;
    Ok(definition)
}

/// Refuses a field that no definition has, with the known one that it may have meant.
pub(super) fn known(members: &Map<String, Value>) -> Result<()> {
    let Some(name) = members.keys().find(|name| !FIELDS.contains(&name.as_str())) else { return Ok(()) };
    let shown = short(name);
    let nearest = FIELDS.iter().map(|field| (strsim::damerau_levenshtein(field, &shown), field)).min();
    let hint = match nearest {
        // One letter in three may be wrong.
        Some((wrong, field)) if wrong * 3 <= field.len() => format!("did you mean `{field}`?"),
        _ => format!("there are {}", FIELDS.join(", ")),
    };
    Err(refused(&format!("/{}", escaped(name)), format!("there is no field `{shown}`: {hint}")))
}

/// `1.0`, `v1.2` and `2` as SemVer; `None` where it is SemVer already or nothing of the kind.
pub(super) fn version(version: &Value) -> Result<Option<String>> {
    let text = match version {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() != 0.0) => {
            return Err(refused("/version", format!("{number} is a number, where 1.1 and 1.10 are one: write it as text")));
        }
        Value::Number(number) => number.to_string(),
        _ => return Ok(None),
    };
    if semver::Version::parse(&text).is_ok() && version == &Value::from(text.as_str()) {
        return Ok(None);
    }
    let bare = text.strip_prefix(['v', 'V']).unwrap_or(&text);
    let (numbers, rest) = bare.find(['-', '+']).map_or((bare, ""), |at| bare.split_at(at));
    let Some(missing) = 3usize.checked_sub(numbers.split('.').count()) else { return Ok(None) };
    let full = format!("{numbers}{}{rest}", ".0".repeat(missing));
    Ok(semver::Version::parse(&full).ok().map(|version| version.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_fields_are_those_of_a_definition() {
        let said = serde_json::from_str::<ToolDefinition>(r#"{"?":1}"#).expect_err("unknown").to_string();
        let known: Vec<&str> = said.split('`').skip(3).step_by(2).collect();
        assert_eq!(known, FIELDS, "{said}");
    }
}
