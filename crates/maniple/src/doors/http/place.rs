//! Where a request is addressed: the agent and the id in its path, and its query.

use super::answer::Refusal;
use axum::extract::{FromRequestParts, Query, RawPathParams};
use http::request::Parts;
use maniple_api::Problem;
use maniple_core::{AgentName, Result, TaskId};
use maniple_runtime::desk::{Addressee, Sought, no_agent, no_task};
use serde::de::DeserializeOwned;

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
    /// The task the path names. An id that cannot be one names nothing, and under an agent that cannot be one nothing stands.
    pub fn task(&self) -> Result<Sought> {
        let nothing = |_| no_task(&self.id);
        let at = self.agent.as_deref().map(AgentName::parse).transpose().map_err(nothing)?;
        Ok(Sought { id: TaskId::parse(&self.id).map_err(nothing)?, at })
    }

    /// The agent the path names, served here or not; else the one that the request names, if it does.
    pub fn addressee(&self, named: Option<&str>) -> Result<Addressee> {
        match (&self.agent, named) {
            (Some(at), _) => AgentName::parse(at).map(Addressee::At).map_err(|_| no_agent(at)),
            (None, Some(named)) => AgentName::parse(named).map(Addressee::Named),
            (None, None) => Ok(Addressee::Unsaid),
        }
    }
}
