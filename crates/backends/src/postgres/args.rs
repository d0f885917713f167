//! What goes with a statement: values with their types, so that nothing need be prepared.
//!
//! A statement that names its types is parsed, bound and run in one go under no name, which a PgBouncer in transaction mode passes.

use maniple_core::Time;
use tokio_postgres::types::{ToSql, Type};

/// A value and its type.
pub(super) struct Arg {
    value: Box<dyn ToSql + Sync + Send>,
    kind: Type,
}

impl Arg {
    pub(super) fn value(&self) -> &(dyn ToSql + Sync) {
        &*self.value
    }
    pub(super) fn kind(&self) -> Type {
        self.kind.clone()
    }
    pub(super) fn pair(&self) -> (&(dyn ToSql + Sync), Type) {
        (&*self.value, self.kind.clone())
    }
}

/// What can go with a statement.
pub(super) trait Value {
    /// As which type.
    const KIND: Type;
    /// What the driver writes.
    type Sql: ToSql + Sync + Send + 'static;
    /// The value for the driver.
    fn sql(self) -> Self::Sql;
}

pub(super) fn arg<V: Value>(value: V) -> Arg {
    Arg { value: Box::new(value.sql()), kind: V::KIND }
}

macro_rules! values {
    ($($own:ty => $sql:ty, $kind:ident, |$value:ident| $made:expr;)*) => { $(
        impl Value for $own {
            const KIND: Type = Type::$kind;
            type Sql = $sql;
            fn sql(self) -> $sql { let $value = self; $made }
        }
    )* };
}
values! {
    i64 => i64, INT8, |value| value;
    i32 => i64, INT8, |value| value.into();
    u32 => i64, INT8, |value| value.into();
    u8 => i64, INT8, |value| value.into();
    u64 => i64, INT8, |value| i64::try_from(value).unwrap_or(i64::MAX);
    usize => i64, INT8, |value| i64::try_from(value).unwrap_or(i64::MAX);
    Time => i64, INT8, |value| value.0;
    bool => bool, BOOL, |value| value;
    f64 => f64, FLOAT8, |value| value;
    &str => String, TEXT, |value| value.to_owned();
    &String => String, TEXT, |value| value.clone();
    String => String, TEXT, |value| value;
    &[u8] => Vec<u8>, BYTEA, |value| value.to_vec();
    Vec<i64> => Vec<i64>, INT8_ARRAY, |value| value;
    Vec<String> => Vec<String>, TEXT_ARRAY, |value| value;
}
impl<V: Value> Value for Option<V>
where
    V::Sql: ToSql,
{
    const KIND: Type = V::KIND;
    type Sql = Option<V::Sql>;
    fn sql(self) -> Option<V::Sql> {
        self.map(V::sql)
    }
}

/// The values of a statement, in their order.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::postgres::args::arg($value)),*] };
}
pub(super) use args;
