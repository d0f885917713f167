//! The body of an operation: which of its media types is written, and which arguments it is made of.
//!
//! | media type | arguments |
//! |---|---|
//! | JSON, of an object that says nothing but its members | the members |
//! | other JSON | `body`, the whole of it |
//! | `application/x-www-form-urlencoded`, `multipart/form-data` | the fields |
//! | `text/*`, and any other whose schema is a text | `body`, the text |

use super::{
    arguments::{Arguments, describe},
    operation::Operation,
    schema::{COMPOSED, Schemas},
};
use crate::transport::media::{is_json, plain};
use maniple_core::tool::{Body, Carrier, FormField, Place, Sent, Style};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The body that is written.
pub(super) struct Chosen<'a> {
    media_type: &'a str,
    media: &'a Value,
    form: Form,
    required: bool,
    description: Option<&'a Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Json,
    LikeJson,
    Urlencoded,
    Multipart,
    Text,
}

/// The media type that suits a tool best; `None` where there is no body, or none that can be written and need be, which is noted.
pub(super) fn chosen<'a>(operation: &Operation<'a>, arguments: &mut Arguments) -> Result<Option<Chosen<'a>>, String> {
    let Some(body) = operation.operation.get("requestBody").map(|body| operation.document.resolved(body)) else { return Ok(None) };
    let required = body.get("required") == Some(&Value::Bool(true));
    let content: Vec<(&String, &Value)> = body.get("content").and_then(Value::as_object).into_iter().flatten().collect();
    let forms = content.iter().copied().filter_map(|(media_type, media)| Some((form(operation, media_type, media)?, media_type, media)));
    let best = forms.min_by_key(|(form, ..)| *form);
    match best {
        _ if operation.method == "head" && !content.is_empty() => cannot("a HEAD with a body is not supported".into(), required, arguments),
        Some((form, media_type, media)) => Ok(Some(Chosen { media_type, media, form, required, description: body.get("description") })),
        None if content.is_empty() && !required => Ok(None),
        None => {
            let kinds = content.iter().map(|(media_type, _)| media_type.as_str()).collect::<Vec<_>>().join(", ");
            let kinds = if kinds.is_empty() { "of no media type".to_owned() } else { kinds };
            cannot(format!("its body is {kinds}, which no arguments can be written as"), required, arguments)
        }
    }
}

fn cannot<'a>(why: String, required: bool, arguments: &mut Arguments) -> Result<Option<Chosen<'a>>, String> {
    if required {
        return Err(why);
    }
    arguments.notes.push(format!("it goes without a body: {why}"));
    Ok(None)
}

fn form(operation: &Operation<'_>, media_type: &str, media: &Value) -> Option<Form> {
    let plain = plain(media_type);
    let schema = operation.document.resolved(media.get("schema").unwrap_or(&Value::Bool(true)));
    let is_text = schema.get("type").is_some_and(|kind| kind == "string");
    match plain.as_str() {
        "application/json" | "*/*" | "application/*" => Some(Form::Json),
        _ if is_json(media_type) => Some(Form::LikeJson),
        "application/x-www-form-urlencoded" | "multipart/form-data" => {
            let form = if plain.starts_with('m') { Form::Multipart } else { Form::Urlencoded };
            (!Fields::of(operation, schema).members.is_empty()).then_some(form)
        }
        _ if plain.starts_with("text/") && !schema.get("type").is_some_and(|kind| kind == "object") => Some(Form::Text),
        _ => is_text.then_some(Form::Text),
    }
}

