//! A server on loopback that says what it is told, byte for byte.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What it does with one request.
#[derive(Clone)]
pub enum Act {
    /// Writes this and closes.
    Close(Vec<u8>),
    /// Writes this and keeps the connection for the next request.
    Keep(Vec<u8>),
    /// Writes this and then nothing more, until the client goes.
    Hold(Vec<u8>),
    /// Writes the first, waits to be told, writes the second and closes.
    Wait(Vec<u8>, Arc<Notify>, Vec<u8>),
    /// Writes this again and again.
    Flood(Vec<u8>, Vec<u8>),
}

/// The server. It lives as long as the test.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    /// Told whenever a client goes while it holds.
    pub gone: Arc<Notify>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    connections: usize,
}

impl Server {
    /// Does one act a request, the last one for ever.
    pub async fn doing(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, gone) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Notify::new()));
        let server = Self { address, seen: seen.clone(), gone: gone.clone() };
        let acts: Arc<Vec<Act>> = Arc::new(acts.into_iter().collect());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                seen.lock().expect("no panic").connections += 1;
                tokio::spawn(serve(socket, acts.clone(), seen.clone(), gone.clone()));
            }
        });
        server
    }
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").requests.clone()
    }
    pub fn connections(&self) -> usize {
        self.seen.lock().expect("no panic").connections
    }
}

async fn serve(mut socket: TcpStream, acts: Arc<Vec<Act>>, seen: Arc<Mutex<Seen>>, gone: Arc<Notify>) -> Option<()> {
    loop {
        let request = read_request(&mut socket).await?;
        let act = {
            let mut seen = seen.lock().expect("no panic");
            seen.requests.push(request);
            acts[(seen.requests.len() - 1).min(acts.len() - 1)].clone()
        };
        match act {
            Act::Keep(bytes) => socket.write_all(&bytes).await.ok()?,
            Act::Close(bytes) => {
                socket.write_all(&bytes).await.ok()?;
                return socket.shutdown().await.ok();
            }
            Act::Wait(first, told, second) => {
                socket.write_all(&first).await.ok()?;
                told.notified().await;
                socket.write_all(&second).await.ok()?;
                return socket.shutdown().await.ok();
            }
            Act::Hold(bytes) => {
                socket.write_all(&bytes).await.ok()?;
                while socket.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
                gone.notify_one();
                return None;
            }
            Act::Flood(head, more) => {
                socket.write_all(&head).await.ok()?;
                loop {
                    socket.write_all(&more).await.ok()?;
                }
            }
        }
    }
}

/// Head and body of a request with a Content-Length.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 16 * 1024];
        let n = socket.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

/// A whole answer of a status with a body.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

/// An event stream in chunked framing, a chunk an event.
pub fn chunked(stream: &str) -> Vec<u8> {
    let mut bytes = HEAD_CHUNKED.to_vec();
    for event in stream.split_inclusive("\n\n") {
        bytes.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The head of an event stream in chunked framing.
pub const HEAD_CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// The head of an event stream that ends where the connection does.
pub const HEAD_TO_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
