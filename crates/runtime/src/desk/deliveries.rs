//! Tasks that a broker delivers: like any other, but that the same record may come again, and nobody waits for an answer.

use super::{Desk, Submission};
use maniple_core::{
    Error, Principal, Result, TaskId, TaskKey, canonical,
    ports::{Admitted, Arrival, Hint, Ingest, Live, Place, Publish},
    request::TaskRequest,
    trace::TraceContext,
};
use uuid::Uuid;

/// A record that asks for a task.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What is asked, under the id that its sender gave it.
    pub request: TaskRequest,
    /// Who sent it.
    pub asked_by: String,
    /// The sender's trace; one begins here otherwise.
    pub trace: Option<TraceContext>,
    /// Where it lay.
    pub place: Place,
}

impl Desk {
    /// Accepts the task of a record, once. It is durable when this returns.
    ///
    /// `Invalid` for what is out of bounds and never will be taken; `NotFound` for an agent that is not served here (any more).
    pub async fn deliver(&self, who: &Principal, ingest: &dyn Ingest, delivery: Delivery) -> Result<Admitted> {
        let Delivery { request, asked_by, trace, place } = delivery;
        let sent_id = request.id.clone().ok_or_else(|| Error::invalid("task_id is missing").at("task_id"))?;
        let hash = canonical::hash(&(&request, &asked_by));
        let key = format!("maniple:{}/{}/{sent_id}", who.tenant, request.agent);
        let other_id = TaskId::of_uuid(Uuid::new_v5(&Uuid::NAMESPACE_URL, key.as_bytes()));
        let mut new = self.checked(who, Submission { request, key: None, trace }).await?;
        let steps = new.publish.is_some_and(|publish| publish.steps);
        new.publish = Some(Publish { steps, asked_by, sent_id: None });
        let arrival = Arrival { new, sent_id: sent_id.to_string(), other_id, hash, place };
        let admitted = ingest.admit(&arrival).await?;
        if let Admitted::Created(created) = &admitted
            && created.fresh
        {
            let key = TaskKey { tenant: who.tenant.clone(), id: created.result.task_id.clone() };
            created.events.iter().for_each(|event| self.parts.bus.publish(&key, Live::Event(event.clone())));
            self.parts.bus.hint(Hint::Ready(created.result.agent.clone()));
        }
        Ok(admitted)
    }
}
