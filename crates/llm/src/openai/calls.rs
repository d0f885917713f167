//! Tool calls that come in pieces, told apart.
//!
//! | a piece with | belongs to |
//! |---|---|
//! | the id of a call | that call; another one where a name comes with another index, or with arguments though that call's are complete |
//! | another id and a name | a new call, whatever its index |
//! | an index | the last call of that index; a new one where a name comes and that call's arguments are complete, or its name is another |
//! | a name alone | a new call, unless it repeats the last one's amid its arguments |
//! | neither | the last call |
//!
//! Some servers give no index, others 0 to every call; some repeat the name, or a new id, in every piece.

use crate::{answer::MAX_CALLS, fault};
use maniple_core::{lenient, message::ToolCall, model::Fault};
use serde_json::{Map, Value};

/// Members of a call that are read; what stands beside them is the provider's own and goes back to it.
const KNOWN: [&str; 6] = ["index", "id", "type", "function", "name", "arguments"];

/// The calls of an answer, as far as they have come.
#[derive(Default)]
pub struct Calls {
    begun: Vec<Begun>,
    weight: usize,
}

#[derive(Default)]
struct Begun {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    extra: Map<String, Value>,
}

/// What a piece says.
struct Piece<'a> {
    index: Option<u64>,
    id: Option<String>,
    name: Option<&'a str>,
    has_arguments: bool,
}

impl Calls {
    /// Takes a piece of a call. An error beyond [`MAX_CALLS`].
    pub fn add(&mut self, delta: &Value) -> Result<(), Fault> {
        let function = if delta["function"].is_object() { &delta["function"] } else { delta };
        let piece = Piece {
            index: delta["index"].as_u64().or_else(|| delta["index"].as_str()?.parse().ok()),
            id: text_of(&delta["id"]),
            name: function["name"].as_str().filter(|name| !name.is_empty()),
            has_arguments: !matches!(&function["arguments"], Value::Null) && function["arguments"] != "",
        };
        let at = match self.known(&piece) {
            Some(at) => at,
            None if self.begun.len() >= MAX_CALLS => return Err(fault::cut_after(format!("it asks for more than {MAX_CALLS} tool calls"))),
            None => {
                self.begun.push(Begun { index: piece.index, ..Begun::default() });
                self.begun.len() - 1
            }
        };
        let call = &mut self.begun[at];
        if let (true, Some(id)) = (call.id.is_empty(), piece.id) {
            self.weight += id.len();
            call.id = id;
        }
        if let (true, Some(name)) = (call.name.is_empty(), piece.name) {
            self.weight += name.len();
            name.clone_into(&mut call.name);
        }
        let before = call.arguments.len();
        match &function["arguments"] {
            Value::String(more) => call.arguments.push_str(more),
            Value::Null => {}
            // Some servers send the object itself.
            object => call.arguments.push_str(&object.to_string()),
        }
        self.weight += call.arguments.len() - before;
        for (name, value) in
            delta.as_object().into_iter().flatten().filter(|(name, value)| !KNOWN.contains(&name.as_str()) && !value.is_null())
        {
            self.weight += value.to_string().len();
            call.extra.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    fn known(&self, piece: &Piece) -> Option<usize> {
        let last = self.begun.len().checked_sub(1);
        let of_index = piece.index.map(|index| self.begun.iter().rposition(|call| call.index == Some(index)));
        if let Some(id) = &piece.id {
            let of_id = self.begun.iter().rposition(|call| call.id == *id);
            if let Some(at) = of_id {
                let known = &self.begun[at];
                let elsewhere = piece.index.is_some() && known.index != piece.index;
                let is_another = piece.name.is_some() && (elsewhere || piece.has_arguments && known.is_complete());
                return (!is_another).then_some(at);
            }
            let candidate = of_index.unwrap_or(if piece.name.is_some() { None } else { last })?;
            let is_another = piece.name.is_some() && !self.begun[candidate].id.is_empty();
            return (!is_another).then_some(candidate);
        }
        match (of_index, piece.name) {
            (Some(at), None) => at,
            (Some(at), Some(name)) => at.filter(|at| self.begun[*at].goes_on(name)),
            (None, Some(name)) => last.filter(|at| self.begun[*at].goes_on(name) && !self.begun[*at].arguments.is_empty()),
            (None, None) => last,
        }
    }

    /// What they weigh, in bytes.
    pub fn weight(&self) -> usize {
        self.weight
    }
    /// Names and arguments so far, for an estimate of what they cost.
    pub fn heard(&self) -> impl Iterator<Item = &str> {
        self.begun.iter().flat_map(|call| [call.name.as_str(), call.arguments.as_str()])
    }
    /// All of them, in the order in which they began.
    pub fn finish(self) -> Vec<ToolCall> {
        let call = |call: Begun| ToolCall {
            id: call.id,
            name: lenient::joined(call.name),
            arguments: call.arguments,
            extra: (!call.extra.is_empty()).then_some(Value::Object(call.extra)),
        };
        self.begun.into_iter().map(call).collect()
    }
}

impl Begun {
    /// Whether a piece without an id that brings this name may be more of it.
    fn goes_on(&self, name: &str) -> bool {
        self.name.is_empty() || self.name == name && !self.is_complete()
    }
    fn is_complete(&self) -> bool {
        self.arguments.trim_end().ends_with('}')
            && serde_json::from_str::<Value>(&self.arguments).is_ok_and(|arguments| arguments.is_object())
    }
}

fn text_of(id: &Value) -> Option<String> {
    match id {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn calls(pieces: &[Value]) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        pieces.iter().for_each(|piece| calls.add(piece).expect("few"));
        calls.finish().into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }
    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.into(), name.into(), arguments.into())
    }
    fn piece(index: Option<u64>, id: &str, name: &str, arguments: &str) -> Value {
        let mut piece = json!({ "function": { "arguments": arguments } });
        piece["function"]["name"] = if name.is_empty() { Value::Null } else { name.into() };
        piece["id"] = if id.is_empty() { Value::Null } else { id.into() };
        piece["index"] = index.map_or(Value::Null, Into::into);
        piece
    }

