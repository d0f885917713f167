//! Whom agents ask: the configured providers, and a default for those that name no model.

use crate::config::Config;
use maniple_core::model::ModelName;
use maniple_llm::{Discovered, Providers};
use maniple_runtime::Agents;

/// The provider name under which a discovered local server is known.
const LOCAL: &str = "local";

/// A model without its key answers nobody: better said at the start than by the first task.
pub(super) fn warn_of_missing_keys(agents: &Agents, providers: &Providers) {
    for agent in agents.all().values() {
        for model in std::iter::once(&agent.model).chain(&agent.fallbacks) {
            if let Some(hint) = providers.missing_key(model) {
                tracing::warn!(agent = %agent.name, %model, "there is no key for it, so that it answers nobody: {hint}");
            }
        }
    }
}

/// The providers, and the default model: the configured one, else (if it may be looked for) a local server that
/// answers, else the demo.
pub(super) async fn providers(config: &Config, look: bool) -> anyhow::Result<(Providers, ModelName)> {
    let mut providers = config.models.clone();
    let default = match &config.model {
        Some(model) => ModelName::parse(model)?,
        None => match if look { maniple_llm::discover().await } else { None } {
            Some(Discovered { settings, model }) => {
                let base_url = settings.base_url.as_deref().unwrap_or_default();
                tracing::info!(base_url, %model, "a local model server answers: agents without a model ask it");
                providers.insert(LOCAL.into(), settings);
                ModelName::parse(&format!("{LOCAL}/{model}"))?
            }
            None => ModelName::parse("demo/demo")?,
        },
    };
    Ok((Providers::with_environment(providers, |name| config.environment.get(name))?, default))
}
