//! A schema registry, by Confluent's REST API: ids are learned once and kept.

use maniple_core::{Error, Kind, Result};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long one call of it may take.
const CALL_MAX: Duration = Duration::from_secs(10);
/// How many schemas are kept by their ids, and as many ids by their subjects.
const KEPT_MAX: usize = 1_000;
/// What a schema may weigh, in bytes.
const SCHEMA_MAX: usize = 256 << 10;

/// What a schema is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Language {
    Avro,
    Json,
    #[serde(other)]
    Other,
}

/// A schema as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) language: Language,
    pub(crate) text: String,
}

/// A registry at an address.
#[derive(Clone)]
pub struct SchemaRegistry {
    base: String,
    client: Client,
    by_id: Arc<Mutex<HashMap<u32, Arc<Registered>>>>,
    by_subject: Arc<Mutex<HashMap<(String, String), u32>>>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    error_code: i64,
    #[serde(default)]
    message: String,
}

impl SchemaRegistry {
    /// The one at this address, such as `http://registry:8081`. Nothing is asked of it yet. `Invalid`, field `schema_registry`.
    pub fn new(base: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("schema_registry `{base}` must be none, or an address such as http://registry:8081"))
                .at("schema_registry")
        };
        let url = reqwest::Url::parse(base).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        let client = Client::builder().timeout(CALL_MAX).no_proxy().build();
        let client = client.map_err(|e| Error::internal("a client of the schema registry cannot be made").because(e))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client, by_id: Arc::default(), by_subject: Arc::default() })
    }

    /// The schema of an id. `NotFound` where the registry answers that there is none, `Unavailable` where it does not answer.
    pub(crate) async fn schema(&self, id: u32) -> Result<Arc<Registered>> {
        if let Some(known) = lock(&self.by_id).get(&id) {
            return Ok(known.clone());
        }
        #[derive(Deserialize)]
        struct Answer {
            schema: String,
            #[serde(default = "avro", rename = "schemaType")]
            language: Language,
        }
        fn avro() -> Language {
            Language::Avro
        }
        let answer: Answer = self.call(self.client.get(format!("{}/schemas/ids/{id}", self.base))).await?;
        let found = Arc::new(Registered { language: answer.language, text: answer.schema });
        keep(&self.by_id, id, found.clone());
        Ok(found)
    }

    /// The id of an Avro schema under the subject of a topic's values, registered where it is not there; a subject that begins
    /// with it is BACKWARD from then on. `Conflict` with the registry's reason where the schema is not compatible.
    pub(crate) async fn id(&self, topic: &str, schema: &str) -> Result<u32> {
        let key = (format!("{topic}-value"), schema.to_owned());
        if let Some(known) = lock(&self.by_subject).get(&key) {
            return Ok(*known);
        }
        #[derive(Deserialize)]
        struct Answer {
            id: u32,
        }
        let subject = format!("{}/subjects/{}", self.base, key.0);
        let body = json!({ "schema": schema }).to_string();
        let post = |url: String| self.client.post(url).header("content-type", "application/vnd.schemaregistry.v1+json").body(body.clone());
        let id = match self.call::<Answer>(post(subject.clone())).await {
            Ok(found) => found.id,
            Err(error) if error.kind == Kind::NotFound => {
                let is_new = matches!(
                    self.call::<Vec<i64>>(self.client.get(format!("{subject}/versions"))).await,
                    Err(error) if error.kind == Kind::NotFound
                );
                let made = self.call::<Answer>(post(format!("{subject}/versions"))).await?;
                if is_new {
                    let config = self.client.put(format!("{}/config/{}", self.base, key.0));
                    let config = config.header("content-type", "application/vnd.schemaregistry.v1+json");
                    self.call::<serde_json::Value>(config.body(json!({ "compatibility": "BACKWARD" }).to_string())).await?;
                }
                made.id
            }
            Err(error) => return Err(error),
        };
        keep(&self.by_subject, key, id);
        Ok(id)
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        &self.base
    }

    /// How far a newer schema may differ: under the subject of a topic's values, none where that has no rule of its own; or where
    /// a subject has none.
    pub(crate) async fn compatibility(&self, topic: Option<&str>) -> Result<Option<String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            compatibility_level: String,
        }
        let subject = topic.map(|topic| format!("/{topic}-value")).unwrap_or_default();
        match self.call::<Answer>(self.client.get(format!("{}/config{subject}", self.base))).await {
            Ok(answer) => Ok(Some(answer.compatibility_level)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a schema may follow what is registered last under the subject of a topic's values. `NotFound` where nothing is.
    pub(crate) async fn takes(&self, topic: &str, schema: &str) -> Result<bool> {
        #[derive(Deserialize)]
        struct Answer {
            is_compatible: bool,
        }
        let asked = self.client.post(format!("{}/compatibility/subjects/{topic}-value/versions/latest", self.base));
        let asked = asked.header("content-type", "application/vnd.schemaregistry.v1+json").body(json!({ "schema": schema }).to_string());
        Ok(self.call::<Answer>(asked).await?.is_compatible)
    }

    async fn call<T: serde::de::DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let away = || Error::unavailable(format!("the schema registry at {} does not answer", self.base));
        let answer = request.send().await.map_err(|e| away().because(e))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|e| away().because(e))?;
        if status.is_success() {
            if body.len() > SCHEMA_MAX {
                return Err(Error::invalid(format!("the schema registry's answer is larger than {SCHEMA_MAX} bytes")));
            }
            return serde_json::from_slice(&body).map_err(|e| away().because(e));
        }
        let said: Said = serde_json::from_slice(&body).unwrap_or(Said { error_code: status.as_u16().into(), message: String::new() });
        let told = format!("the schema registry refuses ({}): {}", said.error_code, said.message);
        Err(match status {
            // A proxy's 404 says nothing about a schema: a registry's own has its code.
            StatusCode::NOT_FOUND if (40400..40500).contains(&said.error_code) => Error::not_found(told),
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Error::conflict(told),
            _ => Error::unavailable(told),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep<K: std::hash::Hash + Eq, V>(kept: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut kept = lock(kept);
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
    kept.insert(key, value);
}
