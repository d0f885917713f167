//! How many tokens a text will be, roughly: only a provider can say, and only afterwards.

use crate::{message::Message, model::ModelRequest};

/// An estimate that is seldom low: four bytes of ASCII, or one other character, a token.
///
/// Byte-pair encoders of current models average 3.8–4.5 bytes a token on English prose and 0.6–1.1
/// tokens a character on CJK and emoji.
pub fn tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let other = text.chars().filter(|c| !c.is_ascii()).count() as u64;
    ascii.div_ceil(4) + other
}

/// What a message adds, its framing included.
pub fn message_tokens(message: &Message) -> u64 {
    const FRAMING: u64 = 4;
    FRAMING
        + match message {
            Message::User { content } => tokens(content),
            Message::Assistant { content, calls, reasoning, .. } => {
                let thought = reasoning.as_ref().map_or(0, |reasoning| tokens(&reasoning.text));
                let called: u64 = calls.iter().map(|c| tokens(&c.name) + tokens(&c.arguments) + FRAMING).sum();
                content.as_deref().map_or(0, tokens) + thought + called
            }
            Message::Tool { content, name, .. } => tokens(content) + tokens(name),
        }
}

/// What a whole request will count as input.
pub fn request_tokens(request: &ModelRequest) -> u64 {
    let tools: u64 = request.tools.iter().map(|t| tokens(&t.description) + tokens(&t.parameters.to_string()) + 8).sum();
    let schema = request.output_schema.as_ref().map_or(0, |s| tokens(&s.to_string()));
    tokens(&request.system) + request.messages.iter().map(message_tokens).sum::<u64>() + tools + schema
}
