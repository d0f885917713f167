//! The section `models`: a provider as an operator writes it.

use crate::{MaxTokensField, Scripted};
use maniple_core::{ports, settings::Secret};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A model provider; its name is the key that it stands under, and what stands before the slash of a model's name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// What it speaks.
    pub api: Api,
    /// Where it is, `http(s)://…/v1`. Default: the vendor's own, for OpenAI and Anthropic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// What it is shown, usually `${env:NAME}`. Default: the vendor's environment variable, for the providers `openai` and `anthropic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Whether answers come in pieces. Default true; false for a server that cannot.
    #[serde(default = "yes")]
    pub stream: bool,
    /// What its models cost.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, Price>,
    /// How it wants the output bounded. No key of the file. Default: `max_completion_tokens` for OpenAI's own hosts, else `max_tokens`.
    #[serde(skip)]
    pub max_tokens_field: Option<MaxTokensField>,
}

impl ProviderSettings {
    /// A provider with every default.
    pub fn new(api: Api) -> Self {
        Self { api, base_url: None, api_key: None, stream: yes(), prices: BTreeMap::new(), max_tokens_field: None }
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
