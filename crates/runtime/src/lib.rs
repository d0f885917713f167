//! Claims tasks and drives them to their outcome.
