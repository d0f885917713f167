//! The rules of the core, asked from outside. One binary: each further one links for seconds.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop there

mod approvals;
mod bench;
mod calls;
mod chance;
mod endings;
mod guards;
mod journal;
mod pace;
mod retries;
mod schemas;
mod signals;
mod takeover;
mod words;
