//! Reads JSON from strangers: strict, and inside bounds.
//!
//! serde_json alone takes the last of two equal keys, and lets a small body become a large tree.
//! Two readers of one body must see the same thing, so a repeated key is refused here.

use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::Cell, fmt};

/// How much one body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How deep objects and arrays may nest. 64.
    pub depth: usize,
    /// How many members and items there may be in all. 10,000.
    pub members: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { depth: 64, members: 10_000 }
    }
}

/// Bytes that are not the JSON we read. Answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Reads one JSON value.
///
/// Fails on anything RFC 8259 forbids, on invalid UTF-8, on lone surrogates, on a key that is repeated
/// in its object, on anything after the value, and on what is over `bounds`.
pub fn parse(bytes: &[u8], bounds: Bounds) -> Result<Value, Malformed> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Malformed("the body is empty: send a JSON object".into()));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| Malformed(format!("the body is not UTF-8: byte {} is wrong", e.valid_up_to())))?;
    let members = Cell::new(0);
    let seed = Bounded { depth: 0, members: &members, bounds };
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut reader).map_err(|e| Malformed(format!("the body is not JSON we read: {e}")))?;
    reader.end().map_err(|e| Malformed(format!("the body goes on after its JSON value: {e}")))?;
    Ok(value)
}

/// Reads one value that lies `depth` deep.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    depth: usize,
    members: &'a Cell<usize>,
    bounds: Bounds,
}

impl Bounded<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == self.bounds.depth {
            return Err(E::custom(format_args!("it nests deeper than {}", self.bounds.depth)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
    fn count<E: de::Error>(self) -> Result<(), E> {
        self.members.set(self.members.get() + 1);
        if self.members.get() > self.bounds.members {
            return Err(E::custom(format_args!("it holds more than {} members and items", self.bounds.members)));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            self.count()?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            self.count()?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{}` is there twice", excerpt(&key))));
            }
            object.insert(key, members.next_value_seed(inside)?);
        }
        Ok(Value::Object(object))
    }
}

/// Enough of a stranger's text to recognise it.
pub(crate) fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(64).collect();
    if chars.next().is_some() { format!("{head}…") } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Value, Malformed> {
        parse(text.as_bytes(), Bounds::default())
    }

    #[test]
    fn what_is_json_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,3.5,true,null,"é\u0000😀"],"b":{"a":18446744073709551615}}"#;
        assert_eq!(read(text).unwrap(), json!({"a": [1, -2, 3.5, true, null, "é\u{0}😀"], "b": {"a": u64::MAX}}));
    }

    #[test]
    fn a_repeated_key_is_refused_and_named_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"a":3}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(read(text).unwrap_err().0.contains("`a` is there twice"), "{text}");
        }
    }

    #[test]
    fn depth_and_members_are_bounded_exactly() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&nested(64)).is_ok());
        assert!(read(&nested(65)).unwrap_err().0.contains("deeper than 64"));
        assert!(read(&nested(100_000)).is_err());
        let wide = |n: usize| format!("[{}]", vec!["0"; n].join(","));
        assert!(read(&wide(10_000)).is_ok());
        assert!(read(&wide(10_001)).unwrap_err().0.contains("more than 10000"));
        let many = |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(","));
        assert!(read(&many(10_000)).is_ok());
        assert!(read(&many(10_001)).is_err());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let hostile: [&[u8]; 14] = [
            b"",
            b" \n",
            b"{",
            b"nul",
            b"{'a':1}",
            b"[1,]",
            b"{\"a\":1}{}",
            b"\"\xff\xfe\"",
            b"\xef\xbb\xbf{}",
            br#""\ud800""#,
            b"1e999",
            b"NaN",
            b"\"a\nb\"",
            b"// no\n{}",
        ];
        for bytes in hostile {
            assert!(parse(bytes, Bounds::default()).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
