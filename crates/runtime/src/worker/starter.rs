//! Tasks that start at once: accepted, claimed and begun in one commit, then driven right here.
//!
//! | what happens | then |
//! |---|---|
//! | before the commit | nothing was |
//! | the commit's reply is lost | the same `create` again answers: yours, under epoch 1 |
//! | the process dies after the commit | the task is due when the store is opened, and counts as found open once |
//! | the caller leaves | it goes on: accepting and driving are no part of a request |
//! | the worker begins to leave after the check | handed over as its first act, which is no poison |
//! | the commit was late | the lease, counted from before the call, is asked before anything is sent |
//! | the same request comes again meanwhile | it finds the task, and drives nothing |

use super::crew::Crew;
use crate::driver::{Driver, TURNS_MAX, Unborn};
use maniple_core::{
    AgentName, Error, Kind, Result,
    ports::{Conversation, Created, Live, NewTask, Tasks},
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};

/// How often a submission is sent again whose reply was lost, and how long is waited before.
const AGAIN: u32 = 3;
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The way of a desk to the worker of its own process.
#[derive(Clone)]
pub struct Starter {
    crew: Arc<Crew>,
    tasks: Arc<dyn Tasks>,
}

/// What became of a wish that a task start at once.
#[allow(clippy::large_enum_variant)] // it is taken apart at once
pub enum Started {
    /// The store was asked: this is its answer. Where the task was born claimed it is under way.
    Asked(Result<Created>),
    /// Nobody can begin with it now: it is given back, to be accepted like any other.
    NotNow(NewTask),
}

impl Starter {
    pub(super) fn new(crew: Arc<Crew>, tasks: Arc<dyn Tasks>) -> Self {
        Self { crew, tasks }
    }

    /// Accepts a task, born claimed where nothing stands against it, and drives it. Dropping the future stops neither.
    pub async fn start(&self, new: NewTask) -> Started {
        let is_plain = new.taken_over.is_none() && new.requeues.is_none() && new.task.not_before.is_none();
        let Some(place) = self.crew.place(&new.task.tenant).filter(|_| is_plain) else { return Started::NotNow(new) };
        let Some((unborn, settled_at)) = self.unborn(&new).await else { return Started::NotNow(new) };

        let (crew, tasks) = (self.crew.clone(), self.tasks.clone());
        let agents: Arc<[AgentName]> = crew.parts.agents.all().keys().cloned().collect();
        let wish = unborn.wish(agents, self.crew.full(), settled_at);
        let new = Box::new(NewTask { born: Some(wish), ..new });
        let (reply, answer) = oneshot::channel();
        self.crew.spawn(place, async move {
            let claimed_at = Instant::now();
            let created = match create(&*tasks, new).await {
                Ok(created) => created,
                Err(error) => return drop(reply.send(Err(error))),
            };
            let Some((claim, lease)) = created.claim.clone() else { return drop(reply.send(Ok(created))) };
            let held = crew.hold(claim.clone(), lease, claimed_at);
            created.events.iter().for_each(|event| crew.parts.bus.publish(&claim.key, Live::Event(event.clone())));
            let at = created.result.created_at;
            // Nobody listens any more where the caller has left.
            let _ = reply.send(Ok(created));
            let lease = held.lease.clone();
            let driver = Driver::born(crew.parts.clone(), crew.settings, unborn, at, lease, claimed_at, crew.drain());
            crew.see_through(&claim, held, Ok(driver)).await;
        });
        let gone = || Error::unavailable("this node is leaving: send it again, under the same id or key");
        Started::Asked(answer.await.unwrap_or_else(|_| Err(gone())))
    }

    /// What the task would begin with, and how far its session was read.
    async fn unborn(&self, new: &NewTask) -> Option<(Box<Unborn>, u64)> {
        let Conversation { turns, settled_at } = match new.session_is_new() {
            true => Conversation { turns: Vec::new(), settled_at: Some(0) },
            false => {
                let window = self.crew.parts.agents.get(&new.task.agent)?.memory.window_tokens;
                let bytes = window.saturating_mul(8) as usize;
                self.tasks.conversation(&new.task.session(), None, TURNS_MAX, bytes).await.ok()?
            }
        };
        Some((Unborn::of(&self.crew.parts, &self.crew.settings, &new.task, turns)?, settled_at?))
    }
}

/// Asks again where nobody knows whether it was done: not where the store has said for how long it takes nothing.
async fn create(tasks: &dyn Tasks, mut new: Box<NewTask>) -> Result<Created> {
    let mut again = 0;
    loop {
        match tasks.create(NewTask::clone(&new)).await {
            Err(error) if error.kind == Kind::Unavailable && error.retry_after.is_none() && again < AGAIN => {
                tracing::warn!(%error, "the store does not answer; asking again");
                tokio::time::sleep(AGAIN_AFTER).await;
                again += 1;
                new.born.iter_mut().for_each(|born| born.is_again = true);
            }
            answer => return answer,
        }
    }
}
