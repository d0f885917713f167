//! `POST /tools/resolve`: what a runtime elsewhere asks before a run, and before a call by name.

use super::{
    super::{
        Door,
        answer::{self, Refusal},
        auth::Who,
        idempotency,
    },
    agent,
};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use maniple_api::tools::{ResolveAnswer, ResolveRequest};
use maniple_core::{Error, Result, Tenant, tool::ToolWish};
use maniple_runtime::desk::{Act, Whom, offered_to};
use std::sync::Arc;

pub(super) async fn resolve(State(door): State<Arc<Door>>, Who(who): Who, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    Act::UseTools.by(&who)?;
    let key = idempotency::key(&headers)?;
    let request = ResolveRequest::read(&door.read_json(&who, &headers, body).await?)?;
    let tenant = request.tenant.as_deref().map(Tenant::parse).transpose()?;
    let (asks, who) = (&who, Whom { tenant, ..Whom::default() }.meant_by(&who)?);
    let (desk, agent) = (&door.desk, agent(Act::UseTools, &who, &request.agent)?);
    let (offers, was) = match (request.tools, request.pick) {
        (Some(wishes), _) => {
            let wishes = wishes.iter().map(|wish| ToolWish::parse(wish)).collect::<Result<Vec<_>>>()?;
            desk.resolve(&who, &agent, &wishes, key).await?
        }
        (None, Some(wish)) => {
            let wish = ToolWish::parse(&wish).map_err(|error| Error { field: Some("pick".into()), ..error })?;
            let (offer, was) = desk.pick(&who, &agent, &wish, key).await?;
            (vec![offer], was)
        }
        (None, None) => desk.resolve_all(&who, &agent, key).await?,
    };
    let offers = offers.into_iter().map(|offer| offered_to(asks, offer)).collect();
    Ok(answer::replayed(answer::json(StatusCode::OK, &ResolveAnswer { offers }), was.is_replay()))
}
