//! Who may see what a node is made of: holders of the scope `operator`, and whoever collects its metrics.

use super::{Door, answer::Refusal, auth::bearer};
use crate::config::address;
use http::HeaderMap;
use maniple_core::{Error, Principal, Result, Scope, Tenant, settings::Secret};
use maniple_runtime::desk::Act;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{net::SocketAddr, sync::Arc};
use subtle::ConstantTimeEq;

/// The shortest token, in bytes.
const TOKEN_MIN: usize = 16;

/// Who may collect a node's metrics, beside holders of the scope `operator`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// A bearer token that opens `/metrics` and the details of `/ready` and nothing else; at least 16 bytes, usually `${env:NAME}`.
    pub token: Option<Secret>,
    /// An address of its own, `HOST:PORT`, where `/metrics`, `/ready` with its details and `/health` are answered to whoever reaches
    /// it: for a port that only the collector does.
    pub listen: Option<String>,
}

impl MetricsSettings {
    /// The address of its own. `Invalid` at `metrics.FIELD` for settings that could not work.
    pub fn check(&self) -> Result<Option<SocketAddr>> {
        if self.token.as_ref().is_some_and(|token| token.expose().len() < TOKEN_MIN) {
            let told = format!("metrics.token must have at least {TOKEN_MIN} bytes: set it to a long random text");
            return Err(Error::invalid(told).at("metrics.token"));
        }
        self.listen.as_deref().map(|text| address("metrics.listen", text)).transpose()
    }

    /// The hash of its token: the token itself is kept nowhere.
    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        self.token.as_ref().map(|token| Sha256::digest(token.expose().as_bytes()).into())
    }
}

impl Door {
    /// Who asks to see what the node is made of. The collector of its metrics is one who may see that alone.
    pub(super) fn looker(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Refusal> {
        let shown = bearer(headers).map(|token| <[u8; 32]>::from(Sha256::digest(token.as_bytes())));
        if let (Some(known), Some(shown)) = (self.collector, shown)
            && bool::from(known.ct_eq(&shown))
        {
            let scopes = [Scope::Operator].into_iter().collect();
            return Ok(Arc::new(Principal { name: "metrics".into(), tenant: Tenant::default(), agents: Some([].into()), scopes }));
        }
        self.auth.principal(headers, &self.cors).map_err(Refusal)
    }

    /// Whether whoever asks may see what the node is made of.
    pub(super) fn shows_itself(&self, headers: &HeaderMap) -> bool {
        self.looker(headers).is_ok_and(|who| Act::LookAtNode.by(&who).is_ok())
    }
}
