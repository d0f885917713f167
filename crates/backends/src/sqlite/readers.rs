//! A few threads that read, each with its own connection, so that readers never wait for the writer.

use super::failure::{Refusal, failed};
use maniple_core::{Error, Result};
use rusqlite::Connection;
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};
use tokio::sync::{mpsc, oneshot};

/// The most reads that wait; callers wait beyond that.
const QUEUE_MAX: usize = 4_096;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the readers.
#[derive(Clone)]
pub(super) struct Readers(mpsc::Sender<Read>);

impl Readers {
    /// Starts a thread for each connection. They end when the last [`Readers`] is dropped.
    pub(super) fn start(connections: Vec<Connection>) -> Result<(Self, Vec<JoinHandle<()>>)> {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let start = |db| {
            let queue = queue.clone();
            thread::Builder::new().name("maniple-read".into()).spawn(move || work(&db, &queue))
        };
        let threads = connections.into_iter().map(start).collect::<std::io::Result<_>>();
        let threads = threads.map_err(|e| Error::unavailable("no thread for the store's readers").because(e))?;
        Ok((Self(sender), threads))
    }

    /// Reads one state of the store: what was committed when the read began.
    pub(super) async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Connection) -> Result<T, Refusal> + Send + 'static) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let read = Box::new(move |db: &Connection| {
            let found = one_state(db, read).map_err(|refusal| match refusal {
                Refusal::Says(error) => error,
                Refusal::Sql(error) => failed(error),
            });
            // Nobody waits any more: nothing was done but reading.
            let _ = reply.send(found);
        });
        let closed = || Error::unavailable("the store is closed");
        self.0.send(read).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn one_state<T>(db: &Connection, read: impl FnOnce(&Connection) -> Result<T, Refusal>) -> Result<T, Refusal> {
    db.prepare_cached("BEGIN")?.execute([])?;
    let found = read(db);
    db.prepare_cached("COMMIT")?.execute([])?;
    found
}

fn work(db: &Connection, queue: &Mutex<mpsc::Receiver<Read>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match next {
            Some(read) => read(db),
            None => return,
        }
    }
}
