//! What the gateway adds to a call of a tool: the same request straight through the HTTP client, and through the gateway
//! as a run makes it, in turns within one process over loopback. `gateway_bench [SECONDS] [CALLERS]`
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use axum::{Router, routing::post};
use maniple_backends::RateLimiter;
use maniple_core::{
    AgentName, Tenant,
    ports::{Invocation, Invoked, RunCall, Tools},
    tool::{ToolDefinition, ToolWish},
};
use maniple_registry::{Egress, Files, GatewaySettings, Grants, Parts, Registry};
use serde_json::json;
use std::{
    env::args,
    sync::Arc,
    time::{Duration, Instant},
};

struct Everything;
impl Grants for Everything {
    fn of(&self, _: &AgentName) -> Option<Vec<ToolWish>> {
        Some(vec![ToolWish::parse("page").unwrap()])
    }
}

#[tokio::main]
async fn main() {
    let seconds = args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let callers: usize = args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(64);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/tool", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/tool", post(async || "x".repeat(1_000)))).await });

    let definition: ToolDefinition = serde_json::from_value(json!({
        "name": "page", "version": "1.0.0", "description": "Reads a page.", "endpoint": url, "effect": "pure", "rate_limit": 1_000_000,
        "parameters": { "type": "object", "properties": { "query": { "type": "string" } }, "required": ["query"] },
    }))
    .unwrap();
    let parts = Parts {
        store: None,
        limiter: Arc::new(RateLimiter::new()),
        grants: Arc::new(Everything),
        egress: Egress::new(&[]).unwrap(),
        credentials: Default::default(),
        aside: Default::default(),
        settings: GatewaySettings::default(),
    };
    let registry = Arc::new(Registry::open(parts).await.unwrap());
    registry.take_files(vec![definition.clone()], Files::Strict).await.unwrap();
    let client = reqwest::Client::builder().http1_only().no_proxy().build().unwrap();
    let tool = Arc::new(definition);

    let mut ratios = Vec::new();
    for turn in 1..=5 {
        let direct = {
            let (client, url) = (client.clone(), url.clone());
            rate(callers, seconds, move |n| {
                let call = client.post(&url).header("idempotency-key", format!("k{n}")).json(&json!({ "query": "x" }));
                async move { call.send().await.unwrap().bytes().await.unwrap().len() }
            })
            .await
        };
        let through = {
            let (registry, tool) = (registry.clone(), tool.clone());
            rate(callers, seconds, move |n| {
                let call = RunCall(Invocation {
                    tool: tool.clone(),
                    trusted: true,
                    arguments: json!({ "query": "x" }),
                    key: format!("k{n}"),
                    send: format!("t{turn}k{n}"),
                    agent: AgentName::parse(&format!("a{}", n % 1_000)).unwrap(),
                    tenant: Tenant::default(),
                    agreed: None,
                    trace: None,
                    timeout: Duration::from_secs(10),
                });
                let registry = registry.clone();
                async move {
                    match registry.invoke(&call).await {
                        Invoked::Ok(result) => result.as_str().map_or(0, str::len),
                        other => panic!("{other:?}"),
                    }
                }
            })
            .await
        };
        println!("turn {turn}: straight {direct:.0}/s, through the gateway {through:.0}/s: {:.0} %", through / direct * 100.0);
        ratios.push(through / direct);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median: {:.0} % of the calls that go straight", ratios[ratios.len() / 2] * 100.0);
}

/// Calls a second of so many callers, each one after the other.
async fn rate<F, Fut>(callers: usize, seconds: u64, call: F) -> f64
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = usize> + Send,
{
    let until = Instant::now() + Duration::from_secs(seconds);
    let work = (0..callers as u64).map(|caller| {
        let call = call.clone();
        tokio::spawn(async move {
            let mut made = 0u64;
            while Instant::now() < until {
                assert_eq!(call(caller << 32 | made).await, 1_000);
                made += 1;
            }
            made
        })
    });
    let made: u64 = futures::future::join_all(work).await.into_iter().map(Result::unwrap).sum();
    made as f64 / seconds as f64
}
