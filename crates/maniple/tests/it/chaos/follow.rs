//! Readers of event streams that are cut in the middle, and go on at another api after the last number they have.

use super::{fleet::Fleet, load::Known};
use crate::survival::reader;
use fastrand::Rng;
use maniple_core::{TaskId, event::StoredEvent};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Readers at once.
const READERS: usize = 8;
/// The longest that one stays at an api.
const STAYS_MAX: Duration = Duration::from_secs(8);

/// What a reader saw of each event: its number, its type and a hash of its data.
type Seen = Vec<(u64, String, u64)>;

/// What all readers saw of the tasks they followed to the end.
pub struct Followed(BTreeMap<TaskId, Seen>);

impl Followed {
    pub fn number(&self) -> usize {
        self.0.len()
    }
    /// What is wrong with what was seen of a task, now that its whole journal is known.
    pub fn compare(&self, id: &TaskId, journal: &[StoredEvent]) -> Option<String> {
        let seen = self.0.get(id)?;
        (*seen != told(journal)).then(|| {
            let numbers: Vec<u64> = seen.iter().map(|(number, _, _)| *number).collect();
            format!("a reader of {id} saw the events {numbers:?}, or others than the {} of its journal", journal.len())
        })
    }
}

fn told(events: &[StoredEvent]) -> Seen {
    let hash = |text: &str| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    };
    events.iter().map(|event| (event.seq, event.name.to_string(), hash(event.data.get()))).collect()
}

/// Follows one task after the other until told to stop; what was begun is read to its end.
pub async fn some(fleet: Arc<Fleet>, known: Known, mut dice: Rng, stop: CancellationToken) -> Followed {
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (fleet, known, mut dice, stop) = (fleet.clone(), known.clone(), dice.fork(), stop.clone());
        readers.spawn(async move {
            let mut seen = BTreeMap::new();
            while !stop.is_cancelled() {
                let open = known.open();
                match open.get(dice.usize(0..open.len().max(1))) {
                    Some(id) if !seen.contains_key(id) => {
                        let events = follow(&fleet, id, &mut dice).await;
                        seen.insert(id.clone(), told(&events));
                    }
                    _ => sleep(Duration::from_millis(20)).await,
                }
            }
            seen
        });
    }
    let mut all = BTreeMap::new();
    while let Some(seen) = readers.join_next().await {
        all.extend(seen.expect("no reader found anything wrong"));
    }
    Followed(all)
}

/// From its first event to its last. What comes is kept as it comes, whatever its number.
async fn follow(fleet: &Fleet, id: &TaskId, dice: &mut Rng) -> Vec<StoredEvent> {
    let (mut events, mut place): (Vec<StoredEvent>, usize) = (Vec::new(), dice.usize(0..3));
    while !events.last().is_some_and(StoredEvent::is_final) {
        let door = fleet.doors.other(&mut place, dice);
        // Every second one hangs up after a few events.
        let more = if dice.bool() { dice.usize(1..4) } else { usize::MAX };
        let before = events.len();
        // Nothing is lost of what has come, whoever breaks off.
        let _ = timeout(STAYS_MAX, reader::read(door, id, &mut events, more)).await;
        if before > 0 {
            fleet.counts.one("streams resumed at another api");
        }
        sleep(Duration::from_millis(dice.u64(0..30))).await;
    }
    events
}
