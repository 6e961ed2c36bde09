//! `SHA256SUMS`: what `sha256sum --check` reads.
//!
//! One line for each artifact, sorted by name. A build of some targets keeps the lines of the others,
//! each only while its file has the digest that the line says; a line is never believed alone. A name with a backslash or a line break is escaped as
//! that tool does it, with a backslash before the digest.
//!
//! Spec: sha256sum(1), GNU coreutils manual, "md5sum invocation".

use model::{Digest, Name};

/// The name of the file.
pub const SUMS_NAME: &str = "SHA256SUMS";

/// Largest list that is read, in bytes: some 30,000 artifacts.
pub(super) const SUMS_BYTES_MAX: u64 = 4 << 20;

/// Reads such a text. A line that this program would not write is left out.
pub(super) fn read_sums(text: &str) -> Vec<(Name, Digest)> {
    text.lines().filter_map(read_line).collect()
}

fn read_line(line: &str) -> Option<(Name, Digest)> {
    let (escaped, line) = match line.strip_prefix('\\') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (hex, name) = line.split_once("  ")?;
    let mut plain = String::with_capacity(name.len());
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' if escaped => match letters.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some((Name::new(&plain).ok()?, Digest::from_hex(hex).ok()?))
}

/// Returns the text of the file for these artifacts, in the order of their names.
pub fn sums_text<'a>(artifacts: impl IntoIterator<Item = (&'a Name, &'a Digest)>) -> String {
    let mut sorted: Vec<_> = artifacts.into_iter().collect();
    sorted.sort_unstable();
    let mut text = String::new();
    for (name, digest) in sorted {
        let escaped = name.as_str().replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        if escaped != name.as_str() {
            text.push('\\');
        }
        text.push_str(&format!("{}  {escaped}\n", digest.hex()));
    }
    text
}
