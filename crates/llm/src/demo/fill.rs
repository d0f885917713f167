//! JSON that fits a schema, with values found in a prompt where there are any.

use super::found::Found;
use maniple_core::schema::Validator;
use serde_json::{Map, Number, Value, json};

/// Values made for one schema at most: a schema may refer to itself.
const MAX_VALUES: usize = 10_000;
/// The most of a prompt that becomes an argument, and the longest string made.
const MAX_STRING_CHARS: usize = 500;

/// The required arguments of a tool, found in the prompt, and the optional ones that are clearly meant.
/// `None` where one cannot be found or the whole does not fit.
pub fn arguments(parameters: &Value, prompt: &str) -> Option<Value> {
    let mut filler = Filler::new(parameters, Some(Found::of(prompt)));
    let mut arguments = filler.value(parameters, "", 0)?;
    for (name, schema) in optional(parameters) {
        if let (Some(value), Some(arguments)) = (filler.clearly_meant(schema, name), arguments.as_object_mut()) {
            arguments.insert(name.to_owned(), value);
        }
    }
    let fits = Validator::compile(parameters).is_ok_and(|validator| validator.check(&arguments).is_ok());
    fits.then_some(arguments)
}

/// The least that fits the schema; `null` where nothing is found that does.
pub fn minimal(schema: &Value) -> Value {
    Filler::new(schema, None).value(schema, "", 0).unwrap_or_default()
}

/// Whether an argument of the tool is in the prompt that no other kind of tool would want: an address, an expression.
pub fn finds_an_argument(parameters: &Value, prompt: &str) -> bool {
    let found = Found::of(prompt);
    let is_meant =
        |name: &str, schema: &Value| names_url(name, schema) && found.url.is_some() || names_expression(name) && found.expression.is_some();
    required(parameters).any(|name| is_meant(name, &parameters["properties"][name]))
}

/// The names a schema requires.
pub fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn optional(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = schema["properties"].as_object().into_iter().flatten();
    members.filter(|(name, _)| required(schema).all(|r| r != name.as_str())).map(|(name, schema)| (name.as_str(), schema))
}

fn names_url(name: &str, schema: &Value) -> bool {
    matches!(schema["format"].as_str(), Some("uri" | "url")) || ["url", "uri", "link"].iter().any(|part| name.to_lowercase().contains(part))
}
fn names_expression(name: &str) -> bool {
    ["expr", "formula", "equation", "calculation"].iter().any(|part| name.to_lowercase().contains(part))
}
fn names_zone(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("zone") || name == "tz"
}

struct Filler<'a> {
    root: &'a Value,
    found: Option<Found<'a>>,
    numbers_used: usize,
    quotes_used: usize,
    values: usize,
}

impl<'a> Filler<'a> {
    fn new(root: &'a Value, found: Option<Found<'a>>) -> Self {
        Self { root, found, numbers_used: 0, quotes_used: 0, values: 0 }
    }

