//! `tools.lock`: what a project's tools were when somebody last looked.
//!
//! For a name in it, only the versions in it are used, each with the contract and on the hosts it says. What is
//! otherwise is quarantined. Names that are not in it are not affected, nor is what tenants bring for themselves, but for the
//! tenant `default`, which is a project's own where it has no other.

use crate::yaml;
use maniple_core::{Error, Result, Tenant, tool::ToolVersion};
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

/// The file's name, beside maniple.yaml.
pub const FILE_NAME: &str = "tools.lock";
/// The largest file that is read.
const BYTES_MAX: usize = 4 << 20;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// Name → version → what it was.
    #[serde(default)]
    pub tools: BTreeMap<String, BTreeMap<Version, Pin>>,
}

/// What one version was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The hash of its contract.
    pub contract: String,
    /// Where it was called: `host` or `host:port`, `mcp:SERVER`, `builtin`.
    pub hosts: BTreeSet<String>,
}

impl Pins {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::invalid(format!("{FILE_NAME}: {what}; write it anew with `maniple tool lock`"));
        if text.len() > BYTES_MAX {
            return Err(wrong(format!("it has {} bytes, more than {BYTES_MAX}", text.len())));
        }
        if text.trim().is_empty() {
            // As a write that was cut off leaves it: it would pin nothing.
            return Err(wrong("it is empty".into()));
        }
        yaml::read(text).map_err(|error| wrong(error.to_string()))
    }

    /// The file's text.
    pub fn print(&self) -> Result<String> {
        let yaml = serde_saphyr::to_string(self).map_err(|error| Error::internal(format!("{FILE_NAME} cannot be written: {error}")))?;
        Ok(format!(
            "# What these tools were when they were last looked at.\n# `maniple tool lock` writes it, `maniple tool verify` compares.\n{yaml}"
        ))
    }

    /// Pins of versions as they are now; versions that nobody serves are left out.
    pub fn of<'a>(versions: impl IntoIterator<Item = &'a ToolVersion>) -> Self {
        let mut pins = Self::default();
        let are_spoken_of = |version: &&ToolVersion| version.realm.tenant().is_none_or(Tenant::is_default);
        for version in versions.into_iter().filter(are_spoken_of).filter(|version| !version.instances.is_empty()) {
            let hosts = version.instances.iter().map(|instance| host(&instance.endpoint)).collect();
            let pin = Pin { contract: version.contract.clone(), hosts };
            pins.tools.entry(version.definition.name.clone()).or_default().insert(version.definition.version.clone(), pin);
        }
        pins
    }

    /// Why what is there now is not what was pinned; `None` where it is, or where nothing was.
    pub fn against(&self, name: &str, version: &Version, contract: &str, endpoint: &str) -> Option<String> {
        let versions = self.tools.get(name)?;
        let Some(pin) = versions.get(version) else {
            let known = versions.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Some(format!("{FILE_NAME} pins {known}, not {version}: look at it, then run `maniple tool lock {name}`"));
        };
        if pin.contract != contract {
            return Some(format!("its contract is not the one in {FILE_NAME}: look at it, then run `maniple tool lock {name}`"));
        }
        let host = host(endpoint);
        if !pin.hosts.contains(&host) {
            let known = pin.hosts.iter().cloned().collect::<Vec<_>>().join(", ");
            return Some(format!("it is at {host}; {FILE_NAME} pins {known}: look at it, then run `maniple tool lock {name}`"));
        }
        None
    }

    /// All that is not as it was pinned, a line each: changed versions and those that are gone.
    pub fn drift(&self, present: &[ToolVersion]) -> Vec<String> {
        let mut drift = Vec::new();
        for (name, versions) in &self.tools {
            for version in versions.keys() {
                let known = present.iter().find(|known| known.definition.name == *name && known.definition.version == *version);
                if known.is_none_or(|known| known.instances.is_empty()) {
                    drift.push(format!("{name} {version}: nobody serves it now"));
                }
            }
        }
        for version in present.iter().filter(|version| version.realm.tenant().is_none_or(Tenant::is_default)) {
            let (name, number) = (&version.definition.name, &version.definition.version);
            let found: BTreeSet<String> =
                version.instances.iter().filter_map(|i| self.against(name, number, &version.contract, &i.endpoint)).collect();
            drift.extend(found.into_iter().map(|why| format!("{name} {number}: {why}")));
        }
        drift
    }
}

/// Where an endpoint is, as a lock file names it.
pub fn host(endpoint: &str) -> String {
    match endpoint.split_once(':') {
        Some(("builtin", _)) => "builtin".into(),
        Some(("mcp", rest)) => format!("mcp:{}", rest.split('/').next().unwrap_or_default()),
        _ => match Url::parse(&endpoint.replace(['{', '}'], "")) {
            Ok(url) => match (url.host_str(), url.port()) {
                (Some(host), Some(port)) => format!("{host}:{port}"),
                (Some(host), None) if url.scheme() == "http" => format!("{host}:80"),
                (Some(host), None) => host.to_owned(),
                (None, _) => endpoint.to_owned(),
            },
            Err(_) => endpoint.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins() -> Pins {
        Pins::parse("tools:\n  search:\n    1.2.0: { contract: abc, hosts: [search.test, 'search.test:8443'] }\n").expect("a lock file")
    }

    #[test]
    fn what_is_pinned_is_used_only_as_it_was() {
        let pins = pins();
        let against = |name: &str, version: &str, contract: &str, endpoint: &str| {
            pins.against(name, &Version::parse(version).expect("a version"), contract, endpoint)
        };
        assert_eq!(against("search", "1.2.0", "abc", "https://search.test/q"), None);
        assert_eq!(against("search", "1.2.0", "abc", "https://search.test:8443/q/{id}"), None);
        assert_eq!(against("other", "1.2.0", "xyz", "https://anywhere.test/"), None, "it is not in the file");
        for (version, contract, endpoint, why) in [
            ("1.2.0", "xyz", "https://search.test/q", "contract"),
            ("1.2.0", "abc", "https://evil.test/q", "evil.test"),
            ("1.3.0", "abc", "https://search.test/q", "pins 1.2.0, not 1.3.0"),
        ] {
            let told = against("search", version, contract, endpoint).expect(why);
            assert!(told.contains(why) && told.contains("maniple tool lock search"), "{told}");
        }
    }

    #[test]
    fn a_lock_file_is_read_as_it_was_written_and_an_unknown_key_is_named() {
        let pins = pins();
        assert_eq!(Pins::parse(&pins.print().expect("text")).expect("its own text"), pins);
        assert_eq!(Pins::parse("tools: {}").expect("an empty one"), Pins::default());
        let told = Pins::parse("tools:\n  a:\n    1.0.0: { contract: x, host: [] }").expect_err("a wrong key").to_string();
        assert!(told.contains("host") && told.contains("maniple tool lock"), "{told}");
    }

    #[test]
    fn an_endpoint_is_named_by_its_host() {
        for (endpoint, name) in [
            ("https://a.test/x", "a.test"),
            ("http://[::1]:80/x/{id}", "[::1]:80"),
            ("http://10.0.0.1:8080/", "10.0.0.1:8080"),
            ("builtin:clock", "builtin"),
            ("mcp:files/read", "mcp:files"),
        ] {
            assert_eq!(host(endpoint), name);
        }
    }
}
