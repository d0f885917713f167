//! The agents of this node as they are now. Running tasks keep the definitions they began with.

use maniple_core::{
    AgentName, Error, Result, Tenant,
    agent::{AgentDefinition, Contracts, Definitions},
    canonical,
    event::{Started, StartedTool},
    ports::Work,
    tool::Offer,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::prompt::Prompt;

/// Agents by name.
pub type ByName = BTreeMap<AgentName, Arc<AgentDefinition>>;

/// A cheap, shared view of the agents; replaced whole on reload.
#[derive(Clone, Default)]
pub struct Agents {
    current: Arc<RwLock<Arc<ByName>>>,
    prepared: Arc<Mutex<HashMap<String, Arc<Prepared>>>>,
    beginnings: Arc<Mutex<Beginnings>>,
}

/// What runs begin with, by whose they are and by their agent.
type Beginnings = HashMap<(Tenant, AgentName), Arc<Beginning>>;

/// Definitions with everything compiled that a run needs of them.
pub struct Prepared {
    /// Schemas.
    pub contracts: Contracts,
    /// The system prompt's template.
    pub prompt: Prompt,
}

/// What every run of an agent begins with for one tenant, whose tools may be others than the next one's, until the agent or one of
/// its tools changes.
pub(crate) struct Beginning {
    agent: Arc<AgentDefinition>,
    /// The fact to record.
    pub(crate) started: Started,
    /// What to keep by its hash.
    pub(crate) definitions: Arc<(String, Definitions)>,
    /// What to decide with.
    pub(crate) prepared: Arc<Prepared>,
}

/// How many compiled definitions and how many beginnings are kept, and what the schemas may hold in bytes, estimated; beyond, all
/// are dropped and made again as needed.
const PREPARED_MAX: usize = 1_024;
const PREPARED_BYTES: u64 = 128 << 20;

impl Agents {
    /// These agents.
    pub fn new(agents: impl IntoIterator<Item = AgentDefinition>) -> Self {
        let new = Self::default();
        new.replace(agents);
        new
    }
    /// From now on, these.
    pub fn replace(&self, agents: impl IntoIterator<Item = AgentDefinition>) {
        let agents = agents.into_iter().map(|agent| (agent.name.clone(), Arc::new(agent))).collect();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(agents);
        self.beginnings.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    /// All of them as they are now.
    pub fn all(&self) -> Arc<ByName> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// One of them.
    pub fn get(&self, name: &AgentName) -> Option<Arc<AgentDefinition>> {
        self.all().get(name).cloned()
    }

    /// What a tenant's run of this agent begins with now.
    pub(crate) fn begin(&self, tenant: &Tenant, agent: Arc<AgentDefinition>, offers: Vec<Offer>) -> Result<Arc<Beginning>> {
        let definitions = Definitions::of((*agent).clone(), offers);
        let whose = (tenant.clone(), agent.name.clone());
        let known = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner).get(&whose).cloned();
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.agent, &agent) && known.definitions.1 == definitions) {
            return Ok(known);
        }
        let hash = definitions.hash();
        let started = Started {
            version: agent.version.clone(),
            definitions: hash.clone(),
            agent: canonical::hash(&definitions.agent),
            tools: definitions
                .tools
                .iter()
                .map(|t| StartedTool { name: t.name.clone(), version: t.version.clone(), contract: t.contract_hash() })
                .collect(),
        };
        let prepared = self.prepare(definitions.clone(), hash.clone())?;
        let beginning = Arc::new(Beginning { agent, started, definitions: Arc::new((hash, definitions)), prepared });
        let mut all = self.beginnings.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= PREPARED_MAX {
            all.clear();
        }
        all.insert(whose, beginning.clone());
        Ok(beginning)
    }

    /// Compiles definitions, or finds them compiled.
    fn prepare(&self, definitions: Definitions, hash: String) -> Result<Arc<Prepared>> {
        if let Some(found) = self.find(&hash) {
            return Ok(found);
        }
        let prompt = Prompt::compile(&definitions.agent.prompt)?;
        let prepared = Arc::new(Prepared { contracts: Contracts::compile(definitions)?, prompt });
        let mut all = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = |prepared: &Arc<Prepared>| prepared.contracts.weight();
        if all.len() >= PREPARED_MAX || all.values().map(weight).sum::<u64>() + weight(&prepared) > PREPARED_BYTES {
            all.clear();
        }
        all.insert(hash, prepared.clone());
        Ok(prepared)
    }
    /// What a run began with, by the hash it recorded.
    pub(crate) async fn recall(&self, hash: &str, work: &Arc<dyn Work>) -> Result<Arc<Prepared>> {
        if let Some(found) = self.find(hash) {
            return Ok(found);
        }
        let definitions = work.definitions(hash).await?;
        let definitions = definitions.ok_or_else(|| Error::internal(format!("the definitions {hash} that the run began with are gone")))?;
        self.prepare(definitions, hash.to_owned())
    }
    fn find(&self, hash: &str) -> Option<Arc<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use maniple_core::{agent::AgentLimits, model::ModelName};

    #[test]
    fn two_tenants_whose_tools_differ_do_not_make_each_others_beginnings_anew() {
        let agent = AgentDefinition {
            publish: Default::default(),
            name: AgentName::parse("search").unwrap(),
            description: "For tests.".into(),
            version: "1.0.0".parse().unwrap(),
            model: ModelName::parse("fake/model").unwrap(),
            fallbacks: vec![],
            tools: vec![],
            limits: AgentLimits::default(),
            options: Default::default(),
            memory: Default::default(),
            output_schema: None,
            examples: vec![],
            prompt: "You are tested.".into(),
        };
        let agents = Agents::new([agent]);
        let begin = |tenant: &str, version: &str| {
            let offer = Offer { definition: maniple_testkit::catalogue::definition("pay", version), trusted: false };
            let agent = agents.get(&AgentName::parse("search").unwrap()).unwrap();
            agents.begin(&Tenant::parse(tenant).unwrap(), agent, vec![offer]).unwrap()
        };
        let (acme, beta) = (begin("acme", "1.0.0"), begin("beta", "2.0.0"));
        assert_eq!(acme.started.tools[0].version.to_string(), "1.0.0");
        assert_eq!(beta.started.tools[0].version.to_string(), "2.0.0");
        assert!(Arc::ptr_eq(&begin("acme", "1.0.0"), &acme) && Arc::ptr_eq(&begin("beta", "2.0.0"), &beta));
        assert_eq!(begin("acme", "2.0.0").started.tools[0].version.to_string(), "2.0.0", "and what changes is told");
    }
}
