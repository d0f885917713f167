//! Waiting for a task: to run one is to submit it, and this.

use super::{Act, Desk, Sought, named::no_task, pulse::Pulse};
use futures::{StreamExt, stream::BoxStream};
use maniple_core::{Kind, Principal, Result, TaskKey, event::EventKind, ports::Live, task::AgentResult};
use std::time::Duration;

/// How long the last look may take.
const LAST_LOOK_MAX: Duration = Duration::from_secs(2);

impl Desk {
    /// Waits until a task ends, parks, or `patience` is over. `NotFound` for none, and for one that the principal may not see.
    pub async fn wait(&self, who: &Principal, sought: &Sought, patience: impl Future<Output = ()> + Send) -> Result<AgentResult> {
        Act::Follow.by(who)?;
        let (key, _) = self.seen(who, sought).await?;
        let live = self.parts.bus.subscribe(&key).await;
        let now = self.now(&key).await?;
        self.settled(&key, live, now, patience).await
    }

    /// `live` was subscribed before `latest` was read.
    pub(super) async fn settled(
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
                match self.parts.tasks.get(key).await {
                    Ok(now) => latest = now.ok_or_else(|| no_task(key.id.as_str()))?,
                    // The task is accepted and goes on; what is away for a moment may be back at the next look.
                    Err(error) if error.kind == Kind::Unavailable => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(latest)
    }

    /// The task as it is now; as it was, where the store does not say so soon: whoever has no patience left is not kept by it.
    async fn last_look(&self, key: &TaskKey, latest: AgentResult) -> AgentResult {
        let now = tokio::time::timeout(LAST_LOOK_MAX, self.parts.tasks.get(key)).await;
        now.ok().and_then(Result::ok).flatten().unwrap_or(latest)
    }
}

/// Whether there is nothing to wait for: it ended, or it waits itself.
fn is_settled(result: &AgentResult) -> bool {
    result.status.is_final() || result.waiting_for.is_some()
}
