//! Servers of a test's own, and a way to one that can be cut.

use std::{
    net::TcpListener as Reserved,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

/// What must happen happens long before that.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until it is so.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

pub(super) fn free_port() -> u16 {
    Reserved::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port()
}

/// A certificate of a server, by an authority that nobody knows.
pub(super) struct Certificate {
    root: String,
    own: String,
    key: String,
}

impl Certificate {
    /// For these names and addresses.
    pub(super) fn of(names: &[&str]) -> Self {
        let authority = rcgen::KeyPair::generate().expect("a key");
        let mut named = rcgen::CertificateParams::new(Vec::new()).expect("names");
        named.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = named.self_signed(&authority).expect("signed");
        let issuer = rcgen::Issuer::new(named, authority);
        let own = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).expect("names").signed_by(&own, &issuer).expect("signed");
        Self { root: root.pem(), own: certificate.pem(), key: own.serialize_pem() }
    }
    /// What a server is told that speaks TLS on that port; the authority is in `root.pem` of the folder.
    pub(super) fn settings(&self, folder: &Path, port: u16) -> Vec<String> {
        let file = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).expect("written");
            folder.join(name).display().to_string()
        };
        let (root, own, key) = (file("root.pem", &self.root), file("own.pem", &self.own), file("key.pem", &self.key));
        let port = port.to_string();
        let settings: [&str; 10] =
            ["--tls-port", &port, "--tls-cert-file", &own, "--tls-key-file", &key, "--tls-ca-cert-file", &root, "--tls-auth-clients", "no"];
        settings.map(str::to_owned).into()
    }
}

/// A redis-server that ends with the test.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    pub(super) folder: TempDir,
}

impl Server {
    pub(super) async fn start(settings: &[&str]) -> Self {
        Self::start_with(|_| settings.iter().map(|&word| word.to_owned()).collect()).await
    }
    /// With settings that name files in its folder.
    pub(super) async fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let settings = settings(folder.path());
        Self::start_in(folder, free_port(), settings).await
    }
    /// A Sentinel that watches over a server as `main`.
    pub(super) async fn sentinel(of: &Server) -> Self {
        let folder = TempDir::new().expect("a folder");
        let port = free_port();
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            of.port
        );
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, settings).expect("written");
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        Self::run(command, folder, port).await
    }
    /// A Sentinel that speaks TLS on that port, and with a master of that host, which it calls `main`.
    pub(super) async fn sentinel_over_tls(host: &str, master: u16, certificate: &Certificate, tls_port: u16) -> Self {
        let folder = TempDir::new().expect("a folder");
        let settings = certificate.settings(folder.path(), tls_port);
        let lines: String = settings.chunks(2).map(|pair| format!("{} {}\n", pair[0].trim_start_matches("--"), pair[1])).collect();
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port 0\nbind 127.0.0.1\ntls-replication yes\n{lines}sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel monitor main {host} {master} 1\n"
        );
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        Self::run(command, folder, tls_port).await
    }
    async fn start_in(folder: TempDir, port: u16, settings: Vec<String>) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--repl-diskless-sync-delay", "0"]).arg("--dir").arg(folder.path()).args(settings);
        Self::run(command, folder, port).await
    }
    async fn run(mut command: Command, folder: TempDir, port: u16) -> Self {
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = started.expect("`redis-server` must be installed: Debian's package redis-server has it");
        let server = Self { child, port, folder };
        until("the server listens", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        server
    }
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
    /// Says something to it.
    pub(super) async fn ask<T: ::redis::FromRedisValue>(&self, words: &str) -> T {
        let client = ::redis::Client::open(self.url()).expect("legal");
        let mut words = words.split(' ');
        let mut command = ::redis::cmd(words.next().expect("a command"));
        words.for_each(|word| _ = command.arg(word));
        // A connection may be closed as roles change: then it is asked over another.
        for _ in 0..20 {
            let answer = async { command.query_async(&mut client.get_multiplexed_async_connection().await?).await }.await;
            match answer {
                Err(error) if ::redis::RedisError::is_io_error(&error) => tokio::time::sleep(Duration::from_millis(50)).await,
                answer => return answer.expect("it understands"),
            }
        }
        panic!("it does not answer")
    }
    /// How often a command was given.
    pub(super) async fn calls_of(&self, command: &str) -> u64 {
        let stats: String = self.ask("INFO commandstats").await;
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")).map(str::to_owned));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a cut way does to those who use it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// What is said arrives a moment later.
    Late,
    /// Connections end, and new ones do so at once.
    Cut,
    /// Nothing comes through, and nobody is told.
    Silent,
}

/// A way to a server that can be cut.
pub(super) struct Bridge {
    pub(super) port: u16,
    way: Arc<watch::Sender<Way>>,
}

impl Bridge {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("bound").port();
        let way = Arc::new(watch::Sender::new(Way::Open));
        let ways = way.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, port, ways.subscribe()));
            }
        });
        Self { port: here, way }
    }
    pub(super) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

async fn pass(mut client: TcpStream, port: u16, mut way: watch::Receiver<Way>) {
    let now = *way.borrow_and_update();
    if matches!(now, Way::Open | Way::Late) {
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let passed = async {
            match now {
                Way::Late => late(&mut client, &mut server).await,
                _ => copy_bidirectional(&mut client, &mut server).await.map(drop),
            }
        };
        tokio::select! {
            _ = passed => return,
            _ = way.changed() => {}
        }
    }
    // One that was silent stays so until it is told to end.
    while *way.borrow_and_update() == Way::Silent {
        if way.changed().await.is_err() {
            return;
        }
    }
}

/// What the client says arrives a moment later.
async fn late(client: &mut TcpStream, server: &mut TcpStream) -> std::io::Result<()> {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
    let said = async {
        let mut piece = [0; 4096];
        loop {
            let length = from_client.read(&mut piece).await?;
            if length == 0 {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
            to_server.write_all(&piece[..length]).await?;
        }
    };
    tokio::select! {
        ended = said => ended,
        ended = tokio::io::copy(&mut from_server, &mut to_client) => ended.map(drop),
    }
}
