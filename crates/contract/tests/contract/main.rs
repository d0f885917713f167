//! Definitions as they come and versions as they follow: every rule of mending and comparing, and what is too much for either.

#![allow(clippy::unwrap_used)]

mod bombs;
mod compat;
mod mend;
