//! An OpenAPI document becomes tools: one for each operation.
//!
//! | in the document | the tool |
//! |---|---|
//! | operationId, else method and path | a legal, unique name, `IMPORT_` before it |
//! | parameters and the members of a JSON body | one object of arguments |
//! | method | as it is: GET and HEAD are pure; PUT and DELETE are *proposed* idempotent (RFC 9110, 9.2.2) and stay `at_most_once` until that is confirmed |
//! | security scheme | a credential of that name, or the one it is mapped to |
//! | info.version | the version, made SemVer |
//!
//! Read as JSON or YAML, versions 3.0 and 3.1. The document is taken as values, not as types: documents in the wild break
//! theirs in places that no tool needs. What cannot become a tool is left out and said.

mod operation;
mod schema;
mod security;
mod settings;

pub use settings::ImportSettings;

use maniple_core::{
    Error, Result,
    tool::{Effect, ToolDefinition},
};
use semver::Version;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// The largest document, in bytes.
pub const BYTES_MAX: usize = 16 << 20;
/// The most operations of one document.
pub const OPERATIONS_MAX: usize = 5_000;
/// The longest text that a model is shown of a description, in bytes.
const DESCRIPTION_MAX: usize = 1_024;

/// What a document became.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// The tools.
    pub tools: Vec<Imported>,
    /// What was left out, with its place and the reason.
    pub left_out: Vec<Note>,
}

/// One operation as a tool.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The tool.
    pub definition: ToolDefinition,
    /// The effect its method stands for, where that is not in force.
    pub proposed: Option<Effect>,
    /// What was changed on the way.
    pub notes: Vec<String>,
}

/// Something to know of a place in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The operation.
    pub place: String,
    /// What.
    pub what: String,
}

/// Reads a document; the import's name goes before every tool's. `Invalid` where it is none; what is wrong with one operation
/// leaves that one out.
pub fn import(name: &str, text: &str, settings: &ImportSettings) -> Result<Import> {
    let document = read(text)?;
    let mut import = Import::default();
    let mut taken = HashSet::new();
    let mut seen = 0;
    let none = Map::new();
    let paths = document.root.get("paths").and_then(Value::as_object).unwrap_or(&none);
    for (path, item) in paths {
        let item = document.resolved(item);
        for (method, operation) in item.as_object().into_iter().flatten().filter(|(name, _)| METHODS.contains(&name.as_str())) {
            seen += 1;
            if seen > OPERATIONS_MAX {
                return Err(Error::invalid(format!("the document has more than {OPERATIONS_MAX} operations: include fewer, or split it")));
            }
            let found = operation::Operation { document: &document, import: name, settings, path, method, item, operation };
            if !found.is_included() {
                continue;
            }
            match found.tool(&mut taken) {
                Ok(tool) => import.tools.push(tool),
                Err(what) => import.left_out.push(Note { place: format!("{} {path}", method.to_uppercase()), what }),
            }
        }
    }
    if seen == 0 {
        return Err(Error::invalid("the document has no operations: it needs `paths`"));
    }
    Ok(import)
}

const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// A document with what is asked of all of it.
struct Document {
    root: Value,
    version: Version,
    /// Whether its schemas are written as OpenAPI 3.0 has them.
    is_3_0: bool,
}

fn read(text: &str) -> Result<Document> {
    if text.len() > BYTES_MAX {
        return Err(Error::invalid(format!("the document has {} bytes; at most {BYTES_MAX} are read", text.len())));
    }
    let root: Value = match serde_json::from_str(text) {
        Ok(root) => root,
        Err(_) if text.trim_start().starts_with('{') && serde_saphyr::from_str::<Value>(text).is_err() => {
            let why = serde_json::from_str::<Value>(text).err().map(|error| error.to_string()).unwrap_or_default();
            return Err(Error::invalid(format!("the document is no JSON: {why}")));
        }
        Err(_) => {
            serde_saphyr::from_str(text).map_err(|error| Error::invalid(format!("the document is neither JSON nor YAML: {error}")))?
        }
    };
    let Some(spec) = root.get("openapi").and_then(Value::as_str) else {
        let told = match root.get("swagger").and_then(Value::as_str) {
            Some(old) => format!("Swagger {old} is not read: convert the document to OpenAPI 3"),
            None => "the document says no `openapi` version".to_owned(),
        };
        return Err(Error::invalid(told).at("openapi"));
    };
    if !spec.starts_with("3.") {
        return Err(Error::invalid(format!("OpenAPI {spec} is not read: 3.0 and 3.1 are")).at("openapi"));
    }
    let is_3_0 = spec.starts_with("3.0");
    let version = root.pointer("/info/version").map(version_of).unwrap_or(Version::new(1, 0, 0));
    Ok(Document { version, is_3_0, root })
}

/// `2.1`, `v3` and dates become SemVer; what is nothing of the kind is 1.0.0.
fn version_of(value: &Value) -> Version {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = text.trim().trim_start_matches(['v', 'V']);
    if let Ok(version) = Version::parse(text) {
        return version;
    }
    let core = text.split(['-', '+', ' ']).next().unwrap_or_default();
    let mut numbers = if core.contains('.') { core.split('.').collect::<Vec<_>>() } else { text.split(['-', '/']).collect() }
        .into_iter()
        .map(str::parse::<u64>);
    let mut next = || numbers.next().and_then(Result::ok);
    match (next(), next(), next()) {
        (Some(major), minor, patch) => Version::new(major, minor.unwrap_or(0), patch.unwrap_or(0)),
        (None, ..) => Version::new(1, 0, 0),
    }
}

impl Document {
    /// What a `$ref` leads to, as far as it goes; references elsewhere lead nowhere.
    fn resolved<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        const HOPS_MAX: usize = 16;
        for _ in 0..HOPS_MAX {
            let Some(target) = value.get("$ref").and_then(Value::as_str).and_then(|reference| self.at(reference)) else { return value };
            value = target;
        }
        &Value::Null
    }
    fn at(&self, reference: &str) -> Option<&Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }
}

/// At most so many bytes of a text, cut between characters.
fn shortened(text: &str, max: usize) -> String {
    if text.len() <= max { text.to_owned() } else { format!("{}…", &text[..text.floor_char_boundary(max - '…'.len_utf8())]) }
}
