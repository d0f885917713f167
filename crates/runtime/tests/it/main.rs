//! The runtime over the memory store, with paused time: every run end to end, and everything that can befall it.

mod world;

mod approvals;
mod basics;
mod births;
mod doubts;
mod durable;
mod failpoints;
mod fairness;
mod models;
mod rates;
mod signals;
mod simulation;
mod stopping;
mod zombies;
