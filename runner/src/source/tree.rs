//! Turns what the walk found into one tree per source, and the list of files behind it.

use std::collections::BTreeMap;

use model::tree::Node;
use model::{Blob, Directory, RelPath, Tree};
use rayon::prelude::*;

use super::node::{Entry, Folder, SourceSet, What};
use super::walk::PARALLEL_DEPTH;

/// What a local source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceContent {
    /// A folder.
    Folder(Tree),
    /// A single file.
    File {
        /// Its bytes.
        blob: Blob,
        /// Whether it may be executed.
        executable: bool,
    },
}

/// A local source as it lies in the work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    /// Where it lies below the project.
    pub path: RelPath,
    /// Its content, named by our digests.
    pub content: SourceContent,
}

/// One regular file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedFile {
    /// Its path below the project, for [`super::Project::copy_verified`].
    pub path: RelPath,
    /// Its bytes.
    pub blob: Blob,
    /// Whether it may be executed.
    pub executable: bool,
}

impl SourceTree {
    /// Returns the digest and size of the root `Directory` message, or of the single file.
    pub fn root(&self) -> Blob {
        match &self.content {
            SourceContent::Folder(tree) => tree.root,
            SourceContent::File { blob, .. } => *blob,
        }
    }

    /// Lists every regular file: what must be in the store before a checkout. A build that finds
    /// all its results never asks for it.
    pub fn files(&self) -> Vec<ScannedFile> {
        let mut files = Vec::new();
        match &self.content {
            SourceContent::File { blob, executable } => {
                let (blob, executable) = (*blob, *executable);
                files.push(ScannedFile { path: self.path.clone(), blob, executable });
            }
            SourceContent::Folder(tree) => {
                let visited = tree.walk(&mut |below, node| {
                    if let Node::File { blob, executable } = node {
                        let (blob, executable) = (*blob, *executable);
                        let path = self.path.join(below);
                        files.push(ScannedFile { path, blob, executable });
                    }
                });
                // The tree was built whole, from a walk that keeps to the same depth.
                debug_assert_eq!(visited, Ok(()));
            }
        }
        files
    }
}

/// Which entries make up a source.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// The source's bit in the sets of the entries.
    pub(super) bit: SourceSet,
    /// Whether folders without anything in them count: they do outside git.
    pub(super) keep_empty: bool,
}

/// Makes the tree of one source from the folder it starts at.
pub(super) fn of_folder(found: &Folder, held: Held, at: &RelPath) -> SourceTree {
    let mut directories = BTreeMap::new();
    let root = build(found, held, 0).spread(&mut directories);
    SourceTree { path: at.clone(), content: SourceContent::Folder(Tree { root, directories }) }
}

/// Makes the tree of a source that is one file.
pub(super) fn of_file(blob: Blob, executable: bool, path: &RelPath) -> SourceTree {
    SourceTree { path: path.clone(), content: SourceContent::File { blob, executable } }
}

/// A folder with its message, before all are put into one map.
struct Built {
    blob: Blob,
    directory: Directory,
    below: Vec<Built>,
}

fn build(found: &Folder, held: Held, depth: usize) -> Built {
    let entries = || found.entries.iter().filter(|entry| entry.sources & held.bit != 0);
    let folders: Vec<(&Entry, &Folder)> = entries()
        .filter_map(|entry| match &entry.what {
            What::Folder(folder) => Some((entry, folder)),
            What::File { .. } | What::Symlink { .. } => None,
        })
        .collect();
    let child = |(entry, folder)| (entry, build(folder, held, depth + 1));
    let parallel = depth < PARALLEL_DEPTH && folders.len() > 1;
    let mut below: Vec<(&Entry, Built)> = if parallel {
        folders.into_par_iter().map(child).collect()
    } else {
        folders.into_iter().map(child).collect()
    };
    below.retain(|(_, built)| held.keep_empty || built.directory.entries().len() > 0);
    let mut directory = Directory::default();
    for entry in entries() {
        let node = match &entry.what {
            What::File { blob, executable, .. } => {
                let (blob, executable) = (*blob, *executable);
                Node::File { blob, executable }
            }
            What::Symlink { target, .. } => Node::Symlink(target.clone()),
            What::Folder(_) => continue,
        };
        directory.set(entry.name.clone(), node);
    }
    for (entry, built) in &below {
        directory.set(entry.name.clone(), Node::Directory(built.blob));
    }
    let below = below.into_iter().map(|(_, built)| built).collect();
    Built { blob: directory.blob(), directory, below }
}

impl Built {
    fn spread(self, directories: &mut BTreeMap<Blob, Directory>) -> Blob {
        self.below.into_iter().for_each(|below| {
            below.spread(directories);
        });
        directories.insert(self.blob, self.directory);
        self.blob
    }
}
