//! `Tree`: a folder as the Merkle tree of REAPI v2 `Directory` messages.
//!
//! A file has a name, a digest with its size, and an executable bit; a symlink is text; a folder is
//! its sorted entries. No owner, no time and no other mode bit is part of a tree: the mount sets
//! those (decision 1). Names are unique over all three kinds and sorted by their UTF-8 bytes, so
//! one content has one encoding and one digest.
//!
//! ```text
//! Directory ─┬─ files:       name, blob, executable
//!            ├─ directories: name, blob of the child's Directory message
//!            └─ symlinks:    name, target
//! ```
//!
//! Source: REAPI v2 `remote_execution.proto`, messages `Directory`, `FileNode`, `DirectoryNode`,
//! `SymlinkNode`.

use std::collections::BTreeMap;

use crate::digest::Blob;
use crate::reapi::DIRECTORY_BYTES_MAX;
use crate::relpath::{Name, RelPath};

/// Deepest nesting of folders that is built or read.
pub const DEPTH_MAX: usize = 256;

/// One folder: three maps whose names never meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: BTreeMap<Name, Node>,
}

/// What a name in a folder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Its content.
        blob: Blob,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A folder, by the blob of its own message.
    Directory(Blob),
    /// A symlink: text, never followed by kiln.
    Symlink(String),
}

/// A whole folder: the root's name and every message below it, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The root `Directory` message.
    pub root: Blob,
    /// Every message of the tree, the root among them.
    pub directories: BTreeMap<Blob, Directory>,
}

/// A tree that is being put together path by path.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    root: Folder,
}

#[derive(Debug, Default)]
struct Folder {
    entries: BTreeMap<Name, Growing>,
}

#[derive(Debug)]
enum Growing {
    Folder(Folder),
    Done(Node),
}

/// Why an entry cannot be added to a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Another entry has this path already.
    #[error("`{0}` is there already")]
    Occupied(RelPath),
    /// A part of the path is a file or a symlink.
    #[error("a part of `{0}` is not a folder")]
    NotAFolder(RelPath),
    /// A symlink's target is empty, holds a NUL or is longer than a path may be.
    #[error("`{0}` has a target that no symlink can have")]
    Target(RelPath),
    /// More than [`DEPTH_MAX`] folders deep.
    #[error("`{0}` lies too deep")]
    TooDeep(RelPath),
    /// A folder that is needed is not in the set at hand.
    #[error("the folder `{0}` is not at hand")]
    Missing(RelPath),
}

impl Directory {
    /// Returns the entries, sorted by name.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&Name, &Node)> {
        self.entries.iter()
    }

    /// Returns the entry of that name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        Name::new(name).ok().and_then(|name| self.entries.get(&name))
    }

    /// Puts an entry in the place of whatever had its name.
    pub fn set(&mut self, name: Name, node: Node) {
        self.entries.insert(name, node);
    }

    /// Adds an entry; says whether the name was free.
    pub fn add(&mut self, name: Name, node: Node) -> bool {
        let free = !self.entries.contains_key(&name);
        if free {
            self.entries.insert(name, node);
        }
        free
    }

    /// Returns the blob of this folder's own message.
    pub fn blob(&self) -> Blob {
        Blob::of(&crate::reapi::encode_directory(self))
    }
}

impl Tree {
    /// Returns the tree without entries.
    pub fn empty() -> Tree {
        TreeBuilder::new().build()
    }

    /// Returns the root folder.
    pub fn root_directory(&self) -> Option<&Directory> {
        self.directories.get(&self.root)
    }

    /// Calls `visit` with every entry, folders before their content, in path order.
    ///
    /// # Errors
    /// Gives up where a folder's message is not part of the tree, or too deep.
    pub fn walk(&self, visit: &mut dyn FnMut(&RelPath, &Node)) -> Result<(), TreeError> {
        self.walk_below(&RelPath::here(), &self.root, 0, visit)
    }

    /// Returns the folder whose message is larger than what is read back, and how large that is.
    pub fn too_large(&self) -> Option<(RelPath, u64)> {
        let large = self.directories.keys().find(|blob| blob.size > DIRECTORY_BYTES_MAX as u64)?;
        let mut place = None;
        let walked = self.walk(&mut |at, node| {
            if *node == Node::Directory(*large) {
                place.get_or_insert_with(|| at.clone());
            }
        });
        // Where the way to it cannot be walked, the top stands for it.
        let at = walked.ok().and(place).unwrap_or_default();
        Some((at, large.size))
    }

    fn walk_below(
        &self,
        at: &RelPath,
        folder: &Blob,
        depth: usize,
        visit: &mut dyn FnMut(&RelPath, &Node),
    ) -> Result<(), TreeError> {
        if depth > DEPTH_MAX {
            return Err(TreeError::TooDeep(at.clone()));
        }
        let directory =
            self.directories.get(folder).ok_or_else(|| TreeError::Missing(at.clone()))?;
        for (name, node) in &directory.entries {
            let path = at.child(name);
            visit(&path, node);
            if let Node::Directory(child) = node {
                self.walk_below(&path, child, depth + 1, visit)?;
            }
        }
        Ok(())
    }
}

impl TreeBuilder {
    /// Returns a builder without entries.
    pub fn new() -> TreeBuilder {
        TreeBuilder::default()
    }

