//! What one installed package consists of: its list of paths, looked at on the host.
//!
//! dpkg's list says which paths a package has, not what they are; the host says that. So each path
//! goes through three questions: where is it after diversions and folders that are links, what lies
//! there, and, if nothing does, does that matter.
//!
//! ```text
//! /var/lib/dpkg/info/
//!   NAME.list, NAME:ARCH.list        one absolute path a line, in the order of the archive
//!   NAME.md5sums, NAME:ARCH.md5sums  MD5, two spaces, relative path; regular files only
//! ```
//!
//! Reads no file of the package itself: the one who imports it compares the checksum.
//! Leaves out what not everybody on the host may read, so that a build as root sees no more than a
//! build as a user. Does not catch: a change of a file for which the package has no checksum.
//!
//! Source: dpkg's manual pages; configuration files are those of the field `Conffiles`.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::RelPath;
use model::relpath::PathError;

use super::absent::{self, Excludes, Listed, Why};
use super::database::{MultiArch, Package};
use super::diversions::Diversions;
use super::entry::{Entry, EntryKind};
use super::places::{self, Places, PlacesError};
use super::read::{self, ReadError};
use crate::checksum::Md5Sum;

/// The files of a package, and the paths it lists that are not among them.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Sorted by place, each place once.
    pub(super) entries: Vec<Entry>,
    /// In the order of the list.
    pub(super) omitted: Vec<(RelPath, Why)>,
}

/// Why a package's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The database has no list of the package's files.
    #[error("the package database has no file list for package {package}")]
    NoList {
        /// The package.
        package: Box<str>,
    },
    /// A file of the database cannot be read.
    #[error("cannot read the package database")]
    Read(#[from] ReadError),
    /// The host's file system cannot be asked about a path.
    #[error("cannot look at a file of package {package}")]
    Places {
        /// The package.
        package: Box<str>,
        /// The cause.
        #[source]
        source: PlacesError,
    },
    /// A listed path cannot be part of a tree.
    #[error("package {package} lists `{}`, which is no path", model::text::escape(.path.as_os_str().as_encoded_bytes()))]
    Path {
        /// The package.
        package: Box<str>,
        /// The path as listed.
        path: PathBuf,
        /// The cause.
        #[source]
        source: PathError,
    },
    /// A listed file is gone.
    #[error("package {package} was altered on this host: {} is missing", .path.display())]
    Missing {
        /// The package.
        package: Box<str>,
        /// The path as listed.
        path: PathBuf,
    },
    /// A listed path is a device, socket or pipe.
    #[error("{} of package {package} is neither file, folder nor link", .path.display())]
    Special {
        /// The package.
        package: Box<str>,
        /// The path as listed.
        path: PathBuf,
    },
}

/// What all packages of a host have in common.
pub(super) struct Shared<'a> {
    /// The folder `/var/lib/dpkg/info`.
    pub(super) info: &'a Path,
    pub(super) diversions: &'a Diversions<'a>,
    pub(super) excludes: &'a Excludes,
}

/// Looks at everything a package lists.
pub(super) fn contents(
    package: &Package,
    shared: &Shared,
    places: &mut Places,
) -> Result<Contents, ContentsError> {
    let list = info(package, shared.info, "list")?
        .ok_or_else(|| ContentsError::NoList { package: package.name.into() })?;
    let sums = info(package, shared.info, "md5sums")?.unwrap_or_default();
    let sums = checksums(&sums);
    let conffiles = conffiles(package);
    let mut contents = Contents::default();
    let mut lines = list.lines().peekable();
    while let Some(path) = lines.next() {
        let shown = shared.diversions.apply(package.name, path);
        let failed = |source| ContentsError::Places { package: package.name.into(), source };
        let Some((folder, real)) = places.place(shown).map_err(failed)? else { continue };
        let at = RelPath::new(&real).map_err(|source| ContentsError::Path {
            package: package.name.into(),
            path: path.into(),
            source,
        })?;
        if places::is_kilns_own(&real) {
            contents.omitted.push((at, Why::KilnsOwn));
            continue;
        }
        if !folder.open {
            contents.omitted.push((at, Why::NotForEverybody));
            continue;
        }
        let conffile = conffiles.contains(path);
        let Some(found) = places.look(&real).map_err(failed)? else {
            let folder = lines.peek().is_some_and(|next| {
                next.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
            });
            let listed = Listed { path, at: &real, conffile, folder };
            let excuse = absent::excuse(&listed, shared.excludes);
            let missing =
                || ContentsError::Missing { package: package.name.into(), path: path.into() };
            contents.omitted.push((at, excuse.ok_or_else(missing)?));
            continue;
        };
        let kind = if found.is_dir() {
            EntryKind::Dir
        } else if found.is_symlink() {
            EntryKind::Symlink { target: places.link(&real).map_err(failed)? }
        } else if !found.is_file() {
            return Err(ContentsError::Special { package: package.name.into(), path: path.into() });
        } else if found.mode() & 0o004 == 0 {
            contents.omitted.push((at, Why::NotForEverybody));
            continue;
        } else {
            let expected_md5 =
                if conffile { None } else { sums.get(path.trim_start_matches('/')).copied() };
            EntryKind::File {
                from: places.on_host(&real),
                executable: found.mode() & 0o111 != 0,
                expected_md5,
            }
        };
        contents.entries.push(Entry { at, kind });
    }
    contents.entries.sort_unstable();
    contents.entries.dedup_by(|later, first| later.at == first.at);
    Ok(contents)
}

/// Reads a file of the package's in the `info` folder, under either of its two names.
fn info(package: &Package, folder: &Path, kind: &str) -> Result<Option<String>, ReadError> {
    let plain = folder.join(format!("{}.{kind}", package.name));
    let with_arch = folder.join(format!("{}:{}.{kind}", package.name, package.arch));
    let order =
        if package.multi_arch == MultiArch::Same { [with_arch, plain] } else { [plain, with_arch] };
    match read::text(&order[0])? {
        Some(text) => Ok(Some(text)),
        None => read::text(&order[1]),
    }
}

/// Reads `MD5  PATH` lines; a line of another shape promises nothing.
fn checksums(text: &str) -> HashMap<&str, Md5Sum> {
    let lines = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    lines
        .filter_map(|(sum, path)| {
            Some((path.trim_start().trim_start_matches("./"), Md5Sum::from_hex(sum).ok()?))
        })
        .collect()
}

fn conffiles<'a>(package: &Package<'a>) -> HashSet<&'a str> {
    package
        .conffiles
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().find(|word| word.starts_with('/')))
        .collect()
}
