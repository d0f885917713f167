//! From what a server lists to definitions. Pure.

use super::{
    naming::{self, Names},
    settings::ServerSettings,
};
use maniple_contract::mend;
use maniple_core::{
    schema,
    tool::{Effect, ToolDefinition},
};
use semver::{BuildMetadata, Prerelease, Version};
use serde_json::{Map, Value, json};

/// The most tools taken from one server.
pub(super) const TOOLS_MAX: usize = 1_000;
/// The most of a description that models read.
const DESCRIPTION_BYTES: usize = 8 * 1024;
/// The most a name at the server may hold.
const ORIGINAL_BYTES: usize = 256;

/// A tool of a server, as it is to be taken into a catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its definition, mended where that was needed.
    pub definition: ToolDefinition,
    /// Its name at the server.
    pub original: String,
    /// The effect that the server claims and the operator has not confirmed.
    pub proposed_effect: Option<Effect>,
    /// What was changed on the way.
    pub notes: Vec<String>,
}

/// A tool that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name at the server; empty where it has none.
    pub original: String,
    /// Why.
    pub reason: String,
}

/// What one listing brings, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) tools: Vec<Imported>,
    pub(super) refused: Vec<Refused>,
}

/// Every tool of a listing that can be called, and every one that cannot with the reason.
pub(super) fn import(
    server: &str,
    settings: &ServerSettings,
    names: &mut Names,
    server_version: Option<&str>,
    listed: Vec<Value>,
) -> Batch {
    let mut batch = Batch::default();
    let (version, version_note) = version(settings, server_version);
    let mut read: Vec<Read> = Vec::new();
    for (at, tool) in listed.into_iter().enumerate() {
        let original = tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let twice = read.iter().any(|one| one.original == original);
        let tool = match (at >= TOOLS_MAX, twice) {
            (true, _) => Err(format!("only the first {TOOLS_MAX} tools of a server are taken")),
            (_, true) => Err("the server lists this name twice: the first one counts".into()),
            _ => Read::of(tool),
        };
        match tool {
            Ok(tool) => read.push(tool),
            Err(reason) => batch.refused.push(Refused { original: original.chars().take(ORIGINAL_BYTES).collect(), reason }),
        }
    }
    let originals: Vec<&str> = read.iter().map(|one| one.original.as_str()).collect();
    let given = names.give(server, &originals);
    for (tool, name) in read.into_iter().zip(given) {
        let original = tool.original.clone();
        match tool.define(server, settings, name, version.clone()) {
            Ok(mut imported) => {
                imported.notes.extend(version_note.clone());
                batch.tools.push(imported);
            }
            Err(reason) => batch.refused.push(Refused { original, reason }),
        }
    }
    batch.tools.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
    batch
}

/// A listed tool that has all it needs.
struct Read {
    original: String,
    description: String,
    parameters: Value,
    returns: Option<Value>,
    proposed: Option<Effect>,
    notes: Vec<String>,
}

impl Read {
    fn of(mut tool: Value) -> Result<Self, String> {
        let Some(members) = tool.as_object_mut() else { return Err("it is no object".into()) };
        let mut notes = Vec::new();
        let original = match members.get("name").and_then(Value::as_str) {
            Some(name) if !name.is_empty() && name.len() <= ORIGINAL_BYTES => name.to_owned(),
            _ => return Err(format!("its name must be a text of 1 to {ORIGINAL_BYTES} bytes")),
        };
        let description = description(members, &original, &mut notes);
        let parameters = schema(members.remove("inputSchema"), "inputSchema")?;
        let parameters = match parameters {
            Some(schema) => with_object_type(schema, &mut notes),
            None => {
                notes.push("inputSchema is missing: it takes no arguments".into());
                json!({ "type": "object", "properties": {} })
            }
        };
        let returns = schema(members.remove("outputSchema"), "outputSchema")?;
        let proposed = proposed(members.get("annotations"));
        Ok(Self { original, description, parameters, returns, proposed, notes })
    }

    fn define(self, server: &str, settings: &ServerSettings, name: String, version: Version) -> Result<Imported, String> {
        let Self { original, description, parameters, returns, proposed, mut notes } = self;
        let confirmed = settings.confirm.covers(&[&original, &name]);
        if let (Some(effect), false) = (proposed, confirmed) {
            notes.push(format!(
                "the server says that it is {effect}; it is at_most_once until `confirm` of the mcp server `{server}` lists it"
            ));
        }
        if name != format!("{server}_{original}") {
            notes.push(format!("`{original}` is called `{name}` here: models do not accept its own name, or another tool has it"));
        }
        let mut raw = json!({
            "name": name, "version": version, "description": description, "parameters": parameters,
            "endpoint": naming::endpoint(server, &original),
            "effect": proposed.filter(|_| confirmed).unwrap_or(Effect::AtMostOnce),
            "timeout_ms": settings.timeout.as_ms(),
            "tags": ["mcp", server],
        });
        if let Some(returns) = returns {
            raw["returns"] = returns;
        }
        let mended = mend::mend(raw).map_err(|error| error.message.into_owned())?;
        notes.extend(mended.notes.iter().map(ToString::to_string));
        Ok(Imported { definition: mended.definition, original, proposed_effect: proposed.filter(|_| !confirmed), notes })
    }
}

