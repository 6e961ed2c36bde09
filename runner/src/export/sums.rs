//! `SHA256SUMS`: what `sha256sum --check` reads.
//!
//! One line for each artifact, sorted by name. A name with a backslash or a line break is escaped as
//! that tool does it, with a backslash before the digest.
//!
//! Spec: sha256sum(1), GNU coreutils manual, "md5sum invocation".

use model::{Digest, Name};

/// The name of the file.
pub const SUMS_NAME: &str = "SHA256SUMS";

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
