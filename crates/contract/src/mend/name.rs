//! Names that models accept.

use maniple_core::canonical;
use std::collections::HashSet;

const LONGEST: usize = 64;

/// A name that a model accepts and that nobody has yet; it is taken from then on.
///
/// What is not of `A-Za-z0-9_-` becomes `_`; a name over 64 characters is cut and ends in eight digits of
/// its own hash, so that long names that begin alike stay apart; one that is taken ends in a number. Among
/// `n` that are taken the number is found by asking for about 2·log₂ `n` of them.
pub fn legal_name(name: &str, taken: &mut HashSet<String>) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let mut wanted: String = name.chars().take(LONGEST + 1).map(legal).collect();
    if wanted.is_empty() {
        wanted = "tool".into();
    }
    if wanted.len() > LONGEST {
        let hash = canonical::hash_bytes(name.as_bytes());
        wanted = format!("{}_{}", &wanted[..LONGEST - 9], &hash[..8]);
    }
    let numbered = |number: usize| {
        let ending = format!("_{number}");
        format!("{}{ending}", &wanted[..wanted.len().min(LONGEST - ending.len())])
    };
    let mut chosen = wanted.clone();
    if taken.contains(&wanted) {
        // The name without a number counts as the first: the one looked for follows a taken one.
        let (mut is_taken, mut is_free) = (1, 2);
        while taken.contains(&numbered(is_free)) {
            (is_taken, is_free) = (is_free, is_free * 2);
        }
        while is_free - is_taken > 1 {
            let between = is_taken.midpoint(is_free);
            if taken.contains(&numbered(between)) {
                is_taken = between;
            } else {
                is_free = between;
            }
        }
        chosen = numbered(is_free);
    }
    taken.insert(chosen.clone());
    chosen
}

/// Whether anything of it is left once it is legal, so that it still tells one tool from another.
pub(super) fn has_legal_part(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_alphanumeric()) || (!name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte == b'-'))
}
