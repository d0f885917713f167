//! Which call is meant: whose, on whose behalf, and of which version.

use super::{Direct, NoResult, OfRun, ToolCall};
use crate::desk::{Act, Desk, intake::traced};
use maniple_core::{
    AgentName, Error, Kind, Principal, Result, Tenant,
    ports::{DirectCall, Invocation, Invoked, Refusal, RefusalKind, RunCall},
    tool::{Offer, ToolState, ToolVersion},
};
use semver::VersionReq;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

impl Desk {
    /// A direct call: the principal's own, or of one that it asks for.
    pub(super) async fn direct(&self, who: &Principal, call: ToolCall, direct: Direct) -> Result<DirectCall, NoResult> {
        let principal = match direct.principal {
            Some(named) if named != who.name && Act::Operate.by(who).is_err() => format!("{}/{named}", who.name),
            Some(named) => named,
            None => who.name.clone(),
        };
        let key = direct.key.map_or_else(fresh, |key| key.as_str().to_owned());
        Ok(DirectCall::new(principal, self.invocation(who, call, key, fresh()).await?))
    }

    /// A call of a run elsewhere. What only the run's journal knows, such as that a person agreed, a runtime alone may tell.
    pub(super) async fn of_run(&self, who: &Principal, call: ToolCall, run: OfRun) -> Result<RunCall, NoResult> {
        is_a_runtime(who)?;
        let tenant = tenant(who, &call)?;
        // A tenant's keys are its own, and a direct call's key is no run's.
        let in_tenant = if tenant.is_default() { Some(&*run.key) } else { run.key.strip_prefix(&format!("{tenant}/")) };
        if in_tenant.is_none_or(|key| key.contains('/')) {
            let told = "run.key must be a run's: TASK:STEP:INDEX, with TENANT/ before it outside the default tenant";
            return Err(Error::invalid(told).at("run.key").into());
        }
        let call = self.invocation(who, call, run.key, run.send).await?;
        Ok(RunCall(Invocation { agreed: run.agreed, ..call }))
    }

    /// The call of the version that the agent gets, or that the caller means.
    async fn invocation(&self, who: &Principal, call: ToolCall, key: String, send: String) -> Result<Invocation, NoResult> {
        who.may_use(&call.agent)?;
        let tenant = tenant(who, &call)?;
        let ToolCall { tool: name, agent, arguments, range, contract, tenant: _, timeout, trace, audience: _ } = call;
        let picked = self.parts.registry.pick(&tenant, &agent, &name, &range).await;
        let Offer { definition, trusted } = match &contract {
            None => match picked {
                Err(refusal) if refusal.kind == RefusalKind::NotFound => self.missing(&tenant, &agent, &name, &range, refusal).await?,
                other => other?,
            },
            Some(contract) => match picked {
                Ok(offer) if offer.definition.contract_hash() == *contract => offer,
                Err(refusal) if refusal.kind == RefusalKind::NotGranted => return Err(refusal.into()),
                _ => self.of_contract(&tenant, &name, contract).await?,
            },
        };
        let own = Duration::from_millis(definition.timeout_ms);
        Ok(Invocation {
            timeout: timeout.map_or(own, |timeout| timeout.min(own)),
            tool: Arc::new(definition),
            trusted,
            arguments: Value::Object(arguments),
            key,
            send,
            agent,
            tenant,
            agreed: None,
            trace: Some(traced(trace)),
        })
    }

    /// A tool that is there and not well may be tried again, and so may one of which nobody can say now whether it is there.
    async fn missing(
        &self,
        tenant: &Tenant,
        agent: &AgentName,
        name: &str,
        range: &VersionReq,
        refusal: Refusal,
    ) -> Result<Offer, NoResult> {
        let versions = match self.parts.registry.versions(tenant, name).await {
            Err(away) if away.kind == Kind::Unavailable => return Err(NoResult::Went(Invoked::NotSent(refusal.message))),
            answered => answered.unwrap_or_default(),
        };
        let waits =
            |known: &ToolVersion| matches!(known.state, ToolState::Unhealthy | ToolState::Gone) && range.matches(&known.definition.version);
        match versions.iter().any(waits) {
            true => Err(NoResult::Went(Invoked::NotSent(refusal.message))),
            // A registry elsewhere may have come back since it was asked.
            false => Ok(self.parts.registry.pick(tenant, agent, name, range).await?),
        }
    }

    /// The version with this very contract, served well or not: the registry says which when it is called.
    async fn of_contract(&self, tenant: &Tenant, name: &str, contract: &str) -> Result<Offer, Refusal> {
        let not_found = |message: String| Refusal { kind: RefusalKind::NotFound, message };
        let versions = self.parts.registry.versions(tenant, name).await.map_err(|error| not_found(error.to_string()))?;
        let found = versions.into_iter().find(|known| known.contract == contract);
        let found = found.ok_or_else(|| not_found(format!("there is no version of `{name}` with that contract any more")))?;
        Ok(Offer { trusted: found.source.is_operators(), definition: found.definition })
    }
}

/// On whose behalf a call is made.
pub(super) fn tenant(who: &Principal, call: &ToolCall) -> Result<Tenant> {
    match &call.tenant {
        Some(other) if *other != who.tenant => {
            Act::Operate.by(who).map_err(|denied| denied.at("tenant"))?;
            Ok(other.clone())
        }
        _ => Ok(who.tenant.clone()),
    }
}

/// `Denied` for whoever cannot speak of runs.
pub(super) fn is_a_runtime(who: &Principal) -> Result<()> {
    Act::Operate.by(who).map_err(|denied| denied.at("run"))
}

fn fresh() -> String {
    Uuid::now_v7().to_string()
}
