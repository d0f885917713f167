//! The parts of the binary. The command line is the only public promise; these modules serve it and its tests.
#![allow(missing_docs)]

pub mod cli;
pub mod config;
pub mod descriptors;
pub mod doors;
pub mod files;
pub mod node;
pub mod telemetry;
pub mod yaml;
