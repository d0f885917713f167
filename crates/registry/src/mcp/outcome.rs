//! What a server's answer to a call means. Pure.

use crate::transport::answer::{FAILURE_BYTES, truncated};
use maniple_core::{ports::Invoked, tool::STORED_RESULT_BYTES};
use rmcp::model::{CallToolResult, ContentBlock, ErrorData, ResourceContents};
use serde_json::{Map, Value, json};

/// A complete answer: a result, or a failure that the server told.
///
/// Structured content is the result where there is any; else the text, all pieces of it; else a list that
/// describes each piece, pictures and sounds by their type and size only.
pub(super) fn of(result: CallToolResult) -> Invoked {
    if result.is_error == Some(true) {
        let told = match result.structured_content {
            Some(value) => value,
            None => value_of(result.content),
        };
        return Invoked::Failed(json!({ "error": cut(told) }));
    }
    Invoked::Ok(bounded(match result.structured_content {
        Some(value) => value,
        None => value_of(result.content),
    }))
}

/// A JSON-RPC error: the server took the call and refused it.
pub(super) fn refused(error: ErrorData) -> Invoked {
    let mut failure = json!({ "error": cut(error.message.into_owned().into()), "code": error.code.0 });
    if let Some(data) = error.data {
        failure["data"] = cut(data);
    }
    Invoked::Failed(failure)
}

/// An answer that is neither result nor error of the call.
pub(super) fn unusable(why: &str) -> Invoked {
    Invoked::Failed(json!({ "error": why }))
}

/// At most what is stored of a result.
pub(super) fn bounded(value: Value) -> Value {
    let written = value.to_string();
    if written.len() <= STORED_RESULT_BYTES {
        return value;
    }
    truncated(match value {
        Value::String(text) => text,
        _ => written,
    })
}

/// At most what is stored of a failure.
fn cut(value: Value) -> Value {
    let written = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if written.len() <= FAILURE_BYTES {
        return value;
    }
    format!("{} [cut]", &written[..written.floor_char_boundary(FAILURE_BYTES)]).into()
}

fn value_of(content: Vec<ContentBlock>) -> Value {
    let is_text = |block: &ContentBlock| matches!(block, ContentBlock::Text(_));
    if content.is_empty() {
        return Value::Null;
    }
    if content.iter().all(is_text) {
        let texts = content.into_iter().filter_map(|block| match block {
            ContentBlock::Text(text) => Some(text.text),
            _ => None,
        });
        return texts.collect::<Vec<_>>().join("\n").into();
    }
    content.into_iter().map(described).collect()
}

fn described(block: ContentBlock) -> Value {
    match block {
        ContentBlock::Text(text) => json!({ "type": "text", "text": text.text }),
        ContentBlock::Image(image) => json!({ "type": "image", "mime_type": image.mime_type, "bytes": decoded_bytes(&image.data) }),
        ContentBlock::Audio(audio) => json!({ "type": "audio", "mime_type": audio.mime_type, "bytes": decoded_bytes(&audio.data) }),
        ContentBlock::ResourceLink(link) => said([
            ("type", Some("resource_link".into())),
            ("uri", Some(link.uri.into())),
            ("name", Some(link.name.into())),
            ("description", link.description.map(Into::into)),
            ("mime_type", link.mime_type.map(Into::into)),
            ("bytes", link.size.map(Into::into)),
        ]),
        ContentBlock::Resource(embedded) => match embedded.resource {
            ResourceContents::TextResourceContents { uri, mime_type, text, .. } => said([
                ("type", Some("resource".into())),
                ("uri", Some(uri.into())),
                ("mime_type", mime_type.map(Into::into)),
                ("text", Some(text.into())),
            ]),
            ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => said([
                ("type", Some("resource".into())),
                ("uri", Some(uri.into())),
                ("mime_type", mime_type.map(Into::into)),
                ("bytes", Some(decoded_bytes(&blob).into())),
            ]),
            _ => json!({ "type": "resource" }),
        },
        _ => json!({ "type": "unknown" }),
    }
}

fn said<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(members.collect::<Map<_, _>>())
}

/// How many bytes a Base64 text stands for.
fn decoded_bytes(data: &str) -> usize {
    let digits = data.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=').count();
    digits * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(result: Value) -> Invoked {
        of(serde_json::from_value(result).expect("a result"))
    }
    fn text(text: &str) -> Value {
        json!({ "type": "text", "text": text })
    }

    #[test]
    fn structured_content_goes_before_text_and_text_is_one() {
        assert_eq!(outcome(json!({ "content": [text("7")], "structuredContent": { "sum": 7 } })), Invoked::Ok(json!({ "sum": 7 })));
        assert_eq!(outcome(json!({ "content": [text("a"), text("b")] })), Invoked::Ok(json!("a\nb")));
        assert_eq!(outcome(json!({ "content": [] })), Invoked::Ok(Value::Null));
    }

    #[test]
    fn pictures_sounds_and_resources_are_described_and_their_bytes_left_out() {
        let content = json!([
            text("see"),
            { "type": "image", "data": "aGVsbG8=", "mimeType": "image/png" },
            { "type": "resource", "resource": { "uri": "file:///a", "mimeType": "text/plain", "text": "A" } },
            { "type": "resource", "resource": { "uri": "file:///b", "blob": "aGk=" } },
            { "type": "resource_link", "uri": "file:///c", "name": "c" },
        ]);
        let expected = json!([
            text("see"),
            { "type": "image", "mime_type": "image/png", "bytes": 5 },
            { "type": "resource", "uri": "file:///a", "mime_type": "text/plain", "text": "A" },
            { "type": "resource", "uri": "file:///b", "bytes": 2 },
            { "type": "resource_link", "uri": "file:///c", "name": "c" },
        ]);
        assert_eq!(outcome(json!({ "content": content })), Invoked::Ok(expected));
    }

    #[test]
    fn an_error_is_a_failure_with_at_most_4_kib_of_what_it_says() {
        assert_eq!(
            outcome(json!({ "content": [text("no such file")], "isError": true })),
            Invoked::Failed(json!({ "error": "no such file" }))
        );
        let Invoked::Failed(long) = outcome(json!({ "content": [text(&"ä".repeat(9_000))], "isError": true })) else { panic!("failed") };
        assert_eq!(long, json!({ "error": format!("{} [cut]", "ä".repeat(2_048)) }));
    }

    #[test]
    fn of_a_huge_result_one_mib_is_stored_and_it_says_so() {
        for result in [
            json!({ "content": [text(&"x".repeat(3 << 20))] }),
            json!({ "content": [], "structuredContent": { "rows": vec![7; 1 << 20] } }),
            json!({ "content": [text("a"), { "type": "resource", "resource": { "uri": "u", "text": "\n".repeat(2 << 20) } }] }),
        ] {
            let Invoked::Ok(value) = outcome(result) else { panic!("a result") };
            assert_eq!(value["truncated"], true);
            assert!(((1 << 19)..=(1 << 20)).contains(&value.to_string().len()));
        }
    }
}
