//! Turns what the walk found into one tree per source, and the list of files behind it.

use std::collections::BTreeMap;

use model::{Blob, Directory, RelPath, Tree};
use rayon::prelude::*;

use super::node::{Entry, Folder, SourceSet, What};

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
    /// Its content, named by our digests.
    pub content: SourceContent,
    /// Every regular file in path order: what must be in the store before a checkout.
    pub files: Vec<ScannedFile>,
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
    let built = build(found, held, at);
    let mut files = Vec::new();
    let mut directories = BTreeMap::new();
    let root = built.spread(&mut directories, &mut files);
    SourceTree { content: SourceContent::Folder(Tree { root, directories }), files }
}

/// Makes the tree of a source that is one file.
pub(super) fn of_file(blob: Blob, executable: bool, path: &RelPath) -> SourceTree {
    let files = vec![ScannedFile { path: path.clone(), blob, executable }];
    SourceTree { content: SourceContent::File { blob, executable }, files }
}

/// A folder with its message, before all are put into one map.
struct Built {
    blob: Blob,
    directory: Directory,
    below: Vec<Built>,
    files: Vec<ScannedFile>,
}

fn build(found: &Folder, held: Held, at: &RelPath) -> Built {
    let entries = || found.entries.iter().filter(|entry| entry.sources & held.bit != 0);
    let folders: Vec<(&Entry, &Folder)> = entries()
        .filter_map(|entry| match &entry.what {
            What::Folder(folder) => Some((entry, folder)),
            What::File { .. } | What::Symlink { .. } => None,
        })
        .collect();
    let mut below: Vec<(&Entry, Built)> = folders
        .into_par_iter()
        .map(|(entry, folder)| (entry, build(folder, held, &at.child(&entry.name))))
        .collect();
    below.retain(|(_, built)| held.keep_empty || built.directory.entries().len() > 0);
    let mut directory = Directory::default();
    let mut files = Vec::new();
    for entry in entries() {
        let node = match &entry.what {
            What::File { blob, executable, .. } => {
                let (blob, executable) = (*blob, *executable);
                files.push(ScannedFile { path: at.child(&entry.name), blob, executable });
                model::tree::Node::File { blob, executable }
            }
            What::Symlink { target, .. } => model::tree::Node::Symlink(target.clone()),
            What::Folder(_) => continue,
        };
        directory.set(entry.name.clone(), node);
    }
    for (entry, built) in &below {
        directory.set(entry.name.clone(), model::tree::Node::Directory(built.blob));
    }
    let below = below.into_iter().map(|(_, built)| built).collect();
    Built { blob: directory.blob(), directory, below, files }
}

impl Built {
    fn spread(
        self,
        directories: &mut BTreeMap<Blob, Directory>,
        files: &mut Vec<ScannedFile>,
    ) -> Blob {
        files.extend(self.files);
        self.below.into_iter().for_each(|below| {
            below.spread(directories, files);
        });
        directories.insert(self.blob, self.directory);
        self.blob
    }
}
