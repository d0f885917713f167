//! The floor: one request in, one model call out, one answer back. Nothing is durable, checked or recorded.
//!
//! Nothing that really runs agents can be cheaper than this, so what a node costs is told as a ratio to it.
//! `floor PORT MODEL_URL`, where MODEL_URL ends in `/v1`. `POST /proxy` passes its body to the mock's tool and the answer back: a bare
//! reverse proxy, beside which the gateway is measured.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use std::{env::args, error::Error};

type Models = Client<HttpConnector, Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (Some(port), Some(model_url)) = (args().nth(1), args().nth(2)) else {
        return Err("usage: floor PORT MODEL_URL".into());
    };
    let models: Models = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1_024).build_http();
    let router = Router::new()
        .route("/run", post(run))
        .route("/proxy", post(proxy))
        .route("/ready", get(async || "ready"))
        .with_state((models, format!("{model_url}/chat/completions")));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    Ok(axum::serve(listener, router).await?)
}

async fn proxy(State((models, url)): State<(Models, String)>, body: Bytes) -> Bytes {
    let tool = url.replace("/v1/chat/completions", "/tool");
    let request = Request::post(tool).header("content-type", "application/json").body(Full::from(body));
    let response = models.request(request.expect("a request")).await.expect("the mock answers");
    response.into_body().collect().await.expect("a whole answer").to_bytes()
}

async fn run(State((models, url)): State<(Models, String)>, Json(task): Json<Value>) -> Json<Value> {
    let asked = json!({
        "model": "final",
        "messages": [{ "role": "system", "content": "You are a helpful agent." }, { "role": "user", "content": task["prompt"] }],
    });
    let request = Request::post(url).header("content-type", "application/json").body(Full::from(asked.to_string()));
    let response = models.request(request.expect("a request")).await.expect("the mock answers");
    let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
    let said: Value = serde_json::from_slice(&body).expect("JSON");
    Json(json!({ "status": "completed", "output": said["choices"][0]["message"]["content"], "tokens_used": said["usage"]["total_tokens"] }))
}
