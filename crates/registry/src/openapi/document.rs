//! The document: read, and asked where its references lead.

use super::{BYTES_MAX, FOREIGN, METHODS, lean};
use maniple_core::{Error, Result, schema};
use semver::Version;
use serde_json::Value;
use std::{collections::HashSet, ptr};

/// How many references are followed one after the other.
const HOPS_MAX: usize = 16;
/// How many schemas one may be composed of, as far as is looked.
const COMPOSED_MAX: usize = 500;

/// A document with what is asked of all of it.
pub(super) struct Document {
    pub(super) root: Value,
    pub(super) version: Version,
    /// Whether what stands beside a `$ref` in a schema says nothing.
    pub(super) is_3_0: bool,
    /// Whether a reference may lead into a path, so that none is let go before the last is read.
    paths_are_referred_to: bool,
    /// How many operations it has, whether they become tools or not.
    pub(super) operations_in_all: usize,
}

pub(super) fn read(text: &str) -> Result<Document> {
    if text.len() > BYTES_MAX {
        return Err(Error::invalid(format!("the document has {} bytes; at most {BYTES_MAX} are read", text.len())));
    }
    // A mark of its byte order is no part of it (RFC 8259, §8.1).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let keeps = lean::Keeps::of(text);
    let root: Value = match keeps.json(text) {
        Ok(root) => root,
        Err(no_json) => keeps.yaml(text).map_err(|no_yaml| {
            Error::invalid(match text.trim_start().starts_with('{') {
                true => format!("the document is no JSON: {no_json}"),
                false => format!("the document is neither JSON nor YAML: {}", no_yaml.without_snippet()),
            })
        })?,
    };
    // `openapi: 3.1` without quotes is a number in YAML.
    let Some(spec) = root.get("openapi").and_then(|spec| spec.as_str().map(str::to_owned).or_else(|| Some(spec.as_f64()?.to_string())))
    else {
        let told = match root.get("swagger") {
            Some(old) => format!("Swagger {} is not read: convert the document to OpenAPI 3", old.as_str().unwrap_or(&old.to_string())),
            None => "the document says no `openapi` version".to_owned(),
        };
        return Err(Error::invalid(told).at("openapi"));
    };
    if !(spec == "3" || spec.starts_with("3.")) {
        return Err(Error::invalid(format!("OpenAPI {spec} is not read: 3.0, 3.1 and 3.2 are")).at("openapi"));
    }
    let is_3_0 = spec == "3" || spec.starts_with("3.0");
    let version = root.pointer("/info/version").map(version_of).unwrap_or(Version::new(1, 0, 0));
    let mut document = Document { version, is_3_0, root, paths_are_referred_to: text.contains("#/paths/"), operations_in_all: 0 };
    document.operations_in_all = document.paths().map(|(_, item)| document.operations(item).len()).sum();
    Ok(document)
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
    /// The paths that are not extensions.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&String, &Value)> {
        let paths = self.root.get("paths").and_then(Value::as_object);
        paths.into_iter().flatten().filter(|(path, _)| !path.starts_with("x-"))
    }

    /// What stands at a path, which is let go of: a large document does not stay beside all the tools that it becomes.
    pub(super) fn path_item(&mut self, path: &str) -> Value {
        let item = self.root.get_mut("paths").and_then(|paths| paths.get_mut(path));
        match item {
            Some(item) if self.paths_are_referred_to => item.clone(),
            Some(item) => item.take(),
            None => Value::Null,
        }
    }

    /// The operations of a path item, by method.
    pub(super) fn operations<'a>(&'a self, item: &'a Value) -> Vec<(&'a str, &'a Value)> {
        let is_method = |name: &str| METHODS.contains(&name) || FOREIGN.contains(&name);
        let members = self.resolved(item).as_object().into_iter().flatten();
        members.map(|(name, member)| (name.as_str(), member)).filter(|(name, _)| is_method(name)).collect()
    }

    /// What a `$ref` leads to, as far as it goes; references elsewhere lead nowhere.
    pub(super) fn resolved<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        for _ in 0..HOPS_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
            let Some(target) = self.at(reference) else { return &Value::Null };
            value = target;
        }
        &Value::Null
    }
    /// A schema and those that it is composed of by these keywords, however deep: each once, those written first before others.
    pub(super) fn composed<'a>(&'a self, schema: &'a Value, by: &[&str]) -> Vec<&'a Value> {
        let (mut found, mut seen, mut open) = (Vec::new(), HashSet::new(), vec![schema]);
        while let Some(schema) = open.pop().filter(|_| found.len() < COMPOSED_MAX) {
            let schema = self.resolved(schema);
            if seen.insert(ptr::from_ref(schema)) {
                found.push(schema);
                let parts: Vec<&Value> = by.iter().filter_map(|keyword| schema.get(keyword)?.as_array()).flatten().collect();
                open.extend(parts.into_iter().rev());
            }
        }
        found
    }
    /// The place that a local reference names.
    pub(super) fn at(&self, reference: &str) -> Option<&Value> {
        self.root.pointer(&pointer(reference)?)
    }
}

/// The JSON pointer of a local reference. In a URL it is percent-encoded (RFC 6901, §6).
pub(super) fn pointer(reference: &str) -> Option<String> {
    let fragment = reference.strip_prefix('#')?;
    Some(schema::percent_decoded(fragment).unwrap_or_else(|| fragment.to_owned()))
}
