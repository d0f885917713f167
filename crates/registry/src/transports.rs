//! Every way to a tool, by the scheme of its endpoint; and the questions asked beside a call: health, and what became of a doubt.

use crate::{
    egress::Egress,
    transport::{
        builtin,
        client::{Client, Lost, Request},
        http,
    },
};
use maniple_core::ports::{Invocation, Invoked, Probed};
use reqwest::{Method, header::HeaderMap};
use std::{sync::Arc, time::Duration};
use url::Url;

/// All transports of a registry; cheap to clone.
#[derive(Clone)]
pub(crate) struct Transports {
    client: Arc<Client>,
    http: Arc<http::Transport>,
    builtin: Arc<builtin::Transport>,
}

impl Transports {
    pub(crate) fn new(egress: Egress) -> Self {
        let client = Arc::new(Client::new(egress));
        Self { http: Arc::new(http::Transport::new(client.clone())), builtin: Arc::new(builtin::Transport::new(client.clone())), client }
    }

    /// One attempt.
    pub(crate) async fn call(&self, call: &Invocation) -> Invoked {
        match call.tool.endpoint.strip_prefix("builtin:") {
            Some(name) => self.builtin.call(name, call).await,
            None => self.http.call(call).await,
        }
    }

    /// Whether a health URL answers 2xx in time.
    pub(crate) async fn healthy(&self, url: &str, trusted: bool, timeout: Duration) -> Result<(), String> {
        let answer = self.ask(url, trusted, HeaderMap::new(), timeout).await?;
        if answer.is_success() { Ok(()) } else { Err(format!("its health_url answers {}", answer.status)) }
    }

    /// Whether a call happened, by the tool's own word.
    pub(crate) async fn probe(&self, url: &str, call: &Invocation) -> Probed {
        let asked = Url::parse(url).map(|mut url| {
            url.query_pairs_mut().append_pair("key", &call.key);
            url.to_string()
        });
        let Ok(asked) = asked else { return Probed::Unknown };
        match self.ask(&asked, call.trusted, http::headers_of(call), call.timeout).await {
            Ok(answer) if answer.is_success() => Probed::Happened(answer.result()),
            Ok(answer) if answer.status == 404 => Probed::DidNot,
            Ok(_) | Err(_) => Probed::Unknown,
        }
    }

    async fn ask(
        &self,
        url: &str,
        trusted: bool,
        headers: HeaderMap,
        timeout: Duration,
    ) -> Result<crate::transport::answer::Answer, String> {
        let url = Url::parse(url).map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let trusted = trusted.then(|| url.origin());
        let request = Request { method: Method::GET, url, headers, body: None, trusted, timeout };
        match tokio::time::timeout(timeout, self.client.exchange(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Lost::Refused(why) | Lost::Astray(why) | Lost::NotSent(why) | Lost::Unknown(why))) => Err(why),
            Err(_) => Err(format!("no answer in {} ms", timeout.as_millis())),
        }
    }
}
