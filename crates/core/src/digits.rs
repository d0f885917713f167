//! Integers of more than 64 bits, to the last digit.
//!
//! Balances in wei and ids of 128 bits are written as JSON numbers; read as doubles they lose half of their digits without a word. So
//! they are read as texts of those digits.

use serde_json::Value;
use std::borrow::Cow;

/// Digits that fit into 64 bits whatever they are.
const ALWAYS_FIT: usize = 18;

/// The same JSON with each integer of more than 64 bits in quotes.
pub fn kept(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = bytes[at..]
                    .iter()
                    .position(|b| !matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .map_or(bytes.len(), |n| at + n);
                let number = &json[at..end];
                if is_too_large(number) {
                    out.push_str(&json[copied..at]);
                    out.extend(["\"", number, "\""]);
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// The same value with each text that [`kept`] may have made of a number as that number, as plain JSON reads it. `None` where there is
/// none.
pub fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) if is_too_large(text) => Some(text.parse::<f64>().ok().filter(|number| number.is_finite())?.into()),
        Value::Array(items) => {
            let plain: Vec<Option<Value>> = items.iter().map(plain).collect();
            let is_news = plain.iter().any(Option::is_some);
            is_news.then(|| plain.into_iter().zip(items).map(|(plain, item)| plain.unwrap_or_else(|| item.clone())).collect())
        }
        Value::Object(members) => {
            let plain: Vec<Option<Value>> = members.values().map(plain).collect();
            let is_news = plain.iter().any(Option::is_some);
            let members = members.iter().zip(plain);
            is_news.then(|| members.map(|((name, member), plain)| (name.clone(), plain.unwrap_or_else(|| member.clone()))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn end_of_string(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_too_large(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.len() > ALWAYS_FIT
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
        && number.parse::<i64>().is_err()
        && number.parse::<u64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_integers_that_would_lose_digits_are_quoted() {
        for (given, expected) in [
            (r#"{"a":1,"b":[18446744073709551615,-9223372036854775808]}"#, None),
            (r#"{"wei":18446744073709551616}"#, Some(r#"{"wei":"18446744073709551616"}"#)),
            ("[-9223372036854775809, 1]", Some(r#"["-9223372036854775809", 1]"#)),
            (r#"{"12345678901234567890123":"12345678901234567890123 \\" 1"}"#, None),
            (r#"["a\"", 12345678901234567890123 ]"#, Some(r#"["a\"", "12345678901234567890123" ]"#)),
            ("12345678901234567890.5", None),
            ("1e400", None),
            ("99999999999999999999", Some(r#""99999999999999999999""#)),
            (r#"["unclosed"#, None),
            ("\"\\", None),
        ] {
            let kept = kept(given);
            assert_eq!((&*kept, matches!(kept, Cow::Borrowed(_))), (expected.unwrap_or(given), expected.is_none()), "{given}");
        }
    }

    #[test]
    fn a_text_of_digits_is_the_number_that_plain_json_reads_and_any_other_stays() {
        let value = json!({ "wei": "18446744073709551616", "list": ["-9223372036854775809", "12", 7], "name": "x" });
        let number = json!({ "wei": 18446744073709551616.0, "list": [-9223372036854775809.0, "12", 7], "name": "x" });
        assert_eq!(plain(&value), Some(number));
        assert_eq!(plain(&json!({ "a": ["12", "007", "99999999999999999999x", 1.5] })), None);
    }
}
