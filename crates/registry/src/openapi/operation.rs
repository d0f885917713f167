//! One operation, and the tool it becomes.

use super::{Document, ImportSettings, Imported, schema::Schemas, security, shortened};
use crate::transport::client;
use maniple_contract::mend::legal_name;
use maniple_core::{
    schema::Validator,
    tool::{AuthType, Carrier, Effect, Method, Place, ToolDefinition},
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use url::Url;

pub(super) struct Operation<'a> {
    pub(super) document: &'a Document,
    /// The import's name.
    pub(super) import: &'a str,
    pub(super) settings: &'a ImportSettings,
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) item: &'a Value,
    pub(super) operation: &'a Value,
}

/// The arguments as they are put together.
#[derive(Default)]
struct Arguments {
    properties: Map<String, Value>,
    required: Vec<Value>,
    places: BTreeMap<String, Place>,
    closed: bool,
    notes: Vec<String>,
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
        let name = legal_name(&self.wanted_name(), &mut HashSet::new());
        let is_meant = |wanted: &String| self.text("operationId") == Some(wanted) || *wanted == name || self.tags().contains(wanted);
        self.settings.include.is_empty() || self.settings.include.iter().any(is_meant)
    }

    pub(super) fn tool(&self, taken: &mut HashSet<String>) -> Result<Imported, String> {
        let schemas = Schemas::new(self.document);
        let mut arguments = Arguments::default();
        let mut path = self.path.to_owned();
        self.parameters(&schemas, &mut arguments, &mut path)?;
        self.body(&schemas, &mut arguments)?;
        let base = self.base()?;
        let endpoint = format!("{}{path}", base.trim_end_matches('/'));
        // Text before the first slash would become part of the host, or its port.
        let origin = |url: &str| url::Url::parse(&url.replace(['{', '}'], "")).map(|url| url.origin());
        if !path.starts_with('/') || origin(&endpoint) != origin(&base) {
            return Err(format!("its path `{}` leads away from `{base}`: it must begin with /", self.path));
        }
        let (auth_type, credential) = security::of(self.document, self.operation, self.settings)?;
        let method: Method = serde_json::from_value(json!(self.method.to_uppercase())).map_err(|error| error.to_string())?;
        let name = legal_name(&self.wanted_name(), taken);
        let proposed = matches!(method, Method::Put | Method::Delete).then_some(Effect::Idempotent);
        let confirmed = proposed.filter(|_| self.settings.confirm.covers(&[&name]));
        let parameters = arguments.schema(&schemas)?;
        let definition = json!({ "name": name, "version": self.document.version, "description": self.description(), "parameters": parameters, "endpoint": endpoint });
        let mut definition: ToolDefinition = serde_json::from_value(definition).map_err(|error| error.to_string())?;
        (definition.method, definition.effect, definition.places) = (method, confirmed, arguments.places);
        (definition.auth_type, definition.credential) = (auth_type, credential);
        definition.tags = self.tags();
        definition.deprecated = (self.operation.get("deprecated") == Some(&Value::Bool(true))).then(|| "its API says so".to_owned());
        crate::catalog::check(&definition).map_err(|error| error.to_string())?;
        if definition.auth_type == AuthType::None && security::is_needed(self.document, self.operation) {
            arguments.notes.push("it needs a credential that no security scheme here can give".into());
        }
        Ok(Imported { definition, proposed: proposed.filter(|_| confirmed.is_none()), notes: arguments.notes })
    }

    fn description(&self) -> String {
        let parts: Vec<&str> = [self.text("summary"), self.text("description")].into_iter().flatten().collect();
        let text = if parts.is_empty() { format!("{} {}", self.method.to_uppercase(), self.path) } else { parts.join(". ") };
        shortened(&text, super::DESCRIPTION_MAX)
    }

    /// Where the operation's path begins.
    fn base(&self) -> Result<String, String> {
        if let Some(base) = &self.settings.base_url {
            return Ok(base.clone());
        }
        let servers =
            [self.operation, self.item, &self.document.root].into_iter().find_map(|place| place.get("servers")?.as_array()?.first());
        let Some(url) = servers.and_then(|server| server.get("url")?.as_str()) else {
            return Err("the document names no server: say `base_url`".into());
        };
        let mut url = url.to_owned();
        let variables = servers.and_then(|server| server.get("variables")?.as_object());
        for (name, variable) in variables.into_iter().flatten() {
            url = url.replace(&format!("{{{name}}}"), variable.get("default").and_then(Value::as_str).unwrap_or_default());
        }
        if url.contains("://") {
            return Ok(url);
        }
        let from = self.settings.url.as_deref().and_then(|from| Url::parse(from).ok()).filter(|from| from.has_host());
        let whole = from.and_then(|from| from.join(&url).ok());
        whole.map(String::from).ok_or_else(|| format!("its server `{url}` is relative: say `base_url`"))
    }

    fn parameters(&self, schemas: &Schemas, arguments: &mut Arguments, path: &mut String) -> Result<(), String> {
        let listed = |place: &Value| place.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut all: Vec<Value> = Vec::new();
        // An operation's parameter takes the place of its path's of the same name and place.
        for parameter in listed(self.operation).iter().chain(&listed(self.item)) {
            let parameter = self.document.resolved(parameter);
            let key = |one: &Value| (one.get("name").cloned(), one.get("in").cloned());
            if !all.iter().any(|known| key(known) == key(parameter)) {
                all.push(parameter.clone());
            }
        }
        let mut renamed: HashMap<String, String> = HashMap::new();
        for parameter in &all {
            let (Some(name), Some(place)) = (parameter.get("name").and_then(Value::as_str), parameter.get("in").and_then(Value::as_str))
            else {
                return Err("a parameter says no name or no place".into());
            };
            let required = parameter.get("required") == Some(&Value::Bool(true));
            let carrier = match place {
                "path" => None,
                "query" => Some(Carrier::Query),
                // The gateway writes these itself.
                "header" if name.eq_ignore_ascii_case("authorization") => continue,
                "header" if client::WIRE_HEADERS.contains(&name.to_ascii_lowercase().as_str()) => continue,
                "header" => Some(Carrier::Header),
                _ if required => return Err(format!("its parameter `{name}` travels as a {place}, which is not supported")),
                _ => {
                    arguments.notes.push(format!("the optional {place} parameter `{name}` is left out"));
                    continue;
                }
            };
            let schema = parameter.get("schema").or_else(|| parameter.pointer("/content/application~1json/schema"));
            let mut schema = schemas.taken(schema.unwrap_or(&Value::Bool(true)));
            describe(&mut schema, parameter.get("description"));
            let argument = arguments.free(name, place);
            if carrier.is_none() && argument != name {
                renamed.insert(name.to_owned(), argument.clone());
            }
            arguments.add(&argument, schema, required || carrier.is_none());
            let in_query_anyway = matches!(carrier, Some(Carrier::Query)) && !matches!(self.method, "post" | "put" | "patch");
            if let Some(carrier) = carrier.filter(|_| !in_query_anyway || argument != name) {
                let name = (argument != name).then(|| name.to_owned());
                arguments.places.insert(argument, Place { carrier, name });
            }
        }
        // All at once: what one is called now may be what another was called.
        let mut pieces = path.split('{');
        let mut filled = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}').unwrap_or((piece, ""));
            filled.extend(["{", renamed.get(name).map_or(name, String::as_str), "}", rest]);
        }
        *path = filled;
        Ok(())
    }

    fn body(&self, schemas: &Schemas, arguments: &mut Arguments) -> Result<(), String> {
        let Some(body) = self.operation.get("requestBody").map(|body| self.document.resolved(body)) else { return Ok(()) };
        let required = body.get("required") == Some(&Value::Bool(true));
        let content = body.get("content").and_then(Value::as_object);
        let is_json = |media: &str| media.starts_with("application/json") || media.contains("+json") || media == "*/*";
        let Some((_, media)) = content.and_then(|content| content.iter().find(|(media, _)| is_json(media))) else {
            let kinds = content.map(|content| content.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
            return if required { Err(format!("its body is {kinds}, not JSON")) } else { Ok(()) };
        };
        if !matches!(self.method, "post" | "put" | "patch") {
            return if required { Err(format!("a {} with a body is not supported", self.method.to_uppercase())) } else { Ok(()) };
        }
        let schema = media.get("schema").unwrap_or(&Value::Bool(true));
        let whole = self.document.resolved(schema);
        let members = whole.get("properties").and_then(Value::as_object).filter(|_| is_plain_object(whole));
        let needed: Vec<&str> = whole.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let fits = |members: &Map<String, Value>| {
            members.keys().all(|name| !arguments.properties.contains_key(name)) && (required || needed.is_empty())
        };
        match members.filter(|members| fits(members)) {
            Some(members) => {
                for (name, schema) in members {
                    let schema = schemas.taken(schema);
                    arguments.add(name, schema, needed.contains(&name.as_str()));
                }
                arguments.closed |= whole.get("additionalProperties") == Some(&Value::Bool(false));
            }
            None => {
                let name = arguments.free("body", "json");
                let mut schema = schemas.taken(schema);
                describe(&mut schema, body.get("description"));
                arguments.add(&name, schema, required);
                arguments.places.insert(name, Place { carrier: Carrier::Body, name: None });
            }
        }
        Ok(())
    }
}

