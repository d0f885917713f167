//! The settings of a node: defaults, then the file, then `MANIPLE_*`, then flags.

mod environment;
mod layers;
mod limits;
mod types;

pub use environment::Environment;
pub use limits::Limits;
pub use types::*;

use crate::{
    files::{FILE_MAX, regular},
    yaml::Problem,
};
use anyhow::Context as _;
use layers::Missing;
use maniple_backends::{BusUrl, StoreUrl};
use maniple_core::{
    Error,
    settings::{Bound, Period},
};
use maniple_kafka::{Brokers, SchemaRegistry};
use maniple_registry::credentials::Credentials;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The name looked for in a project folder.
pub const FILE_NAME: &str = "maniple.yaml";

/// What the settings are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// To work by them.
    Work,
    /// To look at what a node keeps: what is for work alone is left out where its secrets are not there.
    Looking,
}

impl Config {
    /// The settings in a file, with the environment laid over them. Paths in it are relative to its folder.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let text = regular::text(file, FILE_MAX).with_context(|| format!("{} cannot be read", file.display()))?;
        Self::of_process(file, &text, [], For::Work)
    }

    /// The settings in a file, the environment over them, and `flags` over that, named as variables are
    /// (`MANIPLE_LISTEN`). A file that is not there is all defaults.
    pub fn with_flags(file: &Path, flags: impl IntoIterator<Item = (String, String)>) -> anyhow::Result<Self> {
        Self::read(file, flags, For::Work)
    }

    /// The settings in a file, which may not be there, for a command that only looks.
    pub fn to_look(file: &Path) -> anyhow::Result<Self> {
        Self::read(file, [], For::Looking)
    }

    /// The same with another environment than the process's.
    pub fn load_with(
        file: &Path,
        variable: impl Fn(&str) -> Option<String>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let text = regular::text(file, FILE_MAX).with_context(|| format!("{} cannot be read", file.display()))?;
        Self::of_text(file, &text, For::Work, variable, variables, |name| format!("the environment variable {name}"))
    }

    /// The settings of `maniple dev DIR`: the file there, or all defaults.
    pub fn for_dev(folder: &Path) -> anyhow::Result<Self> {
        Self::with_flags(&folder.join(FILE_NAME), [])
    }

    fn read(file: &Path, flags: impl IntoIterator<Item = (String, String)>, purpose: For) -> anyhow::Result<Self> {
        let text = if file.exists() {
            regular::text(file, FILE_MAX).with_context(|| format!("{} cannot be read", file.display()))?
        } else {
            String::new()
        };
        Self::of_process(file, &text, flags, purpose)
    }

    fn of_process(file: &Path, text: &str, flags: impl IntoIterator<Item = (String, String)>, purpose: For) -> anyhow::Result<Self> {
        let environment = Environment::beside(folder_of(file))?;
        let flags: Vec<(String, String)> = flags.into_iter().collect();
        let flagged: BTreeSet<&str> = flags.iter().map(|(name, _)| name.as_str()).collect();
        let called = |name: &str| match name {
            _ if flagged.contains(name) => format!("--{}", name.trim_start_matches("MANIPLE_").to_lowercase()),
            _ if environment.is_of_file(name) => format!("the variable {name} in .env"),
            _ => format!("the environment variable {name}"),
        };
        let variables = environment.variables().chain(flags.clone());
        let config = Self::of_text(file, text, purpose, |name| environment.get(name), variables, called)?;
        Ok(Self { environment, ..config })
    }

    fn of_text(
        file: &Path,
        text: &str,
        purpose: For,
        variable: impl Fn(&str) -> Option<String>,
        variables: impl Iterator<Item = (String, String)>,
        called: impl Fn(&str) -> String,
    ) -> anyhow::Result<Self> {
        let folder = folder_of(file);
        let missing = match purpose {
            For::Work => Missing::Refused,
            For::Looking => Missing::Spared,
        };
        let (tree, set_by) = layers::lay((file, text, folder), missing, variable, variables, called)?;
        let mut config = layers::read(tree, (file, text), &set_by)?;
        config.folder = folder.to_owned();
        config.check(file, text).map_err(|problem| set_by.blame(problem))?;
        Ok(config)
    }

    /// Where the node listens. `localhost` is 127.0.0.1.
    pub fn listen_address(&self) -> maniple_core::Result<SocketAddr> {
        address("listen", &self.listen)
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

    /// What the store is opened with.
    pub fn store_options(&self) -> maniple_backends::Options {
        let bus = self.bus.parse().unwrap_or_default(); // it was read when the settings were checked
        let times = maniple_backends::postgres::Times {
            connect: self.store_connect_timeout.duration(),
            statement: self.store_statement_timeout.duration(),
            lock: self.store_lock_timeout.duration(),
            idle: self.store_idle_timeout.duration(),
        };
        maniple_backends::Options { connections: self.store_connections, times, bus, ..Default::default() }
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

    /// Whether there are such a store and such a bus, and whether they go together.
    fn check_store(&self) -> maniple_core::Result<()> {
        let store: StoreUrl = self.store.parse()?;
        if !(2..=1_000).contains(&self.store_connections) {
            let message = format!("store_connections must be 2 to 1,000, not {}", self.store_connections);
            return Err(Error::invalid(message).at("store_connections"));
        }
        self.check_store_times()?;
        self.bus.parse::<BusUrl>()?.goes_with(&store)
    }

    fn check_store_times(&self) -> maniple_core::Result<()> {
        let bounds = [
            Bound::of("store_connect_timeout", self.store_connect_timeout, Period::ms(100)..=Period::minutes(5)),
            Bound::of("store_statement_timeout", self.store_statement_timeout, Period::seconds(1)..=Period::hours(1)),
            Bound::of("store_lock_timeout", self.store_lock_timeout, Period::ms(100)..=Period::hours(1)),
            Bound::of("store_idle_timeout", self.store_idle_timeout, Period::seconds(1)..=Period::hours(1)),
        ];
        bounds.iter().try_for_each(Bound::check)
    }

    /// The brokers, where there are any.
    pub fn brokers(&self) -> maniple_core::Result<Option<Brokers>> {
        if self.events == "none" { Ok(None) } else { self.events.parse().map(Some) }
    }

    /// The schema registry, where there is one.
    pub fn schema_registry(&self) -> maniple_core::Result<Option<SchemaRegistry>> {
        if self.schema_registry == "none" { Ok(None) } else { SchemaRegistry::new(&self.schema_registry).map(Some) }
    }

    /// Whether there are such brokers and such a registry, and whether the store keeps what goes between.
    fn check_events(&self) -> maniple_core::Result<()> {
        self.kafka.check()?;
        self.schema_registry()?;
        match self.brokers()? {
            Some(_) if !self.store.parse::<StoreUrl>()?.is_shared() => Err(Error::invalid(
                "events over Kafka need a Postgres store, which keeps what came and what is to be sent: set `store` to postgres://…",
            )
            .at("events")),
            None if self.schema_registry != "none" => {
                Err(Error::invalid("a schema registry serves events over Kafka, and `events` is none").at("schema_registry"))
            }
            _ => Ok(()),
        }
    }

    fn check_sections(&self) -> maniple_core::Result<()> {
        self.sections().into_iter().try_for_each(|(at, section)| section.within_bounds(&at))?;
        self.mcp.iter().try_for_each(|(name, server)| server.check(name))?;
        self.openapi.iter().try_for_each(|(name, import)| import.check(name))?;
        self.metrics.check()?;
        self.cors.check(self.auth.is_some())?;
        self.credentials().map(drop)
    }

    fn check(&self, file: &Path, text: &str) -> Result<(), Problem> {
        let wrong = |field: &str, message: String| Problem::of_field(file, text, 1, field, message);
        let listen = self.listen_address().map_err(|error| wrong("listen", error.message.into_owned()))?;
        if !listen.ip().is_loopback() && self.auth.is_none() && !self.insecure {
            let message = format!("without an `auth` section the node listens on loopback only, not on {listen}");
            return Err(wrong("listen", message).hint("add auth.tokens, or start with --insecure"));
        }
        if let Err(error) = self.check_events() {
            return Err(wrong(error.field.as_deref().unwrap_or("events"), error.message.into_owned()));
        }
        self.check_store().map_err(|error| wrong(error.field.as_deref().unwrap_or("store"), error.message.into_owned()))?;
        if self.registry != "local" && !reqwest::Url::parse(&self.registry).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(wrong(
                "registry",
                format!("registry `{}` must be `local`, or the address of one such as http://registry:8080", self.registry),
            ));
        }
        if let Err(error) = self.check_sections() {
            return Err(wrong(error.field.as_deref().unwrap_or("credentials"), error.message.into_owned()));
        }
        for token in self.auth.iter().flat_map(|auth| &auth.tokens) {
            if token.name == maniple_registry::catalog::OPERATOR || token.name.contains('/') {
                let message = format!("auth.tokens: the name `{}` is taken by the node itself, or holds a `/`: choose another", token.name);
                return Err(wrong("auth", message));
            }
            if token.sha256.len() != 64 || !token.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                let message = format!("auth.tokens: `{}`: sha256 must be 64 hex digits", token.name);
                return Err(wrong("auth", message).hint("printf %s \"$TOKEN\" | sha256sum"));
            }
            if let Err(error) = maniple_core::Tenant::parse(&token.tenant) {
                return Err(wrong("auth", format!("auth.tokens: `{}`: {error}", token.name)));
            }
        }
        Ok(())
    }
}

/// The folder that the paths of a file are relative to.
/// Where a file of settings is, from where the process stands.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The `HOST:PORT` of a setting as an address; `localhost` is 127.0.0.1. `Invalid` at that setting.
pub fn address(setting: &str, text: &str) -> maniple_core::Result<SocketAddr> {
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    if let Ok(address) = numeric.parse() {
        return Ok(address);
    }
    let why = match text.rsplit_once(':') {
        _ if text.contains("://") => "leave the scheme out",
        None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => "the host is missing",
        None => "the port is missing",
        Some(("", _)) => "the host is missing",
        Some((_, port)) if port.parse::<u16>().is_err() => "the port must be a number of 0 to 65535",
        Some(_) => "the host must be an IP address or `localhost`",
    };
    let message = format!("{setting} `{text}` is no address: {why}; write HOST:PORT, such as 127.0.0.1:8080 or 0.0.0.0:8080");
    Err(Error::invalid(message).at(setting))
}

#[cfg(test)]
mod tests;
