//! The section `credentials`: what proves to tools who calls them, as an operator writes it.

use super::{AuthStyle, Credential, CredentialKind, Oauth2, Place, users};
use maniple_core::{Error, Result, settings::Secret, tool::Realm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A credential as an operator writes it; its name is the key that it stands under.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSettings {
    /// How it proves who calls.
    pub kind: Kind,
    /// Where it may be sent: `host`, `host:port` or `*.example.com`; 1 to 64.
    pub hosts: Vec<String>,
    /// Whose tools may use it: `operator`, which is files, imports and what the scope `operator` brings, and `tenant:NAME`, what
    /// that tenant's principals register. Default `operator` alone.
    #[serde(default = "users::operator_only", rename = "for", with = "users")]
    pub users: BTreeSet<Realm>,
    /// The key, or the secret of the client. Usually `${env:NAME}` or `${file:PATH}`.
    pub secret: Secret,
    /// Of an `api_key`: the header it is sent in. This or `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Of an `api_key`: the query parameter it is sent in. This or `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Of an `api_key`: what stands before the key, such as `"Bearer "`. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Of `oauth2`: where tokens are fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// Of `oauth2`: who the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Of `oauth2`: what is asked for. Default: nothing, which most servers read as their default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Of `oauth2`: for whom the token is to be, where the server wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Of `oauth2`: where the client's secret is put. Default `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_style: Option<AuthStyle>,
}

/// How a credential proves who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A key that is sent as it is.
    ApiKey,
    /// A token that is fetched with client credentials.
    Oauth2,
}

impl CredentialSettings {
    /// What was meant. `Invalid` at `credentials.NAME.FIELD` where the fields do not go together.
    pub(super) fn credential(&self, name: &str) -> Result<Credential> {
        let wrong = |field: &str, message: &str| {
            let path = format!("credentials.{name}.{field}");
            Error::invalid(format!("{path} {message}")).at(path)
        };
        for (field, set, kind) in [
            ("header", self.header.is_some(), Kind::ApiKey),
            ("query", self.query.is_some(), Kind::ApiKey),
            ("prefix", self.prefix.is_some(), Kind::ApiKey),
            ("token_url", self.token_url.is_some(), Kind::Oauth2),
            ("client_id", self.client_id.is_some(), Kind::Oauth2),
            ("scopes", !self.scopes.is_empty(), Kind::Oauth2),
            ("audience", self.audience.is_some(), Kind::Oauth2),
            ("auth_style", self.auth_style.is_some(), Kind::Oauth2),
        ] {
            if set && kind != self.kind {
                return Err(wrong(field, "belongs to the other kind: remove it, or change `kind`"));
            }
        }
        let kind = match self.kind {
            Kind::ApiKey => {
                let place = match (&self.header, &self.query) {
                    (Some(header), None) => Place::Header(header.clone()),
                    (None, Some(query)) => Place::Query(query.clone()),
                    _ => return Err(wrong("header", "or `query` must say where the key goes, one of them: write `header: X-Api-Key`")),
                };
                let prefix = self.prefix.clone().unwrap_or_default();
                CredentialKind::ApiKey { place, prefix, secret: self.secret.0.clone() }
            }
            Kind::Oauth2 => CredentialKind::Oauth2(Oauth2 {
                token_url: self.token_url.clone().ok_or_else(|| wrong("token_url", "must say where tokens are fetched"))?,
                client_id: self.client_id.clone().ok_or_else(|| wrong("client_id", "must say who the client is"))?,
                secret: self.secret.0.clone(),
                scopes: self.scopes.clone(),
                audience: self.audience.clone(),
                auth_style: self.auth_style.unwrap_or_default(),
            }),
        };
        Ok(Credential { kind, hosts: self.hosts.clone(), users: self.users.clone() })
    }
}
