//! `Node`: YAML as a tree in which everything knows its place.
//!
//! Source: YAML 1.2.2, section 10.3, core schema.

/// A range of bytes of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The first byte after it.
    pub end: usize,
}

/// One value of the file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A text; `plain` where it stands bare, so that `true` and `2` are no texts.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Where it stands.
    pub span: Span,
    /// Its text.
    pub text: String,
}

impl Node {
    /// Returns what messages call this value.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar { text, plain: true } if is_nothing(text) => "nothing",
            Value::Scalar { text, plain: true } if boolean(text).is_some() => "a boolean",
            Value::Scalar { text, plain: true } if is_number(text) => "a number",
            Value::Scalar { .. } => "a string",
        }
    }

    /// Returns the text of a string: quoted, or bare and neither number, boolean nor nothing.
    pub fn text(&self) -> Option<&str> {
        self.scalar().filter(|_| self.kind() == "a string")
    }

    /// Returns the text of any scalar.
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Returns `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.scalar().filter(|_| self.kind() == "a boolean").and_then(boolean)
    }

    /// Returns a whole number.
    pub fn number(&self) -> Option<u64> {
        self.scalar().filter(|_| self.kind() == "a number").and_then(|text| text.parse().ok())
    }

    /// Returns the place to blame: a map or list is blamed at its first letter.
    pub fn blame(&self) -> Span {
        match self.value {
            Value::Scalar { .. } => self.span,
            Value::List(_) | Value::Map(_) => {
                Span { start: self.span.start, end: self.span.start + 1 }
            }
        }
    }
}

fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Says whether the core schema would take a bare text for a number of any form.
fn is_number(text: &str) -> bool {
    let bare = text.strip_prefix(['-', '+']).unwrap_or(text);
    let special = matches!(bare.to_ascii_lowercase().as_str(), ".inf" | ".nan");
    let based = bare.starts_with("0x") || bare.starts_with("0o");
    special
        || (based && bare.len() > 2)
        || (bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && bare.parse::<f64>().is_ok())
}
