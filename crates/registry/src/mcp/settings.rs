//! The section `mcp`: what an operator says of an MCP server.

use super::http;
use crate::Confirm;
use maniple_core::{
    Error, Result,
    settings::{Bound, Period, Secret, Section},
};
use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use url::Url;

/// An MCP server whose tools are imported; its name is the key that it stands under, and the beginning of its tools' names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Its endpoint, streamable HTTP. Either this or `command`. An operator wrote it, so it is trusted; redirects are followed within its
    /// origin, where they keep the method (307, 308).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Sent with every request to `url`, such as `authorization`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// A program and its arguments that speaks MCP on its standard streams. It is started here and killed with this process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// What the program finds in its environment, beside `HOME`, `LANG`, `LC_ALL`, `LOGNAME`, `PATH`, `SHELL`, `TERM`, `TMPDIR`, `TZ`
    /// and `USER` of this process. Nothing else is passed on, so that no server reads another one's secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// Where the program runs, relative to the settings. Default: their folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Whose effect hints are believed: `all`, or names of tools. Default: nobody's.
    #[serde(skip_serializing_if = "Confirm::is_nothing")]
    pub confirm: Confirm,
    /// How long one call may take, 1 ms to 10 min. Default 30 s.
    pub timeout: Period,
    /// How long it may take to connect and agree on a protocol version, 100 ms to 10 min. Default 2 min for a command, which may have
    /// to fetch itself first and is started from nothing when this is over, 30 s for a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<Period>,
    /// The version of its tools, in the place of what the server says. Raise it to take in tools that changed under the
    /// server's version.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "semver")]
    pub version: Option<Version>,
    /// What a command is started with: a program, and arguments before the command's own, that ends it when this process is gone.
    /// Nothing: it is started as it is. No key of the file.
    #[serde(skip)]
    pub keeper: Vec<String>,
    /// How patient the connection is. No key of the file.
    #[serde(skip)]
    pub times: Times,
}

fn semver<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Version>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parsed = text.map(|text| text.parse().map_err(|why| format!("version `{text}` is no SemVer such as 1.2.0: {why}")));
    parsed.transpose().map_err(de::Error::custom)
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            url: None,
            headers: BTreeMap::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            keeper: Vec::new(),
            confirm: Confirm::Nothing,
            timeout: Period::seconds(30),
            start_timeout: None,
            version: None,
            times: Times::default(),
        }
    }
}

impl Section for ServerSettings {
    fn bounds(&self) -> Vec<Bound> {
        let start_timeout = self.start_timeout.unwrap_or(Period::seconds(30));
        vec![
            Bound::of("timeout", self.timeout, Period::ms(1)..=Period::minutes(10)),
            Bound::of("start_timeout", start_timeout, Period::ms(100)..=Period::minutes(10)),
        ]
    }
}

/// How a server is reached.
pub(super) enum Transport<'a> {
    /// A command that speaks MCP on its standard streams.
    Stdio(&'a ServerSettings),
    /// Streamable HTTP.
    Http(Url, &'a BTreeMap<String, Secret>),
}

impl ServerSettings {
    /// `Invalid` at `mcp.NAME.FIELD` where it could not work.
    pub fn check(&self, name: &str) -> Result<()> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(legal) {
            return Err(Error::invalid(format!("mcp server `{name}`: its name must be 1 to 32 characters of A-Z a-z 0-9 _ -")).at("mcp"));
        }
        self.within_bounds(&format!("mcp.{name}"))?;
        self.transport(name).map(drop)
    }

    /// Whether it is a command, which lives no longer than its connection.
    pub(super) fn is_command(&self) -> bool {
        self.url.is_none()
    }

    /// How long it may take to connect.
    pub(super) fn starts_within(&self) -> Duration {
        let default = if self.is_command() { self.times.start } else { self.times.connect };
        self.start_timeout.map_or(default, |start| start.duration())
    }

    /// How it is reached.
    pub(super) fn transport(&self, name: &str) -> Result<Transport<'_>> {
        let wrong = |field: &str, what: &str| Error::invalid(format!("mcp.{name}.{field} {what}")).at(format!("mcp.{name}.{field}"));
        let Some(url) = &self.url else {
            return match self.command.first() {
                None => Err(Error::invalid(format!("mcp.{name} needs either `url` or `command`")).at(format!("mcp.{name}"))),
                Some(program) if program.is_empty() => Err(wrong("command", "must name a program")),
                Some(_) => Ok(Transport::Stdio(self)),
            };
        };
        if !self.command.is_empty() {
            return Err(Error::invalid(format!("mcp.{name} needs either `url` or `command`")).at(format!("mcp.{name}")));
        }
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        let url = url.ok_or_else(|| wrong("url", "must begin with http:// or https://"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("url", "must not hold credentials: send them as a header"));
        }
        http::headers(&self.headers).map_err(|why| wrong("headers", &format!("cannot be sent: {why}")))?;
        Ok(Transport::Http(url, &self.headers))
    }
}

/// How patient a connection is. The defaults suit servers that other people run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// To connect to a URL and agree on a protocol version. Default 30 s.
    pub connect: Duration,
    /// For a command, which may have to fetch itself first. Default 2 min.
    pub start: Duration,
    /// To list all tools. Default 30 s.
    pub list: Duration,
    /// Between two health checks, give or take a quarter. Default 30 s.
    pub ping_every: Duration,
    /// To answer one. Default 10 s; the second one missed in a row ends the connection.
    pub ping: Duration,
    /// How long a call waits for a connection that is being made. Default 5 s.
    pub call_waits: Duration,
    /// The longest wait before the first try to connect again; it doubles with each. Default 250 ms.
    pub backoff: Duration,
    /// The longest wait of all. Default 30 s.
    pub backoff_max: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            start: Duration::from_secs(120),
            list: Duration::from_secs(30),
            ping_every: Duration::from_secs(30),
            ping: Duration::from_secs(10),
            call_waits: Duration::from_secs(5),
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
        }
    }
}
