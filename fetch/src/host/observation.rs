//! What was found on the host: the answer to one request, before any byte of it is read.

use model::{AbsPath, RelPath};

use super::absent::Why;
use super::entry::Entry;
use super::package::{Arch, PackageName, Purl, Version};
use super::stamp::Stamp;

/// Everything an environment consists of. Merged, all entries make one tree: no place is named
/// twice but folders, and no folder on the way to an entry is a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The packages, sorted by name and architecture. Empty on a host without a package database.
    pub packages: Vec<HostPackage>,
    /// Files of no package, sorted: links of the merged `/usr`, alternatives, generated files, and
    /// kiln's own `/etc`.
    pub unpackaged: Vec<Entry>,
    /// The folders asked for by path, in the order asked.
    pub paths: Vec<HostPath>,
    /// What goes to the front of `PATH`, in the order asked.
    pub path_prefixes: Vec<AbsPath>,
    /// What packages list and the environment does not have, each with its reason.
    pub omitted: Vec<Omitted>,
    /// The database's identity when the observation began.
    pub stamp: Stamp,
}

/// An installed package and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPackage {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Its architecture; `all` for packages without machine code.
    pub arch: Arch,
    /// Its package URL.
    pub purl: Purl,
    /// Its files, folders and links, sorted. Folders may be named by several packages.
    pub entries: Vec<Entry>,
}

/// A folder or file asked for by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPath {
    /// Where it lies on the host, as asked.
    pub from: AbsPath,
    /// Where it appears in the root. Differs from what was asked where that leads through a link.
    pub at: RelPath,
    /// Everything at and below it, sorted.
    pub entries: Vec<Entry>,
}

/// Something a package lists that is not in the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omitted {
    /// The package.
    pub package: PackageName,
    /// The place it would have.
    pub at: RelPath,
    /// The reason.
    pub why: Why,
}
