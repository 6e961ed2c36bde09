//! Writes strings as YAML that reads back as the same strings.

use super::node::{Scalar, Type};

/// Returns a scalar of type text: bare where that is safe, else in double quotes.
pub(super) fn string(text: &str) -> String {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-+=@%".contains(&byte);
    let first = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_./".contains(&byte));
    let scalar = Scalar { text: text.to_owned(), plain: true };
    if first && text.bytes().all(letters) && scalar.kind() == Type::Text && text != "..." {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ if letter.is_ascii_graphic() || letter == ' ' || letter.is_alphanumeric() => {
                out.push(letter);
            }
            _ if (letter as u32) <= 0xffff => out.push_str(&format!("\\u{:04x}", letter as u32)),
            _ => out.push_str(&format!("\\U{:08x}", letter as u32)),
        }
    }
    out.push('"');
    out
}

/// Returns a list in brackets.
pub(super) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", items.into_iter().map(string).collect::<Vec<_>>().join(", "))
}
