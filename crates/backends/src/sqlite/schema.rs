//! The tables, and how an older file becomes a newer one.
//!
//! A task's row is narrow and rewritten often; what is big is written once: the task itself is event 1,
//! the result the last event, definitions are kept by hash. All events are one b-tree, keyed by
//! `row << 20 | seq`, so that a journal lies together.

use super::failure::failed;
use crate::life::State;
use maniple_core::{Error, Result, event::EVENT_VERSION};
use rusqlite::Connection;

/// One step a version; never edited once released, only added to.
const MIGRATIONS: &[&str] = &[FIRST, TOOLS, APPROVALS, KEYS, LEDGER, TURNS, REALMS, RATES];

const FIRST: &str = "
CREATE TABLE store (                     -- one row
  clock INTEGER NOT NULL,                -- the latest time ever said, so that it never goes backwards
  numbers INTEGER NOT NULL,              -- the last number given to a row or a place
  unfinished INTEGER NOT NULL,           -- how many tasks are not final
  event_version INTEGER NOT NULL         -- the newest events in here
);
INSERT INTO store VALUES (0, 0, 0, 0);

CREATE TABLE tasks (
  row INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  agent TEXT NOT NULL,
  session TEXT NOT NULL,
  state INTEGER NOT NULL,                -- 0 scheduled 1 waiting 2 ready 3 running 4 parked 5 completed 6 failed 7 cancelled
  priority INTEGER NOT NULL,
  place INTEGER,                         -- in the order of all tasks: given when accepted or made due
  epoch INTEGER NOT NULL DEFAULT 0,
  last_seq INTEGER NOT NULL,
  last_step INTEGER NOT NULL DEFAULT 0,
  progressed INTEGER NOT NULL DEFAULT 0, -- whether a model or a tool answered under the present claim
  barren_expired INTEGER NOT NULL DEFAULT 0,
  barren_open INTEGER NOT NULL DEFAULT 0,
  signals INTEGER NOT NULL DEFAULT 0,    -- how many there are, read ones included
  steps_used INTEGER NOT NULL DEFAULT 0,
  tokens_used INTEGER NOT NULL DEFAULT 0,
  tool_calls INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  ready_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  not_before INTEGER,
  deadline INTEGER,
  until INTEGER,                         -- parked until
  due INTEGER,                           -- when a sweep must look at it again
  waiting_for TEXT,
  cost_usd REAL,
  model TEXT,
  definition INTEGER,
  dead INTEGER,                          -- 1 in the dead letters, else null
  content_hash TEXT NOT NULL,
  trace_id TEXT,
  retry_of TEXT
);
CREATE UNIQUE INDEX tasks_id ON tasks (tenant, id);
CREATE INDEX tasks_age ON tasks (tenant, created_at, id);
CREATE INDEX tasks_session ON tasks (tenant, agent, session, place);
CREATE UNIQUE INDEX tasks_head ON tasks (tenant, agent, session) WHERE state >= 2 AND state <= 4;
CREATE INDEX tasks_waiting ON tasks (tenant, agent, session, place) WHERE state = 1;
CREATE INDEX tasks_ready ON tasks (agent, priority, tenant, place, ready_at) WHERE state = 2;
CREATE INDEX tasks_due ON tasks (due) WHERE due IS NOT NULL;
CREATE INDEX tasks_dead ON tasks (tenant, created_at, id) WHERE dead = 1;
CREATE INDEX tasks_definition ON tasks (definition) WHERE definition IS NOT NULL;

