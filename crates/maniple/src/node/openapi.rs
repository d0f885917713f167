//! OpenAPI documents as tools: read at the start, and those at a URL again and again.

use super::left_out;
use crate::{config::Config, files::regular};
use anyhow::Context as _;
use maniple_aside::Aside;
use maniple_core::tool::LeftOut;
use maniple_registry::{
    Incoming, Origin, Registry,
    openapi::{self, ImportSettings},
};
use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a document at a URL may take.
const FETCH_MAX: Duration = Duration::from_secs(30);
/// How soon one that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// One document of the settings.
#[derive(Debug, Clone)]
pub(super) struct Document {
    name: String,
    settings: ImportSettings,
    /// Where its file is, from where the process stands.
    file: Option<PathBuf>,
}

impl Document {
    /// Those of the settings.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let of = |(name, settings): (&String, &ImportSettings)| Self {
            name: name.clone(),
            settings: settings.clone(),
            file: settings.file.as_deref().map(|file| config.path(file)),
        };
        config.openapi.iter().map(of).collect()
    }

    /// The file it is read from; none for one at a URL.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Reads it and takes its tools over in the place of those before.
    pub(super) async fn take(&self, registry: &Registry, aside: &Aside) -> anyhow::Result<()> {
        let text = self.text(registry).await.with_context(|| format!("openapi.{}", self.name))?;
        let (name, settings, credentials) = (self.name.clone(), self.settings.clone(), registry.configured());
        // A large document is work for a while: not on a thread that others wait for.
        let read = move || openapi::import(&name, &text, &settings, &credentials).with_context(|| format!("openapi.{name}"));
        let read = aside.run(true, &format!("openapi:{}", self.name), read).await??;
        let origin = Origin::Openapi { document: self.name.clone(), has_base_url: self.settings.base_url.is_some() };
        let from = origin.collection();
        let places: HashMap<String, String> = read.tools.iter().map(|tool| (tool.definition.name.clone(), tool.place.clone())).collect();
        let incoming = read.tools.into_iter();
        let incoming = incoming.map(|tool| Incoming { notes: tool.notes, proposed: tool.proposed, ..Incoming::from(tool.definition) });
        let incoming: Vec<Incoming> = incoming.collect();
        let count = incoming.len();
        let refused = registry.take(&origin, incoming).await?;
        let tools = count - refused.len();
        let unusable = |place: String, name: Option<String>, why: String| LeftOut { from: from.clone(), place, name, why };
        let read = read.left_out.into_iter().map(|note| unusable(note.place, note.name, note.what));
        let refused = refused.into_iter().map(|(tool, error)| {
            let place = places.get(&tool).cloned().unwrap_or_else(|| tool.clone());
            unusable(place, Some(tool), error.to_string())
        });
        let all: Vec<LeftOut> = read.chain(refused).collect();
        let count = all.len();
        left_out::say(registry, &origin, all);
        tracing::info!(openapi = self.name, tools, left_out = count, "imported");
        Ok(())
    }

    /// Reads one at a URL, and reads it again until `stop`.
    pub(super) async fn follow(self, registry: Arc<Registry>, aside: Aside, stop: CancellationToken) {
        let refresh = self.settings.refresh.duration();
        loop {
            let wait = match self.take(&registry, &aside).await {
                Ok(()) => refresh,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "a document could not be imported; its tools stay as they were");
                    AGAIN.min(refresh)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn text(&self, registry: &Registry) -> anyhow::Result<String> {
        match (&self.file, &self.settings.url) {
            (Some(file), _) => {
                let path = file.clone();
                let reading = tokio::task::spawn_blocking(move || regular::text(&path, openapi::BYTES_MAX as u64));
                reading.await?.with_context(|| format!("{} cannot be read", file.display()))
            }
            (None, Some(url)) => Ok(registry.fetch(url, openapi::BYTES_MAX, FETCH_MAX).await?),
            (None, None) => anyhow::bail!("it needs either `file` or `url`"),
        }
    }
}
