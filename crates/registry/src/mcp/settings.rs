//! What an operator says of an MCP server.

use crate::Confirm;
use maniple_core::{Error, Result};
use secrecy::SecretString;
use semver::Version;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use url::Url;

/// One server to import tools from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name here, and the beginning of its tools' names: 1 to 32 characters of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Whose effect hints are believed.
    pub confirm: Confirm,
    /// How long one call may take; 1 ms to 10 min. Default 30 s.
    pub timeout: Duration,
    /// The version of its tools, in the place of what the server says. Raise it to take in tools that changed
    /// under the server's version.
    pub version: Option<Version>,
    /// How patient the connection is.
    pub times: Times,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Transport {
    /// A command that speaks MCP on its standard streams. It is started here and killed with this process.
    Stdio {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its environment, beside `HOME`, `LANG`, `LC_ALL`, `LOGNAME`, `PATH`, `SHELL`, `TERM`, `TMPDIR`, `TZ` and `USER`
        /// of this process. Nothing else is passed on, so that no server reads another one's secrets.
        env: BTreeMap<String, SecretString>,
        /// Where it runs; by default where this process does.
        cwd: Option<PathBuf>,
    },
    /// Streamable HTTP. An operator wrote the URL, so it is trusted; redirects are not followed.
    Http {
        /// Its endpoint.
        url: Url,
        /// Sent with every request, such as `authorization`.
        headers: BTreeMap<String, SecretString>,
    },
}

/// How patient a connection is. The defaults suit servers that other people run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// To connect and agree on a protocol version. Default 30 s: commands may have to fetch themselves first.
    pub connect: Duration,
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
            list: Duration::from_secs(30),
            ping_every: Duration::from_secs(30),
            ping: Duration::from_secs(10),
            call_waits: Duration::from_secs(5),
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// A server with the defaults.
    pub fn new(name: impl Into<String>, transport: Transport) -> Self {
        Self {
            name: name.into(),
            transport,
            confirm: Confirm::default(),
            timeout: Duration::from_secs(30),
            version: None,
            times: Times::default(),
        }
    }

    /// Every rule above.
    pub fn check(&self) -> Result<()> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=32).contains(&self.name.len()) || !self.name.bytes().all(legal) {
            return Err(Error::invalid(format!("mcp server `{}`: its name must be 1 to 32 characters of A-Z a-z 0-9 _ -", self.name)));
        }
        let wrong = |what: &str, field: &'static str| Err(Error::invalid(format!("mcp server `{}`: {what}", self.name)).at(field));
        if !(Duration::from_millis(1)..=Duration::from_secs(600)).contains(&self.timeout) {
            return wrong("timeout must be 1 ms to 10 min", "timeout");
        }
        match &self.transport {
            Transport::Stdio { command, .. } if command.first().is_none_or(String::is_empty) => {
                wrong("command must name a program", "command")
            }
            Transport::Http { url, .. } if !matches!(url.scheme(), "http" | "https") || url.host().is_none() => {
                wrong("url must begin with http:// or https://", "url")
            }
            Transport::Http { url, .. } if !url.username().is_empty() || url.password().is_some() => {
                wrong("url must not hold credentials: send them as a header", "url")
            }
            Transport::Http { headers, .. } => super::http::headers(headers).map(drop).or_else(|why| wrong(&why, "headers")),
            Transport::Stdio { .. } => Ok(()),
        }
    }
}
