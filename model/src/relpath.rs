//! Paths and names that are clean by construction.
//!
//! Most real escapes are path bugs on the trusted side, so a path is checked once, where it is
//! made, and carries the proof in its type. A [`RelPath`] has no `..`, no empty part, no NUL and no
//! leading slash; joining two gives a third. Nothing here touches a file system: a clean path can
//! still lead through a symlink, so whoever opens one does so beneath a descriptor.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest single name, in bytes: the limit of Linux file systems (`NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;
/// Longest path, in bytes: the kernel's `PATH_MAX` less the final NUL.
pub const PATH_BYTES_MAX: usize = 4095;

/// One part of a path: not empty, no `/`, no NUL, neither `.` nor `..`, UTF-8, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A relative path of zero or more [`Name`]s. Zero is the place itself, printed as `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(String);

/// An absolute path inside a sandbox: `/` and a [`RelPath`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AbsPath(RelPath);

/// The name of a source, environment, step, output or axis: `[a-z][a-z0-9-]{0,62}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident(String);

/// Why a text is no path or name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// It holds a NUL byte.
    #[error("holds a NUL byte")]
    Nul,
    /// It has a part `..`, which could lead out.
    #[error("has a part `..`")]
    Parent,
    /// It starts with `/` where a relative path is wanted.
    #[error("is absolute")]
    Absolute,
    /// It does not start with `/` where an absolute path is wanted.
    #[error("is not absolute")]
    NotAbsolute,
    /// A name holds `/`.
    #[error("holds a slash")]
    Slash,
    /// A name is longer than [`NAME_BYTES_MAX`] or a path longer than [`PATH_BYTES_MAX`].
    #[error("is too long")]
    TooLong,
    /// An identifier does not match its pattern.
    #[error("does not match [a-z][a-z0-9-]{{0,62}}")]
    NotIdent,
}

impl Name {
    /// Checks one part of a path.
    ///
    /// # Errors
    /// Refuses the empty text, `.`, `..`, `/`, NUL and more than 255 bytes.
    pub fn new(text: &str) -> Result<Name, PathError> {
        check_name(text).map(|()| Name(text.to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RelPath {
    /// Returns the place itself: no parts.
    pub fn here() -> RelPath {
        RelPath::default()
    }

    /// Checks a path as people write it: `.` parts, doubled slashes and a final slash are dropped.
    ///
    /// # Errors
    /// Refuses the empty text, a leading slash, `..`, NUL, and parts or paths that are too long.
    pub fn new(text: &str) -> Result<RelPath, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        let mut clean = String::with_capacity(text.len());
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            check_name(part)?;
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(part);
        }
        if clean.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(RelPath(clean))
    }

    /// Returns the path below this one.
    pub fn join(&self, below: &RelPath) -> RelPath {
        match (self.0.is_empty(), below.0.is_empty()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => RelPath(format!("{}/{}", self.0, below.0)),
        }
    }

    /// Returns the path of `name` in this folder.
    pub fn child(&self, name: &Name) -> RelPath {
        if self.0.is_empty() {
            RelPath(name.0.clone())
        } else {
            RelPath(format!("{}/{}", self.0, name.0))
        }
    }

    /// Returns the folder and the last name, or none for the place itself.
    pub fn split_last(&self) -> Option<(RelPath, Name)> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.rsplit_once('/') {
            Some((folder, name)) => (RelPath(folder.to_owned()), Name(name.to_owned())),
            None => (RelPath::here(), Name(self.0.clone())),
        })
    }

    /// Returns what is left of this path below `above`, if it lies there or is the same.
    pub fn strip_prefix(&self, above: &RelPath) -> Option<RelPath> {
        if above.0.is_empty() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(&above.0) {
            Some("") => Some(RelPath::here()),
            Some(rest) => rest.strip_prefix('/').map(|rest| RelPath(rest.to_owned())),
            None => None,
        }
    }

