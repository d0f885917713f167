//! What goes with a statement: values with their types, so that nothing need be prepared.
//!
//! A statement that names its types is parsed, bound and run in one go under no name, which a PgBouncer in transaction mode passes.

use maniple_core::Time;
use tokio_postgres::types::{ToSql, Type};

/// A value, or a column of them.
#[derive(Debug, Clone)]
pub(super) enum Arg {
    Int(Option<i64>),
    Float(Option<f64>),
    Bool(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Ints(Vec<Option<i64>>),
    Floats(Vec<Option<f64>>),
    Bools(Vec<Option<bool>>),
    Texts(Vec<Option<String>>),
}

impl Arg {
    pub(super) fn value(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(value) => value,
            Self::Float(value) => value,
            Self::Bool(value) => value,
            Self::Text(value) => value,
            Self::Bytes(value) => value,
            Self::Ints(values) => values,
            Self::Floats(values) => values,
            Self::Bools(values) => values,
            Self::Texts(values) => values,
        }
    }
    pub(super) fn kind(&self) -> Type {
        match self {
            Self::Int(_) => Type::INT8,
            Self::Float(_) => Type::FLOAT8,
            Self::Bool(_) => Type::BOOL,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
            Self::Ints(_) => Type::INT8_ARRAY,
            Self::Floats(_) => Type::FLOAT8_ARRAY,
            Self::Bools(_) => Type::BOOL_ARRAY,
            Self::Texts(_) => Type::TEXT_ARRAY,
        }
    }
    pub(super) fn pair(&self) -> (&(dyn ToSql + Sync), Type) {
        (self.value(), self.kind())
    }

    /// A column that begins with this value. What is no single value is never put into one.
    pub(super) fn into_column(self) -> Self {
        match self {
            Self::Int(value) => Self::Ints(vec![value]),
            Self::Float(value) => Self::Floats(vec![value]),
            Self::Bool(value) => Self::Bools(vec![value]),
            Self::Text(value) => Self::Texts(vec![value]),
            other => unreachable!("{other:?} is no value of a column"),
        }
    }
    /// Adds the values of more rows, which are a column too.
    pub(super) fn append(&mut self, more: Self) {
        match (self, more) {
            (Self::Ints(column), Self::Ints(more)) => column.extend(more),
            (Self::Floats(column), Self::Floats(more)) => column.extend(more),
            (Self::Bools(column), Self::Bools(more)) => column.extend(more),
            (Self::Texts(column), Self::Texts(more)) => column.extend(more),
            (column, more) => unreachable!("{more:?} does not go on from {column:?}"),
        }
    }
}

macro_rules! values {
    ($($own:ty => $kind:ident, |$value:ident| $made:expr;)*) => { $(
        impl From<$own> for Arg {
            fn from($value: $own) -> Self { Self::$kind(Some($made)) }
        }
        impl From<Option<$own>> for Arg {
            fn from(value: Option<$own>) -> Self { Self::$kind(value.map(|$value| $made)) }
        }
    )* };
}
values! {
    i64 => Int, |value| value;
    i32 => Int, |value| value.into();
    u32 => Int, |value| value.into();
    u8 => Int, |value| value.into();
    u64 => Int, |value| i64::try_from(value).unwrap_or(i64::MAX);
    usize => Int, |value| i64::try_from(value).unwrap_or(i64::MAX);
    Time => Int, |value| value.0;
    bool => Bool, |value| value;
    f64 => Float, |value| value;
    &str => Text, |value| value.to_owned();
    &String => Text, |value| value.clone();
    String => Text, |value| value;
    &[u8] => Bytes, |value| value.to_vec();
}
impl From<Vec<i64>> for Arg {
    fn from(values: Vec<i64>) -> Self {
        Self::Ints(values.into_iter().map(Some).collect())
    }
}
impl From<Vec<String>> for Arg {
    fn from(values: Vec<String>) -> Self {
        Self::Texts(values.into_iter().map(Some).collect())
    }
}

/// The values of a statement, in their order.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::postgres::args::Arg::from($value)),*] };
}
pub(super) use args;
