//! Where a URL that no operator wrote may lead.
//!
//! A name is resolved once; if any of its addresses is not on the public internet the call is refused, else
//! it connects to those very addresses. There is no second look-up that could answer differently. Each
//! redirect is a new URL and passes the same way.

mod address;
mod rules;

use crate::transport::client::{self, LazyClient, Patient};
use async_trait::async_trait;
use maniple_core::Result;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rules::Rules;
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use url::{Host, Url};

/// Turns a name into addresses. The system's own, or a test's.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of a name.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// What URLs that no operator wrote may reach besides the public internet: the section `egress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressSettings {
    /// CIDRs, addresses or HOST:PORT. Default: nothing.
    pub allow: Vec<String>,
}

/// The rules of egress, and the clients that keep them.
pub struct Egress {
    rules: Arc<Rules>,
    checked: Patient,
    listed: Patient,
}

/// Why a URL may not be reached.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// For a name that leads inside. Which address it was stays out: it would map the inside for whoever reads the answer. So does
    /// whether there is such a name at all, where a model chose it.
    pub(crate) fn not_public(name: &str) -> Self {
        Self(format!("{name} is not on the public internet, and egress.allow in maniple.yaml does not list it"))
    }
}

/// A name that nobody knows, or that could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("{name} cannot be looked up: {why}")]
pub(crate) struct Unresolved {
    pub(crate) name: String,
    why: String,
}

impl Egress {
    /// `allow`: CIDRs (`10.0.0.0/8`), addresses and `host:port` that may be reached besides the public internet.
    pub fn new(allow: &[String]) -> Result<Self> {
        Self::with_lookup(allow, Arc::new(System))
    }

    /// As [`Egress::new`], with another way to look names up.
    pub fn with_lookup(allow: &[String], lookup: Arc<dyn Lookup>) -> Result<Self> {
        let rules = Arc::new(Rules::parse(allow)?);
        let client = |rules: Option<Arc<Rules>>| {
            let resolver = Arc::new(Resolver { rules, lookup: lookup.clone() });
            // No pool: a connection serves the call it was checked for.
            Patient::new(move |connect| client::builder(connect).dns_resolver(resolver.clone()).pool_max_idle_per_host(0))
        };
        Ok(Self { checked: client(Some(rules.clone())), listed: client(None), rules })
    }

    /// The client that may be used for this URL by a call of so much time; its connections go to checked addresses only.
    pub(crate) fn client(&self, url: &Url, timeout: Duration) -> Result<&LazyClient, Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused(format!("only http and https URLs may be fetched, not {}:", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused("a URL with credentials in it is not fetched".into()));
        }
        if self.rules.lists(url) {
            return Ok(self.listed.for_timeout(timeout));
        }
        match url.host() {
            Some(Host::Ipv4(ip)) => self.rules.check(ip.into(), &ip.to_string())?,
            Some(Host::Ipv6(ip)) => self.rules.check(ip.into(), &ip.to_string())?,
            Some(Host::Domain(name)) if !name.trim_end_matches('.').is_empty() => {}
            Some(Host::Domain(_)) | None => return Err(Refused("the URL has no host".into())),
        }
        Ok(self.checked.for_timeout(timeout))
    }
}

/// Looks a name up for one connection; with rules, every address must pass them.
struct Resolver {
    rules: Option<Arc<Rules>>,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, lookup) = (self.rules.clone(), self.lookup.clone());
        Box::pin(async move {
            let unresolved = |why: String| Unresolved { name: name.as_str().to_owned(), why };
            let addresses = lookup.lookup(name.as_str()).await.map_err(|error| unresolved(error.to_string()))?;
            if addresses.is_empty() {
                return Err(unresolved("it has no address".into()).into());
            }
            if let Some(rules) = rules {
                addresses.iter().try_for_each(|ip| rules.check(*ip, name.as_str()))?;
            }
            // Port 0 stands for the port of the URL.
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

struct System;

#[async_trait]
impl Lookup for System {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}