fn description(members: &Map<String, Value>, original: &str, notes: &mut Vec<String>) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let annotated = || text(members.get("annotations").and_then(|a| a.get("title")));
    let Some(mut description) = text(members.get("description")) else {
        notes.push("description is missing: its title or name stands in".into());
        return text(members.get("title")).or_else(annotated).unwrap_or_else(|| original.to_owned());
    };
    if description.len() > DESCRIPTION_BYTES {
        notes.push(format!("description is cut: it had {} bytes, {DESCRIPTION_BYTES} are kept", description.len()));
        description.truncate(description.floor_char_boundary(DESCRIPTION_BYTES));
    }
    description
}

/// A schema within its bound in bytes; whether it is valid is for the catalogue to say, after mending.
fn schema(value: Option<Value>, field: &str) -> Result<Option<Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        // Anything goes.
        Some(Value::Bool(true)) => Ok(Some(json!({}))),
        Some(Value::Object(members)) => {
            let value = Value::Object(members);
            let bytes = value.to_string().len();
            if bytes > schema::MAX_BYTES {
                return Err(format!("{field} has {bytes} bytes; at most {} are allowed", schema::MAX_BYTES));
            }
            Ok(Some(value))
        }
        Some(_) => Err(format!("{field} must be an object")),
    }
}

/// Arguments are an object, said or not.
fn with_object_type(mut schema: Value, notes: &mut Vec<String>) -> Value {
    if let Some(members) = schema.as_object_mut()
        && !members.contains_key("type")
    {
        members.insert("type".into(), "object".into());
        notes.push("inputSchema had no type: it is an object".into());
    }
    schema
}

/// What the server's hints amount to. They are claims: nothing acts on them before an operator agrees.
fn proposed(annotations: Option<&Value>) -> Option<Effect> {
    let hint = |name: &str| annotations.and_then(|a| a.get(name)).and_then(Value::as_bool) == Some(true);
    if hint("readOnlyHint") {
        return Some(Effect::Pure);
    }
    hint("idempotentHint").then_some(Effect::Idempotent)
}

/// The operator's version, else the server's made SemVer, else 1.0.0; with a note where it is not what the server said.
fn version(settings: &ServerSettings, server_version: Option<&str>) -> (Version, Option<String>) {
    if let Some(version) = &settings.version {
        return (version.clone(), None);
    }
    let first = Version::new(1, 0, 0);
    let Some(said) = server_version.map(str::trim).filter(|said| !said.is_empty()) else {
        return (first, Some("the server names no version: 1.0.0 stands in".into()));
    };
    if let Ok(mut version) = Version::parse(said) {
        version.build = BuildMetadata::EMPTY;
        return (version, None);
    }
    let said: String = said.chars().take(64).collect();
    match made_semver(&said) {
        Some(version) => {
            let note = format!("the server's version `{said}` is no SemVer: read as {version}");
            (version, Some(note))
        }
        None => (first, Some(format!("the server's version `{said}` is no SemVer: 1.0.0 stands in"))),
    }
}