    /// Adds a file and the folders above it.
    ///
    /// # Errors
    /// Refuses a path that is taken, leads through a file or symlink, or is too deep.
    pub fn file(&mut self, at: &RelPath, blob: Blob, executable: bool) -> Result<(), TreeError> {
        self.put(at, Growing::Done(Node::File { blob, executable }))
    }

    /// Adds a symlink and the folders above it.
    ///
    /// # Errors
    /// As [`TreeBuilder::file`]; also a target that no symlink can have.
    pub fn symlink(&mut self, at: &RelPath, target: &str) -> Result<(), TreeError> {
        if target.is_empty()
            || target.contains('\0')
            || target.len() > crate::relpath::PATH_BYTES_MAX
        {
            return Err(TreeError::Target(at.clone()));
        }
        self.put(at, Growing::Done(Node::Symlink(target.to_owned())))
    }

    /// Adds a folder and the folders above it; one that is there already is fine.
    ///
    /// # Errors
    /// As [`TreeBuilder::file`].
    pub fn folder(&mut self, at: &RelPath) -> Result<(), TreeError> {
        self.descend(at, at).map(|_| ())
    }

    /// Adds a whole folder by its message, which the caller keeps elsewhere.
    ///
    /// # Errors
    /// As [`TreeBuilder::file`].
    pub fn graft(&mut self, at: &RelPath, folder: Blob) -> Result<(), TreeError> {
        self.put(at, Growing::Done(Node::Directory(folder)))
    }

    /// Returns the finished tree. Grafted folders are named in it but not contained.
    pub fn build(self) -> Tree {
        let mut directories = BTreeMap::new();
        let root = finish(self.root, &mut directories);
        Tree { root, directories }
    }

    fn put(&mut self, at: &RelPath, what: Growing) -> Result<(), TreeError> {
        let (above, name) = at.split_last().ok_or_else(|| TreeError::Occupied(at.clone()))?;
        let folder = self.descend(&above, at)?;
        if folder.entries.contains_key(&name) {
            return Err(TreeError::Occupied(at.clone()));
        }
        folder.entries.insert(name, what);
        Ok(())
    }

    fn descend(&mut self, to: &RelPath, whole: &RelPath) -> Result<&mut Folder, TreeError> {
        if whole.parts().count() > DEPTH_MAX {
            return Err(TreeError::TooDeep(whole.clone()));
        }
        let mut folder = &mut self.root;
        for part in to.parts() {
            let name = Name::new(part).map_err(|_| TreeError::NotAFolder(whole.clone()))?;
            let next =
                folder.entries.entry(name).or_insert_with(|| Growing::Folder(Folder::default()));
            folder = match next {
                Growing::Folder(folder) => folder,
                Growing::Done(_) => return Err(TreeError::NotAFolder(whole.clone())),
            };
        }
        Ok(folder)
    }
}

fn finish(folder: Folder, directories: &mut BTreeMap<Blob, Directory>) -> Blob {
    let mut directory = Directory::default();
    for (name, growing) in folder.entries {
        let node = match growing {
            Growing::Folder(below) => Node::Directory(finish(below, directories)),
            Growing::Done(node) => node,
        };
        directory.entries.insert(name, node);
    }
    let blob = directory.blob();
    directories.insert(blob, directory);
    blob
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn a_tree_does_not_depend_on_the_order_of_adding() {
        let blob = Blob::of(b"x");
        let mut one = TreeBuilder::new();
        one.file(&path("a/b"), blob, false).unwrap();
        one.symlink(&path("a/l"), "../b").unwrap();
        one.folder(&path("empty")).unwrap();
        let mut two = TreeBuilder::new();
        two.folder(&path("empty")).unwrap();
        two.symlink(&path("a/l"), "../b").unwrap();
        two.folder(&path("a")).unwrap();
        two.file(&path("a/b"), blob, false).unwrap();
        assert_eq!(one.build(), two.build());
    }

    #[test]
    fn the_executable_bit_is_part_of_the_digest() {
        let tree = |executable| {
            let mut builder = TreeBuilder::new();
            builder.file(&path("f"), Blob::of(b""), executable).unwrap();
            builder.build().root
        };
        assert_ne!(tree(true), tree(false));
    }

    #[test]
    fn entries_that_hide_each_other_are_refused() {
        let mut builder = TreeBuilder::new();
        builder.file(&path("a"), Blob::of(b""), false).unwrap();
        assert_eq!(
            builder.file(&path("a"), Blob::of(b""), false),
            Err(TreeError::Occupied(path("a")))
        );
        assert_eq!(builder.folder(&path("a/b")), Err(TreeError::NotAFolder(path("a/b"))));
        assert_eq!(builder.symlink(&path("l"), ""), Err(TreeError::Target(path("l"))));
    }

    #[test]
    fn a_walk_meets_every_entry_in_order() {
        let mut builder = TreeBuilder::new();
        builder.file(&path("b/c"), Blob::of(b""), false).unwrap();
        builder.symlink(&path("a"), "b").unwrap();
        let mut seen = Vec::new();
        builder.build().walk(&mut |at, _| seen.push(at.to_string())).unwrap();
        assert_eq!(seen, ["a", "b", "b/c"]);
    }
}