CREATE TABLE events (
  id INTEGER PRIMARY KEY,                -- row << 20 | seq
  epoch INTEGER NOT NULL,
  at INTEGER NOT NULL,
  step INTEGER NOT NULL,
  name TEXT NOT NULL,
  data TEXT NOT NULL
);
CREATE TABLE signals (
  n INTEGER PRIMARY KEY,
  task INTEGER NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  data TEXT NOT NULL,
  at INTEGER NOT NULL,
  read INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX signals_id ON signals (task, id);
CREATE TABLE definitions (row INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, data TEXT NOT NULL);
CREATE TABLE keys (
  tenant TEXT NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL,
  body_hash TEXT NOT NULL, task TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (tenant, scope, key)
) WITHOUT ROWID;
CREATE INDEX keys_at ON keys (at);
CREATE TABLE taken (tenant TEXT NOT NULL, id TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (tenant, id)) WITHOUT ROWID;
CREATE INDEX taken_until ON taken (until);
CREATE TABLE outbox (
  n INTEGER PRIMARY KEY AUTOINCREMENT, task INTEGER NOT NULL, topic TEXT NOT NULL, key TEXT NOT NULL, payload TEXT NOT NULL
);
";

const TOOLS: &str = "
CREATE TABLE tool_versions (
  row INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  owner TEXT NOT NULL,
  data TEXT NOT NULL,
  at INTEGER NOT NULL
);
CREATE UNIQUE INDEX tool_versions_name ON tool_versions (name, version);
CREATE TABLE tool_calls (                -- the ledger: what was asked under a key, and what came of it
  row INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  tool TEXT NOT NULL,
  key TEXT NOT NULL,
  arguments_hash TEXT NOT NULL,
  at INTEGER NOT NULL,                   -- when it was opened
  is_ok INTEGER,                         -- 1 for a result, 0 for a failure, null while it is open
  result TEXT                            -- null while it is open
);
CREATE UNIQUE INDEX tool_calls_key ON tool_calls (tenant, tool, key);
CREATE INDEX tool_calls_at ON tool_calls (at);
";

const APPROVALS: &str = "
CREATE TABLE approvals (
  event INTEGER PRIMARY KEY,             -- the `approval.requested` that made it
  task INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  agent TEXT NOT NULL,
  requested_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'open',
  decision TEXT,
  decided_at INTEGER,
  listed INTEGER DEFAULT 1               -- null once its task has ended
);
CREATE UNIQUE INDEX approvals_id ON approvals (tenant, id);
CREATE INDEX approvals_task ON approvals (task);
CREATE INDEX approvals_listed ON approvals (tenant, requested_at, id) WHERE listed = 1;
";

const KEYS: &str = "
ALTER TABLE keys RENAME COLUMN task TO made; -- the id of what was made under the key: a task, or another thing
";

// A key is a principal's now, so that one key of a tool may stand in several rows.
const LEDGER: &str = "
ALTER TABLE tool_calls ADD COLUMN principal TEXT; -- who asked; null in a row from before, whose key was its tenant's
ALTER TABLE tool_calls ADD COLUMN effect TEXT;    -- null in a row from before, whose arguments_hash ends with :once for at_most_once
ALTER TABLE tool_calls ADD COLUMN holder TEXT;    -- who is at it, null for nobody
ALTER TABLE tool_calls ADD COLUMN until INTEGER;  -- how long it is the holder's
ALTER TABLE tool_calls ADD COLUMN sends INTEGER NOT NULL DEFAULT 1; -- how often somebody was told to send it
CREATE UNIQUE INDEX tool_calls_name ON tool_calls (tenant, tool, key, principal);
DROP INDEX tool_calls_key;
";

// Tenants take turns before priorities count.
const TURNS: &str = "
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready ON tasks (agent, tenant, priority DESC, place, ready_at) WHERE state = 2;
";

// Until now every name was everybody's. `operator` was the project itself, `local` whoever asked where nobody was asked who they
// are; an owner outside the tenant `default` is written TENANT/NAME.
const REALMS: &str = "
ALTER TABLE tool_versions ADD COLUMN tenant TEXT NOT NULL DEFAULT ''; -- whose runs alone it serves; '' for everybody's
UPDATE tool_versions SET tenant = CASE
  WHEN owner IN ('operator', 'local') THEN ''
  WHEN instr(owner, '/') > 0 THEN substr(owner, 1, instr(owner, '/') - 1)
  ELSE 'default'
END;
CREATE UNIQUE INDEX tool_versions_realm ON tool_versions (tenant, name, version);
DROP INDEX tool_versions_name;
";

// What limits of rates count, so that a restart does not begin anew.
const RATES: &str = "
CREATE TABLE rate_takes (
  bucket TEXT NOT NULL,                  -- tenant, agent and tool
  name BLOB NOT NULL,                    -- half the hash of the call's name
  at INTEGER NOT NULL,
  until INTEGER NOT NULL,                -- when it leaves the window
  PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
CREATE INDEX rate_takes_until ON rate_takes (until);
-- So that a tenant's unfinished tasks are counted without reading them.
CREATE INDEX IF NOT EXISTS tasks_scheduled ON tasks (tenant) WHERE state = 0;
";

// The numbers in the SQL above and below are these.
const _: () = assert!(State::Waiting as i64 == 1 && State::Ready as i64 == 2 && State::Parked as i64 == 4 && State::Completed as i64 == 5);

/// Brings the file to this version. `Invalid` for one that a newer version has written.
pub(super) fn migrate(db: &Connection) -> Result<()> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(newer("its tables have"));
    }
    for (version, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
        db.execute_batch(&format!("BEGIN IMMEDIATE; {migration} PRAGMA user_version = {version}; COMMIT;")).map_err(failed)?;
    }
    let events: u32 = db.query_row("SELECT event_version FROM store", [], |row| row.get(0)).map_err(failed)?;
    if events > EVENT_VERSION {
        return Err(newer("its events have"));
    }
    if events < EVENT_VERSION {
        db.execute("UPDATE store SET event_version = ?1", [EVENT_VERSION]).map_err(failed)?;
    }
    Ok(())
}

fn newer(what: &str) -> Error {
    Error::invalid(format!("the database was written by a newer maniple ({what} a version this one does not know): use that one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::canonical::hash_bytes;

    /// Tables and indexes, and how each was made.
    fn made(db: &Connection) -> Vec<(String, String)> {
        let mut read = db.prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").expect("a query");
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("names")
    }

    #[test]
    fn a_file_of_any_version_comes_to_the_tables_of_a_new_one() {
        let new = Connection::open_in_memory().expect("a database");
        migrate(&new).expect("made");
        for version in 0..=MIGRATIONS.len() {
            let old = Connection::open_in_memory().expect("a database");
            for migration in &MIGRATIONS[..version] {
                old.execute_batch(migration).expect("as it was");
            }
            old.pragma_update(None, "user_version", version as i64).expect("as it was");
            migrate(&old).expect("brought to this version");
            assert_eq!(made(&old), made(&new), "from version {version}");
        }
    }

    #[test]
    fn a_migration_that_stores_have_passed_stays_as_it_was() {
        // Whoever changes the tables adds a migration, and once stores have passed that, its line here.
        let passed = [
            "cfa9f816581933bd", // FIRST
            "1e004ec49b82ab8c", // TOOLS
            "b5a35a39e47ae1cb", // APPROVALS
            "08a081b10c0e161f", // KEYS
            "fdf9060fdb419158", // LEDGER
            "c69802e0a21d2ee2", // TURNS
            "147adbc552a0c16f", // REALMS
        ];
        let hashes: Vec<String> = MIGRATIONS.iter().map(|sql| hash_bytes(sql.as_bytes())[..16].to_owned()).collect();
        assert_eq!(hashes[..passed.len()], passed);
    }
}