    /// Returns the parts in order.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// Says whether this is the place itself.
    pub fn is_here(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text; empty for the place itself. Safe to append to a folder's path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AbsPath {
    /// Checks an absolute path.
    ///
    /// # Errors
    /// Refuses what does not start with `/`, and what [`RelPath::new`] refuses.
    pub fn new(text: &str) -> Result<AbsPath, PathError> {
        let below = text.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        if below.trim_matches('/').is_empty() {
            return Ok(AbsPath::default());
        }
        RelPath::new(below.trim_start_matches('/')).map(AbsPath)
    }

    /// Returns the absolute path of `below` under `/`.
    pub fn from_root(below: RelPath) -> AbsPath {
        AbsPath(below)
    }

    /// Returns the path of `below` under this one.
    pub fn join(&self, below: &RelPath) -> AbsPath {
        AbsPath(self.0.join(below))
    }

    /// Returns the same path without the leading slash.
    pub fn below_root(&self) -> &RelPath {
        &self.0
    }

    /// Returns what is left below `above`, if this path lies there or is the same.
    pub fn strip_prefix(&self, above: &AbsPath) -> Option<RelPath> {
        self.0.strip_prefix(&above.0)
    }
}

impl Ident {
    /// Checks an identifier.
    ///
    /// # Errors
    /// Refuses what does not match `[a-z][a-z0-9-]{0,62}`.
    pub fn new(text: &str) -> Result<Ident, PathError> {
        let mut bytes = text.bytes();
        let first = matches!(bytes.next(), Some(b'a'..=b'z'));
        let rest = bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if first && rest && text.len() <= 63 {
            Ok(Ident(text.to_owned()))
        } else {
            Err(PathError::NotIdent)
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_name(text: &str) -> Result<(), PathError> {
    match text {
        "" | "." => Err(PathError::Empty),
        ".." => Err(PathError::Parent),
        _ if text.contains('\0') => Err(PathError::Nul),
        _ if text.contains('/') => Err(PathError::Slash),
        _ if text.len() > NAME_BYTES_MAX => Err(PathError::TooLong),
        _ => Ok(()),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
impl fmt::Display for RelPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}
impl fmt::Display for AbsPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "/{}", self.0.as_str())
    }
}
impl fmt::Display for Ident {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:?}", self.to_string())
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = String::deserialize(deserializer)?;
                $type::new(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Name, RelPath, AbsPath, Ident);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_lead_out_are_refused() {
        for (text, error) in [
            ("", PathError::Empty),
            ("/etc", PathError::Absolute),
            ("..", PathError::Parent),
            ("a/../../b", PathError::Parent),
            ("a\0b", PathError::Nul),
        ] {
            assert_eq!(RelPath::new(text), Err(error), "{text:?}");
        }
        assert_eq!(Name::new(&"a".repeat(256)), Err(PathError::TooLong));
        assert_eq!(AbsPath::new("etc"), Err(PathError::NotAbsolute));
        assert_eq!(AbsPath::new("/a/.."), Err(PathError::Parent));
    }

    #[test]
    fn paths_are_normal_after_parsing() {
        for (text, clean) in [(".", "."), ("./a//b/", "a/b"), ("a", "a"), ("a/./b", "a/b")] {
            assert_eq!(RelPath::new(text).map(|path| path.to_string()), Ok(clean.to_owned()));
        }
        assert_eq!(AbsPath::new("//a/").map(|path| path.to_string()), Ok("/a".to_owned()));
        assert_eq!(AbsPath::new("/").map(|path| path.to_string()), Ok("/".to_owned()));
    }

    #[test]
    fn prefixes_are_cut_at_parts_only() {
        let path = |text| RelPath::new(text).unwrap();
        assert_eq!(path("a/b").strip_prefix(&path("a")), Some(path("b")));
        assert_eq!(path("a").strip_prefix(&path("a")), Some(RelPath::here()));
        assert_eq!(path("ab").strip_prefix(&path("a")), None);
        assert_eq!(path("a/b").split_last(), Some((path("a"), Name::new("b").unwrap())));
    }

