//! Which tools there are, by name and version.

use crate::transport::{builtin, http};
use maniple_core::{
    AgentName, Error, Result,
    tool::{ToolDefinition, ToolWish},
};
use semver::Version;
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// name → version → definition, versions ascending.
type Shelf = BTreeMap<String, BTreeMap<Version, ToolDefinition>>;

/// The definitions of this node: the built-in ones always, and those from files.
pub struct Catalog(RwLock<Arc<Shelf>>);

impl Default for Catalog {
    fn default() -> Self {
        let shelf = fill(vec![]).expect("the built-in definitions keep the rules");
        Self(RwLock::new(Arc::new(shelf)))
    }
}

impl Catalog {
    /// A catalog of these and the built-in ones; see [`Catalog::replace`].
    pub fn new(definitions: Vec<ToolDefinition>) -> Result<Self, Vec<Error>> {
        Ok(Self(RwLock::new(Arc::new(fill(definitions)?))))
    }

    /// Puts these in the place of all that are not built in, at once, or reports every one that breaks a rule
    /// and changes nothing. Running tasks keep the definitions they began with.
    pub fn replace(&self, definitions: Vec<ToolDefinition>) -> Result<(), Vec<Error>> {
        let shelf = Arc::new(fill(definitions)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shelf;
        Ok(())
    }

    /// Every definition, by name, lowest version first.
    pub fn definitions(&self) -> Vec<ToolDefinition> {
        self.shelf().values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// For each wish the highest version in its range, in the order of the wishes. `Invalid` tells of every
    /// wish that cannot be met what there is instead.
    pub fn resolve(&self, agent: &AgentName, wishes: &[ToolWish]) -> Result<Vec<ToolDefinition>> {
        let shelf = self.shelf();
        let mut found: Vec<ToolDefinition> = Vec::with_capacity(wishes.len());
        let mut missing = Vec::new();
        for wish in wishes {
            match meet(&shelf, wish) {
                Ok(tool) if found.iter().any(|other| other.name == tool.name) => {
                    missing.push(format!("tool `{}` is listed twice", tool.name))
                }
                Ok(tool) => found.push(tool.clone()),
                Err(why) => missing.push(why),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(Error::invalid(format!("agent `{agent}`: {}", missing.join("; "))).at("tools")) }
    }

    fn shelf(&self) -> Arc<Shelf> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether one definition keeps every rule, those of its transport included.
pub fn check(tool: &ToolDefinition) -> Result<()> {
    tool.check()?;
    match tool.endpoint.strip_prefix("builtin:") {
        Some(name) => builtin::check(name),
        None => http::check(tool),
    }
}

fn fill(definitions: Vec<ToolDefinition>) -> Result<Shelf, Vec<Error>> {
    let mut shelf = Shelf::new();
    let mut errors = Vec::new();
    for tool in builtin::definitions().into_iter().chain(definitions) {
        if let Err(error) = check(&tool) {
            errors.push(Error { message: format!("tool `{}`: {}", tool.name, error.message).into(), ..error });
            continue;
        }
        let versions = shelf.entry(tool.name.clone()).or_default();
        if versions.contains_key(&tool.version) {
            let built_in = builtin::definitions().iter().any(|b| b.name == tool.name && b.version == tool.version);
            let by = if built_in { "this one is built in: choose another version or name" } else { "give one of them another version" };
            errors.push(Error::conflict(format!("tool `{}` {} is defined twice; {by}", tool.name, tool.version)).at("version"));
            continue;
        }
        versions.insert(tool.version.clone(), tool);
    }
    if errors.is_empty() { Ok(shelf) } else { Err(errors) }
}

fn meet<'a>(shelf: &'a Shelf, wish: &ToolWish) -> Result<&'a ToolDefinition, String> {
    let Some(versions) = shelf.get(&wish.name) else {
        let near = shelf.keys().map(|name| (strsim::jaro_winkler(name, &wish.name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
        return Err(match near {
            Some((likeness, name)) if likeness > 0.7 => {
                format!("there is no tool `{}`; did you mean `{name}` ({})?", wish.name, listed(shelf[name].keys()))
            }
            _ => format!("there is no tool `{}`; there are {}", wish.name, listed(shelf.keys())),
        });
    };
    let highest = versions.iter().rev().find(|(version, _)| wish.range.matches(version));
    highest.map(|(_, tool)| tool).ok_or_else(|| {
        format!(
            "tool `{}` has no version in `{}`; there {} {}",
            wish.name,
            wish.range,
            if versions.len() == 1 { "is" } else { "are" },
            listed(versions.keys())
        )
    })
}

/// At most 20, comma-separated.
fn listed<T: ToString>(names: impl ExactSizeIterator<Item = T>) -> String {
    const MOST: usize = 20;
    let more = names.len().saturating_sub(MOST);
    let text = names.take(MOST).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tool(name: &str, version: &str) -> ToolDefinition {
        let url = "http://tools.test/x";
        serde_json::from_value(json!({ "name": name, "version": version, "description": "d", "endpoint": url })).expect("a definition")
    }
    fn resolved(catalog: &Catalog, wishes: &[&str]) -> Result<Vec<String>, String> {
        let wishes: Vec<_> = wishes.iter().map(|w| ToolWish::parse(w).expect("a wish")).collect();
        let tools = catalog.resolve(&AgentName::parse("a").expect("a name"), &wishes).map_err(|e| e.to_string())?;
        Ok(tools.iter().map(|t| format!("{} {}", t.name, t.version)).collect())
    }
    fn refused(endpoint: &str, parameters: Value) -> String {
        let mut definition = tool("t", "1.0.0");
        definition.endpoint = endpoint.into();
        definition.parameters = parameters;
        Catalog::new(vec![definition]).err().map_or_else(String::new, |errors| errors[0].to_string())
    }

    #[test]
    fn a_wish_gets_the_highest_version_in_its_range() {
        let catalog =
            Catalog::new(["1.2.0", "1.10.0", "1.9.0", "2.0.0", "3.0.0-rc.1"].map(|v| tool("search", v)).into()).expect("good ones");
        assert_eq!(resolved(&catalog, &["search"]), Ok(vec!["search 2.0.0".into()]));
        assert_eq!(resolved(&catalog, &["search@^1.2", "clock"]), Ok(vec!["search 1.10.0".into(), "clock 1.0.0".into()]));
        assert_eq!(resolved(&catalog, &["search@=3.0.0-rc.1"]), Ok(vec!["search 3.0.0-rc.1".into()]));
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let catalog = Catalog::new(vec![tool("web_search", "1.0.0"), tool("web_search", "1.1.0")]).expect("good ones");
        let message = resolved(&catalog, &["web_serach", "clock@^7", "zzz", "clock", "clock"]).expect_err("missing");
        assert_eq!(
            message,
            "agent `a`: there is no tool `web_serach`; did you mean `web_search` (1.0.0, 1.1.0)?; tool `clock` has no version in `^7`; \
             there is 1.0.0; there is no tool `zzz`; there are calculator, clock, http_fetch, web_search; tool `clock` is listed twice"
        );
    }

    #[test]
    fn a_replacement_is_whole_or_nothing() {
        let catalog = Catalog::new(vec![tool("old", "1.0.0")]).expect("a good one");
        let mut bad = tool("bad", "1.0.0");
        bad.description = " ".into();
        let errors = catalog.replace(vec![bad, tool("new", "1.0.0"), tool("new", "1.0.0"), tool("clock", "1.0.0")]).expect_err("bad");
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[2].message.contains("built in"), "{errors:?}");
        assert!(resolved(&catalog, &["old"]).is_ok());
        catalog.replace(vec![tool("new", "1.0.0")]).expect("a good one");
        assert!(resolved(&catalog, &["old"]).is_err());
        assert!(resolved(&catalog, &["new", "calculator", "clock", "http_fetch"]).is_ok());
    }

    #[test]
    fn an_endpoint_that_could_never_work_is_refused_by_what_is_wrong_with_it() {
        let object = json!({ "type": "object", "properties": { "id": { "type": "string" } }, "required": ["id"] });
        for (endpoint, why) in [
            ("builtin:clok", "did you mean `clock`"),
            ("ftp://x.test/", "http"),
            ("not a url", "no URL"),
            ("http://u:p@x.test/", "credentials"),
            ("http://{id}.test/", "only in the path"),
            ("http://x.test/a?q={id}", "only in the path"),
            ("http://x.test/{id", "not closed"),
            ("http://x.test/{idd}", "`idd` is no parameter"),
            ("http://x.test/#{id}", "only in the path"),
        ] {
            let message = refused(endpoint, object.clone());
            assert!(message.contains(why), "{endpoint}: {message:?}");
        }
        assert!(refused("http://x.test/{id}", json!({ "type": "object", "properties": { "id": {} } })).contains("required"));
        assert_eq!(refused("http://x.test/{id}/of/{id}?fixed=1", object), "");
    }
}
