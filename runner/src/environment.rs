//! Host environments: from the list of files that `fetch::host` names to a tree in the store.
//!
//! Every file is read once; in that pass it is checked against its package's own checksum, hashed and
//! stored. Steps see the stored copies, so what is named in the provenance is what was used. Each
//! package keeps a tree of its own beside the merged root, so that it can be named by itself.
//!
//! The second use is instant: the result is kept under the stamp of the package database and of the
//! listed paths, and no package is read until that changes (decision 9).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use fetch::checksum::Md5;
use fetch::host::{self, Altered, Asked, Entry, EntryKind, HostPackage, PackageName};
use model::digest::{Blob, Digest, Hasher};
use model::record::DigestOf;
use model::relpath::{AbsPath, Name};
use model::tree::{TreeBuilder, TreeError};
use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::file_times::{SETTLED_SECONDS, Telling};
use crate::store::{self, Held, Store};
use sandbox::Cancel;

/// An environment in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The merged root.
    pub root: Blob,
    /// What goes to the front of `PATH`.
    pub path_prefixes: Vec<AbsPath>,
    /// What it is made of: packages, the files of no package, listed paths.
    pub parts: Vec<Part>,
}

/// One thing that an environment is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name: a package's, `files of no package`, or the path on the host.
    pub name: String,
    /// The package's version.
    pub version: Option<String>,
    /// The package's architecture.
    pub arch: Option<String>,
    /// The package's purl.
    pub purl: Option<String>,
    /// Its tree or file.
    pub digest: Digest,
    /// What that digest is of.
    pub digest_of: DigestOf,
}

