//! Every way to a tool, by the scheme of its endpoint; and the questions asked beside a call: health, and what became of a doubt.

use crate::{
    credentials::{Authorization, Credentials, Unauthorized},
    egress::Egress,
    mcp,
    transport::{
        builtin,
        client::{Client, Lost, Request, STARVED_WAIT},
        http,
    },
};
use maniple_aside::{Aside, Shares};
use maniple_core::{
    ports::{Audience, Invocation, Invoked, Probed},
    tool::{Effect, Realm, STORED_RESULT_BYTES},
};
use reqwest::{Method, header::HeaderMap};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use url::Url;

/// All transports of a registry; cheap to clone.
#[derive(Clone)]
pub(crate) struct Transports {
    client: Arc<Client>,
    http: Arc<http::Transport>,
    builtin: Arc<builtin::Transport>,
    credentials: Arc<Credentials>,
    mcp: Arc<RwLock<HashMap<String, Arc<mcp::Server>>>>,
    under_way: Arc<Shares>,
    /// Who listens to calls, by their keys.
    audiences: Arc<RwLock<HashMap<String, Arc<dyn Audience>>>>,
}

/// How one attempt went.
pub(crate) struct Sent {
    pub(crate) outcome: Invoked,
    /// It may be sent again, as what it was refused for is new then: which that is.
    pub(crate) again: Option<&'static str>,
}

impl Transports {
    pub(crate) fn new(egress: Egress, credentials: Arc<Credentials>, aside: Aside, under_way: Arc<Shares>) -> Self {
        let client = Arc::new(Client::new(egress));
        Self {
            http: Arc::new(http::Transport::new(client.clone(), aside.clone())),
            builtin: Arc::new(builtin::Transport::new(client.clone(), aside)),
            credentials,
            client,
            mcp: Arc::default(),
            under_way,
            audiences: Arc::default(),
        }
    }

    /// Makes ready what the first call would have to make: reads the machine's certificates, and blocks while it does.
    pub(crate) fn warm(&self) {
        self.client.warm();
    }

    /// One attempt by a definition of this realm.
    pub(crate) async fn call(&self, call: &Invocation, realm: &Realm) -> Sent {
        // Its connection is one of few, and a tool may take minutes to answer.
        let Ok(_place) = self.under_way.take(&call.tenant) else {
            let told = format!("tool `{}`: all the calls of tools that may be under way at once are", call.tool.name);
            return Sent { outcome: Invoked::Wait(told, STARVED_WAIT), again: None };
        };
        let outcome = match call.tool.endpoint.split_once(':') {
            Some(("builtin", name)) => self.builtin.call(name, call).await,
            Some(("mcp", rest)) => {
                let name = rest.split('/').next().unwrap_or_default();
                match self.mcp(name) {
                    Some(server) => {
                        let attempt = server.attempt(call, self.audience(&call.key)).await;
                        return Sent { outcome: attempt.outcome, again: attempt.again.then_some("session") };
                    }
                    None => Invoked::NotSent(format!("tool `{}`: maniple.yaml has no mcp server `{name}` any more", call.tool.name)),
                }
            }
            _ => match &call.tool.credential {
                Some(credential) => return self.call_as(credential, realm, call).await,
                None => self.http.call(call).await,
            },
        };
        Sent { outcome, again: None }
    }

