//! Reads git's index for one thing: which paths are tracked.
//!
//! Flags such as assume-unchanged and skip-worktree, cached times and cached names are read past:
//! they are exactly what can be made to lie. The fsmonitor and untracked-cache extensions are
//! skipped for the same reason.
//!
//! ```text
//! "DIRC" version count │ entry … │ extension … │ hash of all before, or zeros
//! ```
//!
//! A collapsed folder of a sparse index (mode 040000) holds no path. Its files are not in the work
//! tree, so they count as missing when compared with the commit.
//!
//! Source: gitformat-index(5), versions 2, 3 and 4.

use std::path::Path;

use super::error::GitError;
use super::id::{GitFormat, GitId};
use super::repository::read_file;

/// Largest index that is read, in bytes: about ten million entries.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// Longest path of an entry in bytes, as Linux limits paths.
const PATH_BYTES_MAX: usize = 4096;

const MODE_GITLINK: u32 = 0o160_000;
const MODE_FOLDER: u32 = 0o040_000;

/// The tracked paths, sorted by bytes, each once.
#[derive(Debug, Default)]
pub(in crate::source) struct Index {
    /// All paths, one behind the other.
    text: Vec<u8>,
    entries: Vec<Tracked>,
}

#[derive(Debug, Clone, Copy)]
struct Tracked {
    start: u32,
    end: u32,
    gitlink: bool,
}

/// The tracked paths that start with one prefix.
#[derive(Debug, Clone, Copy)]
pub(in crate::source) struct Below<'index> {
    text: &'index [u8],
    entries: &'index [Tracked],
    /// Length of the prefix in bytes, its final slash included.
    skip: usize,
}

/// What the index knows of one name in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Known {
    /// A tracked file or symlink.
    File,
    /// A submodule.
    Gitlink,
    /// Nothing of that name.
    No,
}

impl Index {
    /// Reads `index` in `git_dir`; a repository without one tracks nothing.
    pub(in crate::source) fn read(git_dir: &Path, format: GitFormat) -> Result<Index, GitError> {
        let path = git_dir.join("index");
        let Some(bytes) = read_file(&path, INDEX_BYTES_MAX)? else { return Ok(Index::default()) };
        match Index::parse(&bytes, format) {
            Ok(index) => Ok(index),
            Err(Flaw::Form(what)) => Err(GitError::Damaged { path, what }),
            Err(Flaw::Split) => Err(GitError::Unsupported {
                path,
                feature: "a split index",
                remedy: "git update-index --no-split-index",
            }),
            Err(Flaw::Extension) => Err(GitError::Unsupported {
                path,
                feature: "an unknown extension that git says must be understood",
                remedy: "git update-index --index-version 2 --force-write-index",
            }),
        }
    }

    /// Returns all tracked paths.
    pub(in crate::source) fn all(&self) -> Below<'_> {
        Below { text: &self.text, entries: &self.entries, skip: 0 }
    }

    fn parse(bytes: &[u8], format: GitFormat) -> Result<Index, Flaw> {
        let trailer_at = bytes.len().checked_sub(format.raw_len());
        let (body, trailer) = trailer_at
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(Flaw::Form("it is short"))?;
        // `index.skipHash` writes zeros in its place.
        if trailer.iter().any(|&byte| byte != 0) {
            check_trailer(body, trailer, format)?;
        }
        let mut rest = body;
        if take(&mut rest, 4)? != b"DIRC" {
            return Err(Flaw::Form("it does not start with DIRC"));
        }
        let version = be32(take(&mut rest, 4)?);
        if !(2..=4).contains(&version) {
            return Err(Flaw::Form("its version is not 2, 3 or 4"));
        }
        let count = be32(take(&mut rest, 4)?);
        let mut index = Index::default();
        index.text.reserve(body.len() / 2);
        index.entries.reserve((count as usize).min(body.len() / 62));
        let mut path = Vec::with_capacity(PATH_BYTES_MAX);
        for _ in 0..count {
            let mode = entry(&mut rest, version, format, &mut path)?;
            index.push(mode, &path)?;
        }
        extensions(rest)?;
        Ok(index)
    }

    fn push(&mut self, mode: u32, path: &[u8]) -> Result<(), Flaw> {
        // A collapsed folder sorts with its final slash, which no path of a file has.
        if mode == MODE_FOLDER {
            return Ok(());
        }
        if let Some(last) = self.entries.last() {
            match self.text[last.start as usize..].cmp(path) {
                std::cmp::Ordering::Less => {}
                // The stages of an unmerged path follow one another under one name.
                std::cmp::Ordering::Equal => return Ok(()),
                std::cmp::Ordering::Greater => return Err(Flaw::Form("it is not sorted")),
            }
        }
        let short = |len: usize| u32::try_from(len).map_err(|_| Flaw::Form("it is too large"));
        let start = short(self.text.len())?;
        self.text.extend_from_slice(path);
        let end = short(self.text.len())?;
        self.entries.push(Tracked { start, end, gitlink: mode == MODE_GITLINK });
        Ok(())
    }
}

