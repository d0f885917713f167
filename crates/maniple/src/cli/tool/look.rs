//! `ls`, `show`, `diff`, `docs`.

use super::{everything, named, publish::read};
use crate::cli::{
    exit::{Exit, Trouble},
    screen,
};
use anstream::adapter::strip_str;
use maniple_api::{client::Client, tool_pages};
use maniple_core::tool::{LeftOut, ToolDefinition, ToolState, ToolVersion, Verdict};
use owo_colors::OwoColorize;
use semver::Version;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

pub(super) async fn list(client: &Client, limit: usize, cursor: Option<&str>, as_json: bool) -> Result<Exit, Trouble> {
    let page = client.tools(limit, cursor).await?;
    if as_json {
        screen::json(&page)?;
        return Ok(Exit::Done);
    }
    let rows = page.tools.iter().map(|tool| {
        let definition = &tool.definition;
        let what = match (&tool.reason, &definition.deprecated) {
            (Some(reason), _) => reason.clone(),
            (None, Some(why)) => format!("deprecated: {why}"),
            (None, None) => definition.description.clone(),
        };
        vec![
            definition.name.clone(),
            definition.version.to_string(),
            tool.state.as_str().to_owned(),
            tool.effect.to_string(),
            tool.source.as_str().to_owned(),
            tool.instances.len().to_string(),
            screen::one_line(&what, 100),
        ]
    });
    let table = screen::table(&["TOOL", "VERSION", "STATE", "EFFECT", "FROM", "INSTANCES", "WHAT IT IS FOR"], rows);
    screen::answer(coloured(&table))?;
    if let Some(cursor) = &page.next_cursor {
        screen::remark(format!("more: --cursor {cursor}").dimmed());
    }
    for LeftOut { from, place, why, .. } in page.left_out.iter().take(LEFT_OUT_MAX) {
        let line = format!("left out of {from}: {place}: {why}");
        screen::remark(screen::one_line(&line, 300).yellow());
    }
    if page.left_out.len() > LEFT_OUT_MAX {
        let more = page.left_out.len() - LEFT_OUT_MAX;
        screen::remark(format!("left out: {more} more; `maniple tool docs` lists all").yellow());
    }
    Ok(Exit::Done)
}

/// How many operations that are no tools are told below the tools.
const LEFT_OUT_MAX: usize = 20;

