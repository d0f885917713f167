//! Names that models accept.

use maniple_core::canonical;
use std::collections::HashSet;

const LONGEST: usize = 64;

/// A name that a model accepts and that nobody has yet; it is taken from then on.
///
/// What is not of `A-Za-z0-9_-` becomes `_`; a name over 64 characters is cut and ends in eight digits of
/// its own hash, so that long names that begin alike stay apart; one that is taken ends in a number.
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
    let mut chosen = wanted.clone();
    let mut number = 1;
    while !taken.insert(chosen.clone()) {
        number += 1;
        let ending = format!("_{number}");
        chosen = format!("{}{ending}", &wanted[..wanted.len().min(LONGEST - ending.len())]);
    }
    chosen
}
