//! The vocabulary of settings. Each part owns the type of its section: the key, its meaning, its default and its bounds
//! stand there and nowhere else, and the file is a tree of these types.

mod machine;
mod period;
mod secret;

pub use machine::is_this_machine;
pub use period::Period;
pub use secret::Secret;

use crate::{Error, Result};
use std::{fmt::Display, ops::RangeInclusive};

/// A section of the settings, as the part that works by it has it.
pub trait Section {
    /// Where each of its values must lie.
    fn bounds(&self) -> Vec<Bound>;

    /// `Invalid` at `AT.FIELD` for the first value that lies outside.
    fn within_bounds(&self, at: &str) -> Result<()> {
        self.bounds().into_iter().try_for_each(|bound| bound.below(at).check())
    }
}

/// Where a setting must lie, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The setting.
    pub field: String,
    /// What it is set to, as a person writes it.
    pub value: String,
    /// The least it may be.
    pub low: String,
    /// The most it may be.
    pub high: String,
    holds: bool,
}

impl Bound {
    /// Both ends are allowed.
    pub fn of<T: PartialOrd + Display>(field: &str, value: T, range: RangeInclusive<T>) -> Self {
        let holds = range.contains(&value);
        let (low, high) = range.into_inner();
        Self { field: field.to_owned(), value: value.to_string(), low: low.to_string(), high: high.to_string(), holds }
    }

    /// The same of a section that stands below another one.
    pub fn below(self, section: &str) -> Self {
        Self { field: format!("{section}.{}", self.field), ..self }
    }

    /// `Invalid` at the setting if it lies outside.
    pub fn check(&self) -> Result<()> {
        if self.holds {
            return Ok(());
        }
        let Self { field, value, low, high, .. } = self;
        Err(Error::invalid(format!("{field} must be {low} to {high}, not {value}")).at(field.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_allows_both_of_its_ends_and_names_the_setting_that_lies_outside() {
        let poll = |poll: Period| Bound::of("poll", poll, Period::ms(10)..=Period::hours(1)).below("worker");
        assert!([Period::ms(10), Period::seconds(7), Period::hours(1)].map(poll).iter().all(|bound| bound.check().is_ok()));
        let error = poll(Period::minutes(61)).check().unwrap_err();
        assert_eq!((&*error.message, error.field.as_deref()), ("worker.poll must be 10ms to 1h, not 61m", Some("worker.poll")));
        assert!(Bound::of("share", f64::NAN, 0.0..=1.0).check().is_err());
    }
}
