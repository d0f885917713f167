//! Looks for a model server on this machine, so that a newcomer needs no configuration.

use futures::{StreamExt, future::join_all};
use serde::Deserialize;
use std::time::Duration;

/// How long all of it may take.
const TIME: Duration = Duration::from_millis(300);
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Where such servers listen by default: Ollama, LM Studio, llama.cpp, vLLM.
const USUAL: [&str; 4] = ["http://127.0.0.1:11434/v1", "http://127.0.0.1:1234/v1", "http://127.0.0.1:8080/v1", "http://127.0.0.1:8000/v1"];

/// A local server that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// For [`crate::ProviderSettings::base_url`].
    pub base_url: String,
    /// The first model it lists that can talk.
    pub model: String,
}

/// The first of the usual local servers that lists a model, asked all at once, within 300 ms.
pub async fn discover() -> Option<Discovered> {
    among(&USUAL).await
}

/// The first of `base_urls`, in their order, that lists a model within 300 ms.
pub async fn among(base_urls: &[&str]) -> Option<Discovered> {
    // Loopback only: neither certificates nor proxies, which would cost the time of the start.
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).tls_certs_only([]).build().ok()?;
    let asked = base_urls.iter().map(|base_url| tokio::time::timeout(TIME, ask(&client, base_url)));
    join_all(asked).await.into_iter().find_map(|answer| answer.ok().flatten())
}

async fn ask(client: &reqwest::Client, base_url: &str) -> Option<Discovered> {
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
    Some(Discovered { base_url: base_url.to_owned(), model })
}
