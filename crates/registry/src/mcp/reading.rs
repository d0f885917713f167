//! Messages as servers really write them, made into what the protocol's library reads. Pure.
//!
//! What one odd place would cost otherwise is the whole message, and with it the answer to a call that has happened: bytes that are no
//! UTF-8, half a surrogate pair, `NaN`, an error that is only a text, content of an unknown type. The results of calls pass the
//! library by, as the text they were, and are read piece by piece by [`outcome`](super::outcome).

use maniple_core::lenient;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, InitializeResult, ListToolsResult, NumberOrString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Under this name a result passes the library by, as its JSON text.
const RAW: &str = "io.maniple/raw";
/// Requests whose answers are still expected; beyond, the oldest are forgotten, and their answers read strictly.
const ASKED_MAX: usize = 4_096;
/// How much of something unreadable is quoted, in bytes.
const QUOTED_BYTES: usize = 400;

/// What a request asks for, as far as its answer is read otherwise for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A tool was called.
    Call,
    /// The tools are to be listed.
    List,
    /// `server/discover`.
    Discover,
    /// Anything else.
    Other,
}

impl Asked {
    /// What a message asks for, and under which id; nothing where it awaits no answer.
    pub(super) fn by(message: &ClientJsonRpcMessage) -> Option<(NumberOrString, Self)> {
        let ClientJsonRpcMessage::Request(request) = message else { return None };
        let asked = match &request.request {
            ClientRequest::CallToolRequest(_) => Self::Call,
            ClientRequest::ListToolsRequest(_) => Self::List,
            ClientRequest::DiscoverRequest(_) => Self::Discover,
            _ => Self::Other,
        };
        Some((request.id.clone(), asked))
    }
}

/// What was asked under which id, for answers that come by another way than their question.
#[derive(Debug, Clone, Default)]
pub(super) struct Questions(Arc<Mutex<BTreeMap<i64, Asked>>>);

impl Questions {
    /// Notes a message that is about to be written.
    pub(super) fn note(&self, message: &ClientJsonRpcMessage) {
        let Some((NumberOrString::Number(id), asked @ (Asked::Call | Asked::List))) = Asked::by(message) else { return };
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        questions.insert(id, asked);
        if questions.len() > ASKED_MAX {
            questions.pop_first();
        }
    }
    /// What was asked under an id, told once; some servers write it as a text.
    fn answered(&self, id: &Value) -> Asked {
        let id = id.as_i64().or_else(|| id.as_str()?.parse().ok());
        id.and_then(|id| self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)).unwrap_or(Asked::Other)
    }
}

/// Bytes as text: what is no UTF-8 becomes U+FFFD, a byte order mark is left out.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}

/// A JSON text, read once more with what is odd in it repaired where it cannot be read as it is.
pub(super) fn json_of(text: &str) -> Option<Value> {
    lenient::parse_whole(text).ok()
}

/// The messages of a text that came by itself, as the library is to read them: what is no message is left out.
pub(super) fn messages(text: &str, questions: &Questions) -> Vec<Value> {
    let batch = match json_of(text) {
        Some(Value::Array(batch)) => batch,
        Some(one) => vec![one],
        None => return Vec::new(),
    };
    let one = |message: Value| {
        let Value::Object(members) = message else { return None };
        if members.contains_key("method") {
            return Some(Value::Object(members));
        }
        if !members.contains_key("result") && !members.contains_key("error") {
            return None;
        }
        let asked = members.get("id").map_or(Asked::Other, |id| questions.answered(id));
        Some(Value::Object(answer(members, asked)))
    };
    batch.into_iter().filter_map(one).collect()
}

/// The answer in a text that came in answer to one request: whatever its id is, it is the answer to that. Nothing where the text is none.
pub(super) fn answer_to(id: &NumberOrString, asked: Asked, text: &str) -> Option<Value> {
    let is_answer = |message: &Value| message.is_object() && message.get("method").is_none();
    let Value::Object(mut members) = (match json_of(text)? {
        Value::Array(batch) => batch.into_iter().find(is_answer)?,
        one if is_answer(&one) => one,
        _ => return None,
    }) else {
        return None;
    };
    if !members.contains_key("result") && !members.contains_key("error") {
        return None;
    }
    members.insert("id".into(), json!(id));
    Some(Value::Object(answer(members, asked)))
}

