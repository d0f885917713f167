//! An OpenAPI document becomes tools: one for each operation.
//!
//! | in the document | the tool |
//! |---|---|
//! | operationId, else method and path | a legal, unique name, `IMPORT_` before it |
//! | parameters and the members of a body | one object of arguments, each written where and how the document says |
//! | method | as it is: GET and HEAD are pure; PUT and DELETE are *proposed* idempotent (RFC 9110, 9.2.2) and stay `at_most_once` until that is confirmed |
//! | security | the first alternative that a configured credential serves |
//! | info.version | the version, made SemVer |
//!
//! Read as JSON or YAML, versions 3.0 to 3.2. The document is taken as values, not as types: documents in the wild break
//! theirs in places that no tool needs. What cannot become a tool is left out and said.

mod arguments;
mod body;
mod document;
mod lean;
mod operation;
mod parameters;
mod schema;
mod security;
mod servers;
mod settings;

pub use settings::ImportSettings;

use document::Document;
use maniple_core::{
    Error, Result,
    tool::{AuthType, Effect, ToolDefinition},
};
use operation::Operation;
use std::collections::{BTreeMap, HashSet};

/// The largest document, in bytes.
pub const BYTES_MAX: usize = 16 << 20;
/// The most operations that are taken of one document.
pub const OPERATIONS_MAX: usize = 5_000;
/// The longest text that a model is shown of a description, in bytes.
const DESCRIPTION_MAX: usize = 1_024;

/// The credentials that an import may use: what kind each name is.
pub type Configured = BTreeMap<String, AuthType>;

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
    /// The operation: method and path.
    pub place: String,
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
    /// The name of the tool that it would be.
    pub name: Option<String>,
    /// What.
    pub what: String,
}

/// Reads a document; the import's name goes before every tool's. `Invalid` where it is none; what is wrong with one operation
/// leaves that one out.
pub fn import(name: &str, text: &str, settings: &ImportSettings, credentials: &Configured) -> Result<Import> {
    let mut document = document::read(text)?;
    let mut import = Import::default();
    let mut taken = HashSet::new();
    let mut included = 0;
    let paths: Vec<String> = document.paths().map(|(path, _)| path.clone()).collect();
    for (path, item) in document.paths() {
        let operations = document.operations(item);
        let of =
            |(method, operation)| Operation { document: &document, import: name, settings, credentials, path, method, item, operation };
        included += operations.into_iter().map(of).filter(Operation::is_included).count();
    }
    if included > OPERATIONS_MAX {
        let told = format!("more than {OPERATIONS_MAX} operations of the document are included: include fewer, or split it");
        return Err(Error::invalid(told));
    }
    for path in &paths {
        let own = document.path_item(path);
        let item = document.resolved(&own);
        if !item.is_object() {
            let what = "it is no path item, or refers to one that is not in this document".to_owned();
            import.left_out.push(Note { place: path.clone(), name: None, what });
            continue;
        }
        for (method, operation) in document.operations(item) {
            let found = Operation { document: &document, import: name, settings, credentials, path, method, item, operation };
            if !found.is_included() {
                continue;
            }
            match found.tool(&mut taken) {
                Ok(tool) => import.tools.push(tool),
                Err((name, what)) => import.left_out.push(Note { place: found.place(), name: Some(name), what }),
            }
        }
    }
    if document.operations_in_all == 0 && import.left_out.is_empty() {
        return Err(Error::invalid("the document has no operations: it needs `paths`"));
    }
    Ok(import)
}

/// The methods that a tool can have.
const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];
/// Those that none can.
const FOREIGN: [&str; 3] = ["options", "trace", "query"];

/// At most so many bytes of a text, cut between characters.
fn shortened(text: &str, max: usize) -> String {
    if text.len() <= max { text.to_owned() } else { format!("{}…", &text[..text.floor_char_boundary(max - '…'.len_utf8())]) }
}
