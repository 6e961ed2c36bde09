//! `Node`: YAML as a tree in which everything knows its place.
//!
//! Scalars keep their text and whether they were quoted, because `1.10` and `"1.10"` differ: the
//! first is a number, which has lost its last digit by the time anyone could look.
//!
//! Source: YAML 1.2.2, section 10.3, core schema.

use crate::diagnostic::Span;

/// One value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where it stands; a map or list spans all it holds.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A text, number, boolean or nothing.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    /// Where it stands.
    pub span: Span,
    /// Its text.
    pub text: String,
}

/// A scalar as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    /// The text after unquoting.
    pub text: String,
    /// Whether it stands bare, so that the core schema gives it a type.
    pub plain: bool,
}

/// The type of a value, as messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    Text,
    List,
    Map,
}

impl Node {
    /// Returns the type that the core schema gives this value.
    pub fn kind(&self) -> Type {
        match &self.value {
            Value::Scalar(scalar) => scalar.kind(),
            Value::List(_) => Type::List,
            Value::Map(_) => Type::Map,
        }
    }

    /// Returns the text of a scalar of type text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if scalar.kind() == Type::Text => Some(&scalar.text),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Returns the text of any scalar, whatever its type.
    pub fn scalar_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Returns the value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)
            }
            Value::Scalar(_) | Value::List(_) => None,
        }
    }
}

impl Scalar {
    /// Returns the type that the core schema gives it.
    pub fn kind(&self) -> Type {
        if !self.plain {
            return Type::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Type::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Type::Boolean,
            text if is_integer(text) => Type::Integer,
            text if is_number(text) => Type::Number,
            _ => Type::Text,
        }
    }
}

impl Type {
    /// Returns the type with its article.
    pub fn name(self) -> &'static str {
        match self {
            Type::Null => "nothing",
            Type::Boolean => "a boolean",
            Type::Integer => "an integer",
            Type::Number => "a number",
            Type::Text => "a string",
            Type::List => "a list",
            Type::Map => "a map",
        }
    }
}

fn is_integer(text: &str) -> bool {
    let all = |digits: &str, legal: fn(u8) -> bool| !digits.is_empty() && digits.bytes().all(legal);
    if let Some(octal) = text.strip_prefix("0o") {
        return all(octal, |digit| matches!(digit, b'0'..=b'7'));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return all(hex, |digit| digit.is_ascii_hexdigit());
    }
    all(text.strip_prefix(['-', '+']).unwrap_or(text), |digit| digit.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    let bare = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(bare, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match bare.find(['e', 'E']) {
        Some(at) => (&bare[..at], Some(&bare[at + 1..])),
        None => (bare, None),
    };
    let digits = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits =
        digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_fits && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema() {
        for (text, kind) in [
            ("", Type::Null),
            ("~", Type::Null),
            ("true", Type::Boolean),
            ("no", Type::Text),
            ("on", Type::Text),
            ("010", Type::Integer),
            ("-1", Type::Integer),
            ("0x1F", Type::Integer),
            ("0o17", Type::Integer),
            ("0o8", Type::Text),
            ("1.10", Type::Number),
            ("1.", Type::Number),
            (".5", Type::Number),
            (".", Type::Text),
            ("1e30", Type::Number),
            ("1e", Type::Text),
            (".inf", Type::Number),
            (".nan", Type::Number),
            ("NaN", Type::Text),
            ("1.2.3", Type::Text),
            ("15m", Type::Text),
            ("-", Type::Text),
            ("+", Type::Text),
        ] {
            assert_eq!(Scalar { text: text.into(), plain: true }.kind(), kind, "{text:?}");
            assert_eq!(Scalar { text: text.into(), plain: false }.kind(), Type::Text);
        }
    }
}
