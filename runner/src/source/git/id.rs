//! `GitId`: git's own name of a blob, tree or commit.
//!
//! It is computed from the bytes in the same pass as our digest, to be compared with what a commit
//! says. It is never used to find or to trust content: SHA-1 is no longer collision resistant, so
//! the SHA-256 of the tree stands beside it wherever it is reported.
//!
//! Does not catch: two files made to collide under SHA-1. The provenance's own digest tells them
//! apart, the word "clean" does not.
//!
//! Source: gitformat-pack(5); hash-function-transition of git's technical documentation.

use std::fmt;

use model::Hasher;
use sha1::Digest as _;

/// Which hash function names the objects of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitFormat {
    /// SHA-1, 20 bytes: the default.
    Sha1,
    /// SHA-256, 32 bytes: `git init --object-format=sha256`.
    Sha256,
}

/// The name of a git object. Printed as 40 or 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitId {
    /// A name of 20 bytes.
    Sha1([u8; 20]),
    /// A name of 32 bytes.
    Sha256([u8; 32]),
}

/// The kinds of object that are read or named here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A file's or symlink's bytes.
    Blob,
    /// A folder.
    Tree,
    /// A commit.
    Commit,
    /// An annotated tag.
    Tag,
}

/// Computes a [`GitId`] piece by piece.
pub enum GitHasher {
    /// For repositories of [`GitFormat::Sha1`].
    Sha1(sha1::Sha1),
    /// For repositories of [`GitFormat::Sha256`].
    Sha256(Hasher),
}

impl GitFormat {
    /// Returns the length of a raw name in bytes.
    pub fn raw_len(self) -> usize {
        match self {
            GitFormat::Sha1 => 20,
            GitFormat::Sha256 => 32,
        }
    }

    /// Returns the name of an object with that content.
    pub fn name(self, kind: ObjectKind, content: &[u8]) -> GitId {
        let mut hasher = GitHasher::new(self, kind, content.len() as u64);
        hasher.update(content);
        hasher.finish()
    }

    /// Returns the hash of bare bytes, without an object's header, as files' trailers carry it.
    pub(super) fn trailer(self, bytes: &[u8]) -> GitId {
        let mut hasher = GitHasher::bare(self);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Takes a raw name from the front of `bytes`, if they are enough.
    pub fn raw(self, bytes: &[u8]) -> Option<GitId> {
        Some(match self {
            GitFormat::Sha1 => GitId::Sha1(*bytes.first_chunk()?),
            GitFormat::Sha256 => GitId::Sha256(*bytes.first_chunk()?),
        })
    }

    /// Reads a name in hex digits of the length that this format has.
    pub fn hex(self, text: &[u8]) -> Option<GitId> {
        if text.len() != self.raw_len() * 2 {
            return None;
        }
        let mut raw = [0_u8; 32];
        for (byte, pair) in raw.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        self.raw(&raw)
    }
}

impl GitId {
    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            GitId::Sha1(raw) => raw,
            GitId::Sha256(raw) => raw,
        }
    }

    /// Returns the format this name belongs to.
    pub fn format(&self) -> GitFormat {
        match self {
            GitId::Sha1(_) => GitFormat::Sha1,
            GitId::Sha256(_) => GitFormat::Sha256,
        }
    }
}

impl ObjectKind {
    /// Returns the word in an object's header.
    pub fn word(self) -> &'static str {
        match self {
            ObjectKind::Blob => "blob",
            ObjectKind::Tree => "tree",
            ObjectKind::Commit => "commit",
            ObjectKind::Tag => "tag",
        }
    }
}

impl GitHasher {
    /// Returns a hasher for an object of that kind and size in bytes.
    pub fn new(format: GitFormat, kind: ObjectKind, size: u64) -> GitHasher {
        let mut hasher = GitHasher::bare(format);
        let mut header = [0_u8; 32];
        let len = header_bytes(&mut header, kind, size);
        hasher.update(&header[..len]);
        hasher
    }

    /// Takes in the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            GitHasher::Sha1(hasher) => hasher.update(bytes),
            GitHasher::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the name of everything taken in.
    pub fn finish(self) -> GitId {
        match self {
            GitHasher::Sha1(hasher) => GitId::Sha1(hasher.finalize().into()),
            GitHasher::Sha256(hasher) => GitId::Sha256(*hasher.finish().digest.as_bytes()),
        }
    }

    fn bare(format: GitFormat) -> GitHasher {
        match format {
            GitFormat::Sha1 => GitHasher::Sha1(sha1::Sha1::new()),
            GitFormat::Sha256 => GitHasher::Sha256(Hasher::new()),
        }
    }
}

/// Writes `KIND SIZE\0` without allocating; a word of 6 and a number of 20 digits fit in 32 bytes.
fn header_bytes(out: &mut [u8; 32], kind: ObjectKind, size: u64) -> usize {
    use std::io::Write as _;
    let mut rest = &mut out[..];
    let whole = rest.len();
    // A slice that is large enough takes every write.
    let _ = write!(rest, "{} {size}\0", kind.word());
    whole - rest.len()
}

impl fmt::Display for GitId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for GitId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_published_ones() {
        let empty = GitFormat::Sha1.name(ObjectKind::Blob, b"");
        assert_eq!(empty.to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        let tree = GitFormat::Sha256.name(ObjectKind::Tree, b"");
        assert_eq!(
            tree.to_string(),
            "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
        );
    }

    #[test]
    fn hex_of_another_length_or_alphabet_is_refused() {
        let good = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        assert!(GitFormat::Sha1.hex(good.as_bytes()).is_some());
        for bad in ["", &good[1..], &good.replace('e', "g"), &format!("{good}00")] {
            assert!(GitFormat::Sha1.hex(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
