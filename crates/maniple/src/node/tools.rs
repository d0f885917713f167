//! The registry of a node: over its store, with the project's files and pins.

use super::{openapi::Document, project::all_of};
use crate::{
    config::Config,
    descriptors,
    files::{LOCK_MAX, regular},
};
use anyhow::Context as _;
use maniple_api::tools::RemoteTools;
use maniple_aside::Aside;
use maniple_backends::Backend;
use maniple_core::{
    AgentName, Kind, Result,
    tool::{ToolDefinition, ToolWish},
};
use maniple_registry::{
    Egress, Files, GatewaySettings, Grants, Parts, Registry,
    lock::{self, Pins},
};
use maniple_runtime::Agents;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// How often the pins' file is looked at.
const PINS_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// The registry in this process, and how the project is taken into it.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) registry: Arc<Registry>,
    lock_file: PathBuf,
    files: Files,
    documents: Arc<[Document]>,
    aside: Aside,
}

/// What the agents' files list.
struct Listed(Agents);

impl Grants for Listed {
    fn of(&self, agent: &AgentName) -> Option<Vec<ToolWish>> {
        self.0.get(agent).map(|agent| agent.tools.clone())
    }
}

impl Tools {
    pub(super) async fn open(config: &Config, store: &Backend, agents: &Agents, files: Files, aside: Aside) -> anyhow::Result<Self> {
        let parts = Parts {
            store: Some(store.tools.clone()),
            limiter: store.limiter.clone(),
            grants: Arc::new(Listed(agents.clone())),
            egress: Egress::new(&config.egress.allow)?,
            credentials: config.credentials()?,
            aside: aside.clone(),
            settings: GatewaySettings {
                calls_at_once: descriptors::Shares::calls(config.gateway.calls_at_once),
                several_tenants: config.has_several_tenants(),
                tells_reasons: config.auth.is_none(),
                ..config.gateway
            },
        };
        let registry = Arc::new(Registry::open(parts).await?);
        Ok(Self { registry, lock_file: config.path(lock::FILE_NAME), files, documents: Document::all(config).into(), aside })
    }

    /// Takes the project's tools and pins over, all or nothing.
    pub(super) async fn take(&self, definitions: Vec<ToolDefinition>) -> anyhow::Result<()> {
        let pins = self.pins()?;
        self.registry.take_files(definitions, self.files).await.map_err(all_of)?;
        self.registry.pin(pins);
        for document in self.documents.iter().filter(|document| document.file().is_some()) {
            document.take(&self.registry, &self.aside).await?;
        }
        Ok(())
    }

    /// The documents that are written elsewhere, to be followed; none for a process that only tells what there is.
    pub(super) fn documents_elsewhere(&self) -> Vec<Document> {
        let is_followed = |document: &&Document| document.file().is_none() && self.files != Files::Looking;
        self.documents.iter().filter(is_followed).cloned().collect()
    }

    /// When the files that are read here were changed.
    pub(super) fn changed(&self) -> Vec<Option<SystemTime>> {
        let files = self.documents.iter().filter_map(Document::file).chain([&self.lock_file]);
        files.map(|file| std::fs::metadata(file).and_then(|about| about.modified()).ok()).collect()
    }

    /// Takes the pins over whenever their file changes, until `stop`: where the project is read at the start only, a tool that they
    /// keep in quarantine is let out of it all the same by writing them anew.
    pub(super) async fn follow_pins(self, stop: CancellationToken) {
        let changed = |file: &PathBuf| std::fs::metadata(file).and_then(|about| about.modified()).ok();
        let mut known = changed(&self.lock_file);
        loop {
            tokio::select! {
                () = tokio::time::sleep(PINS_LOOKED_AT_EVERY) => {}
                () = stop.cancelled() => return,
            }
            if changed(&self.lock_file) == known {
                continue;
            }
            known = changed(&self.lock_file);
            match self.pins() {
                Ok(pins) => {
                    self.registry.pin(pins);
                    tracing::info!(file = %self.lock_file.display(), "changed: tools are used as it says now");
                }
                Err(error) => tracing::warn!(error = format!("{error:#}"), "pins stay as they were"),
            }
        }
    }

    fn pins(&self) -> anyhow::Result<Pins> {
        match regular::text(&self.lock_file, LOCK_MAX) {
            Ok(text) => Ok(Pins::parse(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Pins::default()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", self.lock_file.display())),
        }
    }
}

/// The registry that the settings name, if it is not this process's own.
pub(super) fn elsewhere(config: &Config) -> anyhow::Result<Option<Arc<RemoteTools>>> {
    if config.registry == "local" {
        return Ok(None);
    }
    let token = config.registry_token.as_ref().map(|token| token.expose().to_owned());
    let folders = config.tool_folders();
    if let Some(folder) = folders.iter().find(|folder| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())) {
        tracing::info!(registry = %config.registry, folder = %folder.display(), "tools come from the registry: what lies in this folder is not used");
    }
    Ok(Some(Arc::new(RemoteTools::new(&config.registry, token)?)))
}

/// `Denied` where the registry elsewhere refuses this process: every task that it took would fail of it. One that is away may come yet.
pub(super) async fn not_refused(registry: &RemoteTools) -> Result<()> {
    match registry.ping().await {
        Err(denied) if denied.kind == Kind::Denied => Err(denied),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
