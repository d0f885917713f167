//! The tool registry: definitions, checks, and the call itself.
