//! What an archive holds, path by path, before a byte is written.
//!
//! Members are laid into one folder. Folders of two members merge; two other things on one path are
//! an error, never a silent choice.

use std::collections::BTreeMap;

use model::tree::Node;
use model::{Blob, Name, RelPath};

use super::write::ArchiveError;
use crate::store::Store;

/// One output on its way into an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it goes, below the archive's prefix. `.` lays a folder's entries into the prefix itself.
    pub at: RelPath,
    /// What it is.
    pub kind: MemberKind,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A file.
    File {
        /// Its content.
        blob: Blob,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A folder, whose links must stay inside the archive.
    Tree(Blob),
    /// A root, whose links may be absolute: they resolve inside it (decision 12).
    Root(Blob),
}

/// A folder of the archive: names sorted by their bytes.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) entries: BTreeMap<Name, Entry>,
}

/// One entry of the archive.
#[derive(Debug)]
pub(super) enum Entry {
    Folder(Folder),
    File { blob: Blob, executable: bool },
    Link { target: String, free: bool },
}

impl Folder {
    /// Lays all members into one folder.
    pub(super) fn of(store: &Store, members: &[Member]) -> Result<Folder, ArchiveError> {
        let mut top = Folder::default();
        for member in members {
            let entry = match member.kind {
                MemberKind::File { blob, executable } => Entry::File { blob, executable },
                MemberKind::Tree(root) => Entry::Folder(read(store, &root, 0, false)?),
                MemberKind::Root(root) => Entry::Folder(read(store, &root, 0, true)?),
            };
            match (member.at.split_last(), entry) {
                (None, Entry::Folder(folder)) => top.merge(&RelPath::here(), folder)?,
                (None, _) => return Err(ArchiveError::Collision { at: member.at.clone() }),
                (Some((above, name)), entry) => {
                    let mut folder = &mut top;
                    for part in above.parts() {
                        folder = folder.folder(part, &member.at)?;
                    }
                    folder.put(&above, name, entry)?;
                }
            }
        }
        Ok(top)
    }

    fn folder(&mut self, part: &str, whole: &RelPath) -> Result<&mut Folder, ArchiveError> {
        let collision = || ArchiveError::Collision { at: whole.clone() };
        let name = Name::new(part).map_err(|_| collision())?;
        match self.entries.entry(name).or_insert_with(|| Entry::Folder(Folder::default())) {
            Entry::Folder(folder) => Ok(folder),
            Entry::File { .. } | Entry::Link { .. } => Err(collision()),
        }
    }

    fn merge(&mut self, at: &RelPath, other: Folder) -> Result<(), ArchiveError> {
        for (name, entry) in other.entries {
            self.put(at, name, entry)?;
        }
        Ok(())
    }

    fn put(&mut self, above: &RelPath, name: Name, entry: Entry) -> Result<(), ArchiveError> {
        let at = above.child(&name);
        match (self.entries.get_mut(&name), entry) {
            (None, entry) => {
                self.entries.insert(name, entry);
                Ok(())
            }
            (Some(Entry::Folder(there)), Entry::Folder(new)) => there.merge(&at, new),
            (Some(_), _) => Err(ArchiveError::Collision { at }),
        }
    }
}

fn read(store: &Store, root: &Blob, depth: usize, free: bool) -> Result<Folder, ArchiveError> {
    if depth > model::tree::DEPTH_MAX {
        return Err(ArchiveError::Store(crate::store::Error::TooDeep(RelPath::here())));
    }
    let mut folder = Folder::default();
    for (name, node) in store.load_directory(root)?.entries() {
        let entry = match node {
            Node::File { blob, executable } => Entry::File { blob: *blob, executable: *executable },
            Node::Directory(blob) => Entry::Folder(read(store, blob, depth + 1, free)?),
            Node::Symlink(target) => Entry::Link { target: target.clone(), free },
        };
        folder.entries.insert(name.clone(), entry);
    }
    Ok(folder)
}
