//! Tools called over loopback: every rule of the wire, every way a call can break, and egress.

#![allow(clippy::unwrap_used)]

mod bench;
mod bombs;
mod breaks;
mod compat;
mod egress;
mod gateway;
mod mcp;
mod mcp_server;
mod mend;
mod openapi;
mod server;
mod ssrf;
mod wire;
