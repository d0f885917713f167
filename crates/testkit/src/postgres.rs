//! Databases of a real Postgres, for tests.
//!
//! `MANIPLE_TEST_POSTGRES` is the URL of a server that lets its user create databases: `scripts/services up` starts one and says it.

use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::NoTls;

/// The server's URL. Panics with what to do where there is none: nothing is skipped.
pub fn server() -> String {
    std::env::var("MANIPLE_TEST_POSTGRES").expect(
        "MANIPLE_TEST_POSTGRES must be the URL of a Postgres whose user may create databases: eval \"$(scripts/services up)\" starts one",
    )
}

/// Runs it to its end on a thread of its own: fixtures are made where nothing may wait.
pub fn block<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work());
    std::thread::scope(|scope| scope.spawn(run).join().expect("it does not panic"))
}

/// Runs statements past every store.
pub async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server answers");
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    drop(client);
    let _ = connection.await;
}

/// A database of a test's own; it goes when this is dropped.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// An empty one.
    pub fn empty() -> Self {
        Self::create("")
    }
    /// A copy of another, which nobody is connected to.
    pub fn like(template: &Self) -> Self {
        Self::create(&format!(" TEMPLATE {}", template.name))
    }
    fn create(how: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = server();
        let name = format!("maniple_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        block(async || {
            execute(&server, &format!("DROP DATABASE IF EXISTS {name}")).await;
            execute(&server, &format!("CREATE DATABASE {name}{how}")).await;
        });
        Self { server, name }
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its URL.
    pub fn url(&self) -> String {
        let (before, options) = match self.server.split_once('?') {
            Some((before, options)) => (before, format!("?{options}")),
            None => (self.server.as_str(), String::new()),
        };
        let (root, _) = before.rsplit_once('/').expect("the server's URL names a database");
        format!("{root}/{}{options}", self.name)
    }
    /// Runs statements in it, past every store.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url(), sql).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        block(async || execute(&self.server, &sql).await);
    }
}