    #[test]
    fn identifiers_follow_the_pattern() {
        for good in ["a", "a-1", &"a".repeat(63)] {
            assert!(Ident::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "-a", "a_b", "a/b", &"a".repeat(64), "é"] {
            assert!(Ident::new(bad).is_err(), "{bad}");
        }
    }

    /// Texts of parts that mean something, in any number and at any place; a few too long.
    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            8 => "[ab.]{1,3}",
            2 => Just(String::new()),
            1 => prop::sample::select(vec![".", "..", "...", "a\0", "\u{e9}", " "]).prop_map(str::to_owned),
            1 => (NAME_BYTES_MAX - 1..NAME_BYTES_MAX + 2).prop_map(|length| "x".repeat(length)),
        ];
        let long = (15_usize..17, 200..NAME_BYTES_MAX + 1).prop_map(|(count, last)| {
            format!("{}{}", "long/".repeat(51 * count), "x".repeat(last))
        });
        prop_oneof![
            20 => prop::collection::vec(part, 0..6).prop_map(|parts| parts.join("/")),
            1 => long,
        ]
    }

    fn path() -> impl Strategy<Value = RelPath> {
        prop::collection::vec("[ab]{1,2}", 0..4)
            .prop_map(|parts| RelPath::new(&format!("./{}", parts.join("/"))).unwrap())
    }

    /// What the rules say of a text, told once more: the parts that are left, none where it is refused.
    fn kept(text: &str) -> Option<Vec<&str>> {
        let bad = |part: &&str| *part == ".." || part.contains('\0') || part.len() > 255;
        let kept: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let refused = kept.iter().any(bad) || kept.join("/").len() > 4095;
        (!refused).then_some(kept)
    }

    fn parts(path: &RelPath) -> Vec<&str> {
        path.parts().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]
        #[test]
        fn a_text_is_refused_or_becomes_its_parts_and_no_other(text in text()) {
            let relative = kept(&text).filter(|_| !text.is_empty() && !text.starts_with('/'));
            let got = RelPath::new(&text).ok();
            prop_assert_eq!(got.as_ref().map(parts), relative);
            let rooted = format!("/{text}");
            let place = AbsPath::new(&rooted).ok();
            prop_assert_eq!(place.as_ref().map(|place| parts(place.below_root())), kept(&rooted));
            prop_assert!(AbsPath::new(&text).is_err() || text.starts_with('/'));
            // The way over the wire is the same way in, and what is shown is read as the same.
            let wire = serde_json::Value::String;
            prop_assert_eq!(serde_json::from_value::<RelPath>(wire(text.clone())).ok(), got.clone());
            prop_assert_eq!(serde_json::from_value::<AbsPath>(wire(rooted)).ok(), place.clone());
            if let Some(path) = got {
                prop_assert_eq!(RelPath::new(&path.to_string()), Ok(path));
            }
            if let Some(place) = place {
                prop_assert_eq!(AbsPath::new(&place.to_string()), Ok(place));
            }
        }

        #[test]
        fn what_is_put_together_comes_apart_again(above in path(), below in path()) {
            let joined = above.join(&below);
            prop_assert_eq!(parts(&joined), [parts(&above), parts(&below)].concat());
            prop_assert_eq!(joined.strip_prefix(&above), Some(below.clone()));
            let rest = parts(&below).strip_prefix(parts(&above).as_slice()).map(<[&str]>::to_vec);
            let cut = below.strip_prefix(&above);
            prop_assert_eq!(cut.as_ref().map(parts), rest);
            let apart = joined.split_last().map(|(folder, name)| folder.child(&name));
            prop_assert_eq!(apart, (!joined.is_here()).then_some(joined));
        }

        #[test]
        fn no_text_makes_a_path_panic(text in ".{0,40}") {
            let _ = (RelPath::new(&text), AbsPath::new(&text), Name::new(&text), Ident::new(&text));
        }
    }
}
