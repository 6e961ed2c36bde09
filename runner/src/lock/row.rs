//! The rows of a lock, table by table.
//!
//! What identifies a row stands first in its type, so the derived order is the order of the file.

use std::collections::BTreeMap;
use std::fmt;

use fetch::host::{Arch, PackageName, Version};
use model::platform::Platform;
use model::{AbsPath, Digest, Ident, RelPath};

/// What of the build file a row belongs to: `environment:NAME` or `source:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsedBy {
    /// An environment.
    Environment(Ident),
    /// A source.
    Source(Ident),
}

/// `[[input]]`: what the build file wished of one source or environment. It pins nothing: it is there
/// so that a stale lock can say what changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputPin {
    /// Which.
    pub used_by: UsedBy,
    /// The wish in its normal form: JSON with sorted keys and lists, without spaces.
    pub wish: String,
}

/// `[[package]]`: one package of a suite.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackagePin {
    /// Whose it is.
    pub used_by: UsedBy,
    /// Its name.
    pub name: PackageName,
    /// Its architecture.
    pub arch: Arch,
    /// Its version.
    pub version: Version,
    /// The SHA-256 of the `.deb` file.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its package URL.
    pub purl: String,
    /// The fingerprint of the key that signed the suite's index.
    pub signed_by: String,
}

/// `[[image]]`: one image with all platforms it was locked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePin {
    /// Whose it is.
    pub used_by: UsedBy,
    /// The reference that the build file wrote.
    pub reference: String,
    /// The digest of its index.
    pub index: Digest,
    /// The digest of its manifest for each platform.
    pub platforms: BTreeMap<Platform, Digest>,
}

/// `[[rootfs]]`: one root as a tar file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RootfsPin {
    /// Whose it is.
    pub used_by: UsedBy,
    /// The SHA-256 of the file.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// `[[host]]`: one package or path of a pinned host environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPin {
    /// Whose it is.
    pub used_by: UsedBy,
    /// What it is.
    pub item: HostItem,
    /// The digest of its files as a tree.
    pub tree: Digest,
}

/// What of a host is pinned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostItem {
    /// An installed package.
    Package {
        /// Its name.
        name: PackageName,
        /// Its architecture.
        arch: Arch,
        /// Its version.
        version: Version,
    },
    /// A file or folder of no package.
    Path(AbsPath),
}

/// `[[source]]`: one source of kind `git` or `url`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePin {
    /// Its name; a submodule's is the source's name, `/` and its path.
    pub name: String,
    /// What it was pinned to.
    pub from: SourceFrom,
}

/// What a source was pinned to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceFrom {
    /// A commit of a repository.
    Git {
        /// The repository, as the build file wrote it.
        url: String,
        /// The tag, branch or commit that the build file wrote.
        reference: String,
        /// The commit, for people.
        commit: String,
        /// The digest of its tree, which is checked.
        tree: Digest,
    },
    /// One file.
    Url {
        /// The URL, as the build file wrote it.
        url: String,
        /// The SHA-256 of the file.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
}

/// `[[lockfile]]`: one lock file of another tool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockfilePin {
    /// The source's name.
    pub name: Ident,
    /// Which reader: `cargo`, `go`, `npm` or `pip`.
    pub kind: String,
    /// Where it lies below the build file.
    pub path: RelPath,
    /// The SHA-256 of the file itself.
    pub digest: Digest,
    /// How many entries it has.
    pub entries: u64,
}

/// `[[fetch]]`: one entry of a lock file that has no plain SHA-256 of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchPin {
    /// The source that is the lock file.
    pub lockfile: Ident,
    /// The entry's package URL.
    pub purl: String,
    /// The SHA-256 of the file.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl UsedBy {
    /// Reads the printed form.
    pub fn parse(text: &str) -> Option<UsedBy> {
        let (kind, name) = text.split_once(':')?;
        let name = Ident::new(name).ok()?;
        match kind {
            "environment" => Some(UsedBy::Environment(name)),
            "source" => Some(UsedBy::Source(name)),
            _ => None,
        }
    }

    /// Returns the name in the build file.
    pub fn name(&self) -> &Ident {
        match self {
            UsedBy::Environment(name) | UsedBy::Source(name) => name,
        }
    }

    /// Returns it as sentences have it.
    pub(super) fn told(&self) -> String {
        match self {
            UsedBy::Environment(name) => format!("environment `{name}`"),
            UsedBy::Source(name) => format!("source `{name}`"),
        }
    }
}

impl fmt::Display for UsedBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsedBy::Environment(name) => write!(out, "environment:{name}"),
            UsedBy::Source(name) => write!(out, "source:{name}"),
        }
    }
}
