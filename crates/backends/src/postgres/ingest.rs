//! What came from a broker: each record is a task once.

use super::{
    TaskStore,
    args::args,
    create::{Submission, first_number},
    failure::Refusal,
    link::{Ask, Tx, look, transact},
    outbox,
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
        let mut admitted = transact!(self.link, tx => admit(&mut tx, arrival));
        // Its id may have been taken between the look and the create, by another agent's task: then it has one of its own.
        if is_conflict(&admitted) {
            admitted = transact!(self.link, tx => admit(&mut tx, arrival));
        }
        // By a task that did not come this way, or one that is gone.
        if is_conflict(&admitted) { Ok(Admitted::Conflict) } else { admitted }
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

fn is_conflict(admitted: &Result<Admitted>) -> bool {
    admitted.as_ref().is_err_and(|error| error.kind == Kind::Conflict)
}

async fn admit(tx: &mut Tx<'_>, arrival: &Arrival) -> Result<Admitted, Refusal> {
    let task = &arrival.new.task;
    let (tenant, agent, sent_id) = (task.tenant.as_str(), task.agent.as_str(), arrival.sent_id.as_str());
    // Two consumers may have the same record at once.
    let name = format!("{tenant}/{agent}/{sent_id}");
    let lock = Ask("SELECT pg_advisory_xact_lock(hashtextextended($1, 4))", args![name]);
    let known = Ask("SELECT hash FROM ingest WHERE tenant = $1 AND agent = $2 AND sent_id = $3", args![tenant, agent, sent_id]);
    let held = Ask("SELECT agent FROM tasks WHERE tenant = $1 AND id = $2", args![tenant, task.id.as_str()]);
    let mut found = tx.under_locks(vec![lock, known, held]).await?.split_off(1).into_iter();
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
    let keep = "INSERT INTO ingest (tenant, agent, sent_id, hash, task, topic, \"partition\", \"offset\", at) \
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let Place { topic, partition, offset } = &arrival.place;
    tx.write(keep, args![tenant, agent, sent_id, &arrival.hash, task.as_str(), topic, *partition, *offset, tx.now]);
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
