//! Reads commits and trees from a repository's object folders.
//!
//! Loose objects first, then packs, then the same in every alternate. An object's bytes are hashed
//! after reading: a planted or rotten one is an error, never a wrong answer. Replace references and
//! grafts are not looked at.
//!
//! Source: gitrepository-layout(5) `objects`, git's documentation of commit and tree objects.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flate2::read::ZlibDecoder;

use super::error::GitError;
use super::id::{GitFormat, GitId, ObjectKind};
use super::pack::Pack;
use super::repository::read_file;

/// Largest commit or tree that is read, in bytes. A tree of a million entries has about 40 MB.
pub(super) const OBJECT_BYTES_MAX: usize = 64 << 20;

/// Longest chain of alternates that is followed; git itself stops at 5.
const ALTERNATES_DEPTH_MAX: usize = 5;

/// The object folders of one repository.
#[derive(Debug)]
pub(in crate::source) struct Objects {
    format: GitFormat,
    folders: Vec<PathBuf>,
    packs: OnceLock<Vec<Pack>>,
}

/// One entry of a tree object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct TreeEntry {
    /// The mode as stored, for example `0o100644`.
    pub(in crate::source) mode: u32,
    /// The name, without slash.
    pub(in crate::source) name: Vec<u8>,
    /// The object it stands for.
    pub(in crate::source) id: GitId,
}

impl Objects {
    /// Finds the object folders that start at `folder`, with its alternates.
    pub(super) fn open(folder: &Path, format: GitFormat) -> Result<Objects, GitError> {
        let mut folders = vec![folder.to_owned()];
        alternates(folder, ALTERNATES_DEPTH_MAX, &mut folders)?;
        Ok(Objects { format, folders, packs: OnceLock::new() })
    }

    /// Returns the tree of a commit.
    pub(in crate::source) fn commit_tree(&self, commit: &GitId) -> Result<GitId, GitError> {
        let bytes = self.read(commit, ObjectKind::Commit)?;
        let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        line.strip_prefix(b"tree ")
            .and_then(|hex| self.format.hex(hex))
            .ok_or(GitError::DamagedObject { kind: "commit", id: *commit })
    }

    /// Returns a commit's own time, in seconds since 1970; none for one that git could not have
    /// written.
    pub(in crate::source) fn commit_seconds(
        &self,
        commit: &GitId,
    ) -> Result<Option<i64>, GitError> {
        let bytes = self.read(commit, ObjectKind::Commit)?;
        let header = bytes.split(|&byte| byte == b'\n').take_while(|line| !line.is_empty());
        let mut committer = header.filter_map(|line| line.strip_prefix(b"committer "));
        let words = committer.next().and_then(|line| std::str::from_utf8(line).ok());
        let seconds = words.and_then(|line| line.rsplit(' ').nth(1));
        Ok(seconds.and_then(|seconds| seconds.parse().ok()))
    }

    /// Returns the entries of a tree, in the order stored.
    pub(in crate::source) fn tree(&self, id: &GitId) -> Result<Vec<TreeEntry>, GitError> {
        if *id == self.format.name(ObjectKind::Tree, b"") {
            return Ok(Vec::new());
        }
        let bytes = self.read(id, ObjectKind::Tree)?;
        let mut entries = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (entry, after) = tree_entry(rest, self.format)
                .ok_or(GitError::DamagedObject { kind: "tree", id: *id })?;
            entries.push(entry);
            rest = after;
        }
        Ok(entries)
    }

    fn read(&self, id: &GitId, kind: ObjectKind) -> Result<Vec<u8>, GitError> {
        let damaged = || GitError::DamagedObject { kind: kind.word(), id: *id };
        let (found, bytes) = match self.read_loose(id)? {
            Some(loose) => loose.ok_or_else(damaged)?,
            None => self
                .read_packed(id)?
                .ok_or(GitError::MissingObject { kind: kind.word(), id: *id })?
                .ok_or_else(damaged)?,
        };
        if found != kind || self.format.name(kind, &bytes) != *id {
            return Err(damaged());
        }
        Ok(bytes)
    }

    fn read_loose(&self, id: &GitId) -> Result<Option<Option<Object>>, GitError> {
        let hex = id.to_string();
        for folder in &self.folders {
            let path = folder.join(&hex[..2]).join(&hex[2..]);
            if let Some(bytes) = read_file(&path, OBJECT_BYTES_MAX as u64)? {
                return Ok(Some(inflate_loose(&bytes)));
            }
        }
        Ok(None)
    }

    fn read_packed(&self, id: &GitId) -> Result<Option<Option<Object>>, GitError> {
        if self.packs.get().is_none() {
            let packs = Pack::open_all(&self.folders, self.format)?;
            // If another thread was faster, its value is as good.
            let _ = self.packs.set(packs);
        }
        for pack in self.packs.get().into_iter().flatten() {
            if let Some(offset) = pack.find(id)? {
                return pack.read(offset).map(Some);
            }
        }
        Ok(None)
    }
}

