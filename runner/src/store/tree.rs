//! Trees in the store: each folder's message is an object like any other.
//!
//! Stored from the leaves up, so that a folder never names what is not there. Read back only in
//! canonical form and only beneath the depth and size a tree may have: a stored folder is as
//! untrusted as any other bytes until its digest is right, and its size until it was counted. A message
//! that is larger than what is read back is not written, and one that lies there all the same counts as
//! damaged: a tree that nobody can read must not stop whoever looks at the whole store.
//!
//! Spec: REAPI v2 `Directory`.

use std::collections::{BTreeMap, BTreeSet};

use model::reapi::{self, DIRECTORY_BYTES_MAX, DecodeError};
use model::tree::{DEPTH_MAX, Node};
use model::{Blob, Directory, RelPath, Tree};

use super::error::Error;
use super::open::Store;

/// What a tree consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeParts {
    /// The messages of its folders.
    pub folders: BTreeSet<Blob>,
    /// The contents of its files.
    pub files: BTreeSet<Blob>,
}

impl Store {
    /// Stores the messages of a tree and returns its root.
    ///
    /// # Errors
    /// [`Error::FolderTooLarge`] before anything is stored, [`Error::Full`], and what the kernel refuses.
    pub fn put_tree(&self, tree: &Tree) -> Result<Blob, Error> {
        if let Some((at, size)) = tree.too_large() {
            return Err(Error::FolderTooLarge { at, size });
        }
        for directory in tree.directories.values() {
            self.put_directory(directory)?;
        }
        Ok(tree.root)
    }

    /// Stores one folder's message.
    ///
    /// # Errors
    /// [`Error::FolderTooLarge`], which does not know where the folder lies; [`Error::Full`] and what the
    /// kernel refuses.
    pub fn put_directory(&self, directory: &Directory) -> Result<Blob, Error> {
        let message = reapi::encode_directory(directory);
        if message.len() > DIRECTORY_BYTES_MAX {
            let (at, size) = (RelPath::here(), message.len() as u64);
            return Err(Error::FolderTooLarge { at, size });
        }
        self.import_bytes(&message)
    }

    /// Returns one folder. The folder without entries is known without being stored.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`], [`Error::NotADirectory`].
    pub fn load_directory(&self, blob: &Blob) -> Result<Directory, Error> {
        if blob.size == 0 && *blob == Directory::default().blob() {
            return Ok(Directory::default());
        }
        let bad = |source| Error::NotADirectory { digest: blob.digest, source };
        let bytes = match self.read(&blob.digest, DIRECTORY_BYTES_MAX as u64) {
            Err(Error::TooLarge { .. }) => return Err(bad(DecodeError::Length)),
            answer => answer?,
        };
        if bytes.len() as u64 != blob.size {
            let (digest, size) = (blob.digest, bytes.len() as u64);
            return Err(Error::WrongSize { digest, size, expected: blob.size });
        }
        reapi::decode_directory(&bytes).map_err(bad)
    }

    /// Returns a whole tree: every folder's message, each read and verified once.
    ///
    /// # Errors
    /// As [`Store::load_directory`]; [`Error::TooDeep`].
    pub fn load_tree(&self, root: &Blob) -> Result<Tree, Error> {
        let mut directories = BTreeMap::new();
        let mut level = vec![(RelPath::here(), *root)];
        for _ in 0..=DEPTH_MAX {
            let mut below = Vec::new();
            for (at, blob) in level {
                if directories.contains_key(&blob) {
                    continue;
                }
                let directory = self.load_directory(&blob)?;
                for (name, node) in directory.entries() {
                    if let Node::Directory(child) = node {
                        below.push((at.child(name), *child));
                    }
                }
                directories.insert(blob, directory);
            }
            if below.is_empty() {
                return Ok(Tree { root: *root, directories });
            }
            level = below;
        }
        let deepest = level.into_iter().next().map(|(at, _)| at);
        Err(Error::TooDeep(deepest.unwrap_or_default()))
    }

    /// Returns what a tree consists of.
    ///
    /// # Errors
    /// As [`Store::load_tree`].
    pub fn tree_parts(&self, root: &Blob) -> Result<TreeParts, Error> {
        let tree = self.load_tree(root)?;
        let mut parts = TreeParts::default();
        for (blob, directory) in &tree.directories {
            parts.folders.insert(*blob);
            for (_, node) in directory.entries() {
                if let Node::File { blob, .. } = node {
                    parts.files.insert(*blob);
                }
            }
        }
        Ok(parts)
    }

    /// Says whether everything a tree names is in the store. Folders are read and verified; files
    /// are looked up by name and size, and verified when they are read.
    ///
    /// # Errors
    /// What the kernel refuses; a part that is absent or damaged is no error but `false`.
    pub fn is_complete(&self, root: &Blob) -> Result<bool, Error> {
        match self.tree_parts(root) {
            Ok(parts) => Ok(parts.files.iter().all(|blob| self.has_sized(blob))),
            Err(error) if error.is_miss() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
