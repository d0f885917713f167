//! How wide a value is on each of its levels.

use serde_json::Value;

/// How many values there are on each level, and how many bytes of text and names; the value itself is on level 0.
#[derive(Debug, Default)]
pub(super) struct Shape {
    values: Vec<u64>,
    bytes: Vec<u64>,
}

impl Shape {
    pub(super) fn of(value: &Value) -> Self {
        let mut shape = Self::default();
        shape.add(value, 0);
        shape
    }

    pub(super) fn values(&self) -> &[u64] {
        &self.values
    }
    pub(super) fn bytes(&self) -> &[u64] {
        &self.bytes
    }
    pub(super) fn total_bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }
    /// What lies on each level, in values, a long text as several.
    pub(super) fn weights(&self) -> Vec<u64> {
        self.values.iter().zip(&self.bytes).map(|(values, bytes)| values + bytes / 64).collect()
    }
    /// All of it, in values, a long text as several.
    pub(super) fn weight(&self) -> u64 {
        self.values.iter().sum::<u64>() + self.total_bytes() / 64
    }

    fn add(&mut self, value: &Value, level: usize) {
        if self.values.len() <= level {
            self.values.push(0);
            self.bytes.push(0);
        }
        self.values[level] += 1;
        match value {
            Value::String(text) => self.bytes[level] += text.len() as u64,
            Value::Array(items) => items.iter().for_each(|item| self.add(item, level + 1)),
            Value::Object(members) => members.iter().for_each(|(name, member)| {
                self.add(member, level + 1);
                self.bytes[level + 1] += name.len() as u64;
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// What lies on one level of a value.
pub(super) fn at_level(value: &Value, level: usize) -> Box<dyn Iterator<Item = &Value> + '_> {
    match (level, value) {
        (0, value) => Box::new(std::iter::once(value)),
        (_, Value::Array(items)) => Box::new(items.iter().flat_map(move |item| at_level(item, level - 1))),
        (_, Value::Object(members)) => Box::new(members.values().flat_map(move |member| at_level(member, level - 1))),
        _ => Box::new(std::iter::empty()),
    }
}
