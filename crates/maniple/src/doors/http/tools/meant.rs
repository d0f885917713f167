//! Which call a request means: whose, on whose behalf, and of which version.

use super::{
    super::{Shared, answer::Refusal, run},
    agent,
};
use http::HeaderMap;
use maniple_api::tools::{CallOfRun, CallOutcome, CallRequest};
use maniple_core::{
    Error, Principal, Result, Scope, Tenant,
    ports::{DirectCall, Invocation, Refusal as Refused, RefusalKind, RunCall},
    tool::{Offer, ToolState, ToolVersion},
};
use maniple_runtime::desk;
use semver::VersionReq;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

impl Shared {
    /// A direct call: the principal's own, or of one that it asks for.
    pub(super) async fn direct_call(
        &self,
        who: &Principal,
        tool: &str,
        request: CallRequest,
        key: String,
        headers: &HeaderMap,
    ) -> Result<DirectCall, Refusal> {
        let principal = match &request.principal {
            Some(named) if *named != who.name && who.may(Scope::Admin).is_err() => format!("{}/{named}", who.name),
            Some(named) => named.clone(),
            None => who.name.clone(),
        };
        let send = Uuid::now_v7().to_string();
        Ok(DirectCall::new(principal, self.invocation(who, tool, request, key, send, headers).await?))
    }

    /// A call of a run elsewhere.
    pub(super) async fn run_call(
        &self,
        who: &Principal,
        tool: &str,
        request: CallRequest,
        run: CallOfRun,
        headers: &HeaderMap,
    ) -> Result<RunCall, Refusal> {
        let tenant = self.tenant(who, &request)?;
        // A tenant's keys are its own, and a direct call's key is no run's.
        let in_tenant = if tenant.is_default() { Some(&*run.key) } else { run.key.strip_prefix(&format!("{tenant}/")) };
        if in_tenant.is_none_or(|key| key.contains('/')) {
            let told = "run.key must be a run's: TASK:STEP:INDEX, with TENANT/ before it outside the default tenant";
            return Err(Error::invalid(told).at("run.key").into());
        }
        let call = self.invocation(who, tool, request, run.key, run.send, headers).await?;
        if call.tool.requires_approval {
            // That a person agreed is in the run's journal alone: it takes more than the right to call tools to say so.
            who.may(Scope::Admin).map_err(|denied| denied.at("run"))?;
        }
        Ok(RunCall(call))
    }

    /// On whose behalf a call is made.
    pub(super) fn tenant(&self, who: &Principal, request: &CallRequest) -> Result<Tenant, Refusal> {
        let tenant = request.tenant.as_deref().map(Tenant::parse).transpose()?.unwrap_or_else(|| who.tenant.clone());
        if tenant != who.tenant {
            who.may(Scope::Admin).map_err(|denied| denied.at("tenant"))?;
        }
        Ok(tenant)
    }

    /// The call that is asked for, of the version that the agent gets or that the caller means.
    async fn invocation(
        &self,
        who: &Principal,
        name: &str,
        request: CallRequest,
        key: String,
        send: String,
        headers: &HeaderMap,
    ) -> Result<Invocation, Refusal> {
        let agent = agent(who, &request.agent)?;
        let tenant = self.tenant(who, &request)?;
        let range = request.version.as_deref().unwrap_or("*");
        let range = VersionReq::parse(range)
            .map_err(|e| Error::invalid(format!("version `{range}` is no range such as ^1.2: {e}")).at("version"))?;
        let picked = self.door.registry.pick(&agent, name, &range).await;
        let offer = match &request.contract {
            None => match picked {
                Err(refusal) if refusal.kind == RefusalKind::NotFound => Err(self.missing(name, &range, refusal).await),
                other => other.map_err(CallOutcome::from),
            },
            Some(contract) => match picked {
                Ok(offer) if offer.definition.contract_hash() == *contract => Ok(offer),
                Err(refusal) if refusal.kind == RefusalKind::NotGranted => Err(refusal.into()),
                _ => self.of_contract(name, contract).await,
            },
        };
        let Offer { definition, trusted } = offer.map_err(|outcome| outcome.problem())?;
        let own = Duration::from_millis(definition.timeout_ms);
        Ok(Invocation {
            timeout: request.timeout_ms.map_or(own, |ms| Duration::from_millis(ms).min(own)),
            tool: Arc::new(definition),
            trusted,
            arguments: Value::Object(request.arguments),
            key,
            send,
            agent,
            tenant,
            trace: Some(desk::traced(run::trace(headers))),
        })
    }

    /// A tool that is there and not well may be tried again; one that is not there may not.
    async fn missing(&self, name: &str, range: &VersionReq, refusal: Refused) -> CallOutcome {
        let versions = self.door.registry.versions(name).await.unwrap_or_default();
        let waits =
            |known: &ToolVersion| matches!(known.state, ToolState::Unhealthy | ToolState::Gone) && range.matches(&known.definition.version);
        match versions.iter().any(waits) {
            true => CallOutcome::NotSent { message: refusal.message },
            false => refusal.into(),
        }
    }

    /// The version with this very contract, served well or not: the registry says which when it is called.
    async fn of_contract(&self, name: &str, contract: &str) -> Result<Offer, CallOutcome> {
        let not_found = |message: String| CallOutcome::Refused { reason: RefusalKind::NotFound, message };
        let versions = self.door.registry.versions(name).await.map_err(|error| not_found(error.to_string()))?;
        let found = versions.into_iter().find(|known| known.contract == contract);
        let found = found.ok_or_else(|| not_found(format!("there is no version of `{name}` with that contract any more")))?;
        Ok(Offer { trusted: found.source.is_operators(), definition: found.definition })
    }
}