    /// From now on, calls of `mcp:NAME/…` go to this server.
    pub(crate) fn connect(&self, server: Arc<mcp::Server>) {
        self.mcp.write().unwrap_or_else(PoisonError::into_inner).insert(server.name().to_owned(), server);
    }
    fn mcp(&self, name: &str) -> Option<Arc<mcp::Server>> {
        self.mcp.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// From now on, this one listens to the call of a key, or nobody.
    pub(crate) fn attend(&self, key: &str, audience: Option<Arc<dyn Audience>>) {
        let mut audiences = self.audiences.write().unwrap_or_else(PoisonError::into_inner);
        match audience {
            Some(audience) => audiences.insert(key.to_owned(), audience),
            None => audiences.remove(key),
        };
    }
    fn audience(&self, key: &str) -> Option<Arc<dyn Audience>> {
        self.audiences.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    async fn call_as(&self, credential: &str, realm: &Realm, call: &Invocation) -> Sent {
        let unsent = |outcome| Sent { outcome, again: None };
        let url = match Url::parse(&call.tool.endpoint) {
            Ok(url) => url,
            Err(error) => return unsent(Invoked::NotSent(format!("the endpoint is no URL: {error}"))),
        };
        let began = tokio::time::Instant::now();
        // Within the call's own time, so that a slow token server leaves it unsent, never in doubt.
        let who = match tokio::time::timeout(call.timeout, self.credentials.authorize(credential, realm, &url)).await {
            Ok(Ok(who)) => who,
            Ok(Err(why)) => return unsent(why.into()),
            Err(_) => return unsent(Invoked::NotSent(format!("credential `{credential}`: no token in {} ms", call.timeout.as_millis()))),
        };
        let call = Invocation { timeout: call.timeout.saturating_sub(began.elapsed()), ..call.clone() };
        let outcome = self.http.call_as(&call, &who).await;
        let refused = matches!(&outcome, Invoked::Failed(failure) if failure["status"] == 401);
        let is_thrown_away = refused && self.credentials.invalidate(credential, &who).await;
        let again = (is_thrown_away && call.tool.effect() != Effect::AtMostOnce).then_some("token");
        Sent { outcome, again }
    }

    /// A text that an operator named: at most so many bytes, in so long.
    pub(crate) async fn fetch(&self, url: &str, bytes_max: usize, timeout: Duration) -> Result<String, String> {
        let answer = self.ask(url, true, HeaderMap::new(), timeout, bytes_max, &Authorization::default()).await?;
        if !answer.is_success() {
            return Err(format!("it answers {}", answer.status));
        }
        answer.whole_text()
    }

    /// Why a URL that no operator wrote cannot be reached.
    pub(crate) fn forbids(&self, url: &str) -> Option<String> {
        Url::parse(&url.replace(['{', '}'], "")).ok().and_then(|url| self.client.forbids(&url))
    }

    /// Whether a health URL answers 2xx in time.
    pub(crate) async fn healthy(&self, url: &str, trusted: bool, timeout: Duration) -> Result<(), String> {
        let answer = self.ask(url, trusted, HeaderMap::new(), timeout, STORED_RESULT_BYTES, &Authorization::default()).await?;
        if answer.is_success() { Ok(()) } else { Err(format!("its health_url answers {}", answer.status)) }
    }

    /// Whether a call happened, by the tool's own word. Asked with the tool's credential where that is for this realm and may be sent
    /// there.
    pub(crate) async fn probe(&self, url: &str, call: &Invocation, realm: &Realm) -> Probed {
        let Ok(mut asked) = Url::parse(url) else { return Probed::Unknown };
        asked.query_pairs_mut().append_pair("key", &call.key);
        let asking = async {
            let who = match &call.tool.credential {
                Some(credential) => match self.credentials.authorize(credential, realm, &asked).await {
                    Ok(who) => who,
                    Err(Unauthorized::Forbidden(_)) => Authorization::default(),
                    Err(Unauthorized::NoToken(why)) => return Err(why),
                },
                None => Authorization::default(),
            };
            self.ask(asked.as_str(), call.trusted, http::headers_of(call), call.timeout, STORED_RESULT_BYTES, &who).await
        };
        match tokio::time::timeout(call.timeout, asking).await {
            Ok(Ok(answer)) if answer.is_success() => Probed::Happened(answer.result()),
            Ok(Ok(answer)) if answer.status == 404 => Probed::DidNot,
            Ok(Ok(_) | Err(_)) | Err(_) => Probed::Unknown,
        }
    }

    async fn ask(
        &self,
        url: &str,
        trusted: bool,
        headers: HeaderMap,
        timeout: Duration,
        keeps: usize,
        who: &Authorization,
    ) -> Result<crate::transport::answer::HttpAnswer, String> {
        let url = Url::parse(url).map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let trusted = trusted.then(|| url.origin());
        let request = Request { method: Method::GET, url, headers, body: None, trusted, timeout, keeps, fresh: false };
        match tokio::time::timeout(timeout, self.client.exchange_as(request, who)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(
                Lost::Refused(why)
                | Lost::Astray(why)
                | Lost::NotSent(why)
                | Lost::Unresolved(_, why)
                | Lost::Starved(why)
                | Lost::Unknown(why),
            )) => Err(why),
            Err(_) => Err(format!("no answer in {} ms", timeout.as_millis())),
        }
    }
}
