//! The settings of a node: defaults, then the file, then `MANIPLE_*`, then flags.

mod credentials;
mod layers;
mod types;

pub use credentials::{AuthStyle, Credential, CredentialKind};
pub use types::*;

use crate::yaml::Problem;
use anyhow::{Context as _, bail};
use maniple_backends::StoreUrl;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The name looked for in a project folder.
pub const FILE_NAME: &str = "maniple.yaml";

impl Config {
    /// The settings in a file, with the environment laid over them. Paths in it are relative to its folder.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        Self::load_with(file, |name| std::env::var(name).ok(), std::env::vars())
    }

    /// The settings in a file, the environment over them, and `flags` over that, named as variables are
    /// (`MANIPLE_LISTEN`). A file that is not there is all defaults.
    pub fn with_flags(file: &Path, flags: impl IntoIterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let text = if file.exists() {
            std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?
        } else {
            String::new()
        };
        Self::of_text(file, &text, |name| std::env::var(name).ok(), std::env::vars().chain(flags))
    }

    /// The same with another environment than the process's.
    pub fn load_with(
        file: &Path,
        variable: impl Fn(&str) -> Option<String>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Self::of_text(file, &text, variable, variables)
    }

    /// The settings of `maniple dev DIR`: the file there, or all defaults.
    pub fn for_dev(folder: &Path) -> anyhow::Result<Self> {
        Self::with_flags(&folder.join(FILE_NAME), [])
    }

    fn of_text(
        file: &Path,
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut config = layers::lay(file, text, folder, variable, variables)?;
        config.folder = folder.to_owned();
        config.check(file, text)?;
        Ok(config)
    }

    /// The effective settings as YAML, secrets as `***`.
    pub fn print(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(self)?)
    }

    /// A path of the file, from where the process stands.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The folders with agent files.
    pub fn agent_folders(&self) -> Vec<PathBuf> {
        self.agents.paths().iter().map(|path| self.path(path)).collect()
    }
    /// The folders with tool files.
    pub fn tool_folders(&self) -> Vec<PathBuf> {
        self.tools.paths().iter().map(|path| self.path(path)).collect()
    }

    /// Where the store is, from where the process stands.
    pub fn store_url(&self) -> maniple_core::Result<StoreUrl> {
        Ok(self.store.parse::<StoreUrl>()?.within(&self.folder))
    }

    fn check(&self, file: &Path, text: &str) -> anyhow::Result<()> {
        let wrong = |field: &str, message: String| Problem::of_field(file, text, 1, field, message);
        let listen: SocketAddr = match self.listen.parse() {
            Ok(listen) => listen,
            Err(_) => bail!(wrong("listen", format!("listen `{}` is no address: write HOST:PORT, such as 127.0.0.1:8080", self.listen))),
        };
        if !listen.ip().is_loopback() && self.auth.is_none() && !self.insecure {
            let message = format!("without an `auth` section the node listens on loopback only, not on {listen}");
            bail!(wrong("listen", message).hint("add auth.tokens, or start with --insecure"));
        }
        for (field, value, only) in
            [("bus", &self.bus, "local"), ("events", &self.events, "none"), ("schema_registry", &self.schema_registry, "none")]
        {
            if value != only {
                bail!(wrong(field, format!("{field} `{value}` is not in this build: only `{only}` is")));
            }
        }
        if self.registry != "local" && !reqwest::Url::parse(&self.registry).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            bail!(wrong(
                "registry",
                format!("registry `{}` must be `local`, or the address of one such as http://registry:8080", self.registry)
            ));
        }
        for (name, server) in &self.mcp {
            if server.url.is_some() != server.command.is_empty() {
                bail!(wrong("mcp", format!("mcp.{name} needs either `url` or `command`")));
            }
        }
        for (name, import) in &self.openapi {
            let field = format!("openapi.{name}");
            if import.file.is_some() == import.url.is_some() {
                bail!(wrong("openapi", format!("{field} needs either `file` or `url`")));
            }
            if import.refresh.is_some_and(|every| !(1_000..=86_400_000).contains(&every.ms())) {
                bail!(wrong("openapi", format!("{field}.refresh must be 1s to 1d")));
            }
        }
        for (field, value, low, high) in self.bounds() {
            if !(low..=high).contains(&value) {
                bail!(wrong(field, format!("{field} must be {low} to {high}, not {value}")));
            }
        }
        if let Err(error) = self.credentials() {
            bail!(wrong(error.field.as_deref().unwrap_or("credentials"), error.message.into_owned()));
        }
        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            bail!(wrong("telemetry", "telemetry.sample_ratio must be 0 to 1".to_owned()));
        }
        for token in self.auth.iter().flat_map(|auth| &auth.tokens) {
            if token.name == maniple_registry::catalog::OPERATOR || token.name.contains('/') {
                let message = format!("auth.tokens: the name `{}` is taken by the node itself, or holds a `/`: choose another", token.name);
                bail!(wrong("auth", message));
            }
            if token.sha256.len() != 64 || !token.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                let message = format!("auth.tokens: `{}`: sha256 must be 64 hex digits", token.name);
                bail!(wrong("auth", message).hint("printf %s \"$TOKEN\" | sha256sum"));
            }
            if let Err(error) = maniple_core::Tenant::parse(&token.tenant) {
                bail!(wrong("auth", format!("auth.tokens: `{}`: {error}", token.name)));
            }
        }
        Ok(())
    }

    fn bounds(&self) -> [(&'static str, u64, u64, u64); 19] {
        let (limits, worker, gateway) = (&self.limits, &self.worker, &self.gateway);
        [
            ("limits.max_steps", limits.max_steps.into(), 1, 1_000),
            ("limits.token_budget", limits.token_budget, 512, 10_000_000),
            ("limits.body_bytes", limits.body_bytes, 1_024, 64 << 20),
            ("limits.json_depth", limits.json_depth, 4, 128),
            ("limits.json_members", limits.json_members, 16, 1_000_000),
            ("limits.in_flight_requests", limits.in_flight_requests, 1, 1_000_000),
            ("limits.event_streams", limits.event_streams, 1, 1_000_000),
            ("limits.session_waiting", limits.session_waiting.into(), 1, 10_000),
            ("limits.unfinished_tasks", limits.unfinished_tasks, 1, 100_000_000),
            ("worker.max_running", worker.max_running, 1, 100_000),
            ("worker.calls_parallel", worker.calls_parallel, 1, 16),
            ("worker.poll", worker.poll.ms(), 10, 3_600_000),
            ("worker.approval_expires", worker.approval_expires.ms(), 1_000, 30 * 86_400_000),
            ("worker.first_byte", worker.first_byte.ms(), 1, 86_400_000),
            ("gateway.health_every", gateway.health_every.ms(), 100, 3_600_000),
            ("gateway.health_timeout", gateway.health_timeout.ms(), 10, 60_000),
            ("gateway.health_failures", gateway.health_failures.into(), 1, 100),
            ("gateway.keys_kept", gateway.keys_kept.ms(), 1_000, 30 * 86_400_000),
            ("limits.header_read", limits.header_read.ms(), 100, 600_000),
        ]
    }
}

#[cfg(test)]
mod tests;
