//! What models wrote, made fit to be shown to a provider again.
//!
//! Calls in a conversation may come from another provider and may be broken; many servers parse
//! them again and answer a 4xx or a 500 for the whole request if they are not what they expect.

use serde_json::value::RawValue;
use std::borrow::Cow;

/// The arguments of an earlier call as a JSON object: text that is none goes under `invalid_arguments`.
pub fn arguments(text: &str) -> Cow<'_, RawValue> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) if json.get().starts_with('{') => Cow::Borrowed(json),
        _ if text.trim().is_empty() => Cow::Owned(raw(&serde_json::Map::new())),
        _ => Cow::Owned(raw(&serde_json::json!({ "invalid_arguments": text }))),
    }
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a map with string keys can be written")
}

/// The name of an earlier call in `[a-zA-Z0-9_-]{1,64}`, which providers insist on: a model may have made one up.
pub fn tool_name(name: &str) -> Cow<'_, str> {
    legal(name, "unknown")
}

/// The id of an earlier call in the same alphabet, the same for the call and its result.
pub fn call_id(id: &str) -> Cow<'_, str> {
    legal(id, "call")
}

fn legal<'a>(text: &'a str, if_empty: &'static str) -> Cow<'a, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match text {
        "" => Cow::Borrowed(if_empty),
        text if text.len() <= 64 && text.chars().all(fits) => Cow::Borrowed(text),
        text => Cow::Owned(text.chars().take(64).map(|c| if fits(c) { c } else { '_' }).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_no_object_are_wrapped_and_objects_stay_as_they_were() {
        for (text, shown) in [
            (r#" {"b": 1,"a":2} "#, r#"{"b": 1,"a":2}"#),
            ("", "{}"),
            (r#"{"a": "#, r#"{"invalid_arguments":"{\"a\": "}"#),
            ("[1]", r#"{"invalid_arguments":"[1]"}"#),
            ("null", r#"{"invalid_arguments":"null"}"#),
        ] {
            assert_eq!(arguments(text).get(), shown, "{text}");
        }
    }

    #[test]
    fn names_that_no_provider_would_take_back_are_spelled_so_that_it_does() {
        assert_eq!(tool_name("web_search-2"), "web_search-2");
        assert_eq!(tool_name("functions.clock "), "functions_clock_");
        assert_eq!(tool_name(""), "unknown");
        assert_eq!(tool_name(&"é".repeat(90)), "_".repeat(64));
        assert_eq!(call_id("call|1"), "call_1");
    }
}
