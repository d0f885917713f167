//! The catalogue as Markdown.

use maniple_core::tool::{LeftOut, ToolVersion};
use serde_json::{Value, json};
use std::fmt::Write;

/// How deep an example goes into a schema.
const EXAMPLE_DEPTH: usize = 4;

/// All versions, those of a name together and highest first, as one document; at its end what of the imports is no tool.
pub fn markdown(versions: &[ToolVersion], left_out: &[LeftOut]) -> String {
    let mut page = String::from("# Tools\n\n| tool | version | state | effect | what it is for |\n|---|---|---|---|---|\n");
    for version in versions {
        let tool = &version.definition;
        let (name, about) = (&tool.name, plain(&tool.description));
        let _ = writeln!(page, "| [`{name}`](#{name}) | {} | {} | {} | {about} |", tool.version, version.state.as_str(), version.effect);
    }
    let mut before = None;
    for version in versions {
        if before != Some(&version.definition.name) {
            let _ = write!(page, "\n## {}\n", version.definition.name);
            before = Some(&version.definition.name);
        }
        write_version(&mut page, version);
    }
    if !left_out.is_empty() {
        page.push_str("\n## Left out\n\n| import | what | why |\n|---|---|---|\n");
        for LeftOut { from, place, why, .. } in left_out {
            let _ = writeln!(page, "| {} | {} | {} |", plain(from), code(place), plain(why));
        }
    }
    page
}

fn write_version(page: &mut String, version: &ToolVersion) {
    let tool = &version.definition;
    let _ = write!(page, "\n### {} {}\n\n{}\n\n", tool.name, tool.version, plain(&tool.description));
    if let Some(why) = &tool.deprecated {
        let _ = write!(page, "**Deprecated**: {}\n\n", plain(why));
    }
    if let Some(why) = &version.reason {
        let _ = write!(page, "**{}**: {}\n\n", version.state.as_str(), plain(why));
    }
    let needed = |name: &str| tool.parameters["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let properties = tool.parameters.get("properties").and_then(Value::as_object).filter(|all| !all.is_empty());
    if let Some(properties) = properties {
        page.push_str("| parameter | type | required | meaning |\n|---|---|---|---|\n");
        for (name, schema) in properties {
            let about = plain(schema["description"].as_str().unwrap_or_default());
            let _ = writeln!(page, "| {} | {} | {} | {about} |", code(name), plain(&kind(schema)), if needed(name) { "yes" } else { "" });
        }
        page.push('\n');
    }
    let effect =
        if tool.requires_approval { format!("{}; a person agrees to each call", version.effect) } else { version.effect.to_string() };
    let _ = write!(
        page,
        "- effect: {effect}\n- owner: {} ({})\n- contract: `{}`\n",
        plain(&version.owner),
        version.source.as_str(),
        version.contract
    );
    if let Some(proposed) = version.proposed_effect {
        let _ = writeln!(page, "- its source says {proposed}: not confirmed");
    }
    let _ = writeln!(page, "- time-out: {} ms", tool.timeout_ms);
    if let Some(limit) = tool.rate_limit {
        let _ = writeln!(page, "- at most {limit} calls of each agent in 60 s");
    }
    for instance in &version.instances {
        let why = instance.reason.as_ref().map(|why| format!(", {}", plain(why))).unwrap_or_default();
        let _ = writeln!(page, "- served by {}: {}{why}", code(&instance.endpoint), instance.state.as_str());
    }
    if let Some(why) = &version.overridden {
        let _ = writeln!(page, "- taken in although it is not proven compatible, by {}", plain(why));
    }
    for note in &version.notes {
        let _ = writeln!(page, "- mended: {}", plain(note));
    }
    for (what, schema) in [("parameters", Some(&tool.parameters)), ("returns", tool.returns.as_ref())] {
        // No line of it can end the block: in JSON each begins with a bracket, a quote or a number.
        if let Some(schema) = schema {
            let _ = write!(page, "\nIts {what}:\n\n```json\n{schema:#}\n```\n");
        }
    }
    let example = serde_json::to_string(&example(&tool.parameters, 0)).unwrap_or_default();
    let _ = write!(page, "\n```sh\nmaniple tool call {} --agent AGENT '{}'\n```\n", tool.name, example.replace('\'', "'\\''"));
    if let (Some(previous), Some(verdict)) = (&version.previous, version.verdict) {
        let verdict = json!(verdict).as_str().unwrap_or_default().to_owned();
        let _ = write!(page, "\nSince {previous}: {verdict}\n\n");
        for change in &version.changes {
            let _ = writeln!(page, "- {}", plain(change));
        }
    }
}

/// Arguments that a call could begin with: what is required, in its simplest form.
pub fn example(schema: &Value, depth: usize) -> Value {
    let given = ["default", "const"].into_iter().find_map(|key| schema.get(key));
    let listed = ["examples", "enum"].into_iter().find_map(|key| schema.get(key)?.as_array()?.first());
    if let Some(value) = given.or(listed) {
        return value.clone();
    }
    let kind = schema.get("type").and_then(|kind| kind.as_str().or_else(|| kind.as_array()?.first()?.as_str()));
    match kind.unwrap_or(if schema.get("properties").is_some() { "object" } else { "string" }) {
        "object" if depth < EXAMPLE_DEPTH => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            required.map(|name| (name.to_owned(), example(&schema["properties"][name], depth + 1))).collect()
        }
        "object" => json!({}),
        "array" => match schema.get("minItems").and_then(Value::as_u64) {
            Some(1..) if depth < EXAMPLE_DEPTH => json!([example(&schema["items"], depth + 1)]),
            _ => json!([]),
        },
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!("…"),
    }
}

