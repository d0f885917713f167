//! Event streams of a server, each event read as leniently as any other message.

use super::ANSWER_BYTES;
use crate::mcp::reading::{self, Asked, Questions};
use futures::{Stream, StreamExt, stream::BoxStream};
use rmcp::{
    model::{NumberOrString, ServerJsonRpcMessage},
    transport::streamable_http_client::SseError,
};
use serde::Deserialize;
use serde_json::Value;
use sse_stream::{Sse, SseStream};
use std::{
    io::{self, Cursor},
    str::from_utf8,
};

type Events = BoxStream<'static, Result<Sse, SseError>>;

/// Whether an answer is a stream of events.
pub(super) fn is_stream(response: &reqwest::Response) -> bool {
    let media_type = response.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

/// What answers one request. An event that is neither a message of the server's own nor an answer is passed over.
pub(super) fn answering(response: reqwest::Response, id: NumberOrString, asked: Asked) -> Events {
    let events = SseStream::from_bytes_stream(readable(response.bytes_stream()));
    let read = move |event: Result<Sse, SseError>| {
        event.map(|event| match event.data.as_deref().map(str::trim).filter(|data| !data.is_empty()) {
            None => event,
            Some(data) => {
                // What the library could not read would be the end of a handshake, before its answer.
                let message = message(data, &id, asked).filter(|message| ServerJsonRpcMessage::deserialize(message).is_ok());
                event.data(message.map(|message| message.to_string()).unwrap_or_default())
            }
        })
    };
    events.map(read).boxed()
}

fn message(data: &str, id: &NumberOrString, asked: Asked) -> Option<Value> {
    let own = reading::json_of(data).filter(reading::is_asked_or_told);
    own.or_else(|| reading::answer_to(id, asked, data))
}

/// What comes unasked, or in answer to a question that was sent otherwise.
pub(super) fn unasked(events: Events, questions: Questions) -> Events {
    let read = move |event: Result<Sse, SseError>| {
        event.map(|event| {
            let messages = event.data.as_deref().map(|data| reading::messages(data, &questions));
            match messages.as_deref() {
                Some([message]) => {
                    let message = message.to_string();
                    event.data(message)
                }
                _ => event,
            }
        })
    };
    events.map(read).boxed()
}

/// Bytes with all that is no UTF-8 replaced; of an event without an end no more than an answer may have.
fn readable<B: AsRef<[u8]>>(
    bytes: impl Stream<Item = Result<B, reqwest::Error>> + Send + 'static,
) -> impl Stream<Item = io::Result<Cursor<Vec<u8>>>> + Send + 'static {
    let (mut begun, mut since_end, mut at_line_start) = (Vec::new(), 0, false);
    bytes.map(move |chunk| {
        let chunk = chunk.map_err(io::Error::other)?;
        let read = completed(&mut begun, chunk.as_ref());
        for byte in &read {
            since_end += 1;
            match byte {
                b'\n' if at_line_start => since_end = 0,
                b'\n' => at_line_start = true,
                b'\r' => {}
                _ => at_line_start = false,
            }
        }
        match since_end > ANSWER_BYTES {
            true => Err(io::Error::other(format!("an event has more than {ANSWER_BYTES} bytes"))),
            false => Ok(Cursor::new(read)),
        }
    })
}

/// What has come so far as UTF-8; a character that is not yet whole stays in `begun`.
fn completed(begun: &mut Vec<u8>, chunk: &[u8]) -> Vec<u8> {
    begun.extend_from_slice(chunk);
    let (mut read, mut at) = (Vec::with_capacity(begun.len()), 0);
    while let Err(error) = from_utf8(&begun[at..]) {
        let valid = at + error.valid_up_to();
        read.extend_from_slice(&begun[at..valid]);
        at = valid;
        match error.error_len() {
            Some(invalid) => {
                read.extend_from_slice("\u{fffd}".as_bytes());
                at += invalid;
            }
            None => {
                begun.drain(..at);
                return read;
            }
        }
    }
    read.extend_from_slice(&begun[at..]);
    begun.clear();
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_by_a_chunk_is_whole_again_and_what_is_none_is_replaced() {
        let mut begun = Vec::new();
        let text = "caf\u{e9} \u{1f600}".as_bytes();
        let read: Vec<u8> = text.iter().flat_map(|byte| completed(&mut begun, &[*byte])).collect();
        assert_eq!(read, text);
        assert_eq!(completed(&mut begun, b"a\xff\xfeb\xe9c"), "a\u{fffd}\u{fffd}b\u{fffd}c".as_bytes());
    }

    #[test]
    fn an_event_is_the_servers_own_message_or_an_answer_whatever_its_id_or_nothing() {
        let id = NumberOrString::Number(4);
        let read = |data: &str| message(data, &id, Asked::Call);
        let own = r#"{"jsonrpc": "2.0", "method": "notifications/message", "params": {}}"#;
        assert_eq!(read(own).unwrap_or_default()["method"], "notifications/message");
        assert_eq!(read(r#"{"error": "Session not found"}"#).unwrap_or_default()["error"]["message"], "Session not found");
        assert_eq!(["keep-alive", "{}", "[]", "7", "null"].map(read), [const { None }; 5]);
    }
}
