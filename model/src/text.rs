//! Escaping of untrusted bytes for terminals and pages.
//!
//! A file name or a step's output may hold control bytes that move the cursor, hide text or open a
//! log group of a CI system. What is shown goes through here; what is stored stays as it is.
//! Printable text, Unicode included, is kept; C0, C1, DEL, bidirectional controls and bytes that are
//! no UTF-8 become `\xNN` or `\u{NNNN}`. The escape of a name is reversible: a backslash is doubled.
//!
//! Of what a program wrote, a backslash is shown as it is: compilers quote sources and point below them. A program
//! can so write what looks like an escape. That is safe, since such text is shown to people and never read back:
//! nothing is named by it and nothing decided, and no byte gets through that an escape would have kept back.
//!
//! Does not catch: look-alike letters.

/// Returns `bytes` as one line of safe text: newline and tab are escaped as well.
pub fn escape(bytes: &[u8]) -> String {
    escape_keeping(bytes, &[])
}

/// Returns what a program wrote as safe text of several lines: newline, tab and backslash are kept. Not for names.
pub fn output(bytes: &[u8]) -> String {
    escape_keeping(bytes, &['\n', '\t', '\\'])
}

/// Returns what [`escape`] was given: for text that was kept escaped, and will be escaped when it is shown.
/// Bytes that were no UTF-8, and C1, come back as replacement characters; what is no escape stays as it is.
pub fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let taken = unescaped(after, &mut out);
        if taken == 0 {
            out.push(b'\\');
        }
        rest = &after[taken..];
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

/// Adds what the escape stands for that follows a backslash; returns its length, and 0 where it is none.
fn unescaped(after: &str, out: &mut Vec<u8>) -> usize {
    let number = |digits: Option<&str>| {
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    if after.starts_with('\\') {
        out.push(b'\\');
        return 1;
    }
    if let Some(rest) = after.strip_prefix("u{")
        && let Some(end) = rest.find('}')
        && let Some(letter) = number(rest.get(..end)).and_then(char::from_u32)
    {
        out.extend_from_slice(letter.to_string().as_bytes());
        return "u{}".len() + end;
    }
    match after.strip_prefix('x').and_then(|rest| number(rest.get(..2))) {
        // C0 and DEL are themselves as bytes; of the others nobody can tell a letter from a byte.
        Some(byte) => {
            out.push(u8::try_from(byte).unwrap_or(b'?'));
            "x00".len()
        }
        None => 0,
    }
}

fn escape_keeping(bytes: &[u8], keep: &[char]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                _ if keep.contains(&letter) => out.push(letter),
                '\\' => out.push_str("\\\\"),
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
    }

    /// Every byte that can do anything is shown as an escape, and all else as it was written.
    #[test]
    fn what_a_program_wrote_is_shown_as_it_is_but_for_what_moves_a_cursor() {
        for (bytes, shown) in [
            (&b"a\nb\tc\x07\r"[..], "a\nb\tc\\x07\\x0d"),
            (b"printf(\"a\\n\");", "printf(\"a\\n\");"),
            (b"\\x1b[2J \x1b[2J\xff", "\\x1b[2J \\x1b[2J\\xff"),
            ("\\\u{202e}\u{9b}".as_bytes(), "\\\\u{202e}\\x9b"),
        ] {
            assert_eq!(output(bytes), shown);
        }
        let all: Vec<u8> = (0..=255).collect();
        let kept = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
        assert!(output(&all).chars().all(kept), "{}", output(&all));
    }

    #[test]
    fn what_was_kept_escaped_is_shown_as_if_it_had_not_been() {
        for text in
            ["plain é", "\x1b[31mred", "a\nb\tc\r\0", "\u{202e}evil", "back\\slash", "\\x1b", "\\"]
        {
            assert_eq!(unescape(&escape(text.as_bytes())), text);
            assert_eq!(
                escape(unescape(&escape(text.as_bytes())).as_bytes()),
                escape(text.as_bytes())
            );
        }
        // What was never escaped, by whoever wrote it, is no fault here.
        for text in ["a\\", "\\x", "\\xzz", "\\u{", "\\u{110000}", "\\q", "\\x+1", "\\xé"] {
            assert_eq!(unescape(text), text);
        }
        assert_eq!(unescape("\\xff"), "\u{fffd}");
    }
}
