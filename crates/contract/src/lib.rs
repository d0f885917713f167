//! What a tool promises those who call it, and whether it keeps the promise.
//!
//! | part | thought |
//! |---|---|
//! | [`mend`] | a definition as somebody wrote it becomes one that keeps every rule, where that keeps its meaning |
//! | [`compat`] | whether a new version breaks those who call the old one, with a value that shows it |
//! | [`line`] | which version numbers may follow which |
//!
//! A tool's *contract* is what callers rely on: its name, version, description, parameters, returns, method, effect and
//! what it asks of them. Where it is called, how long that may take and how often belong to an instance and may change.
//!
//! Everything here is pure: no I/O, no clock, no async runtime. The same input has the same answer, every answer is found
//! within a bounded number of steps, and hostile schemas are refused or handled within those bounds. Schemas are JSON Schema
//! 2020-12 or draft-07; nothing is fetched, so a `$ref` is local or refused.
//!
//! # Mend, then compare
//!
//! ```
//! use maniple_contract::{ToolDefinition, Verdict, compat, line, mend};
//! use serde_json::json;
//!
//! // As somebody else wrote it: a dot in the name, half a version, types of another language, a bare map of parameters.
//! let mended = mend::mend(json!({
//!     "name": "search.web",
//!     "version": "1.0",
//!     "description": "Finds pages.",
//!     "endpoint": "https://search.example/q",
//!     "parameters": { "query": { "type": "str" }, "limit": { "type": "int" } },
//! }))?;
//! let old: ToolDefinition = mended.definition;
//! assert_eq!((old.name.as_str(), old.version.to_string()), ("search_web", "1.0.0".into()));
//! assert_eq!(old.parameters["properties"]["limit"], json!({ "type": "integer" }));
//! // Every change is told with its place, for people.
//! assert!(mended.notes.iter().any(|note| note.to_string() == "/parameters/properties/query/type: `str` is \"string\""));
//!
//! // What could only be guessed is refused, with the place and the reason.
//! let guess = mend::mend(json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": "https://t.example/",
//!     "parameters": { "type": "object", "properties": { "upload": { "type": "file" } } } }));
//! assert!(guess.is_err_and(|error| error.message.starts_with("/parameters/properties/upload/type: ")));
//!
//! // A version that takes shorter queries only breaks its callers, and a value shows it.
//! let mut new = ToolDefinition { version: "1.1.0".parse()?, ..old.clone() };
//! new.parameters["properties"]["query"]["maxLength"] = json!(3);
//! let report = compat::compare(&old, &new);
//! assert_eq!(report.verdict, Verdict::Breaking);
//! assert_eq!(report.changes[0].place, "/parameters/properties/query/maxLength");
//! assert_eq!(report.changes[0].witness, Some(json!({ "query": "aaaa" })));
//! // Callers of 1.0.0 may be given 1.1.0, so this must be another number.
//! assert!(line::is_same(&old.version, &new.version));
//! assert_eq!(line::next(&old.version, report.verdict).to_string(), "2.0.0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod compat;
pub mod line;
pub mod mend;

pub use maniple_core::{
    Error,
    tool::{ToolDefinition, Verdict},
};
