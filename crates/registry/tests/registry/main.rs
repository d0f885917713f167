//! Tools called over loopback: every rule of the wire, every way a call can break, and egress.

#![allow(clippy::unwrap_used)]

mod bench;
mod breaks;
mod egress;
mod gateway;
mod mcp;
mod mcp_live;
mod mcp_server;
mod openapi;
mod replicas;
mod server;
mod ssrf;
mod wire;
