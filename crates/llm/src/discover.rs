//! Looks for a model server on this machine, so that a newcomer needs no configuration.

use crate::{
    profile::{Like, ProfileSettings},
    provider::{Api, ProviderSettings},
};
use futures::{StreamExt, future::join_all};
use serde::Deserialize;
use std::time::Duration;

/// How long all of it may take.
const TIME: Duration = Duration::from_millis(300);
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Where such servers listen by default.
const USUAL: [(&str, Like); 4] = [
    ("http://127.0.0.1:11434/v1", Like::Ollama),
    ("http://127.0.0.1:1234/v1", Like::LmStudio),
    ("http://127.0.0.1:8080/v1", Like::LlamaCpp),
    ("http://127.0.0.1:8000/v1", Like::Vllm),
];

/// A local server that answers.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// As a provider: where it is, and what listens there by default.
    pub settings: ProviderSettings,
    /// The first model it lists that can talk.
    pub model: String,
}

/// The first of the usual local servers that lists a model, asked all at once, within 300 ms.
pub async fn discover() -> Option<Discovered> {
    among(&USUAL).await
}

/// The first of `servers`, in their order, that lists a model within 300 ms.
pub async fn among(servers: &[(&str, Like)]) -> Option<Discovered> {
    // Loopback only: neither certificates nor proxies, which would cost the time of the start.
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).tls_certs_only([]).build().ok()?;
    let asked = servers.iter().map(|(base_url, like)| tokio::time::timeout(TIME, ask(&client, base_url, *like)));
    join_all(asked).await.into_iter().find_map(|answer| answer.ok().flatten())
}

async fn ask(client: &reqwest::Client, base_url: &str, like: Like) -> Option<Discovered> {
    #[derive(Deserialize)]
    struct Listed {
        data: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        id: String,
    }
    let response = client.get(format!("{base_url}/models")).send().await.ok().filter(|r| r.status().is_success())?;
    let mut body = response.bytes_stream();
    let mut json = Vec::new();
    while let Some(chunk) = body.next().await {
        json.extend_from_slice(&chunk.ok()?);
        if json.len() > MAX_BODY_BYTES {
            return None;
        }
    }
    let listed: Listed = serde_json::from_slice(&json).ok()?;
    let model = listed.data.into_iter().map(|entry| entry.id).find(|id| !id.is_empty() && !id.to_lowercase().contains("embed"))?;
    let profile = ProfileSettings { like: Some(like), ..ProfileSettings::default() };
    let settings = ProviderSettings { base_url: Some(base_url.to_owned()), profile, ..ProviderSettings::new(Api::OpenAi) };
    Some(Discovered { settings, model })
}