/// Whether a text is a request or a notification of the server.
pub(super) fn is_asked_or_told(message: &Value) -> bool {
    message.get("method").is_some()
}

/// A result of a call that is to be read piece by piece, as the answer to a request.
pub(super) fn as_answer(id: &NumberOrString, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": raw(result) })
}

/// The result that passed the library by; nothing where it did not.
pub(super) fn result(passed: &Value) -> Option<Value> {
    json_of(passed.get(RAW)?.as_str()?)
}

/// The beginning of something that cannot be read.
pub(super) fn quoted(text: &str) -> String {
    let text = text.trim();
    match text.len() <= QUOTED_BYTES {
        true => text.to_owned(),
        false => format!("{} [cut]", &text[..text.floor_char_boundary(QUOTED_BYTES)]),
    }
}

fn raw(result: &Value) -> Value {
    json!({ RAW: result.to_string() })
}

fn answer(mut members: Map<String, Value>, asked: Asked) -> Map<String, Value> {
    members.insert("jsonrpc".into(), "2.0".into());
    match members.remove("error").filter(|error| !error.is_null()) {
        Some(error) => {
            members.remove("result");
            members.insert("error".into(), error_of(error));
        }
        None => {
            let result = members.remove("result").unwrap_or_default();
            let passes = match asked {
                Asked::Call => true,
                Asked::List => ListToolsResult::deserialize(&result).is_err(),
                Asked::Discover | Asked::Other => false,
            };
            members.insert("result".into(), if passes { raw(&result) } else { greeting(result) });
        }
    }
    members
}

/// The answer to `initialize` where the library cannot read it: its version, and of all else no more than is used here.
fn greeting(result: Value) -> Value {
    let says_version = result.get("protocolVersion").is_some_and(Value::is_string);
    if !says_version || InitializeResult::deserialize(&result).is_ok() {
        return result;
    }
    let server = |name: &str| result.get("serverInfo").and_then(|server| server.get(name)).and_then(Value::as_str).unwrap_or_default();
    let tells_changes = result.pointer("/capabilities/tools/listChanged") == Some(&Value::Bool(true));
    json!({
        "protocolVersion": result["protocolVersion"],
        "capabilities": { "tools": { "listChanged": tells_changes } },
        "serverInfo": { "name": server("name"), "version": server("version") },
    })
}

