//! Arguments as models and gateways write them.

use maniple_core::{lenient, message::ToolSpec};
use serde_json::{Value, value::RawValue};

/// What gateways write for no arguments at all.
const NONE: [&str; 6] = ["null", "\"\"", "[]", "None", "\"null\"", "\"{}\""];

/// Arguments ready to be checked. What cannot be understood stays as it was: the model is told.
///
/// An empty object before the real one is dropped (a server sends it when the call begins), and of a whole object that comes twice
/// one is kept. What means nothing is no arguments, unless the tool requires some: then its model is told what is missing from
/// what it wrote.
pub fn settled(text: String, tool: Option<&ToolSpec>) -> String {
    let text = lenient::without_halves(&lenient::joined(text)).into_owned();
    let bare = text.trim();
    if bare.is_empty() {
        return "{}".to_owned();
    }
    if NONE.contains(&bare) && !tool.is_some_and(requires_some) {
        return "{}".to_owned();
    }
    last_of_several(bare).unwrap_or(text)
}

fn requires_some(tool: &ToolSpec) -> bool {
    tool.parameters["required"].as_array().is_some_and(|names| !names.is_empty())
}

/// The one object that is meant where several stand in a row: the others are empty, or the same.
fn last_of_several(text: &str) -> Option<String> {
    let objects: Vec<&RawValue> = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok()?;
    let (last, before) = objects.split_last().filter(|(_, before)| !before.is_empty())?;
    let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok().filter(Value::is_object);
    let meant = value(last)?;
    let means_nothing = |other: Value| other == meant || other.as_object().is_some_and(serde_json::Map::is_empty);
    before.iter().all(|raw| value(raw).is_some_and(means_nothing)).then(|| last.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::tool;
    use serde_json::json;

    #[test]
    fn what_means_nothing_is_no_arguments_unless_some_are_required() {
        let free = tool("clock", "", json!({ "type": "object" }));
        let strict = tool("calculator", "", json!({ "type": "object", "required": ["expression"] }));
        for text in ["", " \n", "null", "\"\"", "[]", "None", "\"null\""] {
            assert_eq!(settled(text.into(), Some(&free)), "{}", "{text}");
        }
        assert_eq!(settled(String::new(), Some(&strict)), "{}");
        assert_eq!(settled("null".into(), Some(&strict)), "null", "the model is told what it wrote");
        assert_eq!(settled("null".into(), None), "{}");
    }

    #[test]
    fn an_empty_object_before_the_arguments_is_dropped_and_nothing_else_is_guessed() {
        for (text, meant) in [
            (r#"{}{"a":1}"#, r#"{"a":1}"#),
            (r#"{} {}{"a":1}"#, r#"{"a":1}"#),
            (r#"{"a":1}{"a": 1}"#, r#"{"a": 1}"#),
            (r#"{"a":1}{"a":2}"#, r#"{"a":1}{"a":2}"#),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{"a":12345678901234567890123}"#, r#"{"a":12345678901234567890123}"#),
            (r#"{}{"a":"#, r#"{}{"a":"#),
            (r#"{"a":"\ud83d"}"#, "{\"a\":\"\u{fffd}\"}"),
        ] {
            assert_eq!(settled(text.into(), None), meant);
        }
    }
}
