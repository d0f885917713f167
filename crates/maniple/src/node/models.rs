//! Whom agents ask: the configured providers, and a default for those that name no model.

use crate::config::{Api, Config};
use maniple_core::{model::ModelName, ports::Price};
use maniple_llm::{Discovered, ProviderSettings, Providers};

/// The provider name under which a discovered local server is known.
const LOCAL: &str = "local";

/// The providers, and the default model: the configured one, else (if it may be looked for) a local server that
/// answers, else the demo.
pub(super) async fn providers(config: &Config, look: bool) -> anyhow::Result<(Providers, ModelName)> {
    let mut settings: Vec<ProviderSettings> = config.models.iter().map(|(name, provider)| settings_of(name, provider)).collect();
    let default = match &config.model {
        Some(model) => ModelName::parse(model)?,
        None => match if look { maniple_llm::discover().await } else { None } {
            Some(Discovered { base_url, model }) => {
                tracing::info!(%base_url, %model, "a local model server answers: agents without a model ask it");
                settings.push(ProviderSettings { base_url: Some(base_url), ..ProviderSettings::new(LOCAL, maniple_llm::Api::OpenAi) });
                ModelName::parse(&format!("{LOCAL}/{model}"))?
            }
            None => ModelName::parse("demo/demo")?,
        },
    };
    Ok((Providers::new(settings)?, default))
}

fn settings_of(name: &str, provider: &crate::config::Provider) -> ProviderSettings {
    let api = match provider.api {
        Api::Openai => maniple_llm::Api::OpenAi,
        Api::Anthropic => maniple_llm::Api::Anthropic,
        Api::Demo => maniple_llm::Api::Demo,
    };
    let prices = provider.prices.iter().map(|(model, price)| {
        let price = Price { input: price.input, cached_input: price.cached_input.unwrap_or(price.input), output: price.output };
        (model.clone(), price)
    });
    ProviderSettings {
        base_url: provider.base_url.clone(),
        api_key: provider.api_key.as_ref().map(|secret| secret.0.clone()),
        stream: provider.stream,
        prices: prices.collect(),
        ..ProviderSettings::new(name, api)
    }
}
