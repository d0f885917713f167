//! A complete answer, read within bounds, and the value it is.

use super::{decoded, media::is_json, waits};
use maniple_core::{canonical, digits, tool::STORED_RESULT_BYTES};
use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION},
};
use serde_json::{Value, json};
use std::time::Duration;
use url::Url;

/// The most of a failure's body that is stored.
pub(crate) const FAILURE_BYTES: usize = 4 * 1024;
/// The deepest JSON that is taken as such; deeper, it is text.
const DEPTH_MAX: usize = 64;
/// What an answer with a cut body says.
const NOTE: &str = "the answer was too long to keep; `text` is its beginning";

/// A whole answer; of its body no more than is kept.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) url: Url,
    pub(crate) content_type: String,
    location: Option<String>,
    /// When it may be asked again, of an answer that says so.
    wait: Option<Duration>,
    /// How its body is coded still.
    encoding: Option<String>,
    body: Vec<u8>,
    cut: bool,
}

impl HttpAnswer {
    /// Reads a body to its end, or as far as it is kept. An error means that it broke off before.
    pub(super) async fn read(mut response: Response, url: Url, keeps: usize) -> Result<Self, reqwest::Error> {
        let header = |name: HeaderName| response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let status = response.status();
        let kept = if status.is_success() { keeps } else { FAILURE_BYTES };
        let mut answer = Self {
            status: status.as_u16(),
            url,
            content_type: header(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase(),
            location: header(LOCATION),
            wait: waits::wait(response.headers()),
            encoding: header(CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity")),
            body: Vec::new(),
            cut: false,
        };
        while let Some(chunk) = response.chunk().await? {
            let room = kept - answer.body.len();
            answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                answer.cut = true;
                break; // the rest is not read: the connection is closed
            }
        }
        answer.decompress(kept);
        Ok(answer)
    }

    /// Undoes what nobody asked for; a coding that is not known stays.
    fn decompress(&mut self, kept: usize) {
        let Some(coding) = &self.encoding else { return };
        if let Some((body, is_whole)) = decoded::decompressed(coding, &self.body, kept) {
            (self.body, self.encoding) = (body, None);
            self.cut |= !is_whole;
        }
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The media type without its parameters.
    pub(crate) fn media_type(&self) -> &str {
        self.content_type.split(';').next().unwrap_or_default().trim()
    }

    /// How many bytes the body has.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The body as text; what cannot be read is replaced.
    pub(crate) fn text(&self) -> String {
        if let Some(encoding) = &self.encoding {
            return format!("[{} bytes coded as {encoding}, which was not asked for and is not decoded]", self.body.len());
        }
        let text = decoded::text(&self.body, &self.content_type);
        let unreadable = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER || *c == '\0').count();
        if unreadable > 16 && unreadable * 10 > text.chars().count() {
            return format!(
                "[{} bytes of {}, which is no text]",
                self.body.len(),
                if self.media_type().is_empty() { "something" } else { self.media_type() }
            );
        }
        text.into_owned()
    }

    /// The whole body as text, for a reader that needs all of it.
    pub(crate) fn whole_text(&self) -> Result<String, String> {
        if self.cut {
            return Err(format!("it is longer than {} bytes", self.body.len()));
        }
        if let Some(encoding) = &self.encoding {
            return Err(format!("it is coded as {encoding}"));
        }
        let text = decoded::text(&self.body, &self.content_type);
        if text.contains(char::REPLACEMENT_CHARACTER) && std::str::from_utf8(&self.body).is_err() {
            return Err("it is no text in the charset that it says, or in UTF-8".to_owned());
        }
        Ok(text.into_owned())
    }

    /// Whether there is more than the text holds.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// What a 2xx means: JSON by content type, else text; nothing for 204, for HEAD and for an empty JSON body.
    /// At most [`STORED_RESULT_BYTES`]; a longer one is `{truncated: true, note, text}`.
    pub(crate) fn result(&self) -> Value {
        let is_json = is_json(&self.content_type);
        if self.status == 204 || self.status == 205 || (self.body.is_empty() && (is_json || self.content_type.is_empty())) {
            return Value::Null;
        }
        let parsed = if is_json { self.parsed() } else { None };
        let value = parsed.unwrap_or_else(|| Value::String(self.text()));
        if !self.cut && value.to_string().len() <= STORED_RESULT_BYTES {
            return value;
        }
        truncated(self.text())
    }

    /// What any other status means: `{status, body}`, where a redirect would have led, and when it may be asked again.
    pub(crate) fn failure(&self) -> Value {
        let parsed = if is_json(&self.content_type) { self.parsed() } else { None };
        let body: Value = parsed.unwrap_or_else(|| {
            let mut text = self.text();
            if self.cut {
                text.truncate(text.floor_char_boundary(FAILURE_BYTES));
                text.push_str(" [cut]");
            }
            Value::String(text)
        });
        let mut failure = json!({ "status": self.status, "body": body });
        if let (300..400, Some(location)) = (self.status, &self.location) {
            failure["location"] = location.chars().take(2_000).collect::<String>().into();
        }
        if let Some(wait) = self.wait {
            failure["retry_after_ms"] = (wait.as_millis() as u64).into();
        }
        failure
    }

    /// The body as JSON, where it is whole and nests no deeper than a record can hold with what is wrapped around it.
    fn parsed(&self) -> Option<Value> {
        let whole = !self.cut && self.encoding.is_none();
        let text = whole.then(|| decoded::text(&self.body, &self.content_type))?;
        let value = serde_json::from_str(&digits::kept(&text)).ok()?;
        canonical::nests_within(&value, DEPTH_MAX).then_some(value)
    }
}

/// The beginning of a text that, written as JSON with its marker, is within [`STORED_RESULT_BYTES`].
pub(crate) fn truncated(mut text: String) -> Value {
    let room = STORED_RESULT_BYTES - 256;
    let mut written = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        written += match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            c if c < ' ' => 6,
            c => c.len_utf8(),
        };
        (written > room).then_some(at)
    });
    text.truncate(end.unwrap_or(text.len()));
    json!({ "truncated": true, "note": NOTE, "text": text })
}
