//! File descriptors: as many as the system lets this process have, and how they are shared.
//!
//! ```text
//! of what is left when the door opens:   5/8 connections   ·   1/16 connections that are only told how the node is (at most 32)
//!                                        3/16 calls of tools · the rest: the store, models, files
//! ```

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process is taken to have open where nobody can say.
const OPEN_UNKNOWN: u64 = 64;
/// What is taken to be there where there is no limit.
const NO_LIMIT: u64 = 1 << 20;

/// Raises the limit of this process as far as it may. Nothing is lost where it may not.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// How many connections may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Served like any other.
    pub connections: usize,
    /// Beyond those: heard for a moment, and told how the node is.
    pub spare: usize,
}

impl Shares {
    /// What a door gets that wants so many connections, by what is left now.
    pub fn of(wanted: u64) -> Self {
        Self::among(left(), wanted)
    }

    /// How many calls of tools may be under way, of so many that are wanted.
    pub fn calls(wanted: u32) -> u32 {
        u32::try_from((left() * 3 / 16).max(4)).unwrap_or(u32::MAX).min(wanted)
    }

    fn among(left: u64, wanted: u64) -> Self {
        let connections = usize::try_from(wanted.min(left * 5 / 8).max(1)).unwrap_or(usize::MAX);
        Self { connections, spare: (left / 16).clamp(1, 32) as usize }
    }
}

fn left() -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(NO_LIMIT);
    let open = std::fs::read_dir("/proc/self/fd").map_or(OPEN_UNKNOWN, |open| open.count() as u64);
    limit.saturating_sub(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left_for_the_node_itself_whatever_the_limit() {
        for left in [16, 40, 960, 20_000, NO_LIMIT] {
            let shares = Shares::among(left, 40_000);
            assert!((shares.connections + shares.spare) as u64 <= left * 3 / 4, "{left}: {shares:?}");
        }
        assert_eq!(Shares::among(NO_LIMIT, 40_000), Shares { connections: 40_000, spare: 32 });
    }
}
