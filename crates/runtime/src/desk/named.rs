//! How things are named at a desk, and whether who names them may.

use super::{Act, Desk};
use maniple_core::{AgentName, Error, Principal, Result, TaskId, TaskKey, agent::AgentDefinition, event::Event, task::AgentResult};
use std::sync::Arc;

/// Which agent is meant, as far as it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressee {
    /// The agent at whose own place it is asked: where it is not served, there is no such place.
    At(AgentName),
    /// The one that the request names.
    Named(AgentName),
    /// Nothing is said.
    Unsaid,
}

/// Which task is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// Its id.
    pub id: TaskId,
    /// The agent at whose own place it is looked for; another one's task is not there.
    pub at: Option<AgentName>,
}

impl From<TaskId> for Sought {
    fn from(id: TaskId) -> Self {
        Self { id, at: None }
    }
}

impl Desk {
    /// The agent that a request goes to: the one it is addressed to, the one it names, or the only one that the principal may use.
    pub fn agent_for(&self, who: &Principal, addressee: &Addressee) -> Result<Arc<AgentDefinition>> {
        let agents = self.parts.agents.all();
        let usable = || agents.values().filter(|agent| who.uses(&agent.name));
        match addressee {
            // Whether it is there is for those who may use it: others are told the same of every name.
            Addressee::At(name) => {
                who.may_use(name)?;
                agents.get(name).cloned().ok_or_else(|| no_agent(name.as_str()))
            }
            Addressee::Named(name) => {
                who.may_use(name)?;
                let Some(agent) = agents.get(name) else {
                    let message = format!("there is no agent `{name}` here: there are {}", names(usable()));
                    return Err(Error::invalid(message).at("agent"));
                };
                Ok(agent.clone())
            }
            Addressee::Unsaid => {
                let mut all = usable();
                match (all.next(), all.next()) {
                    (Some(only), None) => Ok(only.clone()),
                    (None, _) => {
                        let message = "there is no agent here: put one into the agents folder, or use another token";
                        Err(Error::not_found(message).at("agent"))
                    }
                    (Some(_), Some(_)) => {
                        let names = names(usable());
                        let message = format!("agent is needed here: name one of {names}, in the body or as /agents/NAME/…");
                        Err(Error::invalid(message).at("agent"))
                    }
                }
            }
        }
    }

    /// The agents that a list is of, as a store takes them: empty for any. `None` where the principal may use none.
    pub(super) fn agents_of(&self, who: &Principal, addressee: &Addressee) -> Result<Option<Vec<AgentName>>> {
        match (addressee, &who.agents) {
            (Addressee::At(agent) | Addressee::Named(agent), _) => {
                who.may_use(agent)?;
                Ok(Some(vec![agent.clone()]))
            }
            (Addressee::Unsaid, Some(agents)) if agents.is_empty() => Ok(None),
            (Addressee::Unsaid, Some(agents)) => Ok(Some(agents.iter().cloned().collect())),
            (Addressee::Unsaid, None) => Ok(Some(Vec::new())),
        }
    }

    /// `NotFound` for an agent that is not served here.
    pub(super) fn served(&self, agent: &AgentName) -> Result<Arc<AgentDefinition>> {
        self.parts.agents.get(agent).ok_or_else(|| no_agent(agent.as_str()))
    }

    /// The task that is meant as it is now. Another tenant's, and one of an agent that the principal may not use, is not there.
    pub(super) async fn task(&self, who: &Principal, sought: &Sought) -> Result<(TaskKey, AgentResult)> {
        let key = TaskKey { tenant: who.tenant.clone(), id: sought.id.clone() };
        let task = self.now(&key).await?;
        if sought.at.as_ref().is_some_and(|agent| *agent != task.agent) || !who.uses(&task.agent) {
            return Err(no_task(sought.id.as_str()));
        }
        Ok((key, task))
    }

    /// The same for those who may see what becomes of it: for others it is not there either.
    pub(super) async fn seen(&self, who: &Principal, sought: &Sought) -> Result<(TaskKey, AgentResult)> {
        let (key, task) = self.task(who, sought).await?;
        if self.sees(who, &key).await? { Ok((key, task)) } else { Err(no_task(sought.id.as_str())) }
    }

    /// Whether the principal may see what becomes of a task of its tenant: with `read` of any, otherwise of those it asked for.
    pub(super) async fn sees(&self, who: &Principal, key: &TaskKey) -> Result<bool> {
        if Act::Look.by(who).is_ok() {
            return Ok(true);
        }
        let first = self.parts.tasks.events(key, 0, 1, usize::MAX).await?.and_then(|events| events.into_iter().next());
        let asked = first.map(|first| first.event()).transpose()?;
        Ok(matches!(asked, Some(Event::Accepted(task)) if task.principal == who.name))
    }

    pub(super) async fn now(&self, key: &TaskKey) -> Result<AgentResult> {
        let found = self.parts.tasks.get(key).await?;
        found.ok_or_else(|| no_task(key.id.as_str()))
    }
}

fn names<'a>(agents: impl Iterator<Item = &'a Arc<AgentDefinition>>) -> String {
    agents.map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// `NotFound`, also for what cannot be an id.
pub fn no_task(id: &str) -> Error {
    Error::not_found(format!("there is no task `{id}`"))
}

/// `NotFound`, also for what cannot be an agent's name.
pub fn no_agent(name: &str) -> Error {
    Error::not_found(format!("there is no agent `{name}` here")).at("agent")
}
