//! Named credentials: what proves to a tool who calls it, and the hosts that may see it.
//!
//! A definition names a credential and never holds one, and only those whom the credential is `for` may bring such a definition:
//! whoever writes where it goes holds the secret. A secret leaves this module only inside an [`Authorization`],
//! which is made for a URL on the credential's hosts and prints as `***`.

mod authorization;
mod hosts;
mod settings;
#[cfg(test)]
mod tests;
mod tokens;
mod users;

pub use authorization::Authorization;
pub use settings::{CredentialSettings, Kind};

use crate::transport::client::WIRE_HEADERS;
use authorization::secret_header;
use hosts::Hosts;
use maniple_core::{
    Error, Result,
    ports::{Invoked, Refusal, RefusalKind},
    tool::{AuthType, Realm, ToolDefinition},
};
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use tokens::Tokens;
use url::Url;

/// The most credentials of a node.
pub const CREDENTIALS_MAX: usize = 1_000;
/// The longest secret, in bytes.
pub const SECRET_MAX: usize = 8_192;

/// A credential whose fields go together.
#[derive(Debug, Clone)]
pub struct Credential {
    /// How it proves who calls.
    pub kind: CredentialKind,
    /// Where it may be sent: `host`, `host:port` or `*.example.com`. Without a port: port 443 of https and 80 of http.
    pub hosts: Vec<String>,
    /// Whose definitions may use it; not empty.
    pub users: BTreeSet<Realm>,
}

/// How a credential proves who calls.
#[derive(Debug, Clone)]
pub enum CredentialKind {
    /// A key that is sent as it is.
    ApiKey {
        /// Where in the request.
        place: Place,
        /// What stands before the key, such as `Bearer `.
        prefix: String,
        /// The key.
        secret: SecretString,
    },
    /// A token that is fetched with client credentials (RFC 6749, §4.4).
    Oauth2(Oauth2),
}

/// Where in a request a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a header of that name.
    Header(String),
    /// In a query parameter of that name.
    Query(String),
}

/// How a token is fetched.
#[derive(Debug, Clone)]
pub struct Oauth2 {
    /// Where; an operator wrote it, so it is trusted.
    pub token_url: String,
    /// Who we are.
    pub client_id: String,
    /// And the proof.
    pub secret: SecretString,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// For whom the token is to be, where the server wants to know.
    pub audience: Option<String>,
    /// Where the client's proof is put.
    pub auth_style: AuthStyle,
}

/// Where the proof of an OAuth client is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthStyle {
    /// In the Authorization header.
    #[default]
    Header,
    /// In the body.
    Body,
}

/// Why a call goes without its credential, which is: not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// There is no such credential for who brought the definition, or it may not be sent there.
    #[error("{0}")]
    Forbidden(String),
    /// No token could be had; that may pass.
    #[error("{0}")]
    NoToken(String),
}

impl From<Unauthorized> for Invoked {
    fn from(why: Unauthorized) -> Self {
        match why {
            Unauthorized::Forbidden(message) => Invoked::Refused(Refusal { kind: RefusalKind::Forbidden, message }),
            Unauthorized::NoToken(message) => Invoked::NotSent(message),
        }
    }
}

/// The credentials of this node, by name.
#[derive(Default)]
pub struct Credentials(BTreeMap<String, Known>);

struct Known {
    users: BTreeSet<Realm>,
    hosts: Hosts,
    proof: Proof,
}

impl Known {
    fn kind(&self) -> AuthType {
        match self.proof {
            Proof::Key(_) => AuthType::ApiKey,
            Proof::Tokens(_) => AuthType::Oauth2,
        }
    }
}

