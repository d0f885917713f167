//! References into a schema follow what a mending moves.

use super::{escaped, keywords::STAYS_OUTSIDE};
use maniple_core::schema::{MAX_DEPTH, loosen};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Their members are schemas, named by the author.
pub(super) const BY_NAME: [&str; 6] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];
/// They hold values, where null is one and a reference is none.
pub(super) const VALUES: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// What stands elsewhere since it was mended. Places are JSON pointers, as the mender calls them.
#[derive(Default)]
pub(super) struct Moves {
    moved: HashMap<String, Moved>,
    wrapped: HashSet<String>,
}

/// Where something went.
struct Moved {
    /// What the mender calls its place now.
    place: String,
    /// The path to it, from where it was.
    path: Vec<String>,
}

impl Moves {
    /// What stood at `name` in `at` is found along `path` now.
    pub(super) fn moved(&mut self, at: &str, name: &str, path: &[&str]) {
        let place = path.iter().fold(at.to_owned(), |place, segment| format!("{place}/{}", escaped(segment)));
        let moved = Moved { place, path: path.iter().map(|segment| (*segment).to_owned()).collect() };
        self.moved.insert(format!("{at}/{}", escaped(name)), moved);
    }

    /// The schema at this place is the first of an `anyOf` now, but for what [`STAYS_OUTSIDE`].
    pub(super) fn wrapped(&mut self, at: &str) {
        self.wrapped.insert(at.to_owned());
    }

    /// Lets every reference follow; whether one had to.
    pub(super) fn lead(&self, schema: &mut Value, at: &str) -> bool {
        let mut is_news = false;
        if !self.moved.is_empty() || !self.wrapped.is_empty() {
            each(schema, &mut |reference| {
                if let Some(followed) = self.followed(reference, at) {
                    *reference = followed;
                    is_news = true;
                }
            });
        }
        is_news
    }

    fn followed(&self, reference: &str, at: &str) -> Option<String> {
        let pointer = reference.strip_prefix("#/")?;
        // No schema nests so deep: it leads nowhere, and the validator will say so.
        if pointer.split('/').count() > MAX_DEPTH * 2 {
            return None;
        }
        let (mut place, mut path, mut is_news) = (at.to_owned(), String::from("#"), false);
        for segment in pointer.split('/') {
            let before = std::mem::take(&mut place);
            let key = format!("{before}/{}", percent_decoded(segment)?);
            let moved = self.moved.get(&key);
            let first = moved.and_then(|moved| moved.path.first()).map_or(segment, String::as_str);
            if self.wrapped.contains(&before) && !STAYS_OUTSIDE.contains(&first) {
                path.push_str("/anyOf/0");
                is_news = true;
            }
            match moved {
                Some(moved) => {
                    moved.path.iter().for_each(|segment| path.extend(["/", &percent_encoded(&escaped(segment))]));
                    place.clone_from(&moved.place);
                    is_news = true;
                }
                None => {
                    path.extend(["/", segment]);
                    place = key;
                }
            }
        }
        is_news.then_some(path)
    }
}

/// Whether some reference means the schema as a whole.
pub(super) fn lead_to_the_whole(schema: &mut Value) -> bool {
    let mut found = false;
    each(schema, &mut |reference| found |= reference == "#");
    found
}

/// Takes references out that lead nowhere in the schema, so that anything goes there, and makes those local that name the schema by
/// its own `$id`. Returns those that are gone.
pub(super) fn drop_dead(schema: &mut Value) -> Vec<String> {
    let id = schema.get("$id").and_then(Value::as_str).map(|id| id.split('#').next().unwrap_or_default().to_owned());
    let own = |reference: &str| {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let id = id.as_deref().filter(|id| !document.is_empty() && !id.is_empty())?;
        let is_own =
            document == id || id.rsplit('/').next() == Some(document) || id.strip_suffix(document).is_some_and(|base| base.ends_with('/'));
        is_own.then(|| format!("#{fragment}"))
    };
    each(schema, &mut |reference| {
        if let Some(local) = own(reference) {
            *reference = local;
        }
    });
    let whole = schema.clone();
    let mut names = HashSet::new();
    let mut open = vec![&whole];
    while let Some(value) = open.pop() {
        names.extend(["$anchor", "$dynamicAnchor"].iter().filter_map(|keyword| value.get(*keyword)?.as_str()).map(str::to_owned));
        match value {
            Value::Object(members) => open.extend(members.values()),
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let is_dead = |reference: &str| match reference.strip_prefix('#').and_then(percent_decoded) {
        Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
            whole.pointer(&pointer).is_none_or(|target| !target.is_object() && !target.is_boolean())
        }
        Some(name) => !names.contains(&name),
        None => true,
    };
    let mut dead = Vec::new();
    loosen(schema, &mut |members| {
        let before = dead.len();
        for keyword in ["$ref", "$dynamicRef"] {
            if let Some(Value::String(reference)) = members.get(keyword).filter(|reference| reference.as_str().is_some_and(is_dead)) {
                dead.push(reference.clone());
                members.remove(keyword);
            }
        }
        dead.len() > before
    });
    dead
}

fn each(schema: &mut Value, change: &mut impl FnMut(&mut String)) {
    match schema {
        Value::Object(members) => {
            for (keyword, value) in members {
                match value {
                    Value::String(reference) if matches!(keyword.as_str(), "$ref" | "$dynamicRef") => change(reference),
                    Value::Object(named) if BY_NAME.contains(&keyword.as_str()) => {
                        named.values_mut().for_each(|schema| each(schema, change));
                    }
                    _ if VALUES.contains(&keyword.as_str()) => {}
                    schema => each(schema, change),
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(|schema| each(schema, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let hex = part.get(..2).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~$".contains(&byte);
    text.bytes().map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