/// `v1.2` is 1.2.0, `2026.07.1` is 2026.7.1, `1.2.3.4` and `1.2.3.post4` are 1.2.3, `1.4.0rc1` is 1.4.0-rc1.
fn made_semver(said: &str) -> Option<Version> {
    let said = said.strip_prefix(['v', 'V']).unwrap_or(said);
    let numbers_end = said.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(said.len());
    let (numbers, rest) = said.split_at(numbers_end);
    let mut numbers = numbers.split('.').filter(|n| !n.is_empty()).map(str::parse::<u64>);
    let mut next = || numbers.next().transpose().ok();
    let major = next()??;
    let (minor, patch) = (next()?.unwrap_or(0), next()?.unwrap_or(0));
    let mut version = Version::new(major, minor, patch);
    let rest = rest.split('+').next().unwrap_or_default().trim_start_matches(['-', '_']);
    if !said[..numbers_end].ends_with('.') {
        version.pre = Prerelease::new(rest).unwrap_or(Prerelease::EMPTY);
    }
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Confirm;
    use std::collections::BTreeSet;

    fn settings() -> ServerSettings {
        ServerSettings { command: vec!["x".into()], ..ServerSettings::default() }
    }
    fn batch(settings: &ServerSettings, listed: Value) -> Batch {
        let Value::Array(listed) = listed else { panic!("a list") };
        import("files", settings, &mut Names::default(), Some("2.1.0"), listed)
    }

    #[test]
    fn a_tool_becomes_a_definition() {
        let input = json!({ "type": "object", "properties": { "path": { "type": "string" } } });
        let output = json!({ "type": "object" });
        let listed = json!([{ "name": "read", "description": " Reads. ", "inputSchema": input, "outputSchema": output }]);
        let [tool] = &batch(&settings(), listed).tools[..] else { panic!("one tool") };
        let expected = json!({
            "name": "files_read", "version": "2.1.0", "description": "Reads.", "parameters": input, "returns": output,
            "endpoint": "mcp:files/read", "effect": "at_most_once", "timeout_ms": 30_000, "tags": ["mcp", "files"],
        });
        assert_eq!(tool.definition, serde_json::from_value(expected).expect("a definition"));
        assert_eq!((tool.proposed_effect, &tool.notes), (None, &Vec::new()));
        tool.definition.check().expect("a legal definition");
    }

    #[test]
    fn a_hint_is_a_proposal_until_the_operator_confirms_it() {
        let listed = json!([
            { "name": "read", "description": "d", "inputSchema": { "type": "object" }, "annotations": { "readOnlyHint": true, "idempotentHint": true } },
            { "name": "set", "description": "d", "inputSchema": { "type": "object" }, "annotations": { "idempotentHint": true } },
            { "name": "pay", "description": "d", "inputSchema": { "type": "object" }, "annotations": { "readOnlyHint": "yes", "destructiveHint": false } },
        ]);
        let effects = |confirm: Confirm| {
            let batch = batch(&ServerSettings { confirm, ..settings() }, listed.clone());
            batch.tools.iter().map(|t| (t.original.clone(), t.definition.effect(), t.proposed_effect)).collect::<Vec<_>>()
        };
        let row = |name: &str, effect, proposed| (name.to_owned(), effect, proposed);
        use Effect::{AtMostOnce, Idempotent, Pure};
        let pay = row("pay", AtMostOnce, None);
        assert_eq!(effects(Confirm::Nothing), [pay.clone(), row("read", AtMostOnce, Some(Pure)), row("set", AtMostOnce, Some(Idempotent))]);
        assert_eq!(effects(Confirm::All), [pay.clone(), row("read", Pure, None), row("set", Idempotent, None)]);
        for listed_as in ["read", "files_read"] {
            let some = Confirm::These(BTreeSet::from([listed_as.to_owned()]));
            assert_eq!(effects(some), [pay.clone(), row("read", Pure, None), row("set", AtMostOnce, Some(Idempotent))]);
        }
    }

    #[test]
    fn what_cannot_be_called_is_left_out_with_its_reason_and_the_rest_is_taken() {
        let listed = json!([
            7,
            { "description": "no name" },
            { "name": "a".repeat(257), "inputSchema": {} },
            { "name": "list", "inputSchema": [] },
            { "name": "huge", "inputSchema": { "description": "x".repeat(70_000) } },
            { "name": "huge_out", "inputSchema": {}, "outputSchema": { "description": "x".repeat(70_000) } },
            { "name": "twice", "description": "first", "inputSchema": {} },
            { "name": "twice", "description": "second", "inputSchema": {} },
            { "name": "bare" },
        ]);
        let batch = batch(&settings(), listed);
        let refused: Vec<_> =
            batch.refused.iter().map(|r| (r.original.get(..8.min(r.original.len())).unwrap_or(""), r.reason.as_str())).collect();
        assert_eq!(
            refused,
            [
                ("", "it is no object"),
                ("", "its name must be a text of 1 to 256 bytes"),
                ("aaaaaaaa", "its name must be a text of 1 to 256 bytes"),
                ("list", "inputSchema must be an object"),
                ("huge", "inputSchema has 70018 bytes; at most 65536 are allowed"),
                ("huge_out", "outputSchema has 70018 bytes; at most 65536 are allowed"),
                ("twice", "the server lists this name twice: the first one counts"),
            ]
        );
        let taken: Vec<_> = batch.tools.iter().map(|t| (t.original.as_str(), t.definition.description.as_str())).collect();
        assert_eq!(taken, [("bare", "bare"), ("twice", "first")]);
        batch.tools.iter().for_each(|t| t.definition.check().expect("a legal definition"));
    }

    #[test]
    fn no_more_than_a_thousand_tools_are_taken() {
        let listed = (0..1_005).map(|i| json!({ "name": format!("t{i}"), "inputSchema": {} })).collect();
        let batch = batch(&settings(), Value::Array(listed));
        assert_eq!((batch.tools.len(), batch.refused.len()), (1_000, 5));
    }

    #[test]
    fn a_servers_version_is_made_semver() {
        let made = |said: Option<&str>| version(&settings(), said).0.to_string();
        for (said, expected) in [
            ("1.2.3", "1.2.3"),
            ("1.2.3-rc.1+build5", "1.2.3-rc.1"),
            ("v2", "2.0.0"),
            ("1.2", "1.2.0"),
            ("2026.07.01", "2026.7.1"),
            ("1.26.0.post2", "1.26.0"),
            ("1.4.0rc1", "1.4.0-rc1"),
            ("latest", "1.0.0"),
            ("", "1.0.0"),
            ("99999999999999999999.1", "1.0.0"),
        ] {
            assert_eq!(made(Some(said)), expected, "{said}");
        }
        assert_eq!(made(None), "1.0.0");
        let settings = ServerSettings { version: Some(Version::new(3, 0, 0)), ..settings() };
        assert_eq!(version(&settings, Some("1.2.3")), (Version::new(3, 0, 0), None));
    }
}
