//! What an operator allows besides the public internet.

use super::{Refused, address};
use maniple_core::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// The parsed allow-list.
#[derive(Debug, Default)]
pub(super) struct Rules {
    networks: Vec<(IpAddr, u32)>,
    hosts: Vec<(Host<String>, u16)>,
}

impl Rules {
    pub(super) fn parse(allow: &[String]) -> Result<Self> {
        let mut rules = Self::default();
        for entry in allow {
            if let Some(network) = network(entry) {
                rules.networks.push(network);
            } else if let Some(host) = host_and_port(entry) {
                rules.hosts.push(host);
            } else {
                let message = format!("`{entry}` is neither a CIDR such as 10.0.0.0/8 nor host:port such as tools.lan:8080");
                return Err(Error::invalid(message).at("egress.allow"));
            }
        }
        Ok(rules)
    }

    /// Whether the list names this very host and port: then its addresses are not checked.
    pub(super) fn lists(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return false };
        let host = match host {
            Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
            Host::Ipv4(ip) => Host::Ipv4(ip),
            Host::Ipv6(ip) => Host::Ipv6(ip),
        };
        self.hosts.iter().any(|(listed, at)| *listed == host && *at == port)
    }

    /// `Ok` for an address on the public internet or in an allowed network.
    pub(super) fn check(&self, ip: IpAddr, of: &str) -> Result<(), Refused> {
        let allowed = self.networks.iter().any(|(network, prefix)| match (ip, network) {
            (IpAddr::V4(ip), IpAddr::V4(network)) => address::same_prefix_v4(ip, *network, *prefix),
            (IpAddr::V6(ip), IpAddr::V6(network)) => address::same_prefix_v6(ip, *network, *prefix),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        });
        if allowed || address::is_public(ip) {
            return Ok(());
        }
        Err(Refused::not_public(of))
    }
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip.parse().ok()?, Some(prefix.parse::<u32>().ok()?)),
        None => (text.parse().ok()?, None),
    };
    let bits = match ip {
        IpAddr::V4(_) => Ipv4Addr::BITS,
        IpAddr::V6(_) => Ipv6Addr::BITS,
    };
    let prefix = prefix.unwrap_or(bits);
    (prefix <= bits).then_some((ip, prefix))
}

fn host_and_port(text: &str) -> Option<(Host<String>, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = Host::parse(host.trim_end_matches('.')).ok()?;
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str]) -> Rules {
        Rules::parse(&allow.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).expect("rules")
    }

    #[test]
    fn a_network_admits_its_addresses_and_no_others() {
        let rules = rules(&["10.1.0.0/16", "fd00::/8", "127.0.0.2"]);
        for (ip, admitted) in [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("127.0.0.2", true),
            ("127.0.0.1", false),
            ("fd12::1", true),
            ("fc00::1", false),
            ("::ffff:10.1.0.1", false),
        ] {
            assert_eq!(rules.check(ip.parse().expect("an address"), ip).is_ok(), admitted, "{ip}");
        }
    }

    #[test]
    fn a_host_is_listed_with_its_port_only() {
        let rules = rules(&["Tools.lan:8080", "127.0.0.1:9100", "[::1]:80", "web.lan:443"]);
        for (url, listed) in [
            ("http://tools.lan:8080/x", true),
            ("http://TOOLS.lan.:8080/x", true),
            ("http://tools.lan/", false),
            ("http://tools.lan.evil.test:8080/", false),
            ("http://127.0.0.1:9100/", true),
            ("http://0x7f.1:9100/", true),
            ("http://127.0.0.1:9101/", false),
            ("http://[::1]/", true),
            ("https://web.lan/", true),
            ("http://web.lan/", false),
        ] {
            assert_eq!(rules.lists(&Url::parse(url).expect("a URL")), listed, "{url}");
        }
    }

    #[test]
    fn an_entry_that_is_neither_is_refused_by_name() {
        for entry in ["", "10.0.0.0/33", "tools.lan", "fd00::/129", "x:y", "a b:80", "10.0.0.0/", ":80"] {
            let error = Rules::parse(&[entry.to_owned()]).expect_err(entry);
            assert!(error.message.contains(&format!("`{entry}`")), "{error}");
        }
    }
}
