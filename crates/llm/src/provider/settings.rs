//! The section `models`: a provider as an operator writes it.

use crate::{Scripted, profile::ProfileSettings};
use maniple_core::{
    ports,
    settings::{Period, Secret},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A model provider; its name is the key that it stands under, and what stands before the slash of a model's name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// What it speaks.
    pub api: Api,
    /// Where it is, `http(s)://…/v1`, a query included. Default: OPENAI_BASE_URL or ANTHROPIC_BASE_URL for the providers of those
    /// names, else the vendor's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// What it is shown, usually `${env:NAME}`. Default: the vendor's environment variable, for the providers `openai` and `anthropic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Whether answers come in pieces. Default true; false for a server that cannot.
    #[serde(default = "yes")]
    pub stream: bool,
    /// Sent with every call beside our own headers, which they replace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// Added to the query of every call.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Secret>,
    /// Which of an account's organizations pays: the header `OpenAI-Organization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// How long one attempt may take in all, within what the agent and the deadline allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// What its models take and give, over what is known of them.
    #[serde(default, skip_serializing_if = "ProfileSettings::is_usual")]
    pub profile: ProfileSettings,
    /// The same of single models, by the name the provider has for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ProfileSettings>,
    /// What its models cost.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, Price>,
}

impl ProviderSettings {
    /// A provider with every default.
    pub fn new(api: Api) -> Self {
        Self {
            api,
            base_url: None,
            api_key: None,
            stream: yes(),
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            organization: None,
            timeout: None,
            profile: ProfileSettings::default(),
            models: BTreeMap::new(),
            prices: BTreeMap::new(),
        }
    }
}

fn yes() -> bool {
    true
}

/// What a provider speaks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// Chat Completions.
    OpenAi,
    /// Messages.
    Anthropic,
    /// The built-in model without intelligence.
    Demo,
    /// A script, for tests: no word of the file.
    #[serde(skip)]
    Scripted(Scripted),
}

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of input.
    pub input: f64,
    /// Of input from the provider's cache. Default: as input.
    #[serde(default)]
    pub cached_input: Option<f64>,
    /// Of output.
    pub output: f64,
}

impl Price {
    /// With its default filled in.
    pub(super) fn whole(&self) -> ports::Price {
        ports::Price { input: self.input, cached_input: self.cached_input.unwrap_or(self.input), output: self.output }
    }
}
