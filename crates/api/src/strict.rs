//! How a body is read strictly: it is an object, every member is a field there is, and every field has its type.

use crate::json::excerpt;
use maniple_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The members of a body that may have these fields and no others. `Invalid` names the first that is none, and the one
/// that was perhaps meant.
pub(crate) fn members<'a>(body: &'a Value, fields: &[&str]) -> Result<&'a Map<String, Value>> {
    let Value::Object(members) = body else {
        return Err(Error::invalid(format!("the body must be a JSON object of {}", fields.join(", "))));
    };
    match members.keys().find(|name| !fields.contains(&name.as_str())) {
        Some(name) => Err(unknown(name, fields)),
        None => Ok(members),
    }
}

fn unknown(name: &str, fields: &[&str]) -> Error {
    let shown = excerpt(name);
    let nearest = fields.iter().map(|field| (strsim::damerau_levenshtein(field, &shown), field)).min();
    let message = match nearest {
        Some((distance, field)) if distance <= 3 => format!("there is no field `{shown}`: did you mean `{field}`?"),
        _ => format!("there is no field `{shown}`: there are {}", fields.join(", ")),
    };
    Error::invalid(message).at(shown)
}

/// A body whose members are known, as what it says. `Invalid` names the path at fault.
pub(crate) fn typed<T: DeserializeOwned>(body: &Value) -> Result<T> {
    serde_path_to_error::deserialize(body).map_err(|e| {
        let path = e.path().to_string();
        Error::invalid(format!("{path}: {}", e.into_inner())).at(path)
    })
}
