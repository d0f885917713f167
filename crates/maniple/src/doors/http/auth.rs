//! Who asks: bearer tokens by their hash, or nobody in particular.

use super::{cors::CorsSettings, visitor};
use crate::config;
use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};
use maniple_api::Problem;
use maniple_core::{AgentName, Error, Principal, Result, Tenant};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, sync::Arc};
use subtle::ConstantTimeEq;

/// Who may come in.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Anybody on this machine, except pages from elsewhere: principal `local`, tenant `default`, every scope.
    Open,
    /// Anybody who can connect, except pages from elsewhere; as the operator insists.
    Insecure,
    /// Holders of these tokens.
    Tokens(Vec<Token>),
}

/// One token. The token itself is kept nowhere.
#[derive(Debug, Clone)]
pub struct Token {
    sha256: [u8; 32],
    principal: Arc<Principal>,
}

impl Auth {
    /// As the settings say. Fails on a hash that is none, a name that cannot be one, or two tokens of one hash.
    pub fn of(settings: Option<&config::Auth>, insecure: bool) -> Result<Self> {
        let Some(settings) = settings else { return Ok(if insecure { Self::Insecure } else { Self::Open }) };
        let tokens: Vec<Token> = settings.tokens.iter().map(Token::of).collect::<Result<_>>()?;
        let distinct: BTreeSet<[u8; 32]> = tokens.iter().map(|token| token.sha256).collect();
        if distinct.len() != tokens.len() {
            return Err(Error::invalid("two of auth.tokens have the same sha256: give each principal a token of its own").at("auth.tokens"));
        }
        Ok(Self::Tokens(tokens))
    }

    /// The principal of a request by its head alone.
    pub(super) fn principal(&self, headers: &HeaderMap, cors: &CorsSettings) -> Result<Arc<Principal>, Box<Problem>> {
        let refused = |why: &str| Box::new(Problem::unauthorized(why).at("Authorization"));
        match self {
            Self::Open | Self::Insecure => {
                let is_here = if matches!(self, Self::Open) { visitor::asks_this_machine(headers) } else { Ok(()) };
                is_here.and_then(|()| visitor::is_no_foreign_page(headers, cors)).map_err(|denied| Box::new(denied.into()))?;
                Ok(Arc::new(Principal::local()))
            }
            Self::Tokens(tokens) => {
                let given = bearer(headers).ok_or_else(|| refused("send the header `Authorization: Bearer TOKEN`"))?;
                let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
                // All of them, whichever fits: how long this takes tells nothing about any.
                let mut found = None;
                for token in tokens {
                    if bool::from(token.sha256.ct_eq(&given)) {
                        found = Some(token.principal.clone());
                    }
                }
                found.ok_or_else(|| refused("this token is not known here"))
            }
        }
    }
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Token {
    fn of(settings: &config::Token) -> Result<Self> {
        let wrong = |what: String| Error::invalid(format!("auth token `{}`: {what}", settings.name)).at("auth.tokens");
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&settings.sha256, &mut sha256)
            .map_err(|_| wrong("sha256 must be the 64 hex digits of `printf %s TOKEN | sha256sum`".into()))?;
        let agents: Option<BTreeSet<AgentName>> = if settings.agents.iter().any(|name| name == "*") {
            None
        } else {
            Some(settings.agents.iter().map(|name| AgentName::parse(name)).collect::<Result<_>>().map_err(|e| wrong(e.to_string()))?)
        };
        let tenant = Tenant::parse(&settings.tenant).map_err(|e| wrong(e.to_string()))?;
        let scopes = settings.scopes.iter().copied().collect();
        Ok(Self { sha256, principal: Arc::new(Principal { name: settings.name.clone(), tenant, agents, scopes }) })
    }
}

/// The principal that the gate let in.
pub(super) struct Who(pub Arc<Principal>);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = super::answer::Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let found = parts.extensions.get::<Arc<Principal>>().cloned();
        found.map(Self).ok_or_else(|| Error::internal("a route is not behind the gate").into())
    }
}