impl Chosen<'_> {
    /// Adds its arguments, and says how it is written.
    pub(super) fn add(&self, operation: &Operation<'_>, schemas: &Schemas, arguments: &mut Arguments) -> Option<Body> {
        let mut body = Body { media_type: self.said(), sent: if self.required { Sent::Always } else { Sent::IfGiven }, ..Body::default() };
        match self.form {
            Form::Json | Form::LikeJson => self.json(schemas, operation, arguments),
            Form::Urlencoded | Form::Multipart => body.fields = self.fields(operation, schemas, arguments),
            Form::Text => self.whole(json!({ "type": "string" }), arguments),
        }
        // As a body is written anyway.
        let is_usual = body == Body::default() && matches!(operation.method, "post" | "put" | "patch");
        (!is_usual).then_some(body)
    }

    /// The media type as it stands on the wire, where that is not plain JSON.
    fn said(&self) -> Option<String> {
        let is_plain = self.media_type.eq_ignore_ascii_case("application/json") || self.media_type.contains('*');
        let said = if self.form == Form::Multipart { "multipart/form-data" } else { self.media_type };
        match (is_plain, self.form) {
            (true, Form::Text) => Some("text/plain".into()),
            (true, _) => None,
            (false, _) => Some(said.to_owned()),
        }
    }

    fn schema(&self) -> &Value {
        self.media.get("schema").unwrap_or(&Value::Bool(true))
    }

    fn json(&self, schemas: &Schemas, operation: &Operation<'_>, arguments: &mut Arguments) {
        let whole = schemas.taken(operation.document.resolved(self.schema()));
        let members = whole.get("properties").and_then(Value::as_object).filter(|_| is_plain_object(&whole));
        let fits = |members: &Map<String, Value>| members.keys().all(|name| !arguments.properties.contains_key(name));
        let Some(members) = members.filter(|members| fits(members)) else {
            return self.whole(schemas.taken(self.schema()), arguments);
        };
        let needed: Vec<&str> = whole.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, schema) in members {
            arguments.add(name, schema.clone(), self.required && needed.contains(&name.as_str()));
            let others: Vec<&str> = needed.iter().copied().filter(|other| other != name).collect();
            // Whoever gives a part of a body gives what that needs.
            if !self.required && !others.is_empty() {
                arguments.needed_beside.insert(name.clone(), others.into());
            }
        }
        arguments.closed |= whole.get("additionalProperties") == Some(&Value::Bool(false));
    }

    fn whole(&self, mut schema: Value, arguments: &mut Arguments) {
        let name = arguments.free("body", "json");
        describe(&mut schema, self.description);
        arguments.add(&name, schema, self.required);
        arguments.places.insert(name, Place::of(Carrier::Body));
    }

    fn fields(&self, operation: &Operation<'_>, schemas: &Schemas, arguments: &mut Arguments) -> BTreeMap<String, FormField> {
        let fields = Fields::of(operation, self.schema());
        let mut said = BTreeMap::new();
        let needed: Vec<String> = fields.required.clone();
        let mut named: BTreeMap<&str, String> = BTreeMap::new();
        for (name, schema) in &fields.members {
            let argument = arguments.free(name, "form");
            arguments.add(&argument, schemas.taken(schema), self.required && needed.contains(name));
            let field = self.field(operation, name, schema, (argument != *name).then(|| name.clone()));
            if field != FormField::default() {
                said.insert(argument.clone(), field);
            }
            named.insert(name, argument);
        }
        for (name, argument) in named.iter().filter(|_| !self.required) {
            let others: Vec<&String> = needed.iter().filter(|other| other != name).filter_map(|other| named.get(other.as_str())).collect();
            if !others.is_empty() {
                arguments.needed_beside.insert(argument.clone(), json!(others));
            }
        }
        said
    }

    /// How a field is written (OpenAPI 3.0.3, "Encoding Object").
    fn field(&self, operation: &Operation<'_>, name: &str, schema: &Value, renamed: Option<String>) -> FormField {
        let encoding = self.media.get("encoding").and_then(|encodings| encodings.get(name));
        let text = |key: &str| encoding.and_then(|encoding| encoding.get(key)?.as_str());
        let style = match text("style") {
            Some("form") => Some(Style::Form),
            Some("spaceDelimited") => Some(Style::SpaceDelimited),
            Some("pipeDelimited") => Some(Style::PipeDelimited),
            Some("deepObject") => Some(Style::DeepObject),
            _ => None,
        };
        let explode = encoding.and_then(|encoding| encoding.get("explode")?.as_bool());
        let kind = operation.document.resolved(schema);
        let is_binary =
            |schema: &Value| schema.get("format").is_some_and(|format| format == "binary") || schema.get("contentMediaType").is_some();
        let item = kind.get("items").map(|items| operation.document.resolved(items));
        let is_multipart = self.form == Form::Multipart;
        let media_type = text("contentType").map(|types| types.split(',').next().unwrap_or_default().trim().to_owned());
        FormField {
            name: renamed,
            style: style.or_else(|| explode.map(|_| Style::Form)).filter(|_| !is_multipart),
            explode: explode.filter(|_| !is_multipart),
            media_type: media_type.filter(|media| is_multipart && media.contains('/') && !media.contains('*')),
            file: is_multipart && (is_binary(kind) || item.is_some_and(is_binary)),
        }
    }
}

/// The fields of a form: those of its object, and of all that it is composed of.
struct Fields {
    members: BTreeMap<String, Value>,
    required: Vec<String>,
}

impl Fields {
    fn of(operation: &Operation<'_>, schema: &Value) -> Self {
        let document = operation.document;
        let is_read_only = |schema: &Value| schema.get("readOnly") == Some(&Value::Bool(true));
        let mut members = BTreeMap::new();
        for (name, member) in document.composed(schema, &COMPOSED).iter().filter_map(|part| part.get("properties")?.as_object()).flatten() {
            if !is_read_only(member) && !is_read_only(document.resolved(member)) {
                members.entry(name.clone()).or_insert_with(|| member.clone());
            }
        }
        let sure = document.composed(schema, &["allOf"]).into_iter();
        let needed = sure.filter_map(|part| part.get("required")?.as_array()).flatten().filter_map(Value::as_str);
        let required = needed.filter(|name| members.contains_key(*name)).map(str::to_owned).collect();
        Self { members, required }
    }
}

/// Whether an object says nothing but its members, so that they can stand beside other arguments.
fn is_plain_object(schema: &Value) -> bool {
    const PLAIN: [&str; 8] = ["type", "properties", "required", "title", "description", "additionalProperties", "deprecated", "writeOnly"];
    let members = schema.as_object().is_some_and(|members| members.keys().all(|key| PLAIN.contains(&key.as_str())));
    members && schema.get("type").is_none_or(|kind| kind == "object") && schema.get("additionalProperties").is_none_or(Value::is_boolean)
}