/// What is not well stands out.
fn coloured(table: &str) -> String {
    let is_in = |line: &str, state: ToolState| strip_str(line).to_string().split_whitespace().nth(2) == Some(state.as_str());
    let lines = table.lines().map(|line| {
        if is_in(line, ToolState::Unhealthy) || is_in(line, ToolState::Quarantined) {
            line.red().to_string()
        } else if is_in(line, ToolState::Gone) {
            line.dimmed().to_string()
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) async fn granted(client: &Client, agent: &str, as_json: bool) -> Result<Exit, Trouble> {
    let page = client.tools_of(agent).await.map_err(|error| Trouble::from(error).try_next("maniple agent ls"))?;
    if as_json {
        screen::json(&page)?;
        return Ok(Exit::Done);
    }
    if page.tools.is_empty() {
        screen::remark(format!("agent {agent} may use no tool now: what its file does not list is not granted"));
        return Ok(Exit::Done);
    }
    let rows = page.tools.iter().map(|tool| vec![tool.name.clone(), tool.version.clone(), screen::one_line(&tool.description, 100)]);
    screen::answer(screen::table(&["TOOL", "VERSION", "WHAT ITS MODEL READS"], rows))?;
    Ok(Exit::Done)
}

pub(super) async fn show(client: &Client, tool: &str, as_json: bool) -> Result<Exit, Trouble> {
    let (name, version) = named(tool);
    let known = client.tool(name, version).await?;
    if as_json {
        screen::json(&known)?;
        return Ok(Exit::Done);
    }
    let definition = &known.definition;
    let state = match (&known.reason, known.state) {
        (_, ToolState::Healthy) => "healthy".green().to_string(),
        (Some(reason), state) => format!("{}: {}", state.as_str().red(), screen::one_line(reason, 300)),
        (None, state) => state.as_str().red().to_string(),
    };
    screen::answer(format!("{} {}  {state}", definition.name.bold(), definition.version.bold()))?;
    screen::answer(format!("  {}", screen::clean(&definition.description)))?;
    if let Some(was) = known.was.as_ref().filter(|was| was.description != definition.description) {
        screen::answer(format!("  {} {}", "published as".dimmed(), screen::clean(&was.description)))?;
    }
    screen::answer("")?;
    for (name, value) in facts(&known) {
        screen::answer(format!("  {} {}", format!("{name:<10}").dimmed(), screen::clean(&value)))?;
    }
    let schema = |title: &str, schema: &Value| screen::answer(format!("\n{}\n{}", title.bold(), screen::clean(&format!("{schema:#}"))));
    schema("parameters", &definition.parameters)?;
    if let Some(was) = known.was.as_ref().filter(|was| was.parameters != definition.parameters) {
        schema("parameters as published", &was.parameters)?;
    }
    if let Some(returns) = &definition.returns {
        schema("returns", returns)?;
    }
    if let Some(was) = known.was.as_ref().filter(|was| was.returns != definition.returns) {
        schema("returns as published", was.returns.as_ref().unwrap_or(&Value::Null))?;
    }
    let rows = known.instances.iter().map(|instance| {
        let lease = instance.lease_ms.map_or("stays".to_owned(), |ms| screen::duration(Duration::from_millis(ms)));
        vec![instance.id.clone(), instance.state.as_str().to_owned(), lease, screen::one_line(&instance.endpoint, 200)]
    });
    screen::answer(format!("\n{}", screen::table(&["INSTANCE", "STATE", "LEASE", "ENDPOINT"], rows)))?;
    Ok(Exit::Done)
}

fn facts(known: &ToolVersion) -> Vec<(&'static str, String)> {
    let definition = &known.definition;
    let compared = known.previous.as_ref().map(|previous| match known.verdict {
        Some(verdict) => format!("{}, compared with {previous}", verdict_name(verdict)),
        None => format!("compared with {previous}"),
    });
    let all = [
        ("effect", Some(known.effect.to_string())),
        ("limit", definition.rate_limit.map(|most| format!("{most} calls of each agent in any 60 s"))),
        ("timeout", Some(screen::duration(Duration::from_millis(definition.timeout_ms)))),
        ("approval", definition.requires_approval.then(|| "a person must agree to each call".to_owned())),
        ("deprecated", definition.deprecated.clone()),
        ("tags", (!definition.tags.is_empty()).then(|| definition.tags.join(", "))),
        ("owner", Some(format!("{} ({})", known.owner, known.source.as_str()))),
        ("serves", known.realm.tenant().map(|tenant| format!("the tenant {tenant} only"))),
        ("published", known.published_at.map(|at| at.to_string())),
        ("verdict", compared),
        ("overridden", known.overridden.clone()),
        ("proposed", known.proposed_effect.map(|effect| format!("effect {effect}, which nobody has confirmed"))),
        ("contract", Some(known.contract.clone())),
        ("changes", (!known.changes.is_empty()).then(|| known.changes.join("; "))),
        ("mended", (!known.notes.is_empty()).then(|| known.notes.join("; "))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Compatible => "compatible",
        Verdict::Breaking => "breaking",
        Verdict::Unproven => "unproven",
    }
}

/// Exits 1 where callers break, or may.
pub(super) async fn diff(client: &Client, name: &str, old: &str, new: Option<&str>, as_json: bool) -> Result<Exit, Trouble> {
    let (old, new) = match new {
        Some(new) => (version_of(client, name, old).await?, either(client, name, new).await?),
        None => {
            let new = either(client, name, old).await?;
            (before(client, name, &new.version).await?, new)
        }
    };
    let report = maniple_contract::compat::compare(&old, &new);
    let verdict = verdict_name(report.verdict);
    if as_json {
        screen::json(
            &json!({ "name": name, "old": old.version, "new": new.version, "verdict": report.verdict, "changes": report.changes }),
        )?;
    } else {
        let verdict = match report.verdict {
            Verdict::Compatible => verdict.green().to_string(),
            Verdict::Breaking => verdict.red().to_string(),
            Verdict::Unproven => verdict.yellow().to_string(),
        };
        screen::answer(format!("{name} {} → {}: {verdict}", old.version, new.version))?;
        for change in &report.changes {
            screen::answer(format!("  {}", screen::one_line(&change.to_string(), 1_000)))?;
        }
    }
    Ok(if report.verdict == Verdict::Compatible { Exit::Done } else { Exit::Unsuccessful })
}

async fn version_of(client: &Client, name: &str, version: &str) -> Result<ToolDefinition, Trouble> {
    Ok(client.tool(name, Some(version)).await?.definition)
}

/// A version's number, or else a file.
async fn either(client: &Client, name: &str, what: &str) -> Result<ToolDefinition, Trouble> {
    if Version::parse(what).is_ok() {
        return version_of(client, name, what).await;
    }
    let written = read(what).await?;
    serde_json::from_value(written).map_err(|error| Trouble::usage(format!("{what}: {error}")))
}

/// The highest version below this one.
async fn before(client: &Client, name: &str, version: &Version) -> Result<ToolDefinition, Trouble> {
    let versions = client.tool_versions(name).await?;
    let below = versions.into_iter().map(|known| known.definition).find(|known| known.version < *version);
    below.ok_or_else(|| Trouble { exit: Exit::NotFound, what: format!("`{name}` has no version before {version}"), next: None })
}

/// All tools as one Markdown document.
pub(super) async fn docs(client: &Client, output: Option<&Path>, as_json: bool) -> Result<Exit, Trouble> {
    let tools = everything(client).await?;
    let left_out = client.tools(1, None).await?.left_out;
    let page = screen::clean(&tool_pages::markdown(&tools, &left_out));
    match output {
        Some(file) => {
            std::fs::write(file, page).map_err(|error| Trouble::usage(format!("{} cannot be written: {error}", file.display())))?
        }
        None if as_json => screen::json(&json!({ "markdown": page }))?,
        None => screen::answer(page.trim_end())?,
    }
    Ok(Exit::Done)
}

/// Every version of every tool, or of these.
pub(super) async fn of_names(client: &Client, names: &[String]) -> Result<Vec<ToolVersion>, Trouble> {
    if names.is_empty() {
        return Ok(everything(client).await?);
    }
    let mut found = Vec::new();
    for name in names {
        found.extend(client.tool_versions(name).await?);
    }
    Ok(found)
}
