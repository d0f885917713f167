//! The parameters of an operation: in the path, the query, headers and cookies, each written as it says.

use super::{
    arguments::{Arguments, describe},
    operation::Operation,
    schema::Schemas,
};
use crate::transport::{client, media::is_json};
use maniple_core::tool::{Carrier, Place, Style};
use reqwest::header::HeaderName;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Adds those of an operation, and puts the names of arguments into its path.
pub(super) fn add(
    operation: &Operation<'_>,
    schemas: &Schemas,
    has_body: bool,
    arguments: &mut Arguments,
    path: &mut String,
) -> Result<(), String> {
    let mut renamed: HashMap<String, String> = HashMap::new();
    for parameter in all(operation) {
        let (Some(name), Some(place)) = (parameter.get("name").and_then(Value::as_str), parameter.get("in").and_then(Value::as_str)) else {
            return Err("a parameter says no name or no place, or is not in this document".into());
        };
        let required = parameter.get("required") == Some(&Value::Bool(true));
        let carrier = match place {
            "path" if !path.contains(&format!("{{{name}}}")) => continue,
            "path" => Carrier::Path,
            "query" => Carrier::Query,
            // The gateway writes these itself, and a credential the others.
            "header" if is_ours(name) => continue,
            "header" if HeaderName::from_bytes(name.as_bytes()).is_ok() => Carrier::Header,
            "cookie" => Carrier::Cookie,
            _ if required => return Err(format!("its parameter `{name}` travels as a {place}, which is not supported")),
            _ => {
                arguments.notes.push(format!("the optional {place} parameter `{name}` is left out: it cannot travel there"));
                continue;
            }
        };
        let (schema, content) = described(parameter);
        let mut taken = schemas.taken(schema);
        describe(&mut taken, parameter.get("description"));
        let argument = arguments.free(name, place);
        if carrier == Carrier::Path && argument != name {
            renamed.insert(name.to_owned(), argument.clone());
        }
        arguments.add(&argument, taken, required || carrier == Carrier::Path);
        let mut written = written(parameter, carrier, content.as_deref(), may_hold(operation, schema));
        written.name = (argument != name).then(|| name.to_owned());
        let is_usual = written == Place::of(carrier);
        let goes_there_anyway =
            carrier == Carrier::Path && (is_usual || written.style.is_none()) || carrier == Carrier::Query && !has_body && is_usual;
        if !goes_there_anyway {
            arguments.places.insert(argument, written);
        }
    }
    // All at once: what one is called now may be what another was called.
    let mut pieces = path.split('{');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('}').unwrap_or((piece, ""));
        let argument = renamed.get(name).map_or(name, String::as_str);
        filled.extend(["{", argument, "}", rest]);
        if !renamed.contains_key(name)
            && (!arguments.properties.contains_key(name) || arguments.places.get(name).is_some_and(|place| place.carrier != Carrier::Path))
        {
            arguments.add(name, json!({ "type": "string" }), true);
            arguments.notes.push(format!("the document does not describe `{name}` of its path: it is taken as a text"));
        }
    }
    *path = filled;
    Ok(())
}

/// An operation's parameter takes the place of its path's of the same name and place.
fn all<'a>(operation: &Operation<'a>) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = Vec::new();
    let listed = |place: &'a Value| place.get("parameters").and_then(Value::as_array).into_iter().flatten();
    for parameter in listed(operation.operation).chain(listed(operation.item)) {
        let parameter = operation.document.resolved(parameter);
        let key = |one: &Value| (one.get("name").cloned(), one.get("in").cloned());
        if parameter.get("name").is_none() || !all.iter().any(|known| key(known) == key(parameter)) {
            all.push(parameter);
        }
    }
    all
}

fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "authorization" | "cookie") || name.starts_with("proxy-") || client::WIRE_HEADERS.contains(&name.as_str())
}

/// The schema of a parameter, and the media type that it is written in, where it says one.
fn described(parameter: &Value) -> (&Value, Option<String>) {
    if let Some((media_type, media)) = parameter.get("content").and_then(Value::as_object).and_then(|content| content.iter().next()) {
        return (media.get("schema").unwrap_or(&Value::Bool(true)), Some(media_type.to_ascii_lowercase()));
    }
    (parameter.get("schema").unwrap_or(&Value::Bool(true)), None)
}

/// What values of a schema may be.
struct Holds {
    list: bool,
    object: bool,
}

fn may_hold(operation: &Operation<'_>, schema: &Value) -> Holds {
    let schema = operation.document.resolved(schema);
    let is_of = |kind: &str| match schema.get("type") {
        Some(Value::String(said)) => said == kind,
        Some(Value::Array(said)) => said.iter().any(|said| said == kind),
        _ => schema.get("enum").is_none() && schema.get("const").is_none(),
    };
    Holds { list: is_of("array"), object: is_of("object") }
}

/// How it is written (OpenAPI 3.0.3, "Parameter Object"); nothing is said where that is how it is written anyway.
fn written(parameter: &Value, carrier: Carrier, content: Option<&str>, holds: Holds) -> Place {
    let mut place = Place::of(carrier);
    place.allow_reserved = carrier == Carrier::Query && parameter.get("allowReserved") == Some(&Value::Bool(true));
    if let Some(media_type) = content {
        place.style = is_json(media_type).then_some(Style::Json);
        return place;
    }
    let usual = if matches!(carrier, Carrier::Query | Carrier::Cookie) { Style::Form } else { Style::Simple };
    let said = match parameter.get("style").and_then(Value::as_str) {
        Some("label") if carrier == Carrier::Path => Style::Label,
        Some("matrix") if carrier == Carrier::Path => Style::Matrix,
        Some("spaceDelimited") if carrier == Carrier::Query => Style::SpaceDelimited,
        Some("pipeDelimited") if carrier == Carrier::Query => Style::PipeDelimited,
        Some("deepObject") if carrier == Carrier::Query => Style::DeepObject,
        _ => usual,
    };
    let explode = parameter.get("explode").and_then(Value::as_bool);
    let explodes = explode.unwrap_or(said == Style::Form);
    let makes_a_difference = match said {
        Style::Label | Style::Matrix => true,
        // Lists of a query go item by item anyway.
        Style::Form => (holds.list && !explodes) || holds.object,
        _ => holds.list || holds.object,
    };
    if makes_a_difference {
        place.style = Some(said);
        place.explode = explode.filter(|explode| *explode != (said == Style::Form));
    }
    place
}
