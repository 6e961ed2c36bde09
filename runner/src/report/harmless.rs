//! Stderr for events of `tracing`: whatever stands in one, it moves no cursor and opens no group.
//!
//! Who writes an event escapes what others chose; this is the second line. A backslash stays as it
//! is, so that what was escaped already is not escaped twice.

use std::io::{self, Write};

use model::text;

use super::commands;

/// Writes to stderr with every control letter but the end of a line escaped.
#[derive(Clone, Copy, Debug)]
pub struct Harmless;

impl Write for Harmless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(harmless(bytes).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

fn harmless(bytes: &[u8]) -> String {
    commands::broken(&text::output(bytes))
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn no_event_reaches_the_terminal_with_control_letters() {
        for (bytes, shown) in [
            (&b"plain \\x1b \xc3\xa9\n"[..], "plain \\x1b é\n"),
            (b"a\x1b[2Jb\x9b\r\n", "a\\x1b[2Jb\\x9b\\x0d\n"),
            (b" WARN a ##[error]b", " WARN a ##\\x5berror]b"),
            ("\u{202e}::group::".as_bytes(), "\\u{202e}::group::"),
        ] {
            assert_eq!(harmless(bytes), shown);
        }
    }
}
