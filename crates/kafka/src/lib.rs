//! Kafka as a door: records become tasks, facts of the store become records.
//!
//! ```text
//! agent.tasks.{agent} ─► Ingest ─► read (JSON, Avro) ─► Door: accepted in the store ─► offset committed
//!                          │ unreadable ─► agent.tasks.{agent}.dlq, acknowledged ─► offset committed
//!                          └ not now ─► the partition pauses, seeks back, is tried again; polling goes on
//! Outbox (the store) ─► Relay: holds lines by lease, one row after the other ─► agent.results.{agent} · agent.events.{agent}
//!                          └ acknowledged ─► the row is deleted
//! ```
//! Kafka is a door and not the work queue: no agent runs here, and losing the broker costs time, never a task. Delivery is at least
//! once both ways; what makes it once is the store (in), and readers that know `event-id` (out).

mod avro;
mod client;
mod contact;
mod examine;
mod ingest;
mod lanes;
mod letters;
mod paused;
mod read;
mod registry;
mod relay;
mod sender;
mod settings;
mod topics;

pub use client::Brokers;
pub use contact::Contact;
pub use examine::examine;
pub use ingest::{Delivered, Door, Ingest, Letter};
pub use letters::{DeadRecord, LettersReader};
pub use read::{Read, Reader, TaskRecord};
pub use registry::SchemaRegistry;
pub use relay::Relay;
pub use sender::{NotSent, Record, Sender};
pub use settings::KafkaSettings;