enum Proof {
    Key(Authorization),
    Tokens(Tokens),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Credentials {
    /// Those of the settings. `Invalid` at `credentials.NAME.FIELD` for one that could not work.
    pub fn of(settings: &BTreeMap<String, CredentialSettings>) -> Result<Self> {
        let known = settings.iter().map(|(name, settings)| Ok((name.clone(), settings.credential(name)?)));
        Self::new(known.collect::<Result<_>>()?)
    }

    /// `Invalid` at `credentials.NAME.FIELD` for one that could not work.
    pub fn new(credentials: BTreeMap<String, Credential>) -> Result<Self> {
        if credentials.len() > CREDENTIALS_MAX {
            return Err(Error::invalid(format!("there may be {CREDENTIALS_MAX} credentials, and these are {}", credentials.len())));
        }
        let mut known = BTreeMap::new();
        for (name, credential) in credentials {
            let at = |field: &str, message: String| {
                Error::invalid(format!("credentials.{name}.{field} {message}")).at(format!("credentials.{name}.{field}"))
            };
            if credential.users.is_empty() {
                return Err(at("for", "lists nobody: leave it out for the operator's own tools, or write `for: [\"tenant:NAME\"]`".into()));
            }
            let hosts = Hosts::parse(&credential.hosts).map_err(|why| at("hosts", why))?;
            let proof = match credential.kind {
                CredentialKind::ApiKey { place, prefix, secret } => Proof::Key(key(place, &prefix, secret).map_err(|(f, why)| at(f, why))?),
                CredentialKind::Oauth2(oauth2) => {
                    check_secret(&oauth2.secret).map_err(|why| at("secret", why))?;
                    Proof::Tokens(Tokens::new(&name, oauth2).map_err(|(field, why)| at(field, why))?)
                }
            };
            known.insert(name, Known { users: credential.users, hosts, proof });
        }
        Ok(Self(known))
    }

    /// Whether a definition of this realm may use what it names: it is for them, of its `auth_type`, and may be sent to its endpoint.
    pub fn check(&self, tool: &ToolDefinition, realm: &Realm) -> Result<()> {
        let (AuthType::ApiKey | AuthType::Oauth2, Some(name)) = (tool.auth_type, &tool.credential) else { return Ok(()) };
        let known = self.find(name, realm).map_err(|why| Error::invalid(why).at("credential"))?;
        let kind = known.kind();
        if kind != tool.auth_type {
            let message = format!("credential `{name}` is of kind {}: write `auth_type: {}`", word(kind), word(kind));
            return Err(Error::invalid(message).at("auth_type"));
        }
        match Url::parse(&tool.endpoint) {
            Ok(url) => known.hosts.check(name, &url).map_err(|why| Error::invalid(why).at("endpoint")),
            Err(error) => Err(Error::invalid(format!("endpoint `{}` is no URL: {error}", tool.endpoint)).at("endpoint")),
        }
    }

    /// What a definition of this realm may use, and of which kind each is.
    pub fn kinds(&self, realm: &Realm) -> BTreeMap<String, AuthType> {
        let theirs = self.0.iter().filter(|(_, known)| known.users.contains(realm));
        theirs.map(|(name, known)| (name.clone(), known.kind())).collect()
    }

    /// What to add to a request for this URL that a definition of this realm leads to. A token is fetched if none is at hand, once
    /// for all who wait for it.
    pub async fn authorize(&self, name: &str, realm: &Realm, url: &Url) -> Result<Authorization, Unauthorized> {
        let known = self.find(name, realm).map_err(Unauthorized::Forbidden)?;
        known.hosts.check(name, url).map_err(Unauthorized::Forbidden)?;
        match &known.proof {
            Proof::Key(key) => Ok(key.clone()),
            Proof::Tokens(tokens) => tokens.token().await.map_err(Unauthorized::NoToken),
        }
    }

    /// The tool answered 401 to a call with this authorization: its token is thrown away, unless that was done already
    /// or it is younger than 10 s, so that a tool that refuses every token does not have one fetched for every call.
    /// Whether the next [`authorize`](Self::authorize) gives another one.
    pub async fn invalidate(&self, name: &str, used: &Authorization) -> bool {
        match self.0.get(name).map(|known| &known.proof) {
            Some(Proof::Tokens(tokens)) => tokens.invalidate(used).await,
            Some(Proof::Key(_)) | None => false,
        }
    }

    /// One that is for others is told like one that is not there: its name is theirs.
    fn find(&self, name: &str, realm: &Realm) -> Result<&Known, String> {
        self.0.get(name).filter(|known| known.users.contains(realm)).ok_or_else(|| {
            let theirs = self.0.iter().filter(|(_, known)| known.users.contains(realm));
            let names: Vec<&str> = theirs.map(|(name, _)| name.as_str()).take(20).collect();
            let there_is = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            match realm {
                Realm::Node => format!("there is no credential `{name}`: maniple.yaml has {there_is}"),
                Realm::Of(tenant) => format!(
                    "there is no credential `{name}` for tools of the tenant `{tenant}`: there is {there_is}. Whoever runs this node says with `for` whose tools may use one"
                ),
            }
        })
    }
}

fn word(kind: AuthType) -> &'static str {
    match kind {
        AuthType::ApiKey => "api_key",
        AuthType::Oauth2 => "oauth2",
        AuthType::None => "none",
    }
}

fn key(place: Place, prefix: &str, secret: SecretString) -> Result<Authorization, (&'static str, String)> {
    check_secret(&secret).map_err(|why| ("secret", why))?;
    match place {
        Place::Header(name) => {
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ("header", format!("`{name}` is no header name")))?;
            if WIRE_HEADERS.contains(&header.as_str()) {
                return Err(("header", format!("`{name}` is not for keys: name the header that the tool reads, such as X-Api-Key")));
            }
            let value = secret_header(prefix, &secret).ok_or(("prefix", "is no text for a header".to_owned()))?;
            Ok(Authorization::header(header, value))
        }
        Place::Query(name) if name.is_empty() => Err(("query", "must name a parameter".into())),
        Place::Query(name) => Ok(Authorization::query(name, format!("{prefix}{}", secret.expose_secret()).into())),
    }
}

/// It is never in the message.
fn check_secret(secret: &SecretString) -> Result<(), String> {
    let secret = secret.expose_secret();
    if secret.is_empty() {
        return Err("is empty: write it as ${env:NAME} or ${file:PATH}, and set that".into());
    }
    if secret.len() > SECRET_MAX {
        return Err(format!("is longer than {SECRET_MAX} bytes: is it the right file?"));
    }
    if secret.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        return Err("holds a line break or another character that no header can carry: remove it".into());
    }
    Ok(())
}
