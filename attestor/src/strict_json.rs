//! JSON read strictly: no member twice, no depth or size without a bound, no bytes after the end.
//!
//! The usual parser keeps the last of two members of one name, others keep the first: whoever signs
//! and whoever checks could then read two different statements. Here a second one is an error at
//! every level. Unknown members are not this file's business; each format decides that for itself.
//!
//! Does no I/O. Source: RFC 8259, section 4 ("names within an object SHOULD be unique").

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What is refused before it can cost time or memory.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Most bytes of one document.
    pub bytes: usize,
    /// Most nested arrays and objects.
    pub depth: usize,
    /// Most values of any kind.
    pub values: usize,
}

/// Why a text is not read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// More bytes than the cap of the format.
    #[error("has {got} bytes, more than {most}")]
    TooLarge {
        /// Bytes found.
        got: usize,
        /// The cap.
        most: usize,
    },
    /// Not JSON, or JSON that breaks a rule of this file; the cause says line and column.
    #[error("is no strict JSON")]
    Malformed(#[source] serde_json::Error),
    /// A number that readers disagree about: with a fraction, or a whole one beyond 2^53.
    #[error("holds the number {got}, which is no whole one within 2^53")]
    Number {
        /// The number, as it was read.
        got: String,
    },
    /// JSON of another shape than the format has; the cause names the member.
    #[error("has not the members of this format")]
    Shape(#[source] serde_json::Error),
}

/// Reads one document.
///
/// # Errors
/// Refuses what is over a cap, is no JSON, names a member twice, or goes on after its end.
pub fn parse(bytes: &[u8], caps: &Caps) -> Result<Value, JsonError> {
    if bytes.len() > caps.bytes {
        return Err(JsonError::TooLarge { got: bytes.len(), most: caps.bytes });
    }
    let left = Cell::new(caps.values);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: caps.depth, left: &left }
        .deserialize(&mut reader)
        .map_err(JsonError::Malformed)?;
    reader.end().map_err(JsonError::Malformed)?;
    Ok(value)
}

/// Reads one document into a wire struct.
///
/// # Errors
/// As [`parse`], and what the struct refuses.
pub(crate) fn parse_as<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    caps: &Caps,
) -> Result<T, JsonError> {
    serde_json::from_value(parse(bytes, caps)?).map_err(JsonError::Shape)
}

/// Checks one document and builds nothing of it: a value costs no memory but the names of the objects around it.
///
/// # Errors
/// As [`parse`].
pub(crate) fn check(bytes: &[u8], caps: &Caps) -> Result<(), JsonError> {
    if bytes.len() > caps.bytes {
        return Err(JsonError::TooLarge { got: bytes.len(), most: caps.bytes });
    }
    let left = Cell::new(caps.values);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Checked(Strict { depth: caps.depth, left: &left })
        .deserialize(&mut reader)
        .map_err(JsonError::Malformed)?;
    reader.end().map_err(JsonError::Malformed)
}

/// Reads one document of somebody who is not trusted with memory into a wire struct: it is checked whole, then read
/// straight into its members, so that one of another shape costs nothing where it begins to differ.
///
/// # Errors
/// As [`parse_as`].
pub(crate) fn read_as<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    caps: &Caps,
) -> Result<T, JsonError> {
    check(bytes, caps)?;
    serde_json::from_slice(bytes).map_err(JsonError::Shape)
}

/// Largest whole number that every reader has the same of: 2^53 - 1.
const WHOLE_MAX: u64 = (1 << 53) - 1;

/// Refuses numbers with a fraction and whole ones beyond 2^53 - 1, at every level. Many readers hold all
/// numbers as doubles, so those could be one number to the signer and another to the one who checks. Our
/// own formats have none; those of others may, so whoever reads them does not ask this.
///
/// # Errors
/// The first such number.
pub(crate) fn exact(value: &Value) -> Result<(), JsonError> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match size {
                Some(size) if size <= WHOLE_MAX => Ok(()),
                Some(_) | None => Err(JsonError::Number { got: number.to_string() }),
            }
        }
        Value::Array(items) => items.iter().try_for_each(exact),
        Value::Object(members) => members.values().try_for_each(exact),
    }
}

/// Reads one value at a given depth, counting down what is left.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn count<E: serde::de::Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        self.left.set(left);
        Ok(())
    }

    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Strict { depth, left: self.left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.count()?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(twice(&name));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

fn twice<E: serde::de::Error>(name: &str) -> E {
    let name = model::text::escape(name.as_bytes());
    E::custom(format_args!("member `{name}` stands twice"))
}

/// As [`Strict`], and keeps nothing of what it reads.
#[derive(Clone, Copy)]
struct Checked<'a>(Strict<'a>);

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        self.0.count()?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(out)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.0.visit_f64(value).map(drop)
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = Checked(self.0.inner()?);
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = Checked(self.0.inner()?);
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(inner)?;
            if let Some(name) = names.replace(name) {
                return Err(twice(&name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps { bytes: 4096, depth: 8, values: 64 };

    #[test]
    fn a_member_that_stands_twice_is_refused_at_every_level() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"a":2}}]"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(
                matches!(parse(text.as_bytes(), &CAPS), Err(JsonError::Malformed(_))),
                "{text}"
            );
            assert!(
                matches!(check(text.as_bytes(), &CAPS), Err(JsonError::Malformed(_))),
                "{text}"
            );
        }
        assert!(check(br#"{"a":{"a":1},"b":[1,-2,0.5,null,true,"x"]}"#, &CAPS).is_ok());
        assert!(parse(br#"{"a":{"a":1},"b":[1,-2,0.5,null,true,"x"]}"#, &CAPS).is_ok());
    }

    #[test]
    fn depth_size_count_and_rest_are_bounded() {
        let deep = format!("{}{}", "[".repeat(9), "]".repeat(9));
        let very_deep = "[".repeat(100_000);
        let many = format!("[{}1]", "1,".repeat(64));
        for text in [
            &deep,
            &many,
            "{} {}",
            "{}x",
            "",
            " ",
            "{\"a\":1e999}",
            "\u{feff}{}",
            &very_deep[..4000],
        ] {
            assert!(parse(text.as_bytes(), &CAPS).is_err(), "{text:.20}");
            assert!(check(text.as_bytes(), &CAPS).is_err(), "{text:.20}");
        }
        assert!(matches!(parse(&[b' '; 5000], &CAPS), Err(JsonError::TooLarge { .. })));
        assert!(matches!(parse(b"\"\xff\"", &CAPS), Err(JsonError::Malformed(_))));
    }
}
