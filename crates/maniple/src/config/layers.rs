//! Lays the environment over the file, and puts references in.

use super::Config;
use crate::{
    files::{FILE_MAX, regular},
    yaml::{self, Problem},
};
use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use std::path::Path;

/// Variables that begin with the prefix and are no settings.
const NOT_SETTINGS: [&str; 4] = ["MANIPLE_URL", "MANIPLE_TOKEN", "MANIPLE_CONFIG", "MANIPLE_TEST"];

pub(super) fn lay(
    file: &Path,
    text: &str,
    folder: &Path,
    variable: impl Fn(&str) -> Option<String>,
    variables: impl Iterator<Item = (String, String)>,
) -> anyhow::Result<Config> {
    // Once typed, for errors with line and column; once untyped, to lay the environment over it.
    let mut tree = if text.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        yaml::read::<Config>(file, text, 1)?;
        yaml::read::<Value>(file, text, 1)?
    };
    for (name, value) in variables {
        if let Some(path) = name.strip_prefix("MANIPLE_").filter(|_| !NOT_SETTINGS.iter().any(|not| name.starts_with(not))) {
            set(&mut tree, &name, &path.to_lowercase(), &value)?;
        }
    }
    put_in(&mut tree, folder, &variable)?;
    serde_path_to_error::deserialize::<_, Config>(tree).map_err(|error| {
        let (path, message) = (error.path().to_string(), error.inner().to_string());
        Problem::of_field(file, text, 1, &path, format!("{path}: {message}")).hint("a MANIPLE_* variable may have set it").into()
    })
}

/// `LIMITS__MAX_STEPS=50` sets `limits.max_steps` to 50.
fn set(tree: &mut Value, name: &str, path: &str, value: &str) -> anyhow::Result<()> {
    let mut at = tree;
    let mut keys = path.split("__").peekable();
    while let Some(key) = keys.next() {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Some(members) = at.as_object_mut() else { bail!("{name} cannot be set") };
        let member = members.entry(key).or_insert(Value::Null);
        if keys.peek().is_none() {
            // As YAML would read it: 50 is a number, true a boolean, the rest text.
            *member = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            return Ok(());
        }
        at = member;
    }
    Ok(())
}

/// Puts in `${env:NAME}` and `${file:PATH}`, wherever a text is nothing but or contains one.
fn put_in(value: &mut Value, folder: &Path, variable: &impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    match value {
        Value::String(text) if text.contains("${") => *text = filled(text, folder, variable)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| put_in(item, folder, variable))?,
        Value::Object(members) => members.values_mut().try_for_each(|member| put_in(member, folder, variable))?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

fn filled(text: &str, folder: &Path, variable: &impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (reference, behind) = after.split_once('}').with_context(|| format!("`{text}`: `${{` is not closed"))?;
        out.push_str(before);
        out.push_str(&match reference.split_once(':') {
            Some(("env", name)) => {
                variable(name).with_context(|| format!("the environment variable {name} is not set; `{text}` in the settings wants it"))?
            }
            Some(("file", path)) => {
                let path = folder.join(path);
                let content = regular::text(&path, FILE_MAX)
                    .with_context(|| format!("{} cannot be read; `{text}` in the settings wants it", path.display()))?;
                content.trim_end_matches(['\r', '\n']).to_owned()
            }
            _ => bail!("`${{{reference}}}` is no reference: write ${{env:NAME}} or ${{file:PATH}}"),
        });
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}
