//! The providers of a node, by name.

mod address;
mod settings;

pub use settings::{Api, Price, ProviderSettings};

use crate::{
    Demo, fault,
    profile::{Like, Profile, ProfileSettings},
    remote::{Pool, Remote},
};
use maniple_core::{
    Error, Result,
    model::{Fault, ModelName},
    ports::{self, Model, Models},
    settings::Period,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use url::Url;

/// The most models of one provider whose complaints are remembered; beyond, all are forgotten and learnt again.
const LEARNT_MAX: usize = 1_024;

/// The shortest value in the query of a base URL that is kept out of messages, in bytes: a version or a switch is no secret.
const SECRET_MIN: usize = 6;

/// A provider behind HTTP, settled.
#[derive(Debug)]
pub(crate) struct Provider {
    pub name: String,
    pub api: RemoteApi,
    pub url: Url,
    pub api_key: Option<SecretString>,
    /// The header that carries it where it is not the API's own.
    pub key_header: Option<&'static str>,
    pub needs_key: bool,
    pub key_hint: String,
    pub headers: HeaderMap,
    pub timeout: Option<Duration>,
    pub stream: bool,
    /// What nobody may read in a message.
    secrets: Vec<SecretString>,
    profile: ProfileSettings,
    models: BTreeMap<String, ProfileSettings>,
    learnt: Mutex<HashMap<String, Profile>>,
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
    /// Why it serves nobody.
    Wrong(Error),
}

impl Served {
    fn of(name: &str, settings: &ProviderSettings, variable: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        Ok(match &settings.api {
            Api::OpenAi => Self::Remote(Arc::new(Provider::settle(name, settings, RemoteApi::OpenAi, variable)?)),
            Api::Anthropic => Self::Remote(Arc::new(Provider::settle(name, settings, RemoteApi::Anthropic, variable)?)),
            Api::Scripted(script) => Self::Local(Arc::new(script.clone())),
            Api::Demo => Self::Local(Arc::new(Demo::default())),
        })
    }
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
        let profile = ProfileSettings { like: Some(Like::Ollama), ..ProfileSettings::default() };
        let ollama = ProviderSettings { base_url: Some("http://127.0.0.1:11434/v1".into()), profile, ..ProviderSettings::new(Api::OpenAi) };
        let built_in = [
            ("openai", ProviderSettings::new(Api::OpenAi)),
            ("anthropic", ProviderSettings::new(Api::Anthropic)),
            ("ollama", ollama),
            ("demo", ProviderSettings::new(Api::Demo)),
        ];
        let mut providers = Self { served: HashMap::new(), prices: HashMap::new(), pool: Arc::default() };
        for (name, settings) in built_in {
            // A variable may be set for another program: what is wrong with it is for whom asks this provider.
            let served = Served::of(name, &settings, &variable).unwrap_or_else(Served::Wrong);
            providers.served.insert(name.to_owned(), served);
        }
        for (name, settings) in settings {
            let served = Served::of(&name, &settings, &variable)?;
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
        let _ = self.pool.client(false);
    }

    /// What to do about a key that the provider of this model insists on and that is not set.
    pub fn missing_key(&self, name: &ModelName) -> Option<&str> {
        match self.served.get(name.provider()) {
            Some(Served::Remote(provider)) if provider.needs_key && provider.api_key.is_none() => Some(&provider.key_hint),
            Some(Served::Remote(_) | Served::Local(_) | Served::Wrong(_)) | None => None,
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
            Some(Served::Wrong(error)) => Err(error.clone()),
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
        let vendor = match name {
            "openai" => Some("OPENAI"),
            "anthropic" => Some("ANTHROPIC"),
            _ => None,
        };
        let of_vendor = |what: &str| vendor.and_then(|vendor| variable(&format!("{vendor}_{what}"))).map(|text| text.trim().to_owned());
        let base_of_vendor = of_vendor("BASE_URL").filter(|base| !base.is_empty());
        let (base, base_field) = match (&settings.base_url, base_of_vendor) {
            (Some(base), _) => (base.clone(), field("base_url")),
            (None, Some(base)) => (base, format!("{}_BASE_URL", vendor.unwrap_or_default())),
            (None, None) if api == RemoteApi::OpenAi => ("https://api.openai.com/v1".to_owned(), field("base_url")),
            (None, None) => ("https://api.anthropic.com/v1".to_owned(), field("base_url")),
        };
        let mut url = address::of(&base, api).map_err(|error| Error::invalid(format!("{base_field} {error}")).at(base_field.clone()))?;
        let mut secrets: Vec<String> = url.password().map(str::to_owned).into_iter().collect();
        let may_be_secret = |name: &str, value: &str| name != "api-version" && value.len() >= SECRET_MIN;
        secrets.extend(url.query_pairs().filter(|(name, value)| may_be_secret(name, value)).map(|(_, value)| value.into_owned()));
        for (name, value) in &settings.query {
            url.query_pairs_mut().append_pair(name, value.expose());
        }
        let host = url.host_str().unwrap_or_default();
        let is_vendor = |vendor: &str| host == vendor || host.strip_suffix(vendor).is_some_and(|rest| rest.ends_with('.'));
        let given = settings.api_key.as_ref().map(|key| key.expose().trim().to_owned());
        let key = given.or_else(|| of_vendor("API_KEY")).filter(|key| !key.is_empty());
        let headers = headers(settings, &field)?;
        secrets.extend(settings.headers.values().chain(settings.query.values()).map(|secret| secret.expose().to_owned()));
        secrets.extend(key.clone());
        // As an address carries it, too.
        let sent: Vec<String> = secrets.iter().map(|secret| url::form_urlencoded::byte_serialize(secret.as_bytes()).collect()).collect();
        secrets.extend(sent);
        let brings_key = headers.contains_key("authorization") || headers.contains_key("x-api-key") || headers.contains_key("api-key");
        Ok(Self {
            api,
            // Azure's own name for it; its tokens of Entra are bearer tokens as everybody's.
            key_header: (is_vendor("azure.com") && !key.as_deref().is_some_and(|key| key.starts_with("eyJ"))).then_some("api-key"),
            secrets: secrets.into_iter().map(SecretString::from).collect(),
            needs_key: !brings_key && (is_vendor("openai.com") || is_vendor("anthropic.com")),
            key_hint: match vendor {
                Some(vendor) => format!("set {vendor}_API_KEY to a key of this provider (or {} in maniple.yaml)", field("api_key")),
                None => format!("set {} in maniple.yaml to a key of this provider", field("api_key")),
            },
            api_key: key.map(SecretString::from),
            headers,
            timeout: settings.timeout.map(Period::duration),
            stream: settings.stream,
            profile: settings.profile.clone(),
            models: settings.models.clone(),
            learnt: Mutex::default(),
            name: name.to_owned(),
            url,
        })
    }

    /// What a model takes and gives, as far as it is known now.
    pub fn profile(&self, model: &str) -> Profile {
        let learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        learnt.get(model).cloned().unwrap_or_else(|| self.known(model))
    }

    /// The same without what its complaints taught.
    fn known(&self, model: &str) -> Profile {
        let own = self.models.get(model).cloned().unwrap_or_default();
        let mut profile = Profile::of(self.url.host_str().unwrap_or_default(), model, &self.profile, &own);
        if self.api == RemoteApi::Anthropic {
            profile.like_anthropic(self.profile.structured.or(own.structured).is_some());
        }
        profile.stream &= self.stream;
        profile
    }

    /// What a complaint taught, for the life of the process: what it made of the profile of a call. `false` where that is known.
    pub fn learn(&self, model: &str, before: &Profile, after: &Profile) -> bool {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        let known = learnt.get(model).cloned().unwrap_or_else(|| self.known(model));
        let mut profile = known.clone();
        profile.adopt(before, after);
        if profile == known {
            return false;
        }
        if learnt.len() >= LEARNT_MAX {
            learnt.clear();
        }
        learnt.insert(model.to_owned(), profile);
        true
    }

    /// A fault as people read it: the provider named, its secrets never.
    pub fn explain(&self, fault: Fault) -> Fault {
        fault::explain(fault, &self.name, &self.key_hint, self.secrets.iter().map(ExposeSecret::expose_secret))
    }
}

/// Those of the settings, fit to be sent.
fn headers(settings: &ProviderSettings, field: &impl Fn(&str) -> String) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str, at: String| {
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let Some((name, mut value)) = parsed else {
            return Err(Error::invalid(format!("{at} is no header that can be sent")).at(at));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    };
    if let Some(organization) = &settings.organization {
        add("openai-organization", organization, field("organization"))?;
    }
    for (name, value) in &settings.headers {
        add(name, value.expose(), field(&format!("headers.{name}")))?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
