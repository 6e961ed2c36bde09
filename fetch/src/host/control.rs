//! Reads Debian control data: stanzas of `Field: value` lines, as in dpkg's `status` file.
//!
//! The file is some hundreds of kilobytes and only a dozen fields of each stanza matter, so nothing
//! is copied: a value is a slice of the file, continuation lines and their newlines included, which
//! always lie together.
//!
//! Does no I/O. Never panics and never reads more than once over the bytes. Does not unfold or
//! check what a value says; that is the business of whoever asks for the field.
//!
//! Format: deb822(5); Debian Policy, section 5.1.

/// One stanza: its fields in the order of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stanza<'a> {
    fields: Vec<(&'a str, &'a [u8])>,
}

/// Why bytes are no control data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A line is neither `Field: value` nor a continuation of one. Lines count from 1.
    #[error("line {line} is neither a field nor a continuation")]
    Line {
        /// The line.
        line: usize,
    },
    /// A stanza has a field twice.
    #[error("line {line} repeats a field of its stanza")]
    Repeated {
        /// The line of the second one.
        line: usize,
    },
    /// A field that must be text is not UTF-8.
    #[error("a needed field is not UTF-8")]
    NotUtf8,
}

impl<'a> Stanza<'a> {
    /// Returns the value of a field, trimmed, or the empty text. Names compare without case.
    pub(super) fn text(&self, name: &str) -> Result<&'a str, ControlError> {
        let value = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        let value = value.map_or(&b""[..], |(_, value)| value);
        std::str::from_utf8(value).map(str::trim).map_err(|_| ControlError::NotUtf8)
    }
}

/// Splits control data into its stanzas.
pub(super) fn stanzas(bytes: &[u8]) -> Result<Vec<Stanza<'_>>, ControlError> {
    let mut done = Vec::new();
    let mut stanza = Stanza::default();
    let mut open: Option<(&str, usize)> = None; // the field being read and where its value starts
    let mut at = 0;
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let (start, line_number) = (at, number + 1);
        at += line.len();
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if continues && open.is_some() {
            continue;
        }
        if let Some((field, value)) = open.take() {
            stanza.fields.push((field, &bytes[value..start]));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            if !stanza.fields.is_empty() {
                done.push(std::mem::take(&mut stanza));
            }
            continue;
        }
        let (field, value) = field(line, start).ok_or(ControlError::Line { line: line_number })?;
        if stanza.fields.iter().any(|(before, _)| before.eq_ignore_ascii_case(field)) {
            return Err(ControlError::Repeated { line: line_number });
        }
        open = Some((field, value));
    }
    if let Some((field, value)) = open {
        stanza.fields.push((field, &bytes[value..]));
    }
    if !stanza.fields.is_empty() {
        done.push(stanza);
    }
    Ok(done)
}

/// Returns the field's name and where its value starts in the file, or none.
fn field(line: &[u8], start: usize) -> Option<(&str, usize)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    good.then_some((name, start + colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_keep_their_continuation_lines() {
        let text = b"Package: a\nConffiles:\n /etc/a 0\n /etc/b 1\nDepends: b\n\n\n\nPackage: b\n \t\nVersion: 1";
        let found = stanzas(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].text("conffiles"), Ok("/etc/a 0\n /etc/b 1"));
        assert_eq!(found[0].text("Depends"), Ok("b"));
        assert_eq!(found[0].text("Absent"), Ok(""));
        assert_eq!(found[1].text("version"), Ok("1"));
    }

    #[test]
    fn malformed_lines_are_named() {
        for (text, error) in [
            (&b" loose continuation\n"[..], ControlError::Line { line: 1 }),
            (b"Package: a\nno colon\n", ControlError::Line { line: 2 }),
            (b"Package: a\n: x\n", ControlError::Line { line: 2 }),
            (b"Package: a\nDepends: x\npackage: b\n", ControlError::Repeated { line: 3 }),
        ] {
            assert_eq!(stanzas(text), Err(error));
        }
        assert_eq!(stanzas(b"A: \xff").unwrap()[0].text("a"), Err(ControlError::NotUtf8));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = stanzas(&bytes);
        }

        #[test]
        fn nearly_good_bytes_do_not_either(text in "([A-C]: ?[a-z]{0,3}\n| x\n|\n|\t\n|A|:){0,40}") {
            if let Ok(found) = stanzas(text.as_bytes()) {
                for stanza in found {
                    prop_assert!(!stanza.fields.is_empty());
                    for (_, value) in stanza.fields {
                        prop_assert!(text.as_bytes().windows(value.len().max(1)).any(|window| window == value) || value.is_empty());
                    }
                }
            }
        }
    }
}
