//! Definitions and names in the wild, made legal where that keeps their meaning.
//!
//! Every change is told with its place. What could only be guessed is refused with the place and the
//! reason. What comes out is legal, and mending it again changes nothing.

mod fields;
mod keywords;
mod kinds;
mod name;
mod references;
mod schema;
mod slips;

pub use name::legal_name;

pub use slips::slips;

use maniple_core::{Error, Result, schema::MAX_BYTES, tool::ToolDefinition};
use name::has_legal_part;
use schema::Mender;
use serde_json::{Map, Value, json};
use std::{collections::HashSet, fmt};

/// A definition, and what was changed in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mended {
    /// The definition. It keeps the rules of [`ToolDefinition::check`]; its schemas compile.
    pub definition: ToolDefinition,
    /// Its name as it came, where that had to be made legal: another one may have become the same.
    pub original_name: Option<String>,
    /// What was changed, for people.
    pub notes: Vec<Note>,
}

/// One thing that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A JSON pointer into what came, where a list or a bare map of properties is named as it is read. Of a
    /// long one the beginning.
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
    if !members.contains_key("name")
        && let Some(Value::Object(inner)) = members.get_mut("function")
    {
        let inner = std::mem::take(inner);
        members.remove("function");
        for (name, value) in inner {
            if members.get(&name).is_some_and(|other| *other != value) {
                return Err(refused(&format!("/function/{}", escaped(&name)), "it stands outside too, and says something else"));
            }
            members.insert(name, value);
        }
        say("/function", "taken out of its wrapping".into());
    }
    // What a model's provider is told of a tool beside its definition.
    for (theirs, is_theirs) in
        [("type", members.get("type") == Some(&json!("function"))), ("strict", members.get("strict").is_some_and(Value::is_boolean))]
    {
        if is_theirs {
            members.remove(theirs);
            say(&format!("/{theirs}"), "left out: it is for a model's provider".into());
        }
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
        say(&short_place(&format!("/{}", escaped(&name))), "null: left out".into());
    }
    fields::known(&members)?;
    let mut original_name = None;
    if let Some(Value::String(name)) = members.get_mut("name") {
        if !has_legal_part(name) {
            return Err(refused("/name", format!("`{}` has no character that models accept: use A-Z a-z 0-9 _ -", short(name))));
        }
        let legal = legal_name(name, &mut HashSet::new());
        if legal != *name {
            say("/name", format!("`{}` is `{legal}` here: models accept A-Z a-z 0-9 _ - and 64 characters", short(name)));
            original_name = Some(std::mem::replace(name, legal));
        }
    }
    if let Some(version) = members.get("version")
        && let Some(mended) = fields::version(version)?
    {
        say("/version", format!("{} is {mended}", short(&version.to_string())));
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
        let parameters = mender.parameters(parameters)?;
        let parameters = mender.compiled(parameters)?;
        members.insert("parameters".into(), parameters);
        notes.extend(mender.into_notes());
    }
    if let Some(returns) = members.remove("returns") {
        let mut mender = Mender::new("/returns");
        let returns = mender.whole(returns)?;
        let returns = mender.compiled(returns)?;
        members.insert("returns".into(), returns);
        notes.extend(mender.into_notes());
    }
    Ok(Mended { definition: fields::definition(members)?, original_name, notes })
}

/// Mends one schema, wherever it stands. `Invalid` tells the place, as a JSON pointer, and the reason.
pub fn mend_schema(raw: Value) -> Result<(Value, Vec<Note>)> {
    let mut mender = Mender::new("");
    let schema = mender.whole(raw)?;
    let schema = mender.compiled(schema)?;
    Ok((schema, mender.into_notes()))
}

fn refused(place: &str, why: impl fmt::Display) -> Error {
    const LONGEST: usize = 2_000;
    let place = short_place(place);
    let shown = if place.is_empty() { "/" } else { &place };
    let mut message = format!("{shown}: {why}");
    message.truncate(message.floor_char_boundary(LONGEST));
    Error::invalid(message).at(place.trim_start_matches('/').to_owned())
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A place that a person can read: names in it may be as long as the schema.
fn short_place(place: &str) -> String {
    const LONGEST: usize = 400;
    if place.len() <= LONGEST { place.to_owned() } else { format!("{}…", &place[..place.floor_char_boundary(LONGEST)]) }
}

/// A name as a segment of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
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
