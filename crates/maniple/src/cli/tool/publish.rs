//! `add` and `rm`.

use super::named;
use crate::cli::{
    exit::{Exit, Trouble},
    reach::Reached,
    screen,
};
use maniple_api::{client::Client, tools::client::Adding};
use maniple_core::tool::Verdict;
use owo_colors::OwoColorize;
use serde_json::Value;
use std::{io::Read, time::Duration};

/// The largest definition that is read.
const BYTES_MAX: usize = 1 << 20;
/// How long a URL may take.
const FETCH_MAX: Duration = Duration::from_secs(30);

pub(super) async fn add(client: &Client, source: &str, reason: Option<&str>, reached: &Reached, as_json: bool) -> Result<Exit, Trouble> {
    let definition = read(source).await?;
    let added = client.add_tool(&definition, &Adding { stays: true, override_reason: reason }).await.map_err(Trouble::from);
    let added = added.map_err(|trouble| match trouble.exit {
        Exit::Conflict => trouble.or_try("`maniple tool diff NAME FILE` shows what changed; a new version number may be all it needs"),
        _ => trouble,
    })?;
    if as_json {
        screen::json(&added)?;
        return Ok(Exit::Done);
    }
    let what = if added.new_version { "is new" } else { "was known" };
    let compared = match (&added.previous, added.verdict) {
        (Some(previous), Some(Verdict::Compatible)) => format!(", compatible with {previous}"),
        (Some(previous), Some(Verdict::Breaking)) => format!(", breaking callers of {previous}"),
        (Some(previous), Some(Verdict::Unproven)) => format!(", not proven compatible with {previous}"),
        (_, _) => String::new(),
    };
    screen::answer(format!("tool {} {} {what}{compared}", added.definition.name.bold(), added.definition.version.bold()))?;
    for change in &added.changes {
        screen::answer(format!("  changed: {}", screen::one_line(change, 1_000)))?;
    }
    for note in &added.notes {
        screen::remark(format!("  mended: {}", screen::one_line(note, 1_000)).yellow());
    }
    if !reached.goes_on() {
        screen::remark("no node is running: the next one serves it");
    }
    Ok(Exit::Done)
}

pub(super) async fn remove(client: &Client, tool: &str, as_json: bool) -> Result<Exit, Trouble> {
    let (name, version) = named(tool);
    let removed = client.remove_tool(name, version).await.map_err(Trouble::from)?;
    if as_json {
        screen::json(&removed)?;
    } else {
        screen::answer(format!("forgotten: {} of {}", screen::count(removed.versions, "version"), removed.name))?;
    }
    Ok(Exit::Done)
}

/// A definition from a file or a URL, in YAML or JSON.
pub(super) async fn read(source: &str) -> Result<Value, Trouble> {
    let text = if source.starts_with("http://") || source.starts_with("https://") {
        fetched(source).await?
    } else {
        let mut bytes = Vec::new();
        let reading = std::fs::File::open(source).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
        reading.map_err(|error| Trouble::usage(format!("{source} cannot be read: {error}")))?;
        if bytes.len() > BYTES_MAX {
            return Err(Trouble::usage(format!("{source} has more than {BYTES_MAX} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| Trouble::usage(format!("{source} is not UTF-8")))?
    };
    match maniple_registry::yaml::read(&text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Trouble::usage(format!("{source} is no definition: it must be an object with name, version, description, endpoint"))),
        Err(error) => Err(Trouble::usage(format!("{source} is neither YAML nor JSON: {error}"))),
    }
}

async fn fetched(url: &str) -> Result<String, Trouble> {
    let wrong = |error: reqwest::Error| Trouble::usage(format!("{url} cannot be read: {error}"));
    let client = reqwest::Client::builder().timeout(FETCH_MAX).build().map_err(wrong)?;
    let mut response = client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(wrong)?;
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(wrong)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > BYTES_MAX {
            return Err(Trouble::usage(format!("{url} has more than {BYTES_MAX} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|_| Trouble::usage(format!("{url} is not UTF-8")))
}
