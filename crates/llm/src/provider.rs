//! The providers of a node, by name.

mod settings;

pub use settings::{Api, Price, ProviderSettings};

use crate::{
    Demo, fault,
    openai::request::Dialect,
    remote::{Pool, Remote},
};
use maniple_core::{
    Error, Result,
    model::{Fault, ModelName},
    ports::{self, Model, Models},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use url::Url;

/// The member that bounds the output of Chat Completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxTokensField {
    /// What every compatible server knows.
    MaxTokens,
    /// What OpenAI's reasoning models insist on.
    MaxCompletionTokens,
}

/// A provider behind HTTP, settled.
#[derive(Debug)]
pub(crate) struct Provider {
    pub name: String,
    pub api: RemoteApi,
    pub url: Url,
    pub api_key: Option<SecretString>,
    pub needs_key: bool,
    pub key_hint: String,
    pub dialect: Dialect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemoteApi {
    OpenAi,
    Anthropic,
}

/// The providers of a node. `openai`, `anthropic`, `ollama` and `demo` exist without being named.
#[derive(Clone)]
pub struct Providers {
    served: HashMap<String, Served>,
    prices: HashMap<String, BTreeMap<String, Price>>,
    pool: Arc<Pool>,
}

#[derive(Clone)]
enum Served {
    Remote(Arc<Provider>),
    Local(Arc<dyn Model>),
}

impl Providers {
    /// These and the built-in ones, which they may redefine. `Invalid` for a bad name or address.
    ///
    /// A missing key is no error here: it is found out by the first call, as a fault that names what to set.
    pub fn new(settings: impl IntoIterator<Item = (String, ProviderSettings)>) -> Result<Self> {
        Self::with_environment(settings, |name| std::env::var(name).ok())
    }

    /// The same with another environment than the process's.
    pub fn with_environment(
        settings: impl IntoIterator<Item = (String, ProviderSettings)>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let ollama = ProviderSettings { base_url: Some("http://127.0.0.1:11434/v1".into()), ..ProviderSettings::new(Api::OpenAi) };
        let built_in = [
            ("openai", ProviderSettings::new(Api::OpenAi)),
            ("anthropic", ProviderSettings::new(Api::Anthropic)),
            ("ollama", ollama),
            ("demo", ProviderSettings::new(Api::Demo)),
        ];
        let mut providers = Self { served: HashMap::new(), prices: HashMap::new(), pool: Arc::default() };
        for (name, settings) in built_in.map(|(name, settings)| (name.to_owned(), settings)).into_iter().chain(settings) {
            let served = match &settings.api {
                Api::OpenAi => Served::Remote(Arc::new(Provider::settle(&name, &settings, RemoteApi::OpenAi, &variable)?)),
                Api::Anthropic => Served::Remote(Arc::new(Provider::settle(&name, &settings, RemoteApi::Anthropic, &variable)?)),
                Api::Scripted(script) => Served::Local(Arc::new(script.clone())),
                Api::Demo => Served::Local(Arc::new(Demo::default())),
            };
            if name.is_empty() || name.contains('/') {
                return Err(Error::invalid(format!("provider `{name}` must have a name without a slash")).at("models"));
            }
            providers.prices.insert(name.clone(), settings.prices);
            providers.served.insert(name, served);
        }
        Ok(providers)
    }

    /// Makes ready what the first call would have to: reads the machine's certificates, which blocks for some milliseconds.
    pub fn warm(&self) {
        // Where it fails now, the first call tries again, and says why it cannot.
        let _ = self.pool.client();
    }

    /// What to do about a key that the provider of this model insists on and that is not set.
    pub fn missing_key(&self, name: &ModelName) -> Option<&str> {
        match self.served.get(name.provider()) {
            Some(Served::Remote(provider)) if provider.needs_key && provider.api_key.is_none() => Some(&provider.key_hint),
            Some(Served::Remote(_) | Served::Local(_)) | None => None,
        }
    }

