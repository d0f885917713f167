//! The settings of a node: defaults, then the file, then `MANIPLE_*`, then flags.

mod layers;
mod limits;
mod types;

pub use limits::Limits;
pub use types::*;

use crate::{
    files::{FILE_MAX, regular},
    yaml::Problem,
};
use anyhow::{Context as _, bail};
use maniple_backends::StoreUrl;
use maniple_registry::credentials::Credentials;
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
            regular::text(file, FILE_MAX).with_context(|| format!("{} cannot be read", file.display()))?
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
        let text = regular::text(file, FILE_MAX).with_context(|| format!("{} cannot be read", file.display()))?;
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

    /// The credentials that tools may name. `Invalid` at `credentials.NAME.FIELD` for one that could not work.
    pub fn credentials(&self) -> maniple_core::Result<Credentials> {
        Credentials::of(&self.credentials)
    }

    /// Whether its tokens are several tenants'.
    pub fn has_several_tenants(&self) -> bool {
        let mut tenants = self.auth.iter().flat_map(|auth| &auth.tokens).map(|token| &token.tenant);
        tenants.next().is_some_and(|first| tenants.any(|other| other != first))
    }

    /// What the parts ask of their sections.
    fn check_sections(&self) -> maniple_core::Result<()> {
        self.sections().into_iter().try_for_each(|(at, section)| section.within_bounds(&at))?;
        self.mcp.iter().try_for_each(|(name, server)| server.check(name))?;
        self.openapi.iter().try_for_each(|(name, import)| import.check(name))?;
        self.metrics.check()?;
        self.credentials().map(drop)
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
        if let Err(error) = self.check_sections() {
            bail!(wrong(error.field.as_deref().unwrap_or("credentials"), error.message.into_owned()));
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
}

#[cfg(test)]
mod tests;
