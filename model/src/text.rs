//! Escaping of untrusted bytes for terminals and pages.
//!
//! A file name or a step's output may hold control bytes that move the cursor, hide text or open a
//! log group of a CI system. What is shown goes through here; what is stored stays as it is.
//! Printable text, Unicode included, is kept; C0, C1, DEL, bidirectional controls and bytes that are
//! no UTF-8 become `\xNN` or `\u{NNNN}`. The escape is reversible: a backslash is doubled.
//!
//! Does not catch: look-alike letters.

/// Returns `bytes` as one line of safe text: newline and tab are escaped as well.
pub fn escape(bytes: &[u8]) -> String {
    escape_keeping(bytes, &[])
}

/// Returns `bytes` as safe text of several lines: newline and tab are kept.
pub fn escape_lines(bytes: &[u8]) -> String {
    escape_keeping(bytes, &['\n', '\t'])
}

fn escape_keeping(bytes: &[u8], keep: &[char]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => out.push_str("\\\\"),
                _ if keep.contains(&letter) => out.push(letter),
                _ if letter.is_control() && (letter as u32) < 0x100 => {
                    out.push_str(&format!("\\x{:02x}", letter as u32));
                }
                _ if hides_or_reorders(letter) => {
                    out.push_str(&format!("\\u{{{:04x}}}", letter as u32))
                }
                _ => out.push(letter),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Says whether a letter is invisible or changes the order of its neighbours: Unicode's
/// bidirectional controls (UAX 9), line and paragraph separators, zero-width marks.
fn hides_or_reorders(letter: char) -> bool {
    matches!(letter,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_never_get_through() {
        for (bytes, shown) in [
            (&b"plain \xc3\xa9"[..], "plain é"),
            (b"\x1b[31mred", "\\x1b[31mred"),
            (b"a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
            (b"\xff\xc2\x9b", "\\xff\\x9b"),
            ("\u{202e}evil".as_bytes(), "\\u{202e}evil"),
            (b"back\\slash", "back\\\\slash"),
        ] {
            assert_eq!(escape(bytes), shown);
        }
        assert_eq!(escape_lines(b"a\nb\x07"), "a\nb\\x07");
    }
}
