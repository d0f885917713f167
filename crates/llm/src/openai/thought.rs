//! What a model thought, in the members that servers of this API put it in.

use maniple_core::{lenient, message::Reasoning};
use serde_json::{Map, Value};

/// Members that are plain text. A server that has several says the same in each.
const TEXTS: [&str; 3] = ["reasoning_content", "reasoning", "reasoning_text"];
/// Members whose meaning is the provider's own: signed, encrypted, structured.
const OPAQUE: [&str; 4] = ["reasoning_details", "extra_content", "thinking_blocks", "reasoning_opaque"];

/// What was thought, as far as it has come.
#[derive(Default)]
pub struct Thought {
    text: String,
    fields: Vec<&'static str>,
    opaque: Map<String, Value>,
    weight: usize,
}

impl Thought {
    /// Takes what a message, or a piece of one, has of it.
    pub fn add(&mut self, message: &Value) {
        for field in TEXTS {
            let Some(text) = message[field].as_str().filter(|text| !text.is_empty()) else { continue };
            if !self.fields.contains(&field) {
                self.fields.push(field);
            }
            // The others repeat it.
            if self.fields.first() == Some(&field) {
                self.text.push_str(text);
            }
        }
        for field in OPAQUE {
            let more = &message[field];
            if !more.is_null() {
                self.weight += more.to_string().len();
                merge(self.opaque.entry(field).or_insert(Value::Null), more);
            }
        }
    }

    /// A part of the text that is thought.
    pub fn think(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// What it weighs, in bytes.
    pub fn weight(&self) -> usize {
        self.text.len() + self.weight
    }
    /// Its text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All of it, and what was thought aloud in the text.
    pub fn finish(self, aloud: String) -> Option<Reasoning> {
        let mut text = lenient::joined(self.text);
        if text.is_empty() {
            text = details(&self.opaque);
        }
        let fields = self.fields.into_iter().map(str::to_owned).collect();
        let text = if text.is_empty() { aloud } else { text };
        let opaque = (!self.opaque.is_empty()).then_some(Value::Object(self.opaque));
        Reasoning::kept(text, fields, opaque)
    }
}

/// What of the opaque pieces is for people.
fn details(opaque: &Map<String, Value>) -> String {
    let details = opaque.get("reasoning_details").and_then(Value::as_array);
    let texts = details.into_iter().flatten().filter_map(|detail| detail["text"].as_str().or(detail["summary"].as_str()));
    texts.collect::<Vec<_>>().join("\n")
}

/// A list grows by what comes; a piece of an item that has begun, told by `type` and `index`, makes that one longer: a signature is
/// over the whole.
fn merge(known: &mut Value, more: &Value) {
    match (known, more) {
        (Value::Array(items), Value::Array(more)) => {
            for piece in more {
                let place = |item: &Value| (item["index"].as_u64(), item["type"].clone());
                let begun = piece["index"].is_u64().then(|| items.iter_mut().find(|item| place(item) == place(piece))).flatten();
                match begun {
                    Some(begun) => lengthen(begun, piece),
                    None => items.push(piece.clone()),
                }
            }
        }
        (Value::Object(members), Value::Object(more)) => {
            for (name, value) in more {
                merge(members.entry(name).or_insert(Value::Null), value);
            }
        }
        (known, more) => *known = more.clone(),
    }
}

fn lengthen(begun: &mut Value, piece: &Value) {
    const GROWING: [&str; 4] = ["text", "summary", "data", "thinking"];
    for (name, value) in piece.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match (&mut begun[name.as_str()], value) {
            (Value::String(known), Value::String(more)) if GROWING.contains(&name.as_str()) => known.push_str(more),
            (known, value) => *known = value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_of_one_signed_thought_are_one_again() {
        let mut thought = Thought::default();
        for detail in [
            json!({ "type": "reasoning.text", "text": "Let", "signature": null, "index": 0 }),
            json!({ "type": "reasoning.text", "text": " me see.", "index": 0 }),
            json!({ "type": "reasoning.text", "signature": "SIG", "index": 0 }),
            json!({ "type": "reasoning.encrypted", "data": "xx", "index": 0 }),
            json!({ "type": "reasoning.encrypted", "data": "yy" }),
        ] {
            thought.add(&json!({ "reasoning_details": [detail] }));
        }
        let kept = thought.finish(String::new()).expect("a thought");
        assert_eq!(kept.text, "Let me see.");
        let details = json!([
            { "type": "reasoning.text", "text": "Let me see.", "signature": "SIG", "index": 0 },
            { "type": "reasoning.encrypted", "data": "xx", "index": 0 },
            { "type": "reasoning.encrypted", "data": "yy" },
        ]);
        assert_eq!(kept.verbatim, Some(json!({ "reasoning_details": details })));
    }

    #[test]
    fn what_is_said_in_two_members_is_thought_once_and_goes_back_in_both() {
        let mut thought = Thought::default();
        for piece in ["a", "b"] {
            thought.add(&json!({ "reasoning": piece, "reasoning_content": piece }));
        }
        let kept = thought.finish(String::new()).expect("a thought");
        assert_eq!((kept.text.as_str(), kept.fields), ("ab", vec!["reasoning_content".to_owned(), "reasoning".to_owned()]));
    }
}
