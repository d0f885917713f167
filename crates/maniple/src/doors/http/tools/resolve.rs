//! `POST /tools/resolve`: what a runtime elsewhere asks before a run, and before a call by name.

use super::{
    super::{
        Shared,
        answer::{self, Refusal},
        auth::Who,
        idempotency,
    },
    agent,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::tools::{CallOutcome, ResolveAnswer, ResolveRequest};
use maniple_core::{Error, Result, Scope, tool::ToolWish};
use std::sync::Arc;

/// The most wishes of one question.
const WISHES_MAX: usize = 1_000;

pub(super) async fn resolve(State(shared): State<Arc<Shared>>, Who(who): Who, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    who.may(Scope::Tools)?;
    let key = idempotency::key(&headers)?;
    let body = shared.read_json(&headers, body).await?;
    let request = ResolveRequest::read(&body)?;
    let agent = agent(&who, &request.agent)?;
    let key = shared.keyed(&who, key, "/tools/resolve", &body).await?;
    let registry = &shared.door.registry;
    let offers = match (request.tools, request.pick) {
        (Some(wishes), _) => registry.resolve(&agent, &parsed(&wishes)?).await?,
        (None, Some(wish)) => {
            let wish = ToolWish::parse(&wish).map_err(|error| Error { field: Some("pick".into()), ..error })?;
            let offer = registry.pick(&agent, &wish.name, &wish.range).await;
            vec![offer.map_err(|refusal| CallOutcome::from(refusal).problem())?]
        }
        (None, None) => registry.granted(&agent).await?,
    };
    Ok(answer::replayed(answer::json(StatusCode::OK, &ResolveAnswer { offers }), shared.seen(&who, key, &request.agent).await?))
}

fn parsed(wishes: &[String]) -> Result<Vec<ToolWish>> {
    if wishes.len() > WISHES_MAX {
        return Err(Error::invalid(format!("tools may name at most {WISHES_MAX}")).at("tools"));
    }
    wishes.iter().map(|wish| ToolWish::parse(wish)).collect()
}
