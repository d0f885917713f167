//! The ways into a node. A door translates: what is asked into words of the desk, and what the desk says into an answer.

pub mod http;
