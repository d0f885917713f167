//! How long the tasks of a worker that was killed stand still: until another one has recorded something of them.

use super::faults::{Fault, Was};
use tokio_postgres::{Client, NoTls};

/// A claim that a task was under: the task's number and the claim's epoch.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    task: i64,
    epoch: i64,
}

/// A worker's death, and every claim that anybody held at that moment.
pub struct Death {
    pub at_ms: i64,
    pub held: Vec<Held>,
}

/// What came of them.
#[derive(Debug, Default, Clone)]
pub struct Takeovers {
    /// Milliseconds, of each task that went on elsewhere after a death that nothing else was near.
    pub alone_ms: Vec<i64>,
    /// How many deaths those were.
    pub alone: usize,
    /// The same after all other deaths.
    pub among_others_ms: Vec<i64>,
    pub among_others: usize,
}

/// Every claim there is; `None` while the database is away.
pub async fn look(url: &str) -> Option<Vec<Held>> {
    let client = connect(url).await.ok()?;
    let rows = client.query("SELECT task, epoch FROM live WHERE state = 3 AND worker IS NOT NULL", &[]).await.ok()?;
    Some(rows.iter().map(|row| Held { task: row.get(0), epoch: row.get(1) }).collect())
}

/// What followed each death, by the journals.
pub async fn measure(url: &str, deaths: &[Death], faults: &[Was]) -> Takeovers {
    let client = connect(url).await.expect("the database answers");
    let mut takeovers = Takeovers::default();
    for death in deaths {
        let is_alone = !faults.iter().any(|other| disturbs(other, death.at_ms));
        let mut found = Vec::new();
        for held in &death.held {
            let first = "SELECT min(at) FROM events WHERE task = $1 AND epoch > $2 AND at >= $3";
            let row = client.query_one(first, &[&held.task, &held.epoch, &death.at_ms]).await.expect("answers");
            found.extend(row.get::<_, Option<i64>>(0).map(|at| at - death.at_ms));
        }
        if found.is_empty() {
            continue;
        }
        let (all, deaths) = match is_alone {
            true => (&mut takeovers.alone_ms, &mut takeovers.alone),
            false => (&mut takeovers.among_others_ms, &mut takeovers.among_others),
        };
        all.extend(found);
        *deaths += 1;
    }
    takeovers.alone_ms.sort_unstable();
    takeovers.among_others_ms.sort_unstable();
    takeovers
}

/// Whether it made somebody else change hands, or kept everybody from going on, while a death at that moment was noticed.
fn disturbs(other: &Was, death_ms: i64) -> bool {
    use Fault::*;
    // Tasks that another one lost, too, go on up to a lease and a moment after it.
    let reach = match other.fault {
        WorkerKilled | WorkerStoodStill => 13_000,
        PostgresKilled | PostgresEnded | ConnectionsEnded | RegistryKilled => 1_000,
        _ => return false,
    };
    other.began_ms != death_ms && other.began_ms < death_ms + 13_000 && other.ended_ms + reach > death_ms
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
