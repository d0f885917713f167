//! Who listens to a call while it is under way.

use serde_json::Value;
use std::fmt::Debug;

/// Hears what belongs to no record of a call: how far it is, and the pieces of its answer as they came. A door passes them on to a
/// client that asked for them.
///
/// Nothing is promised: a registry elsewhere tells nothing, nor does a result that was recorded before. Must not block.
pub trait Audience: Debug + Send + Sync {
    /// The tool says how far it is: so much, of so much in all, and in words, as far as it says so.
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<String>);

    /// The pieces of the answer, pictures and sounds with their bytes.
    fn content(&self, pieces: &[Value]);
}