impl<'index> Below<'index> {
    /// Says whether nothing is tracked here.
    pub(in crate::source) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Looks a name of this folder up.
    pub(in crate::source) fn file(&self, name: &[u8]) -> Known {
        match self.entries.binary_search_by(|entry| self.rest(entry).cmp(name)) {
            Ok(at) if self.entries[at].gitlink => Known::Gitlink,
            Ok(_) => Known::File,
            Err(_) => Known::No,
        }
    }

    /// Returns what is tracked in the folder `name` of this folder.
    pub(in crate::source) fn folder(&self, name: &[u8]) -> Below<'index> {
        let key = |entry: &Tracked| {
            let rest = self.rest(entry);
            let shared = rest.len().min(name.len());
            rest[..shared].cmp(name).then_with(|| match rest.get(name.len()) {
                None => std::cmp::Ordering::Less,
                Some(byte) => byte.cmp(&b'/'),
            })
        };
        let start = self.entries.partition_point(|entry| key(entry).is_lt());
        let end = start + self.entries[start..].partition_point(|entry| key(entry).is_eq());
        Below {
            text: self.text,
            entries: &self.entries[start..end],
            skip: self.skip + name.len() + 1,
        }
    }

    fn rest(&self, entry: &Tracked) -> &'index [u8] {
        &self.text[entry.start as usize + self.skip..entry.end as usize]
    }
}

/// What is wrong with an index.
enum Flaw {
    Form(&'static str),
    Split,
    Extension,
}

fn check_trailer(body: &[u8], trailer: &[u8], format: GitFormat) -> Result<(), Flaw> {
    let computed: GitId = format.trailer(body);
    if computed.as_bytes() == trailer { Ok(()) } else { Err(Flaw::Form("its hash differs")) }
}

/// Reads one entry into `path` and returns its mode.
fn entry(
    rest: &mut &[u8],
    version: u32,
    format: GitFormat,
    path: &mut Vec<u8>,
) -> Result<u32, Flaw> {
    let before = rest.len();
    let fixed = take(rest, 40 + format.raw_len() + 2)?;
    let mode = be32(&fixed[24..28]);
    let flags = u16::from_be_bytes([fixed[fixed.len() - 2], fixed[fixed.len() - 1]]);
    if flags & 0x4000 != 0 {
        if version < 3 {
            return Err(Flaw::Form("an entry of version 2 has extended flags"));
        }
        take(rest, 2)?;
    }
    if version == 4 {
        let drop = strip_length(rest)?;
        let keep = path.len().checked_sub(drop).ok_or(Flaw::Form("a path is cut too far"))?;
        path.truncate(keep);
        path.extend_from_slice(until_nul(rest)?);
    } else {
        path.clear();
        path.extend_from_slice(until_nul(rest)?);
        // Entries are filled with NULs to a multiple of 8 bytes; one NUL is read already.
        let used = before - rest.len();
        take(rest, used.next_multiple_of(8) - used)?;
    }
    // Only an entry that replaces one of the shared index has no path of its own.
    if path.is_empty() {
        return Err(Flaw::Split);
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(Flaw::Form("a path is too long"));
    }
    Ok(mode)
}

fn extensions(mut rest: &[u8]) -> Result<(), Flaw> {
    while !rest.is_empty() {
        let signature = take(&mut rest, 4)?;
        let len = be32(take(&mut rest, 4)?);
        take(&mut rest, len as usize)?;
        match signature {
            b"link" => return Err(Flaw::Split),
            b"sdir" => {}
            [first, ..] if first.is_ascii_uppercase() => {}
            _ => return Err(Flaw::Extension),
        }
    }
    Ok(())
}

/// The number of version 4, in the encoding of offset deltas.
fn strip_length(rest: &mut &[u8]) -> Result<usize, Flaw> {
    let mut byte = take(rest, 1)?[0];
    let mut value = usize::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = take(rest, 1)?[0];
        if value > PATH_BYTES_MAX {
            return Err(Flaw::Form("a path is cut too far"));
        }
        value = (value + 1) << 7 | usize::from(byte & 0x7f);
    }
    Ok(value)
}