/// Why an environment could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host does not have what was asked for, or its package database cannot be read.
    #[error("cannot find out what the host environment consists of")]
    Observe(#[source] Box<host::Error>),
    /// A listed path cannot be used.
    #[error("cannot use a listed path")]
    Paths(#[source] Box<host::PathsError>),
    /// The package database cannot be looked at.
    #[error("cannot look at the package database")]
    Stamp(#[source] Box<host::WalkError>),
    /// A package's file is not what the package brought.
    #[error("a package was altered")]
    Altered(#[source] Box<Altered>),
    /// A file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A file cannot be stored.
    #[error("cannot store {}", .0.display())]
    Import(PathBuf, #[source] Box<store::Error>),
    /// The parts do not make one tree.
    #[error("the environment's files do not make one tree")]
    Tree(#[from] TreeError),
    /// The store refused.
    #[error("cannot use the store")]
    Store(#[from] store::Error),
    /// The package database changed while it was read.
    #[error("the package database changed while it was read")]
    Changed,
    /// Somebody pressed Ctrl-C.
    #[error("the import was interrupted")]
    Interrupted,
}

/// What a look at the store says of a host environment.
#[derive(Debug)]
pub enum Looked<'a> {
    /// It is there, and the host has not changed since.
    Kept(Environment),
    /// It has to be read from the host.
    Absent(Absent<'a>),
}

/// A host environment that has to be read.
#[derive(Debug)]
pub struct Absent<'a> {
    asked: &'a Asked,
    stamp: host::Stamp,
    kept: Name,
    settled: bool,
}

/// Looks for a host environment in the store. Reads no package.
///
/// # Errors
/// See [`Error`].
pub fn look_up<'a>(store: &Store, asked: &'a Asked, now: i64) -> Result<Looked<'a>, Error> {
    let root = Path::new("/");
    let stamp = host::stamp(asked, root).map_err(|error| Error::Stamp(Box::new(error)))?;
    let (paths, _) =
        host::observe_paths(asked, root).map_err(|error| Error::Paths(Box::new(error)))?;
    let files = paths.iter().flat_map(|path| &path.entries);
    let Seen { digest, settled, tells } = look(stamp.digest(), files, now)?;
    let kept = kept_name(digest);
    let recalled = if tells { recall(store, &kept)? } else { None };
    Ok(match recalled {
        Some(environment) => Looked::Kept(environment),
        None => Looked::Absent(Absent { asked, stamp, kept, settled }),
    })
}

impl Absent<'_> {
    /// Brings it into the store. Returns it and how many files were read for it.
    ///
    /// # Errors
    /// See [`Error`]; nothing of an environment is used before all of it is in.
    pub fn bring(self, store: &Store, cancel: &Cancel) -> Result<(Environment, usize), Error> {
        let Absent { asked, stamp, kept, settled } = self;
        let root = Path::new("/");
        let observation =
            host::observe(asked, root).map_err(|error| Error::Observe(Box::new(error)))?;
        let (environment, count) = import(store, &observation, cancel)?;
        if host::stamp(asked, root).map_err(|error| Error::Stamp(Box::new(error)))? != stamp {
            return Err(Error::Changed);
        }
        if settled {
            let bytes = serde_json::to_vec(&environment).map_err(store::Error::Encode)?;
            store.put_state(&kept, &bytes)?;
            store.hold(&kept, &[Held::Tree(environment.root)])?;
        }
        Ok((environment, count))
    }
}

fn kept_name(seen: Digest) -> Name {
    Name::new(&format!("host-{}", seen.hex())).unwrap_or_else(|_| unreachable!("hex is a name"))
}

/// Returns a kept environment whose root is still in the store; a description that cannot be read is none.
fn recall(store: &Store, kept: &Name) -> Result<Option<Environment>, Error> {
    let found =
        store.state(kept)?.and_then(|bytes| serde_json::from_slice::<Environment>(&bytes).ok());
    Ok(found.filter(|environment| store.has_sized(&environment.root)))
}

/// What the kernel says of the listed files.
struct Seen {
    digest: Digest,
    /// Whether all of them are old enough for that to be believed.
    settled: bool,
    /// Whether they lie where a file's times tell of every change.
    tells: bool,
}

/// Looks at the listed files without reading them.
fn look<'a>(
    stamp: Digest,
    entries: impl Iterator<Item = &'a Entry>,
    now: i64,
) -> Result<Seen, Error> {
    use std::os::unix::fs::MetadataExt;
    let mut hasher = Hasher::new();
    let telling = Telling::default();
    let (mut settled, mut tells) = (true, true);
    let young = now - i64::from(SETTLED_SECONDS);
    hasher.update(stamp.as_bytes());
    for entry in entries {
        hasher.update(format!("{entry:?}\n").as_bytes());
        if let EntryKind::File { from, .. } = &entry.kind {
            let seen = from.symlink_metadata().map_err(|error| Error::Read(from.clone(), error))?;
            settled &= seen.mtime() < young && seen.ctime() < young;
            tells &= telling.tells(seen.dev(), || {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::open(from, flags, Mode::empty())
            });
            let numbers = [
                seen.dev(),
                seen.ino(),
                seen.size(),
                seen.mtime().cast_unsigned(),
                seen.ctime().cast_unsigned(),
            ];
            for number in numbers {
                hasher.update(&number.to_le_bytes());
            }
            hasher.update(&seen.mtime_nsec().to_le_bytes());
            hasher.update(&seen.ctime_nsec().to_le_bytes());
        }
    }
    Ok(Seen { digest: hasher.finish().digest, settled: settled && tells, tells })
}

fn import(
    store: &Store,
    observation: &host::Observation,
    cancel: &Cancel,
) -> Result<(Environment, usize), Error> {
    let packages =
        observation.packages.iter().map(|package| (Some(package), package.entries.as_slice()));
    let unpackaged = std::iter::once((None, observation.unpackaged.as_slice()));
    let paths = observation.paths.iter().map(|path| (None, path.entries.as_slice()));
    let groups: Vec<(Option<&HostPackage>, &[Entry])> =
        packages.chain(unpackaged).chain(paths).collect();

    let jobs: Vec<(usize, &Entry)> = groups
        .iter()
        .enumerate()
        .flat_map(|(group, (_, entries))| entries.iter().map(move |entry| (group, entry)))
        .collect();
    let contents: Vec<Option<(Blob, bool)>> = jobs
        .par_iter()
        .map(|(group, entry)| {
            if cancel.is_triggered() {
                return Err(Error::Interrupted);
            }
            take_in(
                store,
                groups.get(*group).and_then(|(package, _)| package.map(|package| &package.name)),
                entry,
            )
        })
        .collect::<Result<_, Error>>()?;
    let count = contents.iter().filter(|content| content.is_some()).count();

    let mut merged = TreeBuilder::new();
    let mut trees: Vec<TreeBuilder> = groups.iter().map(|_| TreeBuilder::new()).collect();
    for ((group, entry), content) in jobs.iter().zip(&contents) {
        add(&mut merged, entry, *content)?;
        if let Some(tree) = trees.get_mut(*group) {
            add(tree, entry, *content)?;
        }
    }
    let root = store.put_tree(&merged.build())?;
    let mut parts = Vec::with_capacity(groups.len());
    for (index, tree) in trees.into_iter().enumerate() {
        let digest = store.put_tree(&tree.build())?.digest;
        parts.push(part(observation, index, digest));
    }
    Ok((Environment { root, path_prefixes: observation.path_prefixes.clone(), parts }, count))
}

fn part(observation: &host::Observation, index: usize, digest: Digest) -> Part {
    let plain = |name: String| Part {
        name,
        version: None,
        arch: None,
        purl: None,
        digest,
        digest_of: DigestOf::ReapiV2Directory,
    };
    match observation.packages.get(index) {
        Some(package) => Part {
            version: Some(package.version.to_string()),
            arch: Some(package.arch.to_string()),
            purl: Some(package.purl.to_string()),
            ..plain(package.name.to_string())
        },
        None if index == observation.packages.len() => plain("files of no package".to_owned()),
        None => {
            let path = observation.paths.get(index - observation.packages.len() - 1);
            plain(path.map_or_else(String::new, |path| path.from.to_string()))
        }
    }
}

fn add(
    tree: &mut TreeBuilder,
    entry: &Entry,
    content: Option<(Blob, bool)>,
) -> Result<(), TreeError> {
    match (&entry.kind, content) {
        (EntryKind::Symlink { target }, _) => tree.symlink(&entry.at, target),
        (_, Some((blob, executable))) => tree.file(&entry.at, blob, executable),
        (_, None) => tree.folder(&entry.at),
    }
}

fn take_in(
    store: &Store,
    package: Option<&PackageName>,
    entry: &Entry,
) -> Result<Option<(Blob, bool)>, Error> {
    match &entry.kind {
        EntryKind::Dir | EntryKind::Symlink { .. } => Ok(None),
        EntryKind::Synthetic { bytes, executable } => {
            Ok(Some((store.import_bytes(bytes)?, *executable)))
        }
        EntryKind::File { from, executable, expected_md5 } => {
            let file = open(from)?;
            let mut md5 = Md5::new();
            let mut observer = |piece: &[u8]| {
                if expected_md5.is_some() {
                    md5.update(piece);
                }
                Ok(())
            };
            let blob = store
                .import_file(&file, &mut observer)
                .map_err(|error| Error::Import(from.clone(), Box::new(error)))?;
            if let (Some(package), Some(_)) = (package, expected_md5) {
                Altered::check(package, entry, md5.finish())
                    .map_err(|error| Error::Altered(Box::new(error)))?;
            }
            Ok(Some((blob, *executable)))
        }
    }
}

/// Opens a file of the host without following a link at its name and without waiting for a FIFO.
fn open(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| Error::Read(path.to_owned(), error.into()))
}

/// Returns `PATH` with an environment's prefixes in front.
pub fn path_with(prefixes: &[AbsPath], path: &str) -> String {
    prefixes.iter().map(AbsPath::to_string).chain([path.to_owned()]).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::relpath::RelPath;

    /// As long after its last change as may be: what lies in memory is read in every build.
    #[test]
    fn listed_files_in_memory_are_never_known_by_their_times() {
        let seen = |from: &Path| {
            let kind =
                EntryKind::File { from: from.to_owned(), executable: false, expected_md5: None };
            let entry = Entry { at: RelPath::new("opt/data").unwrap(), kind };
            look(Digest::of(b""), std::iter::once(&entry), i64::MAX / 2).unwrap()
        };
        let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        let Seen { tells, settled, .. } = seen(file.path());
        assert!(!tells && !settled);
        // The control, where this repository lies on a file system that tells.
        let Seen { tells, settled, .. } =
            seen(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").as_path());
        assert_eq!(tells, settled);
    }
}
