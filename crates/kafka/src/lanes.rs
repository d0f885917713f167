//! A batch of records as it is handled: sessions beside each other, each in its order; and how far each partition came.

use rdkafka::message::{Message, OwnedMessage};
use std::collections::{BTreeMap, BTreeSet};

/// A partition of a topic.
pub(crate) type Partition = (String, i32);

/// The partition that a record lies in.
pub(crate) fn partition(record: &OwnedMessage) -> Partition {
    (record.topic().to_owned(), record.partition())
}

/// Records of one session of one partition, in their order.
pub(crate) fn lanes(batch: Vec<OwnedMessage>) -> Vec<Vec<OwnedMessage>> {
    let mut lanes: BTreeMap<(Partition, Option<Vec<u8>>), Vec<OwnedMessage>> = BTreeMap::new();
    for record in batch {
        let key = record.key().map(<[u8]>::to_vec);
        lanes.entry((partition(&record), key)).or_default().push(record);
    }
    lanes.into_values().collect()
}

/// How far a partition came in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// What is handled is before this offset, and all of it: what to commit.
    pub(crate) commit: Option<i64>,
    /// The first that could not be handled now.
    pub(crate) stuck_at: Option<i64>,
}

/// Of the offsets of a batch, in each partition: those before the first that was not handled are done.
pub(crate) fn reached(offsets: &BTreeMap<Partition, BTreeSet<i64>>, handled: &BTreeSet<(Partition, i64)>) -> BTreeMap<Partition, Reached> {
    let reach = |partition: &Partition, offsets: &BTreeSet<i64>| {
        let stuck_at = offsets.iter().find(|offset| !handled.contains(&(partition.clone(), **offset))).copied();
        let last = match stuck_at {
            Some(stuck) => offsets.range(..stuck).next_back(),
            None => offsets.last(),
        };
        Reached { commit: last.map(|last| last + 1), stuck_at }
    };
    offsets.iter().map(|(partition, offsets)| (partition.clone(), reach(partition, offsets))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;

    fn record(key: &str, partition: i32, offset: i64) -> OwnedMessage {
        OwnedMessage::new(None, Some(key.into()), "t".into(), Timestamp::NotAvailable, partition, offset, None)
    }

    #[test]
    fn a_session_keeps_its_order_and_waits_for_no_other() {
        let lanes = lanes(vec![record("a", 0, 0), record("b", 0, 1), record("a", 0, 2), record("a", 1, 0)]);
        let told: Vec<Vec<(i32, i64)>> = lanes.iter().map(|lane| lane.iter().map(|r| (r.partition(), r.offset())).collect()).collect();
        assert_eq!(told, [vec![(0, 0), (0, 2)], vec![(0, 1)], vec![(1, 0)]]);
    }

    #[test]
    fn nothing_is_committed_behind_a_record_that_was_not_handled() {
        let p = |n: i32| ("t".to_owned(), n);
        let offsets = BTreeMap::from([(p(0), [4, 5, 7].into()), (p(1), [0].into()), (p(2), [9].into())]);
        let handled = BTreeSet::from([(p(0), 4), (p(0), 7), (p(2), 9)]);
        let reached = reached(&offsets, &handled);
        assert_eq!(reached[&p(0)], Reached { commit: Some(5), stuck_at: Some(5) });
        assert_eq!(reached[&p(1)], Reached { commit: None, stuck_at: Some(0) });
        assert_eq!(reached[&p(2)], Reached { commit: Some(10), stuck_at: None });
    }
}
