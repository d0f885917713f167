//! Waiting for a task: `POST /run` is `POST /tasks` and this.

use super::{Desk, Pulse, Submission, no_task};
use futures::{StreamExt, stream::BoxStream};
use maniple_core::{
    Kind, Result, TaskKey,
    event::EventKind,
    ports::{Created, Live},
    task::AgentResult,
};

impl Desk {
    /// Accepts a task and waits until it ends, parks, or `patience` is over; whichever it was, it goes on.
    ///
    /// The result is the task's latest state, [`Created::result`] its state when it was accepted.
    pub async fn submit_and_wait(
        &self,
        submission: Submission,
        patience: impl Future<Output = ()> + Send,
    ) -> Result<(Created, AgentResult)> {
        let asked = submission.task.key();
        let live = self.bus.subscribe(&asked).await;
        let created = self.submit(submission).await?;
        let key = TaskKey { tenant: asked.tenant.clone(), id: created.result.task_id.clone() };
        if created.fresh {
            let result = self.settled(&key, live, created.result.clone(), patience).await?;
            return Ok((created, result));
        }
        // An older task, which may have ended before anybody subscribed.
        let live = if key == asked { live } else { self.bus.subscribe(&key).await };
        let now = self.get(&key).await?;
        let result = self.settled(&key, live, now, patience).await?;
        Ok((created, result))
    }

    /// Waits until a task ends, parks, or `patience` is over. `NotFound` for none.
    pub async fn wait(&self, key: &TaskKey, patience: impl Future<Output = ()> + Send) -> Result<AgentResult> {
        let live = self.bus.subscribe(key).await;
        let now = self.get(key).await?;
        self.settled(key, live, now, patience).await
    }

    /// `live` was subscribed before `latest` was read.
    async fn settled(
        &self,
        key: &TaskKey,
        mut live: BoxStream<'static, Live>,
        mut latest: AgentResult,
        patience: impl Future<Output = ()> + Send,
    ) -> Result<AgentResult> {
        let mut patience = std::pin::pin!(patience);
        let mut pulse = Pulse::new();
        let mut bus_ended = false;
        while !is_settled(&latest) {
            let look = tokio::select! {
                heard = live.next(), if !bus_ended => {
                    pulse.heard();
                    match heard {
                        Some(Live::Event(event)) if event.is_final() => match event.result() {
                            Some(result) => return Ok(result),
                            None => true,
                        },
                        Some(Live::Event(event)) => event.kind() == Some(EventKind::Parked),
                        Some(Live::Delta(_)) => false,
                        Some(Live::Lagged) => true,
                        None => { bus_ended = true; true }
                    }
                }
                () = tokio::time::sleep_until(pulse.at) => { pulse.looked(); true }
                () = &mut patience => return Ok(self.last_look(key, latest).await),
            };
            if look {
                match self.tasks.get(key).await {
                    Ok(now) => latest = now.ok_or_else(|| no_task(&key.id))?,
                    // The task is accepted and goes on; what is away for a moment may be back at the next look.
                    Err(error) if error.kind == Kind::Unavailable => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(latest)
    }

    async fn last_look(&self, key: &TaskKey, latest: AgentResult) -> AgentResult {
        self.tasks.get(key).await.ok().flatten().unwrap_or(latest)
    }
}

/// Whether there is nothing to wait for: it ended, or it waits itself.
fn is_settled(result: &AgentResult) -> bool {
    result.status.is_final() || result.waiting_for.is_some()
}
