//! Lists a folder of the host that the build file names, whole.
//!
//! Links are kept as text and never followed, not even to ask what they lead to. The walk is one
//! pass over the folder and one look at each entry; bytes are read by whoever imports them.
//!
//! Refuses devices, sockets and pipes: they are no inputs. Does not catch: an entry that changes
//! between this look and the import, which opens files without following links.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::relpath::{Name, PathError, RelPath};

use super::entry::{Entry, EntryKind};

/// Most entries of one folder asked for: several times the largest toolchain.
pub const ENTRIES_MAX: usize = 2_000_000;

/// Why a folder cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The kernel refused to look.
    #[error("cannot look at {}", .path.display())]
    Look {
        /// The path on the host.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A name cannot be part of a tree.
    #[error("{} has a name that a tree cannot hold", .path.display())]
    Name {
        /// The path on the host.
        path: PathBuf,
        /// The cause; none if the name is not UTF-8.
        #[source]
        source: Option<PathError>,
    },
    /// A link's text is not UTF-8.
    #[error("the link {} leads to a name that is not UTF-8", .path.display())]
    Target {
        /// The path on the host.
        path: PathBuf,
    },
    /// A device, socket or pipe.
    #[error("{} is neither file, folder nor link", .path.display())]
    Special {
        /// The path on the host.
        path: PathBuf,
    },
    /// More than [`ENTRIES_MAX`] entries.
    #[error("{} holds more than {ENTRIES_MAX} files", .path.display())]
    TooMany {
        /// The folder asked for.
        path: PathBuf,
    },
}

/// Lists what lies at `from`, as entries at and below `at`, sorted.
pub(super) fn walk(from: &Path, at: &RelPath) -> Result<Vec<Entry>, WalkError> {
    let mut entries = Vec::new();
    let mut todo = vec![(from.to_owned(), at.clone())];
    while let Some((path, at)) = todo.pop() {
        if entries.len() == ENTRIES_MAX {
            return Err(WalkError::TooMany { path: from.to_owned() });
        }
        let kind = look(&path)?;
        if kind == EntryKind::Dir {
            list(&path, &at, &mut todo)?;
        }
        entries.push(Entry { at, kind });
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Looks at one path, without following it.
pub(super) fn look(path: &Path) -> Result<EntryKind, WalkError> {
    let failed = |source| WalkError::Look { path: path.to_owned(), source };
    let found = path.symlink_metadata().map_err(failed)?;
    if found.is_dir() {
        Ok(EntryKind::Dir)
    } else if found.is_file() {
        Ok(EntryKind::File {
            from: path.to_owned(),
            executable: found.mode() & 0o111 != 0,
            expected_md5: None,
        })
    } else if found.is_symlink() {
        let target = std::fs::read_link(path).map_err(failed)?.into_os_string().into_string();
        Ok(EntryKind::Symlink {
            target: target.map_err(|_| WalkError::Target { path: path.to_owned() })?,
        })
    } else {
        Err(WalkError::Special { path: path.to_owned() })
    }
}

fn list(folder: &Path, at: &RelPath, todo: &mut Vec<(PathBuf, RelPath)>) -> Result<(), WalkError> {
    let failed = |source| WalkError::Look { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let text = path.file_name().and_then(|name| name.to_str());
        let name = match text.map(Name::new) {
            Some(Ok(name)) => name,
            Some(Err(source)) => return Err(WalkError::Name { path, source: Some(source) }),
            None => return Err(WalkError::Name { path, source: None }),
        };
        todo.push((path, at.child(&name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn links_are_text_and_bits_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("bin/empty")).unwrap();
        fs::File::create(at("bin/tool")).unwrap();
        fs::set_permissions(at("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("/etc/passwd", at("out")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let found = walk(root.path(), &RelPath::new("opt/x").unwrap()).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|entry| (entry.at.as_str(), matches!(entry.kind, EntryKind::Dir)))
            .collect();
        assert_eq!(
            shown,
            [
                ("opt/x", true),
                ("opt/x/bin", true),
                ("opt/x/bin/empty", true),
                ("opt/x/bin/tool", false),
                ("opt/x/loop", false),
                ("opt/x/out", false)
            ]
        );
        assert_eq!(
            found[3].kind,
            EntryKind::File { from: at("bin/tool"), executable: true, expected_md5: None }
        );
        assert_eq!(found[5].kind, EntryKind::Symlink { target: "/etc/passwd".into() });
    }

    #[test]
    fn sockets_and_unspeakable_names_are_refused() {
        let here = RelPath::here();
        let root = tempfile::tempdir().unwrap();
        let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
        assert!(matches!(walk(root.path(), &here), Err(WalkError::Special { .. })));
        let root = tempfile::tempdir().unwrap();
        fs::File::create(root.path().join(OsStr::from_bytes(b"\xff"))).unwrap();
        assert!(matches!(walk(root.path(), &here), Err(WalkError::Name { source: None, .. })));
        assert!(matches!(walk(&root.path().join("none"), &here), Err(WalkError::Look { .. })));
    }
}
