//! Definitions and names in the wild, made legal where that keeps their meaning.
//!
//! Every change is told with its place. What could only be guessed is refused with the place and the
//! reason. A schema that comes out compiles.

mod kinds;
mod name;
mod schema;

pub use name::legal_name;

use maniple_core::{
    Error, Result,
    schema::{MAX_BYTES, Validator},
    tool::ToolDefinition,
};
use schema::Mender;
use serde_json::{Map, Value, json};
use std::{collections::HashSet, fmt};

/// A definition, and what was changed in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mended {
    /// The definition. Its schemas compile; whether it keeps the other rules is for [`ToolDefinition::check`] to say.
    pub definition: ToolDefinition,
    /// What was changed.
    pub notes: Vec<Note>,
}

/// One thing that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A JSON pointer into what came.
    pub place: String,
    /// What was changed, for people.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.place.is_empty() { "/" } else { &self.place }, self.text)
    }
}

/// Reads a definition as it came. `Invalid` tells the place, as a JSON pointer, and the reason.
pub fn mend(raw: Value) -> Result<Mended> {
    let mut notes = Vec::new();
    let mut say = |place: &str, text: String| notes.push(Note { place: place.into(), text });
    let Value::Object(mut members) = raw else { return Err(refused("", "a definition must be an object")) };
    if let Some(Value::Object(inner)) = members.get("function").filter(|_| !members.contains_key("name")) {
        let inner = inner.clone();
        members.remove("function");
        members.remove("type");
        members.extend(inner);
        say("/function", "taken out of its wrapping".into());
    }
    for (theirs, ours) in [("inputSchema", "parameters"), ("input_schema", "parameters"), ("outputSchema", "returns")] {
        if !members.contains_key(ours)
            && let Some(schema) = members.remove(theirs)
        {
            members.insert(ours.into(), schema);
            say(&format!("/{theirs}"), format!("is `{ours}` here"));
        }
    }
    let empty: Vec<String> = members.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect();
    for name in empty {
        members.remove(&name);
        say(&format!("/{name}"), "null: left out".into());
    }
    if let Some(Value::String(name)) = members.get("name") {
        let legal = legal_name(name, &mut HashSet::new());
        if legal != *name {
            say("/name", format!("`{}` is `{legal}` here: models accept A-Z a-z 0-9 _ - and 64 characters", short(name)));
            members.insert("name".into(), legal.into());
        }
    }
    if let Some(version) = members.get("version")
        && let Some(mended) = version_of(version)
    {
        say("/version", format!("{version} is {mended}"));
        members.insert("version".into(), mended.into());
    }
    if let Some(Value::String(method)) = members.get("method")
        && method.bytes().any(|byte| byte.is_ascii_lowercase())
    {
        let upper = method.to_ascii_uppercase();
        say("/method", format!("`{}` is `{upper}`", short(method)));
        members.insert("method".into(), upper.into());
    }
    if let Some(parameters) = members.remove("parameters") {
        let mut mender = Mender::new("/parameters");
        let parameters = compiled(mender.parameters(parameters)?, "/parameters")?;
        members.insert("parameters".into(), parameters);
        notes.extend(mender.into_notes());
    }
    if let Some(returns) = members.remove("returns") {
        let mut mender = Mender::new("/returns");
        let returns = compiled(mender.whole(returns)?, "/returns")?;
        members.insert("returns".into(), returns);
        notes.extend(mender.into_notes());
    }
    let definition = serde_json::from_value(Value::Object(members)).map_err(|error| refused("", error.to_string()))?;
    Ok(Mended { definition, notes })
}

/// Mends one schema, wherever it stands. `Invalid` tells the place, as a JSON pointer, and the reason.
pub fn mend_schema(raw: Value) -> Result<(Value, Vec<Note>)> {
    let mut mender = Mender::new("");
    let schema = compiled(mender.whole(raw)?, "")?;
    Ok((schema, mender.into_notes()))
}

fn compiled(schema: Value, place: &str) -> Result<Value> {
    Validator::compile(&schema).map_err(|why| refused(place, why))?;
    Ok(schema)
}

fn refused(place: &str, why: impl fmt::Display) -> Error {
    let shown = if place.is_empty() { "/" } else { place };
    Error::invalid(format!("{shown}: {why}")).at(place.trim_start_matches('/').to_owned())
}

/// `1.0`, `v1.2` and `2` as SemVer; `None` where it is SemVer already or nothing of the kind.
fn version_of(version: &Value) -> Option<String> {
    let text = match version {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    if version.is_string() && semver::Version::parse(&text).is_ok() && version == &Value::from(text.as_str()) {
        return None;
    }
    let bare = text.strip_prefix(['v', 'V']).unwrap_or(&text);
    let (numbers, rest) = bare.find(['-', '+']).map_or((bare, ""), |at| bare.split_at(at));
    let missing = 3usize.checked_sub(numbers.split('.').count())?;
    let full = format!("{numbers}{}{rest}", ".0".repeat(missing));
    semver::Version::parse(&full).ok().map(|version| version.to_string())
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What a tool takes that takes nothing.
fn nothing() -> Value {
    json!({ "type": "object", "properties": {} })
}

/// A schema that came as JSON text.
fn parsed(text: &str, place: &str) -> Result<Value> {
    if text.len() > MAX_BYTES {
        return Err(refused(place, format!("the schema has {} bytes; at most {MAX_BYTES} are allowed", text.len())));
    }
    serde_json::from_str::<Map<String, Value>>(text)
        .map(Value::Object)
        .map_err(|why| refused(place, format!("the text is no schema: {why}")))
}
