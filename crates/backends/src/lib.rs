//! Stores: in memory and SQLite.