/// Whether an object says nothing but its members, so that they can stand beside other arguments.
fn is_plain_object(schema: &Value) -> bool {
    const PLAIN: [&str; 11] = [
        "type",
        "properties",
        "required",
        "title",
        "description",
        "example",
        "examples",
        "additionalProperties",
        "deprecated",
        "xml",
        "externalDocs",
    ];
    let members =
        schema.as_object().is_some_and(|members| members.keys().all(|key| PLAIN.contains(&key.as_str()) || key.starts_with("x-")));
    members && schema.get("type").is_none_or(|kind| kind == "object") && schema.get("additionalProperties").is_none_or(Value::is_boolean)
}

fn describe(schema: &mut Value, description: Option<&Value>) {
    if let (Some(members), Some(Value::String(text))) = (schema.as_object_mut(), description) {
        members.entry("description").or_insert_with(|| shortened(text, super::DESCRIPTION_MAX).into());
    } else if let (Value::Bool(true), Some(Value::String(text))) = (&*schema, description) {
        *schema = json!({ "description": shortened(text, super::DESCRIPTION_MAX) });
    }
}

impl Arguments {
    /// A name that no argument has yet.
    fn free(&mut self, name: &str, place: &str) -> String {
        if !self.properties.contains_key(name) {
            return name.to_owned();
        }
        let mut other = format!("{place}_{name}");
        while self.properties.contains_key(&other) {
            other.push('_');
        }
        self.notes.push(format!("two parameters are called `{name}`: the one in the {place} is `{other}`"));
        other
    }
    fn add(&mut self, name: &str, schema: Value, required: bool) {
        self.properties.insert(name.to_owned(), schema);
        if required {
            self.required.push(name.into());
        }
    }

    /// All of them as one schema. One that is beyond the bounds of a schema says less, rather than nothing.
    fn schema(&mut self, schemas: &Schemas) -> Result<Value, String> {
        let mut whole = json!({ "type": "object", "properties": self.properties });
        if !self.required.is_empty() {
            whole["required"] = self.required.clone().into();
        }
        if self.closed {
            whole["additionalProperties"] = false.into();
        }
        let definitions = schemas.definitions(&whole);
        let mut with_definitions = whole.clone();
        if !definitions.is_empty() {
            with_definitions["$defs"] = definitions.into();
        }
        let Err(why) = Validator::compile(&with_definitions) else { return Ok(with_definitions) };
        for property in whole["properties"].as_object_mut().into_iter().flat_map(|properties| properties.values_mut()) {
            let kept = ["type", "description", "enum"].into_iter().filter_map(|key| Some((key.to_owned(), property.get(key)?.clone())));
            *property = Value::Object(kept.collect());
        }
        Validator::compile(&whole)?;
        self.notes.push(format!("its schema is shortened to names and types: {why}"));
        Ok(whole)
    }
}
