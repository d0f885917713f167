//! Lays the environment over the file, and puts references in.

use super::Config;
use crate::{
    files::{FILE_MAX, regular},
    yaml::{self, Problem},
};
use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};

/// Variables that begin with the prefix and are no settings.
const NOT_SETTINGS: [&str; 4] = ["MANIPLE_URL", "MANIPLE_TOKEN", "MANIPLE_CONFIG", "MANIPLE_TEST"];
/// The sections whose parts a process that only looks can do without.
const FOR_WORK: [&str; 6] = ["models", "credentials", "mcp", "openapi", "registry_token", "metrics"];

/// What is done where a reference of the file leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is an error.
    Refused,
    /// What is for work alone goes without: a command that looks needs no secrets.
    Spared,
}

/// Which variable, or flag, set what: by the path of the setting, such as `limits.max_steps`.
#[derive(Debug, Default)]
pub(super) struct SetBy(BTreeMap<String, Variable>);

#[derive(Debug)]
struct Variable {
    /// As people call it.
    called: String,
    value: String,
}

impl SetBy {
    /// Who set this, or something in it that is named in `message`.
    fn of(&self, path: &str, message: &str) -> Option<&str> {
        let is_part = |whole: &str, part: &str| part.strip_prefix(whole).is_some_and(|rest| rest.starts_with(['.', '[']));
        let names = |setting: &str| setting.rsplit('.').next().is_some_and(|key| message.contains(&format!("`{key}`")));
        let direct = self.0.iter().find(|(setting, _)| *setting == path || is_part(setting, path));
        let below = || self.0.iter().find(|(setting, _)| (matches!(path, "" | ".") || is_part(path, setting)) && names(setting));
        direct.or_else(below).map(|(_, variable)| variable.called.as_str())
    }

    /// The same problem, blamed on the variable or flag that caused it: then the file is not at fault.
    pub(super) fn blame(&self, problem: Problem) -> Problem {
        let field = problem.field.clone().unwrap_or_default();
        match self.of(&field, &problem.message) {
            Some(by) => Problem { field: problem.field, hint: problem.hint, ..Problem::elsewhere(format!("{by}: {}", problem.message)) },
            None => problem,
        }
    }
}

/// The tree of the file with variables and references in it. `name` tells how a variable is called to people.
pub(super) fn lay(
    (file, text, folder): (&Path, &str, &Path),
    missing: Missing,
    variable: impl Fn(&str) -> Option<String>,
    variables: impl Iterator<Item = (String, String)>,
    name: impl Fn(&str) -> String,
) -> anyhow::Result<(Value, SetBy)> {
    // Once typed, for errors with line and column; once untyped, to lay the environment over it.
    let mut tree = if text.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        yaml::read::<Config>(file, text, 1)?;
        yaml::read::<Value>(file, text, 1)?
    };
    let mut set_by = SetBy::default();
    for (variable, value) in variables {
        if let Some(path) = setting(&variable, &value) {
            set(&mut tree, &variable, &path, &value)?;
            set_by.0.insert(path.replace("__", "."), Variable { called: name(&variable), value });
        }
    }
    if missing == Missing::Spared {
        spare(&mut tree, folder, &variable);
    }
    put_in(&mut tree, folder, &variable)?;
    Ok((tree, set_by))
}

