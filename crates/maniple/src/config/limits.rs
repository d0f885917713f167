//! `limits`: one section of the file, whose keys belong to several parts.

use crate::doors::http;
use maniple_core::{
    settings::{Bound, Section},
    task::Ceilings,
};
use maniple_runtime::desk;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned, DeserializeSeed, MapAccess, Visitor, value},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};
use std::{fmt, sync::LazyLock};

/// Ceilings and bounds of what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Limits {
    /// What a task may ask for.
    #[serde(flatten)]
    pub tasks: Ceilings,
    /// How much is taken in, by whichever door.
    #[serde(flatten)]
    pub desk: desk::Limits,
    /// How large a request by HTTP may be.
    #[serde(flatten)]
    pub door: http::Limits,
}

impl Section for Limits {
    fn bounds(&self) -> Vec<Bound> {
        [self.tasks.bounds(), self.desk.bounds(), self.door.bounds()].concat()
    }
}

impl Limits {
    /// Each part finds its own keys and passes over the others'.
    fn of(members: &Map<String, Value>) -> serde_json::Result<Self> {
        fn part<T: DeserializeOwned>(members: &Map<String, Value>) -> serde_json::Result<T> {
            T::deserialize(members)
        }
        Ok(Self { tasks: part(members)?, desk: part(members)?, door: part(members)? })
    }
}

/// The keys of all parts, as their types have them.
static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| [keys::<Ceilings>(), keys::<desk::Limits>(), keys::<http::Limits>()].concat());

/// Key by key, so that what is wrong is said where it stands.
impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Limits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of limits")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limits, A::Error> {
        let (mut members, mut limits) = (Map::new(), Limits::default());
        while let Some(key) = map.next_key_seed(Key)? {
            limits = map.next_value_seed(Member { key, members: &mut members })?;
        }
        Ok(limits)
    }
}

/// A key that one of the parts has.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let key = String::deserialize(deserializer)?;
        if KEYS.contains(&key.as_str()) { Ok(key) } else { Err(de::Error::unknown_field(&key, &KEYS)) }
    }
}

/// A value beside those that were read before it.
struct Member<'a> {
    key: String,
    members: &'a mut Map<String, Value>,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Limits;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Limits, D::Error> {
        self.members.insert(self.key, Value::deserialize(deserializer)?);
        Limits::of(self.members).map_err(de::Error::custom)
    }
}

/// The fields that a type asks for when it is read.
fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Asked<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, value::Error> {
            *self.0 = fields;
            Err(de::Error::custom("its fields were all that was asked for"))
        }
        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, value::Error> {
            Err(de::Error::custom("it has no fields"))
        }
        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
            seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    let _ = T::deserialize(Asked(&mut fields));
    fields
}
