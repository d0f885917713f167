//! Reads a body: its media type, its size, its JSON, each inside its bound.

use super::{Door, answer::Refusal, idempotency};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use maniple_api::{Problem, json};
use maniple_aside::SMALL_BYTES;
use maniple_core::{Error, Principal};
use maniple_runtime::desk::{IdempotencyKey, Presence};
use serde_json::Value;
use std::time::Duration;

/// How long a whole body may take.
const READ_MAX: Duration = Duration::from_secs(30);

impl Door {
    /// The JSON value of a body. A long one is read aside, in its tenant's turn.
    pub(super) async fn read_json(&self, who: &Principal, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
        check_media_type(headers)?;
        let (bytes, _room) = self.read(who, headers, body).await?;
        self.parse(who, bytes).await
    }

    /// The key of a call that takes nothing else: fails unless the body is empty or an empty object.
    pub(super) async fn read_key(&self, who: &Principal, headers: &HeaderMap, body: Body) -> Result<Option<IdempotencyKey>, Refusal> {
        let key = idempotency::key(headers)?;
        let (bytes, _room) = self.read(who, headers, body).await?;
        if bytes.is_empty() {
            return Ok(key);
        }
        check_media_type(headers)?;
        match self.parse(who, bytes).await? {
            Value::Object(members) => match members.keys().next() {
                None => Ok(key),
                Some(name) => Err(Error::invalid(format!("there is no field `{name}`: this call takes none")).at(name.clone()).into()),
            },
            _ => Err(Error::invalid("this call takes no body, or an empty JSON object").into()),
        }
    }

    async fn parse(&self, who: &Principal, bytes: Bytes) -> Result<Value, Refusal> {
        let limits = &self.limits;
        let bounds = json::Bounds { depth: limits.json_depth as usize, members: limits.json_members as usize };
        let parsed = self.desk.aside().run(bytes.len() > SMALL_BYTES, who.tenant.as_str(), move || json::parse(&bytes, bounds));
        Ok(parsed.await??)
    }

    /// The bytes, and the room that they take.
    async fn read(&self, who: &Principal, headers: &HeaderMap, body: Body) -> Result<(Bytes, Presence), Refusal> {
        let most = self.limits.body_bytes as usize;
        let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if said.is_some_and(|said| said > most as u64) {
            return Err(Problem::too_large(most).into());
        }
        // One that does not say how long it is may be as long as any.
        let room = self.desk.gate().body(&who.tenant, said.map_or(most, |said| said as usize))?;
        let reading = tokio::time::timeout(READ_MAX, Limited::new(body, most).collect());
        match reading.await {
            Ok(Ok(body)) => Ok((body.to_bytes(), room)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large(most).into()),
            Ok(Err(_)) => Err(Problem::malformed("the body broke off: send it whole").into()),
            Err(_) => Err(Problem::too_slow(format!("the body did not come in {} s", READ_MAX.as_secs())).into()),
        }
    }
}

/// `application/json` or `application/…+json`, in UTF-8, not compressed.
fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let refused = |field: &str, detail: &str| Err(Problem::unsupported_media_type(detail).at(field).into());
    let Some(media_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return refused("Content-Type", "say `Content-Type: application/json`");
    };
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if !is_json {
        return refused("Content-Type", "only application/json is read here");
    }
    let mut charsets = parts.filter_map(|part| part.split_once('=')).filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
    if charsets.any(|(_, charset)| !charset.trim_matches('"').eq_ignore_ascii_case("utf-8")) {
        return refused("Content-Type", "JSON is UTF-8: send it so, or leave charset out");
    }
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.into_iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refused("Content-Encoding", "compressed bodies are not read: send the JSON as it is");
    }
    Ok(())
}
