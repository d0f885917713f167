//! What came from a broker: each record is a task once.

use super::{
    TaskStore,
    args::args,
    batch::Work,
    create::{self, Submission, first_number},
    failure::Refusal,
    outbox,
    tx::{Ask, LockName, Locks, Tx, look, transact},
    writes::Rows,
};
use async_trait::async_trait;
use maniple_core::{
    AgentName, Kind, Result,
    ports::{self, Admitted, Arrival, NewTask, Place},
    request::Content,
};

#[async_trait]
impl ports::Ingest for TaskStore {
    async fn admit(&self, arrival: &Arrival) -> Result<Admitted> {
        match self.writers.write(Admitting(arrival.clone())).await {
            // Its id is that of a task that did not come this way, or of one that is gone.
            Err(error) if error.kind == Kind::Conflict => Ok(Admitted::Conflict),
            admitted => admitted,
        }
    }

    async fn pending(&self, agent: &AgentName, most: u64) -> Result<u64> {
        let count = "SELECT count(*) FROM (SELECT 1 FROM live WHERE agent = $1 LIMIT $2) l";
        let found = look!(self.link, tx => tx.rows(count, args![agent.as_str(), most]))?;
        Ok(first_number(&found).map_or(0, i64::unsigned_abs))
    }

    async fn forget_before(&self, place: &Place, limit: usize) -> Result<u64> {
        let Place { topic, partition, offset } = place;
        let forget = "WITH gone AS (DELETE FROM ingest WHERE (tenant, agent, sent_id) IN (\
                        SELECT tenant, agent, sent_id FROM ingest WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" < $3 \
                        ORDER BY \"offset\" LIMIT $4) RETURNING 1) SELECT count(*) FROM gone";
        let found = transact!(self.link, tx => async {
            tx.under_locks(Vec::new()).await?;
            tx.rows(forget, args![topic, *partition, *offset, limit]).await
        })?;
        Ok(first_number(&found).map_or(0, i64::unsigned_abs))
    }
}

/// The kind of the locks of records.
const RECORD: i64 = 4;

/// A record that is to become a task.
struct Admitting(Arrival);

#[async_trait]
impl Work for Admitting {
    type Answer = Admitted;
    /// Two consumers may have the same record at once, and another door its id.
    fn locks(&self) -> Locks {
        let Arrival { new, sent_id, other_id, .. } = &self.0;
        let record = LockName { text: format!("{}/{}/{sent_id}", new.task.tenant, new.task.agent), kind: RECORD };
        let mut names = create::locks(new);
        names.extend([record, create::id_lock(&new.task.tenant, other_id)]);
        Locks { names, task: None }
    }
    async fn work(&self, tx: &mut Tx<'_>) -> Result<Admitted, Refusal> {
        admit(tx, &self.0).await
    }
}

async fn admit(tx: &mut Tx<'_>, arrival: &Arrival) -> Result<Admitted, Refusal> {
    let task = &arrival.new.task;
    let (tenant, agent, sent_id) = (task.tenant.as_str(), task.agent.as_str(), arrival.sent_id.as_str());
    let known = Ask("SELECT hash FROM ingest WHERE tenant = $1 AND agent = $2 AND sent_id = $3", args![tenant, agent, sent_id]);
    let held = Ask("SELECT agent FROM tasks WHERE tenant = $1 AND id = $2", args![tenant, task.id.as_str()]);
    let mut found = tx.under_locks(vec![known, held]).await?.into_iter();
    if let Some(row) = found.next().unwrap_or_default().first() {
        let is_same = row.try_get::<_, &str>(0)? == arrival.hash;
        return Ok(if is_same { Admitted::Known } else { Admitted::Conflict });
    }
    let is_anothers = match found.next().unwrap_or_default().first() {
        Some(row) => row.try_get::<_, &str>(0)? != agent,
        None => false,
    };
    let new = if is_anothers { renamed(arrival) } else { arrival.new.clone() };
    let (task, publish) = (new.task.id.clone(), new.publish.clone());
    let (created, _) = Submission::of(new)?.create(tx, 0).await?;
    if !created.fresh {
        // It came by another door before, and its result is told here too.
        let tell = "UPDATE live SET publish = $3 WHERE task = (SELECT number FROM tasks WHERE tenant = $1 AND id = $2)";
        tx.write(tell, args![tenant, task.as_str(), publish.as_ref().map(outbox::write_publish)]);
    }
    let Place { topic, partition, offset } = &arrival.place;
    tx.put(Rows::Records, args![tenant, agent, sent_id, &arrival.hash, task.as_str(), topic, *partition, *offset, tx.now]);
    Ok(Admitted::Created(Box::new(created)))
}

/// The task under the other id, telling the one that its sender knows.
fn renamed(arrival: &Arrival) -> NewTask {
    let mut new = arrival.new.clone();
    new.task.id = arrival.other_id.clone();
    if let Content::Asked(request) = &mut new.content {
        request.id = Some(arrival.other_id.clone());
    }
    if let Some(publish) = &mut new.publish {
        publish.sent_id = Some(arrival.sent_id.clone());
    }
    new
}
