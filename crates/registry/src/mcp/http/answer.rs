//! A complete answer that is no event stream, and what is told of it.

use super::ANSWER_BYTES;
use crate::{mcp::reading, transport::waits};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;
use url::Url;

/// How much of an answer that is no message is read.
const ERROR_BYTES: usize = 16 << 10;

/// All of it, within bounds.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    url: Url,
    location: Option<String>,
    /// When it may be asked again, where it says so.
    wait: Option<Duration>,
    content_type: String,
    pub(super) text: String,
    pub(super) whole: bool,
}

impl Answer {
    pub(super) async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let header = |name| response.headers().get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let (status, url) = (response.status(), response.url().clone());
        let (location, wait) = (header(header::LOCATION), waits::wait(response.headers()));
        let content_type = header(header::CONTENT_TYPE).unwrap_or_default();
        let is_json = content_type.to_ascii_lowercase().contains("json");
        let most = if status.is_success() || is_json { ANSWER_BYTES } else { ERROR_BYTES };
        let (mut body, mut whole, mut response) = (Vec::new(), true, response);
        while let Some(chunk) = response.chunk().await? {
            let room = most - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                whole = false;
                break; // the rest is not read: the connection is closed
            }
        }
        Ok(Self { status, url, location, wait, content_type, text: reading::text(&body).into_owned(), whole })
    }

    /// What it is, in a sentence.
    pub(super) fn told(&self) -> String {
        if self.status.is_redirection()
            && let Some(target) = self.location.as_ref().and_then(|location| self.url.join(location).ok())
        {
            let shown = shown(&target, &self.url);
            return format!("HTTP {}: it is at {shown} now, which is not followed: set `url` to where it is", self.status.as_u16());
        }
        let said = reading::quoted(&self.text);
        match (self.status.is_success(), self.whole) {
            (true, false) => format!("its answer has more than {ANSWER_BYTES} bytes"),
            (true, true) => format!("its answer is no message of the protocol ({}): {said}", self.content_type),
            (false, _) if said.is_empty() => format!("HTTP {}", self.status),
            (false, _) => format!("HTTP {}: {said}", self.status),
        }
    }

    /// The outcome of a call: what the server said, under its status.
    pub(super) fn failure(&self, message: Option<Value>) -> Value {
        let mut failure = json!({ "status": self.status.as_u16() });
        match message.and_then(|message| message.get("error").cloned()) {
            Some(error) => {
                failure["error"] = error["message"].clone();
                failure["code"] = error["code"].clone();
                if let Some(data) = error.get("data") {
                    failure["data"] = data.clone();
                }
            }
            // A model sees this, and where it leads is the operator's business.
            None if self.status.is_redirection() => {
                failure["error"] = format!("HTTP {}: a redirect, which is not followed", self.status.as_u16()).into();
            }
            None => failure["error"] = self.told().into(),
        }
        if let Some(wait) = self.wait {
            failure["retry_after_ms"] = (wait.as_millis() as u64).into();
        }
        failure
    }
}

/// Where a redirect leads, without what may be a secret: user, query and fragment, and the segments of the path that are those of the
/// URL it came from.
fn shown(target: &Url, from: &Url) -> String {
    let ours: Vec<&str> = from.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty()).collect();
    let path = target.path_segments().into_iter().flatten().map(|segment| if ours.contains(&segment) { "…" } else { segment });
    format!("{}/{}", target.origin().ascii_serialization(), path.collect::<Vec<_>>().join("/"))
}