fn until_nul<'bytes>(rest: &mut &'bytes [u8]) -> Result<&'bytes [u8], Flaw> {
    let window = &rest[..rest.len().min(PATH_BYTES_MAX + 1)];
    let end = window.iter().position(|&byte| byte == 0).ok_or(Flaw::Form("a path has no end"))?;
    let text = take(rest, end)?;
    take(rest, 1)?;
    Ok(text)
}

fn take<'bytes>(rest: &mut &'bytes [u8], len: usize) -> Result<&'bytes [u8], Flaw> {
    let (front, after) = rest.split_at_checked(len).ok_or(Flaw::Form("it is cut short"))?;
    *rest = after;
    Ok(front)
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(paths: &[&str]) -> Index {
        let mut index = Index::default();
        for path in paths {
            assert!(index.push(0o100_644, path.as_bytes()).is_ok());
        }
        index
    }

    #[test]
    fn a_folder_holds_what_starts_with_its_name_and_a_slash() {
        let index = index(&["a", "b-c", "b.d", "b/e", "b/f/g", "b0", "c"]);
        let all = index.all();
        assert_eq!(all.file(b"a"), Known::File);
        assert_eq!(all.file(b"b"), Known::No);
        assert!(all.folder(b"a").is_empty());
        let b = all.folder(b"b");
        assert_eq!(b.entries.len(), 2);
        assert_eq!(b.file(b"e"), Known::File);
        assert_eq!(b.folder(b"f").file(b"g"), Known::File);
        assert_eq!(b.folder(b"f").file(b"e"), Known::No);
        assert!(all.folder(b"").is_empty());
    }

    #[test]
    fn an_unsorted_index_is_refused() {
        let mut index = index(&["b"]);
        assert!(matches!(index.push(0o100_644, b"a"), Err(Flaw::Form(_))));
    }

    #[test]
    fn a_cut_or_crafted_index_never_panics() {
        let mut bytes = b"DIRC\0\0\0\x02\0\0\0\x01".to_vec();
        bytes.extend_from_slice(&[0; 24]);
        bytes.extend_from_slice(&0o100_644_u32.to_be_bytes());
        bytes.extend_from_slice(&[0; 34]);
        bytes.extend_from_slice(b"a\0");
        let whole = [&bytes[..], &[0; 20]].concat();
        assert!(Index::parse(&whole, GitFormat::Sha1).is_ok());
        for len in 0..bytes.len() {
            let cut = [&bytes[..len], &[0; 20]].concat();
            assert!(Index::parse(&cut, GitFormat::Sha1).is_err(), "{len}");
        }
    }
}
