//! Numbers compared exactly, whether they are written as integers or not.

use serde_json::{Number, Value};
use std::cmp::Ordering;

/// A JSON number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Num {
    Int(i128),
    /// Has a fraction, or is too large to be sure of.
    Float(f64),
}

impl Num {
    pub(super) fn of(number: &Number) -> Self {
        let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        match (integer, number.as_f64()) {
            (Some(integer), _) => Self::Int(integer),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 1e30 => Self::Int(float as i128),
            (None, float) => Self::Float(float.unwrap_or(f64::NAN)),
        }
    }
    pub(super) fn is_integer(self) -> bool {
        match self {
            Self::Int(_) => true,
            Self::Float(float) => float.fract() == 0.0,
        }
    }
    /// `None` only where one is not a number at all.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => against(a, b),
            (Self::Float(a), Self::Int(b)) => against(b, a).map(Ordering::reverse),
        }
    }
    pub(super) fn as_json(self) -> Option<Value> {
        match self {
            Self::Int(i) => i64::try_from(i).map(Value::from).or_else(|_| u64::try_from(i).map(Value::from)).ok(),
            Self::Float(f) => Number::from_f64(f).map(Value::Number),
        }
    }
    pub(super) fn plus(self, step: f64) -> Self {
        match self {
            Self::Int(i) if step.fract() == 0.0 => Self::Int(i.saturating_add(step as i128)),
            Self::Int(i) => Self::Float(i as f64 + step),
            Self::Float(f) => Self::Float(f + step),
        }
    }
}

fn against(integer: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float.abs() >= 1e30 {
        return Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    // `float` has a fraction here: whole ones of this size are `Int`.
    Some(if integer <= float.floor() as i128 { Ordering::Less } else { Ordering::Greater })
}

/// Equality as JSON Schema has it: 1 and 1.0 are one value.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => Num::of(x).compare(Num::of(y)) == Some(Ordering::Equal),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| equal(v, w))),
        _ => a == b,
    }
}

/// A lower or upper bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bound {
    pub(super) at: Num,
    pub(super) is_exclusive: bool,
}

impl Bound {
    /// The same bound for integers alone, written inclusively.
    pub(super) fn for_integers(self, is_lower: bool) -> Self {
        match self {
            Self { at: Num::Int(i), is_exclusive: true } => {
                let next = if is_lower { i.saturating_add(1) } else { i.saturating_sub(1) };
                Self { at: Num::Int(next), is_exclusive: false }
            }
            Self { at: Num::Float(f), .. } if f.abs() < 1e30 => {
                let next = if is_lower { f.ceil() } else { f.floor() };
                Self { at: Num::Int(next as i128), is_exclusive: false }
            }
            other => other,
        }
    }
    /// Whether whatever keeps this bound keeps the other too.
    pub(super) fn implies(self, other: Self, is_lower: bool) -> bool {
        let order = self.at.compare(other.at).map(|order| if is_lower { order } else { order.reverse() });
        match order {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => self.is_exclusive || !other.is_exclusive,
            Some(Ordering::Less) | None => false,
        }
    }
}