    fn value(&mut self, schema: &Value, name: &str, depth: usize) -> Option<Value> {
        self.values += 1;
        if self.values > MAX_VALUES || depth > 64 {
            return None;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.root.pointer(reference.strip_prefix('#')?)?;
            return self.value(target, name, depth + 1);
        }
        if let Some(value) = schema.get("const") {
            return Some(value.clone());
        }
        if let Some(choices) = schema["enum"].as_array() {
            return self.named(choices).or_else(|| schema.get("default").cloned()).or_else(|| choices.first().cloned());
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return self.all_of(schema, parts, name, depth);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[choice].as_array() {
                return choices.iter().find_map(|choice| self.value(choice, name, depth + 1));
            }
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "string" => self.string(schema, name),
            kind @ ("integer" | "number") => self.number(schema, kind == "integer"),
            "boolean" => Some(schema.get("default").cloned().unwrap_or(json!(true))),
            _ => Some(Value::Null),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Option<Value> {
        let any = json!({ "type": "string" });
        let members = required(schema).map(|name| {
            let schema = schema["properties"].get(name).unwrap_or(&any);
            Some((name.to_owned(), self.value(schema, name, depth + 1)?))
        });
        members.collect::<Option<Map<_, _>>>().map(Value::Object)
    }

    /// The members of all parts together; the first part's value where they are no objects.
    fn all_of(&mut self, schema: &Value, parts: &[Value], name: &str, depth: usize) -> Option<Value> {
        let mut own = schema.clone();
        own.as_object_mut()?.remove("allOf");
        let mut whole = Map::new();
        for part in std::iter::once(&own).filter(|own| own.get("properties").is_some() || own.get("required").is_some()).chain(parts) {
            match self.value(part, name, depth + 1)? {
                Value::Object(members) => whole.extend(members),
                value => return Some(value),
            }
        }
        Some(Value::Object(whole))
    }

    fn array(&mut self, schema: &Value, name: &str, depth: usize) -> Option<Value> {
        let items = &schema["items"];
        let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
        let most = schema["maxItems"].as_u64().map_or(usize::MAX, |n| n as usize);
        let said = match (&self.found, kind(items)) {
            (Some(found), "integer" | "number") => found.numbers.len() - self.numbers_used,
            (Some(found), "string") => found.quoted.len() - self.quotes_used,
            _ => 0,
        };
        if least > MAX_VALUES {
            return None;
        }
        let fixed = schema["prefixItems"].as_array().map_or(&[][..], Vec::as_slice);
        let item = |at| fixed.get(at).unwrap_or(items);
        (0..said.clamp(least, most.max(least)))
            .map(|at| self.value(item(at), name, depth + 1))
            .collect::<Option<Vec<_>>>()
            .map(Value::Array)
    }

    /// An address cannot be made up, nor can an expression; any other text may be the prompt itself.
    fn string(&mut self, schema: &Value, name: &str) -> Option<Value> {
        if let Some(value) = self.clearly_meant(schema, name) {
            return Some(value);
        }
        let default = schema.get("default").cloned();
        let Some(found) = &self.found else { return default.or_else(|| sized("demo", schema)) };
        if names_url(name, schema) || names_expression(name) {
            return default;
        }
        if names_zone(name) {
            return default.or(Some(json!("UTC")));
        }
        let quoted = found.quoted.get(self.quotes_used).copied();
        self.quotes_used += usize::from(quoted.is_some());
        quoted.and_then(|text| sized(text, schema)).or(default).or_else(|| sized(found.prompt, schema))
    }

    fn number(&mut self, schema: &Value, whole: bool) -> Option<Value> {
        let said = self.found.as_ref().and_then(|found| found.numbers.get(self.numbers_used).cloned());
        if let Some(number) = said.filter(|n| !whole || n.is_i64() || n.is_u64()) {
            self.numbers_used += 1;
            return Some(Value::Number(number));
        }
        if let Some(default) = schema.get("default") {
            return Some(default.clone());
        }
        let bound = |field: &str| schema[field].as_f64();
        let step = if whole { 1.0 } else { 0.5 };
        let low = bound("minimum").or(bound("exclusiveMinimum").map(|low| low + step));
        let high = bound("maximum").or(bound("exclusiveMaximum").map(|high| high - step));
        let mut number = low.unwrap_or(high.map_or(0.0, |high| high.min(0.0)));
        if whole {
            number = number.ceil();
        }
        if let Some(multiple) = bound("multipleOf").filter(|m| *m > 0.0) {
            number = (number / multiple).ceil() * multiple;
        }
        let is_whole = number.fract() == 0.0 && number.abs() < 9e15;
        if is_whole { Some(json!(number as i64)) } else { Number::from_f64(number).map(Value::Number) }
    }

    /// What the prompt has that only this can be: an address, an expression, a time zone, a choice by its name.
    fn clearly_meant(&self, schema: &Value, name: &str) -> Option<Value> {
        let found = self.found.as_ref()?;
        if let Some(choices) = schema["enum"].as_array() {
            return self.named(choices);
        }
        if kind(schema) != "string" {
            return None;
        }
        let text = match () {
            () if names_url(name, schema) => found.url,
            () if names_expression(name) => found.expression.as_deref(),
            () if names_zone(name) => found.zone,
            () => None,
        };
        text.map(|text| json!(text))
    }

    /// The choice the prompt names.
    fn named(&self, choices: &[Value]) -> Option<Value> {
        let prompt = self.found.as_ref()?.prompt.to_lowercase();
        let says = |word: &str| {
            let word = word.to_lowercase();
            prompt.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').any(|said| said == word)
        };
        choices.iter().find(|choice| choice.as_str().is_some_and(says)).cloned()
    }
}

/// The type a schema asks for; the first that is not null where there are several.
fn kind(schema: &Value) -> &str {
    let stated = match &schema["type"] {
        Value::String(kind) => Some(kind.as_str()),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ => None,
    };
    let implied = [("properties", "object"), ("required", "object"), ("items", "array"), ("minimum", "number"), ("minLength", "string")];
    let implied = implied.iter().find(|(keyword, _)| schema.get(*keyword).is_some()).map(|(_, kind)| *kind);
    stated.or(implied).unwrap_or(if schema.get("type").is_some() { "null" } else { "string" })
}

/// The text cut or drawn out to the length a schema wants.
fn sized(text: &str, schema: &Value) -> Option<Value> {
    let least = schema["minLength"].as_u64().unwrap_or(0) as usize;
    let most = schema["maxLength"].as_u64().map_or(MAX_STRING_CHARS, |n| (n as usize).min(MAX_STRING_CHARS.max(least)));
    if least > MAX_VALUES {
        return None;
    }
    let mut sized: String = text.chars().take(most).collect();
    let missing = least.saturating_sub(sized.chars().count());
    sized.extend(std::iter::repeat_n('x', missing));
    Some(Value::String(sized))
}
