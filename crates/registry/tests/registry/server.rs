//! What the tests call: a registry, and servers that behave as they are told.

use maniple_core::{
    AgentName, Tenant,
    ports::{Invocation, Invoked, RunCall, Tools},
    tool::ToolDefinition,
    trace::TraceContext,
};
use maniple_registry::{Catalog, Egress, Registry};
use serde_json::{Value, json};
use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub fn registry() -> Registry {
    Registry::new(Arc::new(Catalog::default()), Egress::new(&[]).unwrap())
}

/// A POST tool with more or other fields.
pub fn tool(endpoint: &str, fields: Value) -> ToolDefinition {
    let mut definition = json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": endpoint });
    definition.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(definition).unwrap()
}

pub fn invocation(tool: ToolDefinition, arguments: Value) -> Invocation {
    Invocation {
        trusted: true,
        send: "t:1:0#1".into(),
        tool: Arc::new(tool),
        arguments,
        key: "task-1:2:0".into(),
        agent: AgentName::parse("a").unwrap(),
        tenant: Tenant::default(),
        agreed: None,
        trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("a=1")),
        timeout: Duration::from_secs(10),
    }
}

pub async fn call(endpoint: &str, fields: Value, arguments: Value) -> Invoked {
    registry().invoke(&RunCall(invocation(tool(endpoint, fields), arguments))).await
}

/// A server that hands every connection to `serve`; it counts them.
pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    pub async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::at("127.0.0.1", serve).await
    }
    pub async fn at<F, Fut>(ip: &str, serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::over(TcpListener::bind((ip, 0)).await.unwrap(), serve)
    }
    pub fn over<F, Fut>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream));
            }
        });
        Self { address, connections }
    }
    /// A server that gives everybody this answer and closes, and the requests it read.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> (Self, Requests) {
        let answer: Arc<[u8]> = answer.into().into();
        let requests = Requests::default();
        let seen = requests.clone();
        let server = Self::start(move |mut stream| {
            let (answer, seen) = (answer.clone(), seen.clone());
            async move {
                if let Some(request) = read_request(&mut stream).await {
                    seen.0.lock().unwrap().push(request);
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await;
        (server, requests)
    }
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The requests a server read, as text.
#[derive(Clone, Default)]
pub struct Requests(pub Arc<Mutex<Vec<String>>>);

impl Requests {
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Head and body of the next request, or `None` when the client has gone.
pub async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// An HTTP/1.1 answer with a Content-Length.
pub fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
