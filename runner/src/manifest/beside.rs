//! The names of what kiln writes beside an artifact, so that no other artifact has one of them.
//!
//! All of them, whatever a build comes to write: whether a build file is right does not depend on a flag of the
//! command line, or on the key that signs. A test compares them with what is written.

use attestor::predicate::Further;

/// Digits of a key's id in the name of a classic link.
const LINK_DIGITS: usize = 8;

/// Returns what follows the artifact's name in the names of its evidence, but for classic links.
pub fn suffixes() -> Vec<String> {
    let own = [".sigstore.json", ".intoto.jsonl", ".dependencies.json"].map(str::to_owned);
    let further = Further::ALL.iter().map(|one| format!(".{}.sigstore.json", one.as_str()));
    own.into_iter().chain(further).collect()
}

/// Returns the artifact that a file of this name would be a classic link of, by whichever key.
pub fn link_of(name: &str) -> Option<&str> {
    let (artifact, key) = name.strip_suffix(".link")?.rsplit_once('.')?;
    let hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    (key.len() == LINK_DIGITS && key.bytes().all(hex)).then_some(artifact)
}
