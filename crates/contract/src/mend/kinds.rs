//! What other languages call the kinds of JSON value.

/// A type as JSON Schema says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// This type.
    Is(&'static str),
    /// A string of this format.
    Format(&'static str),
    /// A list without repetitions.
    Set,
    /// No type at all: anything goes.
    Any,
}

/// Reads a type's name, in any case; `None` where it names no kind of JSON value.
pub(super) fn kind(name: &str) -> Option<Kind> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "string" | "str" | "text" => Kind::Is("string"),
        "integer" | "int" | "int32" | "int64" | "long" => Kind::Is("integer"),
        "number" | "float" | "float32" | "float64" | "double" | "decimal" => Kind::Is("number"),
        "boolean" | "bool" => Kind::Is("boolean"),
        "array" | "list" | "tuple" | "sequence" => Kind::Is("array"),
        "set" | "frozenset" => Kind::Set,
        "object" | "dict" | "dictionary" | "map" | "mapping" => Kind::Is("object"),
        "null" | "none" | "nonetype" | "nil" => Kind::Is("null"),
        "any" => Kind::Any,
        "date" => Kind::Format("date"),
        "datetime" | "date-time" => Kind::Format("date-time"),
        "time" => Kind::Format("time"),
        "uuid" => Kind::Format("uuid"),
        "uri" | "url" => Kind::Format("uri"),
        "email" => Kind::Format("email"),
        _ => return None,
    })
}