/// Reads the settings off their tree.
pub(super) fn read(mut tree: Value, (file, text): (&Path, &str), set_by: &SetBy) -> anyhow::Result<Config> {
    loop {
        let error = match serde_path_to_error::deserialize::<_, Config>(&tree) {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let (path, message) = (error.path().to_string(), error.inner().to_string());
        // A token of digits looks like a number; where text is wanted, it is one.
        let looks_otherwise = set_by.0.get(&path).filter(|_| message.ends_with("expected a string")).and_then(|variable| {
            let place = tree.pointer_mut(&format!("/{}", path.replace('.', "/"))).filter(|place| !place.is_string())?;
            *place = Value::String(variable.value.clone());
            Some(())
        });
        if looks_otherwise.is_none() {
            return Err(set_by.blame(Problem::of_field(file, text, 1, &path, format!("{path}: {message}"))).into());
        }
    }
}

/// The path of the setting that a variable is, in its own spelling: `limits__max_steps`. None for one that is none.
fn setting(name: &str, value: &str) -> Option<String> {
    let path = name.strip_prefix("MANIPLE_")?;
    let is_setting = !path.is_empty() && !NOT_SETTINGS.iter().any(|not| name.starts_with(not)) && !is_service_link(path, value);
    is_setting.then(|| path.to_lowercase())
}

/// Whether Kubernetes set it in a pod beside a Service whose name begins like the prefix of our variables: with a Service
/// `maniple` there are `MANIPLE_SERVICE_HOST`, `MANIPLE_PORT=tcp://…`, `MANIPLE_PORT_8080_TCP_ADDR` and so on.
fn is_service_link(path: &str, value: &str) -> bool {
    // In front of it may stand the rest of a longer name: MANIPLE_REGISTRY_SERVICE_HOST.
    let has = |mark: &str| path.starts_with(mark) || path.contains(&format!("_{mark}"));
    let is_port = path == "PORT" || path.ends_with("_PORT");
    let after_port = path.strip_prefix("PORT_").or_else(|| path.split_once("_PORT_").map(|(_, rest)| rest));
    let is_of_port = after_port.and_then(|rest| rest.split_once('_')).is_some_and(|(number, rest)| {
        number.bytes().all(|b| b.is_ascii_digit()) && ["TCP", "UDP", "SCTP"].iter().any(|protocol| rest.starts_with(protocol))
    });
    has("SERVICE_HOST") || has("SERVICE_PORT") || is_of_port || (is_port && value.contains("://"))
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

/// Takes out what is for work and wants something that is not there.
fn spare(tree: &mut Value, folder: &Path, variable: &impl Fn(&str) -> Option<String>) {
    let Some(sections) = tree.as_object_mut() else { return };
    let leads_nowhere = |value: &Value| put_in(&mut value.clone(), folder, variable).is_err();
    for name in FOR_WORK {
        match sections.get_mut(name) {
            Some(Value::Object(parts)) => parts.retain(|_, part| !leads_nowhere(part)),
            Some(value) if leads_nowhere(value) => drop(sections.remove(name)),
            Some(_) | None => {}
        }
    }
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
            Some(("env", name)) => variable(name).with_context(|| {
                format!("the environment variable {name} is not set; `{text}` in the settings wants it: set it, or write it into .env beside them")
            })?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_sets_beside_a_service_is_no_setting() {
        for (name, value) in [
            ("MANIPLE_SERVICE_HOST", "10.0.0.1"),
            ("MANIPLE_SERVICE_PORT", "8080"),
            ("MANIPLE_SERVICE_PORT_HTTP_METRICS", "9000"),
            ("MANIPLE_PORT", "tcp://10.0.0.1:8080"),
            ("MANIPLE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("MANIPLE_PORT_53_UDP_PROTO", "udp"),
            ("MANIPLE_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("MANIPLE_STORE_SERVICE_HOST", "10.0.0.1"),
            ("MANIPLE_REGISTRY_PORT", "tcp://10.0.0.1:80"),
            ("MANIPLE_REGISTRY_PORT_80_TCP_PORT", "80"),
            ("MANIPLE_URL", "http://x"),
            ("OTHER", "1"),
        ] {
            assert_eq!(setting(name, value), None, "{name}={value}");
        }
        for (name, value, path) in [
            ("MANIPLE_STORE", "memory:", "store"),
            ("MANIPLE_LIMITS__MAX_STEPS", "3", "limits__max_steps"),
            ("MANIPLE_REGISTRY", "http://registry:8080", "registry"),
            ("MANIPLE_PORT", "8080", "port"),
        ] {
            assert_eq!(setting(name, value).as_deref(), Some(path), "{name}={value}");
        }
    }
}