/// An error with a code and a message, whatever it was.
fn error_of(error: Value) -> Value {
    const INTERNAL: i64 = -32603;
    let as_number = |code: &Value| code.as_i64().or_else(|| code.as_f64().map(|code| code as i64)).or_else(|| code.as_str()?.parse().ok());
    let in_range = |code: i64| i32::try_from(code).ok();
    let as_text = |message: &Value| message.as_str().map_or_else(|| message.to_string(), str::to_owned);
    let Value::Object(mut members) = error else {
        return json!({ "code": INTERNAL, "message": as_text(&error) });
    };
    let code = members.get("code").and_then(as_number).and_then(in_range).map_or(INTERNAL, i64::from);
    let message = match members.remove("message") {
        Some(message) if !message.is_null() => as_text(&message),
        _ => as_text(&Value::Object(members.clone())),
    };
    let mut told = json!({ "code": code, "message": message });
    if let Some(data) = members.remove("data").filter(|data| !data.is_null()) {
        told["data"] = data;
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(id: i64) -> NumberOrString {
        NumberOrString::Number(id)
    }

    #[test]
    fn what_is_odd_in_a_text_costs_that_and_nothing_else() {
        for (written, read) in [
            (r#"{"a": "lone \ud800 half"}"#, json!({ "a": "lone \u{fffd} half" })),
            (r#"{"a": "\udc00\ud83d\ude00\ud83d"}"#, json!({ "a": "\u{fffd}\u{1f600}\u{fffd}" })),
            (r#"{"a": "\u00e4 C:\dir \\d \" \ud800\n"}"#, json!({ "a": "ä C:\\dir \\d \" \u{fffd}\n" })),
            (r#"{"a": [NaN, -Infinity, Infinity, -1, "NaN"]}"#, json!({ "a": [null, null, null, -1, "NaN"] })),
            ("{\"a\": \"tab\there\"}", json!({ "a": "tab\there" })),
            (r#"{"a": [1e999, "\users"]}"#, json!({ "a": [null, "\\users"] })),
        ] {
            assert_eq!(json_of(written), Some(read), "{written}");
        }
        assert_eq!(json_of(&text(b"\xef\xbb\xbf{\"a\": \"caf\xe9\"}")), Some(json!({ "a": "caf\u{fffd}" })));
        assert_eq!(json_of("<h1>no</h1>"), None);
    }

    #[test]
    fn an_answer_over_http_is_the_answer_whatever_its_id() {
        let answered = |text: &str| answer_to(&number(7), Asked::Other, text);
        let error = |code: i64, message: &str| Some(json!({ "jsonrpc": "2.0", "id": 7, "error": { "code": code, "message": message } }));
        for id in [r#""id": null,"#, r#""id": "server-error","#, ""] {
            let text = format!(r#"{{"jsonrpc": "2.0", {id} "error": {{"code": -32000, "message": "no"}}}}"#);
            assert_eq!(answered(&text), error(-32000, "no"), "{text}");
        }
        assert_eq!(answered(r#"[{"method": "m"}, {"id": 9, "error": {"code": "-3", "message": "no"}}]"#), error(-3, "no"));
        assert_eq!(answered(r#"{"error": "Session not found"}"#), error(-32603, "Session not found"));
        assert_eq!(answered(r#"{"error": {"reason": "x"}, "result": null}"#), error(-32603, r#"{"reason":"x"}"#));
        assert_eq!(answered(r#"{"id": 7, "result": {}}"#), Some(json!({ "jsonrpc": "2.0", "id": 7, "result": {} })));
        for none in ["", "7", "{}", r#"{"method": "ping", "id": 7}"#] {
            assert_eq!(answered(none), None, "{none}");
        }
    }

    #[test]
    fn the_result_of_a_call_passes_as_it_was_and_a_list_where_it_cannot_be_read_whole() {
        let result_of = |asked, text: &str| answer_to(&number(1), asked, text).map(|answer| answer["result"].clone()).unwrap_or_default();
        let odd = r#"{"id": 1, "result": {"content": 7, "n": 123456789012345678}}"#;
        assert_eq!(result(&result_of(Asked::Call, odd)), Some(json!({ "content": 7, "n": 123_456_789_012_345_678_u64 })));
        let good = r#"{"id": 1, "result": {"tools": [{"name": "a", "inputSchema": {}}]}}"#;
        assert_eq!(result(&result_of(Asked::List, good)), None);
        let bad = r#"{"id": 1, "result": {"resultType": "complete", "tools": [{"name": 7}]}}"#;
        assert_eq!(result(&result_of(Asked::List, bad)), Some(json!({ "resultType": "complete", "tools": [{ "name": 7 }] })));
    }

    #[test]
    fn a_greeting_that_cannot_be_read_whole_is_read_as_far_as_it_is_used() {
        let greeted = |result: Value| {
            let text = json!({ "id": 1, "result": result }).to_string();
            let result = answer_to(&number(1), Asked::Other, &text).map(|answer| answer["result"].clone()).unwrap_or_default();
            InitializeResult::deserialize(&result).map(|_| result).ok()
        };
        let good = json!({ "protocolVersion": "2025-06-18", "capabilities": { "x": {} }, "serverInfo": { "name": "s", "version": "2" }, "instructions": "i" });
        assert_eq!(greeted(good.clone()), Some(good));
        for odd in [
            json!({ "protocolVersion": "2025-06-18", "capabilities": null, "serverInfo": { "name": "s", "version": "2" } }),
            json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": true }, "serverInfo": { "name": "s", "version": "2", "title": 7 } }),
        ] {
            let plain = json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": { "listChanged": false } }, "serverInfo": { "name": "s", "version": "2" } });
            assert_eq!(greeted(odd.clone()), Some(plain), "{odd}");
        }
    }

    #[test]
    fn of_what_a_server_says_unasked_the_messages_are_heard() {
        let heard = |text: &str| messages(text, &Questions::default());
        for noise in ["", "42", "null", "DEBUG up", "{not json", r#"{"level": "info"}"#, "[1, 2]"] {
            assert_eq!(heard(noise), Vec::<Value>::new(), "{noise}");
        }
        assert_eq!(heard(r#"[{"method": "a"}, 7, {"id": 1, "result": {}}]"#).len(), 2);
    }
}
