//! The tables, and how an older database becomes a newer one while older binaries still run on it.
//!
//! | table | holds | is written |
//! |---|---|---|
//! | `tasks` | every task there is, and the ids of those that are gone | as it is accepted, and as it ends |
//! | `live` | what moves of an unfinished one | by every append, in place: no index names what an append changes |
//! | `ready` | those that anybody may claim | put in and taken out; a task born claimed is never in it |
//! | `events` | the journals | once |
//!
//! Text is compared by its bytes (`COLLATE "C"`), and JSON is text: what was recorded comes back as it was.

use super::{args::args, failure::failed};
use crate::life::State;
use maniple_core::{Error, Result, event::EVENT_VERSION};
use tokio_postgres::Client;

/// One step a version; never edited once released, only added to. A step may add what older binaries do not name, and take away
/// only what no binary that still runs needs.
const MIGRATIONS: &[&str] = &[FIRST, KAFKA, ENDED, CLAIMED, DECOY];

const FIRST: &str = r#"
CREATE TABLE maniple (                     -- one row
  event_version bigint NOT NULL            -- the newest events in here
);
INSERT INTO maniple VALUES (0);
CREATE SEQUENCE numbers;                   -- of tasks and of places

CREATE TABLE definitions (hash text COLLATE "C" PRIMARY KEY, data text COLLATE "C" NOT NULL);

CREATE TABLE tasks (
  number bigint PRIMARY KEY,
  tenant text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  agent text COLLATE "C" NOT NULL,
  session text COLLATE "C" NOT NULL,
  priority bigint NOT NULL,
  place bigint,                            -- in the order of all tasks: given when accepted or made due
  created_at bigint NOT NULL,
  not_before bigint,
  deadline bigint,
  content_hash text COLLATE "C" NOT NULL,
  trace_id text COLLATE "C",
  retry_of text COLLATE "C",
  state bigint,                            -- 5 completed 6 failed 7 cancelled, null while it is unfinished
  finished_at bigint,
  last_seq bigint,                         -- of its final event
  last_step bigint,
  definition text COLLATE "C" REFERENCES definitions (hash),
  dead boolean NOT NULL DEFAULT false,     -- in the dead letters
  gone_until bigint                        -- it is gone, and its id stays taken until then
);
CREATE UNIQUE INDEX tasks_id ON tasks (tenant, id);
CREATE INDEX tasks_age ON tasks (tenant, created_at, id);
CREATE INDEX tasks_session ON tasks (tenant, agent, session, place);
CREATE INDEX tasks_dead ON tasks (tenant, created_at, id) WHERE dead;
CREATE INDEX tasks_definition ON tasks (definition);
CREATE INDEX tasks_finished ON tasks (finished_at);
CREATE INDEX tasks_gone ON tasks (gone_until) WHERE gone_until IS NOT NULL;