fn kind(schema: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (schema.get("enum"), schema.get("type")) {
        (Some(Value::Array(values)), _) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(" or "),
        (_, Some(Value::Array(kinds))) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        (_, Some(kind)) => text(kind),
        (_, None) => "anything".to_owned(),
    }
}

/// A text from outside as a piece of code, where nothing is escaped: what would end it is left out.
fn code(text: &str) -> String {
    let kept: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !matches!(c, '`' | '|')).collect();
    format!("`{kept}`")
}

/// A text from outside as Markdown that says just that.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '!' | '&') {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(description: &str) -> ToolVersion {
        let definition = json!({
            "name": "search", "version": "1.1.0", "description": description, "endpoint": "https://x.test/", "rate_limit": 5,
            "parameters": { "type": "object", "required": ["q"], "properties": { "q": { "type": "string", "description": "a | b" }, "n": { "type": ["integer", "null"] } } },
        });
        serde_json::from_value(json!({
            "definition": definition, "contract": "abc", "effect": "at_most_once", "owner": "ann", "source": "registered", "state": "unhealthy",
            "reason": "its health_url answers 500", "overridden": "root: it is fine", "notes": ["/type: str is string"], "instances": [
                { "id": "i", "endpoint": "https://x.test/open_it", "state": "unhealthy", "reason": "it answers 500", "source": "registered" }], "previous": "1.0.0", "verdict": "compatible", "changes": ["parameters/n: is new"],
        }))
        .unwrap()
    }

    #[test]
    fn what_of_an_import_is_no_tool_stands_at_the_end() {
        let one = LeftOut { from: "openapi:api".into(), place: "POST /x".into(), name: None, why: "its body | is XML".into() };
        assert!(
            markdown(&[], &[one])
                .ends_with("## Left out\n\n| import | what | why |\n|---|---|---|\n| openapi:api | `POST /x` | its body \\| is XML |\n")
        );
    }

    #[test]
    fn a_version_is_told_with_what_a_caller_needs() {
        let page = markdown(&[version("Finds things.")], &[]);
        for part in [
            "| [`search`](#search) | 1.1.0 | unhealthy | at_most_once | Finds things. |",
            "### search 1.1.0",
            "**unhealthy**: its health\\_url answers 500",
            "| `q` | string | yes | a \\| b |",
            "| `n` | integer or null |  |  |",
            "- at most 5 calls of each agent in 60 s",
            "maniple tool call search --agent AGENT '{\"q\":\"…\"}'",
            "- served by `https://x.test/open_it`: unhealthy, it answers 500",
            "by root: it is fine",
            "- mended: /type: str is string",
            "Its parameters:\n\n```json\n{\n  \"",
            "Since 1.0.0: compatible\n\n- parameters/n: is new",
        ] {
            assert!(page.contains(part), "`{part}` is missing in:\n{page}");
        }
    }

    #[test]
    fn a_hostile_description_stays_text() {
        let page = markdown(&[version("<script>alert(1)</script> [x](javascript:1)\n# H\n| a |")], &[]);
        assert!(!page.contains("<script>") && !page.contains("[x](") && !page.contains("\n# H"), "{page}");
    }

    #[test]
    fn an_example_holds_what_is_required() {
        let schema = json!({ "type": "object", "required": ["a", "b", "c", "d"], "properties": {
            "a": { "type": "array", "minItems": 1, "items": { "type": "integer", "minimum": 3 } },
            "b": { "enum": ["x", "y"] }, "c": { "type": "object", "required": ["e"], "properties": { "e": { "type": "boolean" } } },
            "d": { "default": 7 }, "f": {} } });
        assert_eq!(example(&schema, 0), json!({ "a": [3], "b": "x", "c": { "e": true }, "d": 7 }));
        let endless = json!({ "$ref": "#" });
        assert_eq!(example(&endless, 0), json!("…"));
    }
}
