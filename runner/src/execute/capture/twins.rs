//! Names that differ on Linux and are one elsewhere.
//!
//! Two names that agree after lower-casing and composing accents cannot both be unpacked on the
//! default file systems of macOS and Windows: the second silently overwrites the first. That is a
//! warning, not a refusal, since on Linux the output is sound.
//!
//! Does not catch: letters whose folding depends on the language.
//!
//! Source: Unicode Standard Annex 15 (normalisation form C).

use std::collections::BTreeMap;

use model::{Name, RelPath};
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

/// Two entries of one folder that some file systems take for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twins {
    /// The folder.
    pub folder: RelPath,
    /// The name that sorts first.
    pub first: Name,
    /// The other one.
    pub second: Name,
}

/// Returns the twins among the names of one folder.
pub(super) fn twins_in<'a>(folder: &RelPath, names: impl Iterator<Item = &'a Name>) -> Vec<Twins> {
    let mut seen: BTreeMap<String, &Name> = BTreeMap::new();
    let mut found = Vec::new();
    for name in names {
        let key = folded(name.as_str());
        if let Some(first) = seen.get(&key) {
            found.push(Twins {
                folder: folder.clone(),
                first: (*first).clone(),
                second: name.clone(),
            });
        } else {
            seen.insert(key, name);
        }
    }
    found
}

fn folded(name: &str) -> String {
    let lower = name.to_lowercase();
    match is_nfc_quick(lower.chars()) {
        IsNormalized::Yes => lower,
        IsNormalized::No | IsNormalized::Maybe => lower.nfc().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(names: &[&str]) -> usize {
        let names: Vec<_> = names.iter().map(|name| Name::new(name).unwrap()).collect();
        twins_in(&RelPath::here(), names.iter()).len()
    }

    #[test]
    fn twins_by_case_and_by_accent_are_found() {
        assert_eq!(count(&["A", "a"]), 1);
        assert_eq!(count(&["\u{e9}", "e\u{301}"]), 1);
        assert_eq!(count(&["\u{c9}", "e\u{301}", "E\u{301}"]), 2);
        assert_eq!(count(&["a", "b", "ab"]), 0);
    }
}