    /// The names of all providers, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.served.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl Models for Providers {
    fn model(&self, name: &ModelName) -> Result<Arc<dyn Model>> {
        match self.served.get(name.provider()) {
            Some(Served::Remote(provider)) => Ok(Arc::new(Remote::new(provider.clone(), self.pool.clone(), name.model()))),
            Some(Served::Local(model)) => Ok(model.clone()),
            None => {
                let (provider, known) = (name.provider(), self.names().join(", "));
                let message =
                    format!("model `{name}`: there is no provider `{provider}`, only {known}: add it under `models` in maniple.yaml");
                Err(Error::invalid(message).at("model"))
            }
        }
    }

    fn server(&self, name: &ModelName) -> Option<ports::Server> {
        let Some(Served::Remote(provider)) = self.served.get(name.provider()) else { return None };
        Some(ports::Server { address: provider.url.host_str()?.to_owned(), port: provider.url.port_or_known_default()? })
    }

    fn price(&self, name: &ModelName) -> Option<ports::Price> {
        self.prices.get(name.provider())?.get(name.model()).map(Price::whole)
    }
}

impl Provider {
    fn settle(name: &str, settings: &ProviderSettings, api: RemoteApi, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let field = |field: &str| format!("models.{name}.{field}");
        let base = settings.base_url.as_deref().unwrap_or(match api {
            RemoteApi::OpenAi => "https://api.openai.com/v1",
            RemoteApi::Anthropic => "https://api.anthropic.com/v1",
        });
        let parsed = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let wrong =
            || Error::invalid(format!("{} `{base}` must be http://HOST… or https://HOST…", field("base_url"))).at(field("base_url"));
        let parsed = parsed.ok_or_else(wrong)?;
        let host = parsed.host_str().unwrap_or_default();
        let is_vendor = |vendor: &str| host == vendor || host.strip_suffix(vendor).is_some_and(|rest| rest.ends_with('.'));
        let key_variable = match name {
            "openai" => Some("OPENAI_API_KEY"),
            "anthropic" => Some("ANTHROPIC_API_KEY"),
            _ => None,
        };
        let given = settings.api_key.as_ref().map(|key| key.expose().to_owned());
        let key = given.or_else(|| key_variable.and_then(variable)).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        let is_openai = is_vendor("openai.com") || is_vendor("openai.azure.com");
        let max_tokens = if is_openai { MaxTokensField::MaxCompletionTokens } else { MaxTokensField::MaxTokens };
        let root = base.trim_end_matches('/');
        let url = match api {
            RemoteApi::OpenAi => format!("{root}/chat/completions"),
            // Anthropic's own clients leave `/v1` out of the base.
            RemoteApi::Anthropic if root.ends_with("/v1") => format!("{root}/messages"),
            RemoteApi::Anthropic => format!("{root}/v1/messages"),
        };
        Ok(Self {
            url: Url::parse(&url).map_err(|_| wrong())?,
            api,
            api_key: key.map(SecretString::from),
            needs_key: is_vendor("openai.com") || is_vendor("anthropic.com"),
            key_hint: match key_variable {
                Some(variable) => format!("set {variable} to a key of this provider (or {} in maniple.yaml)", field("api_key")),
                None => format!("set {} in maniple.yaml to a key of this provider", field("api_key")),
            },
            dialect: Dialect {
                stream: settings.stream,
                max_tokens: settings.max_tokens_field.unwrap_or(max_tokens),
                schema_beside_tools: is_openai,
            },
            name: name.to_owned(),
        })
    }

    /// A fault as people read it: the provider named, the key never.
    pub fn explain(&self, fault: Fault) -> Fault {
        fault::explain(fault, &self.name, &self.key_hint, self.api_key.as_ref().map(ExposeSecret::expose_secret))
    }
}

#[cfg(test)]
mod tests;
