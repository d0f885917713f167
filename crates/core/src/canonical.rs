//! One spelling for one JSON value (RFC 8785), and its hash.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical text of a value.
pub fn text<T: Serialize>(value: &T) -> String {
    // Values here come from JSON or from our own types: they have no non-string keys and no NaN.
    serde_json_canonicalizer::to_string(value).unwrap_or_default()
}

/// Canonical text that keeps every digit: RFC 8785 writes integers as doubles, so that two accounts whose
/// numbers differ in the nineteenth digit would be one. Only for telling values apart, not JSON for others.
pub fn exact(value: &Value) -> String {
    text(&keep_digits(value))
}

fn keep_digits(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let integer = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
            match integer {
                Some(integer) if (integer as f64) as i128 != integer => Value::String(format!("\u{0}{integer}")),
                _ => value.clone(),
            }
        }
        Value::Array(items) => items.iter().map(keep_digits).collect(),
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), keep_digits(member))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// A value whose whole numbers are written without a fraction, as RFC 8785 writes them: `3.0` is `3`. Those that a double does not
/// hold to the last digit stay as they are.
pub fn whole_numbers(value: Value) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < EXACT_MAX => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(members) => members.into_iter().map(|(name, member)| (name, whole_numbers(member))).collect(),
        other => other,
    }
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

/// Whether nothing in a value lies deeper than so many arrays and objects.
pub fn nests_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| nests_within(item, depth - 1)),
        Value::Object(members) => depth > 0 && members.values().all(|member| nests_within(member, depth - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