CREATE TABLE live (
  task bigint PRIMARY KEY,
  tenant text COLLATE "C" NOT NULL,
  agent text COLLATE "C" NOT NULL,
  session text COLLATE "C" NOT NULL,
  state bigint NOT NULL,                   -- 0 scheduled 1 waiting 2 ready 3 running 4 parked
  is_head boolean NOT NULL,                -- 2 to 4: the one of its session whose turn it is
  place bigint,
  due bigint,                              -- when a sweep must look at it again
  worker bigint,                           -- who holds it, as long as that one renews all it holds
  lease_until bigint,                      -- or this moment, if it is later
  epoch bigint NOT NULL,
  born text COLLATE "C",                   -- the wish by which it was born claimed
  at bigint NOT NULL,                      -- its last event's time: none is earlier than the one before it
  last_seq bigint NOT NULL,
  last_step bigint NOT NULL,
  progressed boolean NOT NULL DEFAULT false, -- whether a model or a tool answered under the present claim
  barren_expired bigint NOT NULL DEFAULT 0,
  signals bigint NOT NULL DEFAULT 0,       -- how many there are, read ones included
  steps_used bigint NOT NULL DEFAULT 0,
  tokens_used bigint NOT NULL DEFAULT 0,
  tool_calls bigint NOT NULL DEFAULT 0,
  cost_usd double precision,
  model text COLLATE "C",
  started_at bigint,
  until bigint,                            -- parked until
  waiting_for text COLLATE "C",
  definition text COLLATE "C" REFERENCES definitions (hash)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX live_head ON live (tenant, agent, session) WHERE is_head;
CREATE INDEX live_session ON live (tenant, agent, session, place);
CREATE INDEX live_due ON live (due);
CREATE INDEX live_worker ON live (worker);
CREATE INDEX live_lease ON live (lease_until);


CREATE TABLE ready (
  task bigint PRIMARY KEY,
  agent text COLLATE "C" NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  priority bigint NOT NULL,
  place bigint NOT NULL,
  ready_at bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX ready_turn ON ready (agent, tenant, priority DESC, place);

CREATE TABLE events (
  task bigint NOT NULL,
  seq bigint NOT NULL,
  epoch bigint NOT NULL,
  at bigint NOT NULL,
  step bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  data text COLLATE "C" NOT NULL,
  PRIMARY KEY (task, seq)
);
CREATE TABLE signals (
  n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task bigint NOT NULL,
  id text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  data text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  read boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE UNIQUE INDEX signals_id ON signals (task, id);

CREATE TABLE keys (
  tenant text COLLATE "C" NOT NULL, scope text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
  body_hash text COLLATE "C" NOT NULL, made text COLLATE "C" NOT NULL, at bigint NOT NULL,
  PRIMARY KEY (tenant, scope, key)
);
CREATE INDEX keys_at ON keys (at);
CREATE TABLE outbox (
  n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task bigint NOT NULL, topic text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, payload text COLLATE "C" NOT NULL
);
CREATE TABLE workers (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_version bigint NOT NULL,           -- the newest it folds
  until bigint NOT NULL                    -- its lease: how long it holds what it holds
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

CREATE TABLE approvals (
  task bigint NOT NULL,
  seq bigint NOT NULL,                     -- the `approval.requested` that made it
  tenant text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  agent text COLLATE "C" NOT NULL,
  requested_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  state text COLLATE "C" NOT NULL DEFAULT 'open',
  decision text COLLATE "C",
  decided_at bigint,
  listed boolean NOT NULL DEFAULT true     -- until its task has ended
);
CREATE UNIQUE INDEX approvals_id ON approvals (tenant, id);
CREATE INDEX approvals_task ON approvals (task);
CREATE INDEX approvals_listed ON approvals (tenant, requested_at, id) WHERE listed;

CREATE TABLE tool_versions (
  realm text COLLATE "C" NOT NULL,         -- whose runs alone it serves; '' for everybody's
  name text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  owner text COLLATE "C" NOT NULL,
  data text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (realm, name, version)
);
CREATE TABLE tool_calls (                  -- the ledger: what was asked under a key, and what came of it
  tenant text COLLATE "C" NOT NULL,
  tool text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  principal text COLLATE "C" NOT NULL,
  arguments_hash text COLLATE "C" NOT NULL,
  effect text COLLATE "C" NOT NULL,
  holder text COLLATE "C",                 -- who is at it, null for nobody
  until bigint,                            -- how long it is the holder's
  sends bigint NOT NULL DEFAULT 1,         -- how often somebody was told to send it
  at bigint NOT NULL,                      -- when it was opened
  is_ok boolean,                           -- true for a result, false for a failure, null while it is open
  result text COLLATE "C",
  PRIMARY KEY (tenant, tool, key, principal)
);
CREATE INDEX tool_calls_at ON tool_calls (at);

CREATE TABLE rate_takes (
  bucket bytea NOT NULL,                   -- tenant, agent and tool
  name bytea NOT NULL,                     -- half the hash of the call's name
  at bigint NOT NULL,
  until bigint NOT NULL,                   -- when it leaves the longest window it was asked about
  PRIMARY KEY (bucket, name)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX rate_takes_at ON rate_takes (bucket, at);
CREATE INDEX rate_takes_until ON rate_takes (until);
"#;

/// What is told outside, and what came from there.
const KAFKA: &str = r#"
ALTER TABLE live ADD COLUMN publish text COLLATE "C";   -- how the outside is told of it, null for not at all
ALTER TABLE outbox
  ADD COLUMN event_id text COLLATE "C",
  ADD COLUMN trace_id text COLLATE "C",
  ADD COLUMN at bigint;
CREATE INDEX outbox_line ON outbox (topic, key, n);
CREATE TABLE outbox_lines (                -- one for each line that has rows
  topic text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  waiting bigint NOT NULL,                 -- how many rows
  due bigint NOT NULL,                     -- until then it is somebody's, or left alone
  holder text COLLATE "C",
  failures bigint NOT NULL DEFAULT 0,      -- how often its first row could not be sent
  PRIMARY KEY (topic, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX outbox_lines_due ON outbox_lines (due);
CREATE TABLE ingest (                      -- the records that became tasks
  tenant text COLLATE "C" NOT NULL,
  agent text COLLATE "C" NOT NULL,
  sent_id text COLLATE "C" NOT NULL,       -- the id its sender gave it
  hash text COLLATE "C" NOT NULL,
  task text COLLATE "C" NOT NULL,          -- the id it got
  topic text COLLATE "C" NOT NULL,
  "partition" bigint NOT NULL,
  "offset" bigint NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (tenant, agent, sent_id)
);
CREATE INDEX ingest_place ON ingest (topic, "partition", "offset");
CREATE INDEX live_agent ON live (agent);
"#;

// The finished ones as they were accepted, those that are gone not among them: what goes first where the store is bounded by size.
const ENDED: &str = "
CREATE INDEX tasks_ended ON tasks (number) WHERE state IS NOT NULL AND gone_until IS NULL;
";

// A claim and its end change nothing that an index names, so they are written in place. Whose leases have run out is read from all
// that are unfinished, by one process for all of them.
const CLAIMED: &str = "
DROP INDEX live_worker;
DROP INDEX live_lease;
ALTER TABLE maniple ADD COLUMN leases_at bigint NOT NULL DEFAULT 0; -- when they are to be looked through again
";

// Made for a count a second, it was taken for what asks after one session, as long as nothing was known of the table.
const DECOY: &str = "
DROP INDEX live_agent;
";

// The numbers in the SQL above and below are these.
const _: () = assert!(State::Waiting as i64 == 1 && State::Ready as i64 == 2 && State::Running as i64 == 3 && State::Parked as i64 == 4);
const _: () = assert!(State::Completed as i64 == 5 && State::Failed as i64 == 6 && State::Cancelled as i64 == 7);

/// The version that this build brings a database to.
pub(super) fn newest() -> i64 {
    MIGRATIONS.len() as i64
}

/// Names the lock under which one process migrates while others wait.
const LOCK: i64 = 0x6d61_6e69_706c_6501;

/// Brings the database to this version. `Invalid` for one that a newer version has written.
pub(super) async fn migrate(client: &Client) -> Result<()> {
    client
        .batch_execute(
            "BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '600s'; \
                          SET LOCAL client_min_messages = warning",
        )
        .await
        .map_err(failed)?;
    match migrate_within(client).await {
        Ok(()) => client.batch_execute("COMMIT").await.map_err(failed),
        Err(error) => {
            // The connection goes with its transaction, should this fail too.
            let _ = client.batch_execute("ROLLBACK").await;
            Err(error)
        }
    }
}

async fn migrate_within(client: &Client) -> Result<()> {
    let run = async |sql: &str, values: Vec<super::args::Arg>| {
        let values: Vec<_> = values.iter().map(super::args::Arg::pair).collect();
        client.query_typed(sql, &values).await.map_err(failed)
    };
    run("SELECT pg_advisory_xact_lock($1)", args![LOCK]).await?;
    client.batch_execute("CREATE TABLE IF NOT EXISTS maniple_migrations (version bigint PRIMARY KEY)").await.map_err(failed)?;
    let found = run("SELECT coalesce(max(version), 0) FROM maniple_migrations", args![]).await?;
    let found: i64 = found.first().map_or(0, |row| row.get(0));
    if found > MIGRATIONS.len() as i64 {
        return Err(newer("its tables have"));
    }
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(found as usize) {
        client.batch_execute(migration).await.map_err(failed)?;
        run("INSERT INTO maniple_migrations VALUES ($1)", args![version]).await?;
    }
    let events = run("SELECT event_version FROM maniple", args![]).await?;
    let events: i64 = events.first().map_or(0, |row| row.get(0));
    if events > i64::from(EVENT_VERSION) {
        return Err(newer("its events have"));
    }
    if events < i64::from(EVENT_VERSION) {
        run("UPDATE maniple SET event_version = $1", args![EVENT_VERSION]).await?;
    }
    Ok(())
}

fn newer(what: &str) -> Error {
    Error::invalid(format!("the database was written by a newer maniple ({what} a version this one does not know): use that one"))
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;
    use crate::postgres::{Options, TaskStore};
    use maniple_core::{
        canonical::hash_bytes,
        ports::{Room, Tasks as _, Upkeep as _, Work as _},
        task::TaskStatus,
    };
    use maniple_testkit::{
        postgres::Database,
        store_suite::{agent, append, completed, key, new, task_in},
    };

    /// As the first version wrote them: one that has ended, one that is claimed by a worker who is gone, one that waits behind it.
    const TASKS: &str = r#"
        INSERT INTO workers (event_version, until) VALUES (1, 0);
        INSERT INTO tasks (number, tenant, id, agent, session, priority, place, created_at, content_hash, state, finished_at, last_seq, last_step)
        VALUES (1, 'default', 'ended', 'search', 's', 5, 1, 1000, '', 5, 2000, 2, 1),
               (2, 'default', 'held', 'search', 's', 5, 2, 1000, '', NULL, NULL, NULL, NULL),
               (3, 'default', 'waits', 'search', 's', 5, 3, 1000, '', NULL, NULL, NULL, NULL);
        INSERT INTO live (task, tenant, agent, session, state, is_head, place, worker, lease_until, epoch, at, last_seq, last_step, started_at)
        VALUES (2, 'default', 'search', 's', 3, true, 2, 1, 3000, 1, 1000, 1, 0, 1000);
        INSERT INTO live (task, tenant, agent, session, state, is_head, place, epoch, at, last_seq, last_step)
        VALUES (3, 'default', 'search', 's', 1, false, 3, 0, 1000, 1, 0);
        SELECT setval('numbers', 3);
    "#;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_of_every_older_version_is_brought_to_this_one_and_goes_on() {
        for version in 0..=MIGRATIONS.len() {
            let database = Database::empty();
            database.execute("CREATE TABLE maniple_migrations (version bigint PRIMARY KEY)").await;
            for (number, migration) in (1..).zip(&MIGRATIONS[..version]) {
                database.execute(migration).await;
                database.execute(&format!("INSERT INTO maniple_migrations VALUES ({number})")).await;
            }
            if version > 0 {
                database.execute(TASKS).await;
                // Their events, as every version writes them.
                let accepted = serde_json::to_string(&task_in("held", "s")).expect("a task").replace('\'', "''");
                database
                    .execute(&format!(
                        "INSERT INTO events (task, seq, epoch, at, step, name, data) SELECT n, 1, 0, 1000, 0, 'task.accepted', '{accepted}' \
                         FROM generate_series(2, 3) n"
                    ))
                    .await;
            }
            let store = TaskStore::new(&database.url(), &Options::default()).expect("legal");
            store.migrate().await.expect("migrated");
            store.migrate().await.expect("nothing is left to do");
            if version > 0 {
                store.sweep().await.expect("swept");
                for name in ["held", "waits"] {
                    let claimed = store.claim(&[agent("search")], &Room::of(8)).await.expect("answers");
                    let [claimed] = &claimed[..] else { panic!("{version}: {name}: {claimed:?}") };
                    assert_eq!(claimed.claim.key, key(name), "{version}");
                    store.append(append(&claimed.claim, 1, vec![], completed("done"))).await.expect("recorded");
                }
            }
            store.create(new(task_in("new", "s"))).await.expect("accepted");
            let there = store.get(&key("new")).await.expect("answers").expect("there");
            assert_eq!(there.status, TaskStatus::Pending, "{version}");
        }
    }

    #[test]
    fn a_migration_that_databases_have_passed_stays_as_it_was() {
        // Whoever changes the tables adds a migration, and once databases have passed that, its line here.
        let passed = [
            "5c83b7eb44778ca1", // FIRST
            "1ee5d4a733d75111", // KAFKA
        ];
        let hashes: Vec<String> = MIGRATIONS.iter().map(|sql| hash_bytes(sql.as_bytes())[..16].to_owned()).collect();
        assert_eq!(hashes[..passed.len()], passed);
    }
}
