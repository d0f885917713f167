//! The page of the settings says what the program does: keys, defaults, bounds.

use super::{
    agree, page,
    tables::{first_cells, rows},
};
use maniple::config::{Auth, Config};
use maniple_llm::{Api, ProviderSettings};
use maniple_registry::{mcp::ServerSettings, openapi::ImportSettings};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

const PAGE: &str = "docs/reference/configuration.md";

/// Maps whose keys an operator chooses and whose values are plain: documented as one setting.
const OPEN_MAPS: [&str; 7] = [
    "openapi.NAME.credentials",
    "mcp.NAME.headers",
    "mcp.NAME.env",
    "models.NAME.headers",
    "models.NAME.query",
    "models.NAME.models",
    "models.NAME.profile.stop_reasons",
];

/// `a.b` for every leaf; a list of objects is `a[].b`, a map of named things `a.NAME.b`.
fn leaves(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() && !OPEN_MAPS.contains(&path) => {
            for (name, member) in members {
                let name = match path {
                    "models" | "credentials" | "mcp" | "openapi" => "NAME",
                    "models.NAME.prices" => "MODEL",
                    _ => name,
                };
                leaves(member, &if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }, found);
            }
        }
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            items.iter().for_each(|item| leaves(item, &format!("{path}[]"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            found.insert(path.to_owned(), value.clone());
        }
    }
}

fn printed(config: &Config) -> BTreeMap<String, Value> {
    let text = config.print().expect("settings can be printed");
    let mut found = BTreeMap::new();
    leaves(&serde_saphyr::from_str(&text).expect("YAML"), "", &mut found);
    found
}

/// The defaults, with one of everything that is named: what its fields are where nobody sets them.
fn with_one_of_each() -> Config {
    let token = serde_json::from_value(json!({ "name": "a", "sha256": "a".repeat(64) })).expect("a token");
    Config {
        models: [("NAME".to_owned(), ProviderSettings::new(Api::Demo))].into(),
        mcp: [("NAME".to_owned(), ServerSettings::default())].into(),
        openapi: [("NAME".to_owned(), ImportSettings::default())].into(),
        auth: Some(Auth { tokens: vec![token] }),
        ..Config::default()
    }
}

/// Settings with a value wherever the defaults leave something out.
fn with_everything() -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("maniple.yaml");
    let token = format!("{{ name: a, sha256: {} }}", "a".repeat(64));
    let prices = "{ m: { input: 1, cached_input: 0.1, output: 2 } }";
    let profile = "{ like: mistral, tokens: none, max_output: 1, context: 1, tools: true, structured: tool, parallel_calls: true, \
                   stream_usage: true, system_role: user, call_ids: nine, stop_reasons: { x: stop } }";
    let more =
        format!("headers: {{ h: v }}, query: {{ q: v }}, organization: o, timeout: 1m, profile: {profile}, models: {{ m: {profile} }}");
    let provider = format!("{{ api: openai, base_url: \"http://x/v1\", api_key: k, {more}, prices: {prices} }}");
    let common = "hosts: [x.test], secret: s";
    let keys = format!("a: {{ kind: api_key, {common}, header: x, prefix: p }}, b: {{ kind: api_key, {common}, query: q }}");
    let oauth2 =
        format!("c: {{ kind: oauth2, {common}, token_url: \"http://x\", client_id: i, scopes: [s], audience: a, auth_style: body }}");
    let text = format!("auth: {{ tokens: [{token}] }}\nmodels: {{ lab: {provider} }}\ncredentials: {{ {keys}, {oauth2} }}\n");
    let document = "base_url: \"http://x\", credential: a, credentials: { s: a }, include: [x], confirm: all, refresh: 1m";
    let server = "confirm: [x], timeout: 1s, start_timeout: 1m, version: 1.0.0";
    let text = format!(
        "{text}openapi: {{ a: {{ file: a.yaml, {document} }}, b: {{ url: \"http://x\", {document} }} }}\n\
         mcp: {{ a: {{ url: \"http://x\", headers: {{ h: v }}, {server} }}, b: {{ command: [c], env: {{ E: v }}, cwd: d, {server} }} }}\n"
    );
    fs::write(&file, text).expect("a file");
    Config::load_with(&file, |_| None, std::iter::empty()).expect("settings")
}

#[test]
fn every_setting_is_documented_and_every_documented_setting_exists() {
    let page = page(PAGE);
    let documented: BTreeSet<String> = first_cells(&page, "key").into_iter().collect();
    let mut known: BTreeSet<String> = printed(&Config::default()).into_keys().collect();
    known.remove("models");
    for map in ["credentials", "mcp", "openapi"] {
        known.remove(map);
    }
    known.extend(printed(&with_everything()).into_keys());
    agree(PAGE, &documented, &known);
}

/// As the page writes a default.
fn told(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.is_empty() => items.iter().map(told).collect::<Vec<_>>().join("`, `"),
        other => other.to_string(),
    }
}

#[test]
fn every_documented_default_is_the_programs() {
    let known = printed(&with_one_of_each());
    let mut compared = 0;
    for row in rows(&page(PAGE), "key").iter().filter(|row| row["default"] != "required") {
        let Some(value) = known.get(row["key"].trim_matches('`')) else { continue };
        assert_eq!(row["default"].trim_matches('`'), told(value), "default of {}", row["key"]);
        compared += 1;
    }
    assert!(compared > 50, "only {compared} defaults were compared");
}

#[test]
fn every_bound_is_documented_and_every_documented_bound_is_kept() {
    let bounds = |config: &Config| -> BTreeMap<String, String> {
        let sections = config.sections();
        let bounds = sections.iter().flat_map(|(at, section)| section.bounds().into_iter().map(|bound| bound.below(at)));
        bounds.map(|bound| (bound.field, format!("{} to {}", bound.low, bound.high))).collect()
    };
    let rows = rows(&page(PAGE), "key");
    let ranges = rows.iter().filter_map(|row| Some((&row["key"], row.get("range").filter(|range| !range.is_empty())?)));
    let documented: BTreeMap<String, String> =
        ranges.map(|(key, range)| (key.trim_matches('`').to_owned(), range.replace(',', ""))).collect();
    assert_eq!(documented, bounds(&with_one_of_each()), "{PAGE} (left) and the program (right)");
}

#[test]
fn every_default_lies_within_its_bounds() {
    for (at, section) in with_one_of_each().sections() {
        section.within_bounds(&at).expect("a default that would be refused");
    }
}
