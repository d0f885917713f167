//! Where a credential may be sent.

use url::{Host, Url};

/// The most hosts of one credential.
const HOSTS_MAX: usize = 64;

/// The hosts of a credential.
pub(super) struct Hosts {
    listed: Vec<Listed>,
    written: String,
}

struct Listed {
    host: Pattern,
    port: Option<u16>,
}

enum Pattern {
    /// This very host.
    Is(Host<String>),
    /// Anything below this name, not the name itself.
    Below(String),
}

impl Hosts {
    pub(super) fn parse(hosts: &[String]) -> Result<Self, String> {
        if hosts.is_empty() || hosts.len() > HOSTS_MAX {
            return Err(format!("must list 1 to {HOSTS_MAX} hosts that may see the secret, such as api.example.com"));
        }
        let listed = hosts.iter().map(|host| {
            listed(host).ok_or_else(|| format!("has `{host}`, which is neither HOST, HOST:PORT nor *.DOMAIN: write api.example.com"))
        });
        Ok(Self { listed: listed.collect::<Result<_, _>>()?, written: hosts.join(", ") })
    }

    /// `Err` says what may see the credential, and so what to add.
    pub(super) fn check(&self, name: &str, url: &Url) -> Result<(), String> {
        let port = url.port_or_known_default();
        let usual = match url.scheme() {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        };
        let fits = |host: Host<String>| {
            self.listed.iter().any(|listed| listed.host.fits(&host) && usual.is_some() && port.is_some() && port == listed.port.or(usual))
        };
        match url.host() {
            Some(host) if fits(plain(host.clone())) => Ok(()),
            Some(host) => {
                let at = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
                Err(format!("credential `{name}` may be sent to {} only: add `{at}` to its hosts, if it may see the secret", self.written))
            }
            None => Err(format!("credential `{name}` may be sent to {} only, and this endpoint has no host", self.written)),
        }
    }
}

impl Pattern {
    fn fits(&self, host: &Host<String>) -> bool {
        match (self, host) {
            (Self::Is(listed), host) => listed == host,
            (Self::Below(domain), Host::Domain(name)) => {
                name.strip_suffix(domain.as_str()).is_some_and(|below| below.ends_with('.') && below.len() > 1)
            }
            (Self::Below(_), Host::Ipv4(_) | Host::Ipv6(_)) => false,
        }
    }
}

fn listed(text: &str) -> Option<Listed> {
    let (below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
    // A colon inside brackets belongs to an IPv6 address.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse::<u16>().ok().filter(|port| *port > 0)?)),
        _ => (rest, None),
    };
    let host = Host::parse(host).ok()?;
    let host = match (below, plain(host)) {
        (_, Host::Domain(name)) if name.is_empty() || name.contains('*') => return None,
        (true, Host::Domain(name)) => Pattern::Below(name),
        (true, Host::Ipv4(_) | Host::Ipv6(_)) => return None,
        (false, host) => Pattern::Is(host),
    };
    Some(Listed { host, port })
}

/// A name ends with or without a dot; it is the same.
fn plain<S: AsRef<str>>(host: Host<S>) -> Host<String> {
    match host {
        Host::Domain(name) => {
            let name = name.as_ref();
            Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned())
        }
        Host::Ipv4(ip) => Host::Ipv4(ip),
        Host::Ipv6(ip) => Host::Ipv6(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listed: &[&str]) -> Result<Hosts, String> {
        Hosts::parse(&listed.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_credential_is_sent_to_its_hosts_and_to_no_name_that_looks_like_them() {
        let hosts = hosts(&["api.example.com", "*.pay.example", "tools.lan:8080", "127.0.0.1:9100", "[::1]:80", "*.lab.example:8443"])
            .expect("hosts");
        for (url, fits) in [
            ("https://api.example.com/x", true),
            ("http://API.example.com./x", true),
            ("https://api.example.com:443/x", true),
            ("https://api.example.com:8443/x", false),
            ("https://api.example.com.evil.test/", false),
            ("https://evilapi.example.com/", false),
            ("https://example.com/", false),
            ("https://a.pay.example/", true),
            ("https://a.b.pay.example/", true),
            ("https://pay.example/", false),
            ("https://.pay.example/", false),
            ("https://evilpay.example/", false),
            ("https://a.pay.example.evil.test/", false),
            ("https://a.pay.example:444/", false),
            ("http://tools.lan:8080/", true),
            ("http://tools.lan/", false),
            ("http://0x7f.1:9100/", true),
            ("http://127.0.0.1/", false),
            ("http://[::1]/", true),
            ("https://x.lab.example:8443/", true),
            ("https://x.lab.example/", false),
            ("ftp://api.example.com:443/", false),
            ("https://api.example.com@evil.test/", false),
            ("https://evil.test/api.example.com", false),
            ("data:api.example.com", false),
        ] {
            let checked = hosts.check("c", &Url::parse(url).expect(url));
            assert_eq!(checked.is_ok(), fits, "{url}: {checked:?}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_by_name() {
        for wrong in [
            "",
            "*",
            "*.",
            "*.*.example",
            "a*.example",
            "https://x.test",
            "x.test/path",
            "x.test:0",
            "x.test:99999",
            "*.127.0.0.1",
            "a b",
            ".",
        ] {
            assert!(hosts(&[wrong]).err().is_some_and(|why| why.contains(&format!("`{wrong}`"))), "{wrong}");
        }
        assert!(hosts(&[]).is_err() && hosts(&["x.test"; 65]).is_err());
    }
}