    #[test]
    fn calls_are_told_apart_by_id_else_by_index_else_by_their_order() {
        let two = [call("a", "f", "{\"x\":1}"), call("b", "g", "{\"y\":2}")];
        let no_ids = [call("", "f", "{\"x\":1}"), call("", "g", "{\"y\":2}")];
        let same = [call("", "f", "{\"x\":1}"), call("", "f", "{\"y\":2}")];
        for (pieces, expected) in [
            (
                vec![
                    piece(Some(0), "a", "f", "{\"x\""),
                    piece(Some(1), "b", "g", "{\"y\""),
                    piece(Some(0), "", "", ":1}"),
                    piece(Some(1), "", "", ":2}"),
                ],
                &two,
            ),
            (vec![piece(Some(0), "a", "f", "{\"x\":1}"), piece(Some(0), "b", "g", "{\"y\":2}")], &two),
            (
                vec![
                    piece(None, "a", "f", "{\"x\""),
                    piece(None, "a", "", ":1}"),
                    piece(None, "b", "g", "{\"y\""),
                    piece(None, "b", "", ":2}"),
                ],
                &two,
            ),
            (
                vec![
                    piece(None, "a", "f", ""),
                    piece(None, "b", "g", ""),
                    piece(None, "a", "", "{\"x\":1}"),
                    piece(None, "b", "", "{\"y\":2}"),
                ],
                &two,
            ),
            (vec![piece(Some(0), "", "f", "{\"x\":1}"), piece(Some(0), "", "g", "{\"y\":2}")], &no_ids),
            (vec![piece(Some(0), "", "f", "{\"x\":1}"), piece(Some(0), "", "f", "{\"y\":2}")], &same),
            (vec![piece(None, "", "f", "{\"x\":1}"), piece(None, "", "f", "{\"y\":2}")], &same),
            (vec![piece(Some(0), "", "f", "{\"x\""), piece(Some(0), "", "f", ":1}"), piece(Some(1), "", "g", "{\"y\":2}")], &no_ids),
            (vec![piece(None, "", "f", "{\"x\""), piece(None, "", "", ":1}"), piece(None, "", "g", "{\"y\":2}")], &no_ids),
            (vec![piece(Some(0), "a", "f", "{\"x\""), piece(Some(0), "other", "", ":1}"), piece(Some(1), "b", "g", "{\"y\":2}")], &two),
            (
                vec![piece(Some(0), "a", "f", "{\"x\":1}"), piece(Some(1), "a", "g", "{\"y\":2}")],
                &[call("a", "f", "{\"x\":1}"), call("a", "g", "{\"y\":2}")],
            ),
        ] {
            assert_eq!(calls(&pieces), expected, "{pieces:?}");
        }
    }

    #[test]
    fn what_a_provider_puts_beside_a_call_is_kept_for_it() {
        let mut calls = Calls::default();
        let signed = json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "f" }, "extra_content": { "google": { "thought_signature": "S" } }, "x": null });
        calls.add(&signed).expect("one");
        assert_eq!(calls.finish()[0].extra, Some(json!({ "extra_content": { "google": { "thought_signature": "S" } } })));
    }

    #[test]
    fn names_and_ids_weigh_as_arguments_do() {
        let mut calls = Calls::default();
        calls.add(&piece(Some(0), &"i".repeat(500), &"n".repeat(300), "{}")).expect("one");
        assert_eq!(calls.weight(), 802);
    }
}
