//! A run's beginning: on which agent and which tools it will end.

use super::{Driver, Flow, Parking};
use maniple_core::{
    Error, Kind, Result,
    agent::AgentDefinition,
    event::Event,
    ports::Also,
    run::Awaited,
    task::{Ending, ErrorCode},
    tool::Offer,
};
use std::time::Duration;
use tokio::time::Instant;

/// How long an agent's tools are waited for in place, and parked at first; parked it becomes eight times as long.
const TOOLS_WAITED_FOR: Duration = Duration::from_secs(2);
/// How often a run parks for its agent's tools, about a quarter of an hour in all.
const TOOLS_ASKED_FOR: u64 = 60;

impl Driver {
    /// Takes the agent and its tools as they are now; the run will end on them.
    pub(super) async fn start(&mut self) -> Result<Flow> {
        let Some(agent) = self.parts.agents.get(&self.run.task().agent) else {
            // It was removed between claim and now: whoever serves it takes over.
            return self.hand_over().await.map(Flow::Leave);
        };
        let tools = match self.tools_of(&agent).await {
            Ok(tools) => tools,
            Err(error) if error.kind == Kind::Unavailable => return self.wait_for_tools(error).await,
            Err(error) => {
                return self.end(Ending::failed(ErrorCode::ToolsUnavailable, format!("the agent's tools cannot be had: {error}"))).await;
            }
        };
        let beginning = match self.parts.agents.begin(&self.key.tenant, agent, tools) {
            Ok(beginning) => beginning,
            Err(error) => {
                return self.end(Ending::failed(ErrorCode::ToolsUnavailable, format!("the agent's tools cannot be used: {error}"))).await;
            }
        };
        self.prepared = Some(beginning.prepared.clone());
        self.also.push(Also::Definitions(beginning.definitions.clone()));
        self.tell(0, Event::Started(beginning.started.clone()))?;
        Ok(Flow::Go)
    }

    /// What the agent may use now. Where nobody can say, it is asked again for a moment: a server may just be starting.
    async fn tools_of(&self, agent: &AgentDefinition) -> Result<Vec<Offer>> {
        let (since, mut wait) = (Instant::now(), Duration::from_millis(50));
        loop {
            match self.parts.tools.resolve(&self.key.tenant, &agent.name, &agent.tools).await {
                Err(error) if error.kind == Kind::Unavailable && since.elapsed() < TOOLS_WAITED_FOR => {
                    tracing::debug!(%error, "the agent's tools cannot be had yet; asking again");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                outcome => return outcome,
            }
        }
    }

    /// Parks until the agent's tools may be there, longer each time, and not for ever.
    async fn wait_for_tools(&mut self, why: Error) -> Result<Flow> {
        // Before its start a run has little more in its journal than that it was parked and went on.
        let parked = self.run.seq() / 2;
        if parked >= TOOLS_ASKED_FOR {
            let told = format!("the agent's tools cannot be had now: {why}; try again later");
            return self.end(Ending::failed(ErrorCode::ToolsUnavailable, told)).await;
        }
        let wait = TOOLS_WAITED_FOR.saturating_mul(1 << parked.min(3));
        let until = self.now().plus(wait);
        let until = self.run.deadline().map_or(until, |deadline| until.min(deadline));
        match self.park(Awaited::moment(until)).await? {
            Parking::Left(left) => Ok(Flow::Leave(left)),
            Parking::SignalsRead => Ok(Flow::Go),
        }
    }
}
