//! One operation, and the tool it becomes.

use super::{
    Configured, ImportSettings, Imported, METHODS, arguments::Arguments, body, document::Document, parameters, schema::Schemas, security,
    servers, shortened,
};
use maniple_contract::mend::legal_name;
use maniple_core::tool::{Body, Effect, Method, Sent, ToolDefinition};
use serde_json::{Value, json};
use std::collections::HashSet;

pub(super) struct Operation<'a> {
    pub(super) document: &'a Document,
    /// The import's name.
    pub(super) import: &'a str,
    pub(super) settings: &'a ImportSettings,
    pub(super) credentials: &'a Configured,
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) item: &'a Value,
    pub(super) operation: &'a Value,
}

impl Operation<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.operation.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }
    fn tags(&self) -> Vec<String> {
        self.operation.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }
    fn wanted_name(&self) -> String {
        let own = self.text("operationId").map_or_else(|| format!("{}_{}", self.method, self.path.trim_matches('/')), str::to_owned);
        if self.import.is_empty() { own } else { format!("{}_{own}", self.import) }
    }

    pub(super) fn is_included(&self) -> bool {
        if self.settings.include.is_empty() {
            return true;
        }
        let name = legal_name(&self.wanted_name(), &mut HashSet::new());
        let tags = self.tags();
        self.settings.include.iter().any(|wanted| self.text("operationId") == Some(wanted) || *wanted == name || tags.contains(wanted))
    }

    /// Method and path.
    pub(super) fn place(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }

    /// The tool; or the name that it would have, and why there is none.
    pub(super) fn tool(&self, taken: &mut HashSet<String>) -> Result<Imported, (String, String)> {
        // One that is left out takes its name all the same: what a name leads to must not depend on another operation.
        let name = legal_name(&self.wanted_name(), taken);
        self.named(&name).map_err(|why| (name, why))
    }

    fn named(&self, name: &str) -> Result<Imported, String> {
        if !METHODS.contains(&self.method) {
            return Err(format!("a tool cannot be called by {}", self.method.to_uppercase()));
        }
        let schemas = Schemas::new(self.document);
        let mut arguments = Arguments::default();
        let mut path = self.path.to_owned();
        let method: Method = serde_json::from_value(json!(self.method.to_uppercase())).map_err(|error| error.to_string())?;
        let chosen = body::chosen(self, &mut arguments)?;
        parameters::add(self, &schemas, chosen.is_some(), &mut arguments, &mut path)?;
        let body = match chosen {
            Some(chosen) => chosen.add(self, &schemas, &mut arguments),
            None => method.has_body().then(|| Body { sent: Sent::Never, ..Body::default() }),
        };
        let base = servers::base(self.settings, [self.operation, self.item, &self.document.root])?;
        let endpoint = servers::joined(&base, &path);
        // Text before the first slash would become part of the host, or its port.
        let origin = |url: &str| url::Url::parse(&url.replace(['{', '}'], "")).map(|url| url.origin());
        if !path.starts_with('/') || origin(&endpoint) != origin(&base) {
            return Err(format!("its path `{}` leads away from `{base}`: it must begin with /", self.path));
        }
        let (auth_type, credential) = security::of(self.document, self.operation, self.settings, self.credentials)?;
        let parameters = arguments.schema(&schemas)?;
        let definition = json!({ "name": name, "version": self.document.version, "description": self.description(), "endpoint": endpoint });
        let mut definition: ToolDefinition = serde_json::from_value(definition).map_err(|error| error.to_string())?;
        definition.parameters = parameters;
        (definition.method, definition.places, definition.body) = (method, arguments.places, body);
        (definition.auth_type, definition.credential) = (auth_type, credential);
        definition.tags = self.tags();
        definition.deprecated = (self.operation.get("deprecated") == Some(&Value::Bool(true))).then(|| "its API says so".to_owned());
        crate::catalog::check(&definition).map_err(|error| error.to_string())?;
        let proposed = matches!(method, Method::Put | Method::Delete).then_some(Effect::Idempotent);
        definition.effect = proposed.filter(|_| self.settings.confirm.covers(&[&definition.name]));
        let proposed = proposed.filter(|_| definition.effect.is_none());
        Ok(Imported { definition, place: self.place(), proposed, notes: arguments.notes })
    }

    fn description(&self) -> String {
        let parts: Vec<&str> = [self.text("summary"), self.text("description")].into_iter().flatten().collect();
        let text = if parts.is_empty() { self.place() } else { parts.join(". ") };
        shortened(&text, super::DESCRIPTION_MAX)
    }
}
