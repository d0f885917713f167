//! The door at a real broker.
//!
//! `MANIPLE_TEST_KAFKA` and `MANIPLE_TEST_SCHEMA_REGISTRY` are the URLs of a broker and of a registry before it:
//! `scripts/services up` starts both and says them.

mod examine;
mod ingest;
mod registry;
mod relay;
mod secure;
mod world;
