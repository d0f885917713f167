//! Where a request is addressed: the agent and the id in its path, its query, and what stands there.

use super::{Shared, answer::Refusal};
use axum::extract::{FromRequestParts, Query, RawPathParams};
use http::request::Parts;
use maniple_api::Problem;
use maniple_core::{AgentName, Error, Principal, Result, TaskId, TaskKey, agent::AgentDefinition, task::AgentResult};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What the path names.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub agent: Option<String>,
    pub id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let named = RawPathParams::from_request_parts(parts, state).await;
        let named = named.map_err(|e| Problem::malformed(format!("the path cannot be read: {e}")))?;
        let mut place = Self::default();
        for (name, value) in &named {
            match name {
                "agent" => place.agent = Some(value.to_owned()),
                _ => value.clone_into(&mut place.id),
            }
        }
        Ok(place)
    }
}

/// A query. What it does not know is left alone; what it cannot read is 400.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(asked)| Self(asked)).map_err(|e| Problem::malformed(format!("the query cannot be read: {e}")).into())
    }
}

impl Place {
    /// The task the path names. An id that cannot be one names nothing.
    pub fn task(&self, who: &Principal) -> Result<TaskKey> {
        let id = TaskId::parse(&self.id).map_err(|_| no_task(&self.id))?;
        Ok(TaskKey { tenant: who.tenant.clone(), id })
    }
    /// The agent the path names, served here or not.
    pub fn agent_name(&self) -> Result<Option<AgentName>> {
        self.agent.as_deref().map(|name| AgentName::parse(name).map_err(|_| no_agent(name))).transpose()
    }
}

impl Shared {
    /// The task at a place as it is now: its tenant's, its agent's, and for those who may use that agent.
    pub(super) async fn task(&self, who: &Principal, place: &Place) -> Result<(TaskKey, AgentResult)> {
        let key = place.task(who)?;
        let result = self.door.desk.get(&key).await?;
        if place.agent.as_deref().is_some_and(|named| named != result.agent.as_str()) {
            return Err(no_task(&place.id));
        }
        who.may_use(&result.agent)?;
        Ok((key, result))
    }

    /// The agent a new task goes to: the one the path names, the one the body names, or the only one there is.
    pub(super) fn agent_for(&self, who: &Principal, place: &Place, named: Option<&str>) -> Result<Arc<AgentDefinition>> {
        let agents = self.door.agents.all();
        if let Some(name) = place.agent_name()? {
            let agent = agents.get(&name).ok_or_else(|| no_agent(name.as_str()))?;
            who.may_use(&name)?;
            return Ok(agent.clone());
        }
        let mut usable = agents.values().filter(|agent| who.uses(&agent.name));
        if let Some(name) = named {
            let name = AgentName::parse(name)?;
            if let Some(agent) = agents.get(&name) {
                who.may_use(&name)?;
                return Ok(agent.clone());
            }
            let message = format!("there is no agent `{name}` here: there are {}", names(usable));
            return Err(Error::invalid(message).at("agent"));
        }
        match (usable.next(), usable.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => Err(Error::not_found("there is no agent here: put one into the agents folder, or use another token").at("agent")),
            (Some(_), Some(_)) => {
                let names = names(agents.values().filter(|agent| who.uses(&agent.name)));
                let message = format!("agent is needed here: name one of {names}, in the body or as /agents/NAME/…");
                Err(Error::invalid(message).at("agent"))
            }
        }
    }
}

fn names<'a>(agents: impl Iterator<Item = &'a Arc<AgentDefinition>>) -> String {
    agents.map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn no_task(id: &str) -> Error {
    Error::not_found(format!("there is no task `{id}`"))
}
pub(super) fn no_agent(name: &str) -> Error {
    Error::not_found(format!("there is no agent `{name}` here")).at("agent")
}
