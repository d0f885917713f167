//! The Kafka door: records become requests of the desk, and its answers say what becomes of them.

use async_trait::async_trait;
use maniple_core::{
    AgentName, Error, Kind, Principal, Result, SessionId, TaskId, Tenant,
    ports::{self, Admitted, Place},
    principal::{Scope, Scopes},
    request::TaskRequest,
    trace::TraceContext,
};
use maniple_kafka::{Delivered, Door, KafkaSettings, Letter};
use maniple_runtime::{
    Agents,
    desk::{Delivery, Desk},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a count of what is unfinished holds.
const COUNT_HOLDS: Duration = Duration::from_secs(1);
/// How many rows of records that are gone are forgotten at once, and how many times.
const FORGOTTEN_AT_ONCE: usize = 1_000;
const FORGET_TIMES: usize = 10;

/// What stands behind the consumer: the desk, asked by whom the settings say.
pub struct Deliveries {
    desk: Desk,
    agents: Agents,
    ingest: Arc<dyn ports::Ingest>,
    who: Principal,
    pending_max: u64,
    /// Unfinished tasks of an agent, as they were counted, with what was taken since.
    pending: Mutex<HashMap<AgentName, (Instant, u64)>>,
}

impl Deliveries {
    /// Takes for the agents of this node. `Invalid` for a tenant that cannot be.
    pub fn new(desk: Desk, agents: Agents, ingest: Arc<dyn ports::Ingest>, settings: &KafkaSettings) -> Result<Self> {
        let scopes = Scopes::default().with(Scope::Run);
        let who = Principal { name: settings.principal.clone(), tenant: Tenant::parse(&settings.tenant)?, agents: None, scopes };
        Ok(Self { desk, agents, ingest, who, pending_max: settings.pending, pending: Mutex::default() })
    }

    /// How many tasks of an agent are unfinished, nearly.
    async fn pending(&self, agent: &AgentName) -> Result<u64> {
        let known = self.pending.lock().unwrap_or_else(PoisonError::into_inner).get(agent).copied();
        if let Some((_, count)) = known.filter(|(at, _)| at.elapsed() < COUNT_HOLDS) {
            return Ok(count);
        }
        let count = self.ingest.pending(agent, self.pending_max).await?;
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(agent.clone(), (Instant::now(), count));
        Ok(count)
    }

    fn took(&self, agent: &AgentName) {
        if let Some((_, count)) = self.pending.lock().unwrap_or_else(PoisonError::into_inner).get_mut(agent) {
            *count += 1;
        }
    }

    async fn admit(&self, letter: Letter) -> Result<Delivered> {
        let Letter { agent, task, place, trace } = letter;
        let count = self.pending(&agent).await?;
        if count >= self.pending_max {
            return Ok(Delivered::NotNow(format!("{count} tasks of `{agent}` are unfinished, as many as kafka.pending lets")));
        }
        let request = TaskRequest {
            id: Some(TaskId::parse(&task.task_id)?),
            session_id: Some(SessionId::parse(&task.session_id)?),
            context: task.context.into_iter().map(|(name, value)| (name, value.into())).collect(),
            ..TaskRequest::new(agent.clone(), task.prompt)
        };
        let delivery = Delivery { request, asked_by: task.source_agent, trace: traced(&trace), place };
        Ok(match self.desk.deliver(&self.who, &*self.ingest, delivery).await? {
            Admitted::Created(_) => {
                self.took(&agent);
                Delivered::Accepted
            }
            Admitted::Known => Delivered::Known,
            Admitted::Conflict => Delivered::Refused("task_id_conflict", "another task came under this task_id before".to_owned()),
        })
    }
}

#[async_trait]
impl Door for Deliveries {
    fn agents(&self) -> Vec<AgentName> {
        self.agents.all().keys().cloned().collect()
    }

    async fn deliver(&self, letter: Letter) -> Delivered {
        match self.admit(letter).await {
            Ok(delivered) => delivered,
            Err(Error { kind: Kind::Invalid, message, .. }) => Delivered::Refused("out_of_bounds", message.into_owned()),
            Err(error) => Delivered::NotNow(error.message.into_owned()),
        }
    }

    async fn gone_before(&self, place: &Place) {
        for _ in 0..FORGET_TIMES {
            match self.ingest.forget_before(place, FORGOTTEN_AT_ONCE).await {
                Ok(gone) if gone == FORGOTTEN_AT_ONCE as u64 => {}
                Ok(_) => return,
                Err(error) => return tracing::debug!(%error, "records that are gone are remembered a while longer"),
            }
        }
    }
}

/// The sender's trace: `traceparent`, or what `trace-id` says alone.
fn traced([traceparent, tracestate, trace_id]: &[Option<String>; 3]) -> Option<TraceContext> {
    let own = traceparent.as_deref().and_then(|parent| TraceContext::parse(parent, tracestate.as_deref()));
    own.or_else(|| {
        let id = trace_id.as_deref()?.replace('-', "");
        TraceContext::parse(&format!("00-{}-{:016x}-01", id.to_lowercase(), fastrand::u64(1..)), None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_the_senders_by_either_header() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let of =
            |headers: [Option<&str>; 3]| traced(&headers.map(|header| header.map(str::to_owned))).map(|trace| trace.trace_id().to_owned());
        let id = Some("0af7651916cd43dd8448eb211c80319c".to_owned());
        assert_eq!(of([Some(parent), None, Some("x")]), id);
        assert_eq!(of([None, None, Some("0AF76519-16CD-43dd-8448-EB211C80319C")]), id, "a UUID");
        assert_eq!((of([None, None, Some("not one")]), of([None, None, None])), (None, None));
    }
}
