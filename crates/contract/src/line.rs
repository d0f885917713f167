//! Lines of versions: within one, callers of a version may be given a later one.
//!
//! A line is a major version or, below 1.0.0, a minor one.

use crate::Verdict;
use semver::Version;

/// Whether callers of one may be given the other.
pub fn is_same(a: &Version, b: &Version) -> bool {
    after(a) == after(b)
}

/// The first version after this one that may break its callers.
pub fn after(version: &Version) -> Version {
    if version.major == 0 { Version::new(0, version.minor + 1, 0) } else { Version::new(version.major + 1, 0, 0) }
}

/// The nearest version that something compared with this one may be published as.
pub fn next(version: &Version, verdict: Verdict) -> Version {
    match verdict {
        Verdict::Compatible => Version::new(version.major, version.minor, version.patch + 1),
        Verdict::Breaking | Verdict::Unproven => after(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_major_version_and_below_one_a_minor_one() {
        let version = |text: &str| Version::parse(text).expect("a version");
        for (a, b, is_one, next_that_may_break) in [
            ("1.0.0", "1.9.3", true, "2.0.0"),
            ("1.9.9", "2.0.0", false, "2.0.0"),
            ("0.1.3", "0.1.9", true, "0.2.0"),
            ("0.1.3", "0.2.0", false, "0.2.0"),
            ("0.9.0", "1.0.0", false, "0.10.0"),
        ] {
            assert_eq!(is_same(&version(a), &version(b)), is_one, "{a} {b}");
            assert_eq!(after(&version(a)), version(next_that_may_break), "{a}");
            assert_eq!(next(&version(a), Verdict::Unproven), after(&version(a)), "{a}");
        }
        assert_eq!(next(&version("1.2.3"), Verdict::Compatible), version("1.2.4"));
    }
}
