//! Many calls in one transaction: what came while the last one was committed.
//!
//! ```text
//! call ─► queue ─► writer ─► one transaction: all locks in one order, each call's questions, each decides, all rows, COMMIT
//! ```
//!
//! No two calls of a transaction lock the same, so each finds and changes what it would alone. One that is refused writes nothing
//! and hinders nobody; where the transaction itself fails, each has one of its own.

use super::{
    failure::{Refusal, is_passing},
    link::Link,
    tx::{LockName, Locks, TRIES, Transaction, Tx, step_aside},
};
use async_trait::async_trait;
use futures::{
    FutureExt as _,
    future::{join_all, try_join},
};
use maniple_core::{Error, Result};
use std::{
    collections::{HashSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::oneshot;

/// The most calls of one transaction.
const CALLS_MAX: usize = 256;
/// The most names that one locks: the server has room for some thousands, of all its clients together.
const NAMES_MAX: usize = 128;

/// What a call does in a transaction. It may be done again where the transaction fails.
#[async_trait]
pub(super) trait Work: Send + Sync + 'static {
    type Answer: Send + 'static;
    /// All that it locks: nothing else may be changed by it that others change.
    fn locks(&self) -> Locks;
    async fn work(&self, tx: &mut Tx<'_>) -> Result<Self::Answer, Refusal>;
}

/// A call that waits for its answer.
#[async_trait]
trait Call: Send {
    fn locks(&self) -> &Locks;
    async fn work(&mut self, tx: &mut Tx<'_>) -> Result<(), Refusal>;
    /// What came of its transaction.
    fn ended(self: Box<Self>, outcome: Result<()>);
}

struct Waiting<W: Work> {
    work: W,
    locks: Locks,
    answer: Option<W::Answer>,
    tell: oneshot::Sender<Result<W::Answer>>,
}

#[async_trait]
impl<W: Work> Call for Waiting<W> {
    fn locks(&self) -> &Locks {
        &self.locks
    }
    async fn work(&mut self, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        self.answer = Some(self.work.work(tx).await?);
        Ok(())
    }
    fn ended(self: Box<Self>, outcome: Result<()>) {
        let Self { answer, tell, .. } = *self;
        let answer = outcome.and_then(|()| answer.ok_or_else(|| Error::internal("a call ended without its answer")));
        // Who asked may have left.
        let _ = tell.send(answer);
    }
}

/// Those that write, each over a connection of the pool.
pub(super) struct Writers {
    link: Arc<Link>,
    queue: Mutex<Queue>,
    most: usize,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Box<dyn Call>>,
    writers: usize,
}

impl Writers {
    pub(super) fn new(link: Arc<Link>, most: usize) -> Arc<Self> {
        Arc::new(Self { link, queue: Mutex::default(), most: most.max(1) })
    }

    /// Does it, with others that ask at the same time. It is done whether or not somebody waits for the answer.
    pub(super) async fn write<W: Work>(self: &Arc<Self>, work: W) -> Result<W::Answer> {
        let (tell, told) = oneshot::channel();
        let call = Box::new(Waiting { locks: work.locks(), work, answer: None, tell });
        let begins = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.calls.push_back(call);
            let begins = queue.writers < self.most;
            queue.writers += usize::from(begins);
            begins
        };
        if begins {
            tokio::spawn(self.clone().run());
        }
        told.await.unwrap_or_else(|_| Err(Error::internal("who writes to the database failed: the log has the reason")))
    }

    /// The next calls, in the order in which they came: none of them locks what another of them locks. `None` once there are none,
    /// and whoever asked is no writer any more.
    fn next(&self) -> Option<Vec<Box<dyn Call>>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.calls.is_empty() {
            queue.writers -= 1;
            return None;
        }
        let (mut together, mut later) = (Vec::new(), VecDeque::new());
        let mut locked = Locked::default();
        while together.len() < CALLS_MAX
            && locked.names.len() < NAMES_MAX
            && let Some(call) = queue.calls.pop_front()
        {
            // One that waits for its turn goes before those that come after it and lock the same.
            if locked.add(call.locks()) { together.push(call) } else { later.push_back(call) }
        }
        later.append(&mut queue.calls);
        queue.calls = later;
        Some(together)
    }

    async fn run(self: Arc<Self>) {
        while let Some(calls) = self.next() {
            // Whoever waits for one of them hears that it failed.
            let _ = AssertUnwindSafe(carry_out(&self.link, calls)).catch_unwind().await;
        }
    }
}

/// What calls lock that were looked at.
#[derive(Default)]
struct Locked {
    names: HashSet<LockName>,
    tasks: HashSet<i64>,
}

impl Locked {
    /// Whether none of it was locked before.
    fn add(&mut self, locks: &Locks) -> bool {
        let is_free =
            locks.names.iter().all(|name| !self.names.contains(name)) && locks.task.is_none_or(|task| !self.tasks.contains(&task));
        self.names.extend(locks.names.iter().cloned());
        self.tasks.extend(locks.task);
        is_free
    }
}

async fn carry_out(link: &Link, mut calls: Vec<Box<dyn Call>>) {
    metrics::histogram!("maniple_store_commit_batch_size").record(calls.len() as f64);
    if calls.len() > 1 {
        match together(link, &mut calls).await {
            Ok(outcomes) => return calls.into_iter().zip(outcomes).for_each(|(call, outcome)| call.ended(outcome)),
            // What one of them cannot do in it, the others can without it.
            Err(refusal @ Refusal::Sql(_)) if !refusal.ends_connection() => link.here.forget_definitions(),
            Err(refusal) => {
                let error = Error::from(refusal);
                return calls.into_iter().for_each(|call| call.ended(Err(error.clone())));
            }
        }
    }
    for call in calls {
        alone(link, call).await;
    }
}

async fn alone(link: &Link, call: Box<dyn Call>) {
    let mut call = [call];
    let mut tries = 0;
    let outcome = loop {
        tries += 1;
        match together(link, &mut call).await {
            Ok(outcomes) => break outcomes.into_iter().next().unwrap_or(Ok(())),
            Err(Refusal::Sql(error)) if tries < TRIES && is_passing(&error) => step_aside(link).await,
            Err(refusal) => break Err(refusal.into()),
        }
    };
    let [call] = call;
    call.ended(outcome);
}

/// Does them in one transaction. What one of them may not do is its outcome; any other error is of all, and nothing is done, or
/// nobody knows.
async fn together(link: &Link, calls: &mut [Box<dyn Call>]) -> Result<Vec<Result<()>>, Refusal> {
    let transaction = Transaction::begin(link).await?;
    let names = calls.iter().flat_map(|call| &call.locks().names).cloned().collect();
    let tasks = calls.iter().filter_map(|call| call.locks().task).collect();
    let mut pieces: Vec<Tx<'_>> = calls.iter().map(|_| transaction.locked_piece()).collect();
    let works = join_all(calls.iter_mut().zip(&mut pieces).map(|(call, tx)| call.work(tx)));
    let done = try_join(transaction.lock(names, tasks), works.map(Ok)).await;
    let mut written = Vec::with_capacity(pieces.len());
    let sorted = done.and_then(|((), done)| {
        let outcomes = done.into_iter().zip(pieces).map(|(outcome, piece)| match outcome {
            Ok(()) => {
                written.push(piece.into_written());
                Ok(Ok(()))
            }
            Err(Refusal::Says(error)) => Ok(Err(error)),
            Err(failed) => Err(failed),
        });
        outcomes.collect::<Result<Vec<_>, Refusal>>()
    });
    match sorted {
        Ok(outcomes) => transaction.commit(written).await.map(|()| outcomes),
        Err(refusal) => {
            transaction.abandon(&refusal).await;
            Err(refusal)
        }
    }
}