/// The kind and the content of an object.
pub(super) type Object = (ObjectKind, Vec<u8>);

fn alternates(folder: &Path, depth: usize, into: &mut Vec<PathBuf>) -> Result<(), GitError> {
    let path = folder.join("info/alternates");
    let Some(bytes) = read_file(&path, 1 << 20)? else { return Ok(()) };
    if depth == 0 {
        return Err(GitError::Damaged { path, what: "alternates nest too deep" });
    }
    for line in bytes.split(|&byte| byte == b'\n') {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(GitError::Damaged { path, what: "an alternate is not UTF-8" });
        };
        let next = folder.join(line);
        if !into.contains(&next) {
            into.push(next.clone());
            alternates(&next, depth - 1, into)?;
        }
    }
    Ok(())
}

fn inflate_loose(bytes: &[u8]) -> Option<Object> {
    let mut out = Vec::new();
    let cap = OBJECT_BYTES_MAX as u64 + 32;
    ZlibDecoder::new(bytes).take(cap).read_to_end(&mut out).ok()?;
    let end = out.iter().take(32).position(|&byte| byte == 0)?;
    let (word, size) = std::str::from_utf8(&out[..end]).ok()?.split_once(' ')?;
    let kind = [ObjectKind::Blob, ObjectKind::Tree, ObjectKind::Commit, ObjectKind::Tag]
        .into_iter()
        .find(|kind| kind.word() == word)?;
    let size: usize = size.parse().ok()?;
    let content = out.split_off(end + 1);
    (size == content.len()).then_some((kind, content))
}

fn tree_entry(bytes: &[u8], format: GitFormat) -> Option<(TreeEntry, &[u8])> {
    let space = bytes.iter().take(8).position(|&byte| byte == b' ')?;
    let mode = u32::from_str_radix(std::str::from_utf8(&bytes[..space]).ok()?, 8).ok()?;
    let rest = &bytes[space + 1..];
    let end = rest.iter().position(|&byte| byte == 0)?;
    let name = &rest[..end];
    if name.is_empty() || name.contains(&b'/') || name == b"." || name == b".." {
        return None;
    }
    let id = format.raw(&rest[end + 1..])?;
    let after = &rest[end + 1 + format.raw_len()..];
    Some((TreeEntry { mode, name: name.to_vec(), id }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_entry_that_leads_out_is_refused() {
        for (name, good) in [(&b"a"[..], true), (b"..", false), (b"a/b", false), (b"", false)] {
            let mut bytes = b"100644 ".to_vec();
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&[0; 21]);
            assert_eq!(tree_entry(&bytes, GitFormat::Sha1).is_some(), good, "{name:?}");
        }
        assert!(tree_entry(b"100644 a\0short", GitFormat::Sha1).is_none());
    }

    #[test]
    fn what_is_no_loose_object_gives_nothing() {
        assert!(inflate_loose(b"").is_none());
        assert!(inflate_loose(b"not zlib at all").is_none());
    }
}
