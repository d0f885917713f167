//! One spelling for one JSON value (RFC 8785), and its hash.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical text of a value.
pub fn text<T: Serialize>(value: &T) -> String {
    // Values here come from JSON or from our own types: they have no non-string keys and no NaN.
    serde_json_canonicalizer::to_string(value).unwrap_or_default()
}

/// SHA-256 of the canonical text, in hex.
pub fn hash<T: Serialize>(value: &T) -> String {
    hash_bytes(text(value).as_bytes())
}

/// SHA-256 of bytes, in hex.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether two values are the same JSON whatever their spelling.
pub fn same(a: &Value, b: &Value) -> bool {
    a == b || text(a) == text(b)
}
