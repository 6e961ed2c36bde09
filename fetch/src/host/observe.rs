//! The story of an observation, from a request to the list of all files.
//!
//! Each step decides from what the one before has read; the host is only looked at, in steps 2, 4, 6
//! and 7.

use std::path::{Path, PathBuf};

use model::RelPath;
use model::relpath::PathError;

use super::absent::Excludes;
use super::asked::Asked;
use super::closure::{self, ClosureError};
use super::contents::{self, Contents, ContentsError, Shared};
use super::database::{Database, DatabaseError, Package};
use super::diversions::{Diversions, DiversionsError};
use super::observation::{HostPackage, Observation, Omitted};
use super::ownership::{self, OwnershipError};
use super::package::{Arch, Distribution, PackageName, Purl, TextError, Version};
use super::paths::{self, PathsError};
use super::places::Places;
use super::read::{self, ReadError};
use super::stamp;
use super::unpackaged::{self, UnpackagedError};
use super::walk::WalkError;

/// Folders of the root that are links into `/usr` on most hosts (Debian Policy 10.1; the loaders of
/// all ABIs of amd64 live in some of them).
pub(super) const ROOT_LINKS: [&str; 7] =
    ["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];

/// Why a host cannot serve as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Packages, or the base set, are asked for on a host without a package database.
    #[error("no package database at {}", .path.display())]
    NoDatabase {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// dpkg is at work, or was interrupted.
    #[error("the package database is in the middle of a change: {}", .path.display())]
    Interrupted {
        /// dpkg's journal.
        path: PathBuf,
    },
    /// A file of the database cannot be read.
    #[error("cannot read the package database")]
    Read(#[from] ReadError),
    /// The list of packages cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The list of diversions cannot be read.
    #[error(transparent)]
    Diversions(#[from] DiversionsError),
    /// The identifier in os-release is no identifier.
    #[error("cannot read the distribution's identifier in os-release")]
    Distribution(#[source] TextError),
    /// A package's name, version or architecture is malformed.
    #[error("the package database names package {package} in a malformed way")]
    Package {
        /// The package.
        package: Box<str>,
        /// The cause.
        #[source]
        source: TextError,
    },
    /// The packages do not come together.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// A package's files do not come together.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// Two packages claim a file.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// The files of no package do not come together.
    #[error(transparent)]
    Unpackaged(#[from] UnpackagedError),
    /// A path that was asked for cannot be used.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The stamp cannot be made.
    #[error("cannot look at the package database")]
    Stamp(#[source] WalkError),
    /// A place is not one that a tree can hold.
    #[error("a place in the environment is no path")]
    Place(#[from] PathError),
}

/// Says which files of the host make up an environment.
///
/// 1. Take the database's stamp.
/// 2. Read the database.
/// 3. Choose the packages: the Essential ones, the asked ones, and all they need.
/// 4. Look at the files of each.
/// 5. Give each file to one package.
/// 6. Add the files of no package.
/// 7. List the paths that were asked for by path; refuse those that hide a file.
///
/// `host_root` is `/`, or another root in tests.
///
/// # Errors
/// Fails where a package or path is absent, altered as far as names tell, or not usable; see
/// [`Error`]. A changed checksum is found by whoever reads the bytes: [`super::Altered::check`].
pub fn observe(asked: &Asked, host_root: &Path) -> Result<Observation, Error> {
    // 1.
    let stamp = stamp::stamp(asked, host_root).map_err(Error::Stamp)?;
    // 2.
    let files = DatabaseFiles::read(host_root)?;
    let database = files.parse()?;
    let diversions = Diversions::parse(&files.diversions)?;
    let needed = !asked.packages().is_empty() || asked.paths().is_empty();
    if database.packages.is_empty() && needed {
        return Err(Error::NoDatabase { path: host_root.join("var/lib/dpkg/status") });
    }
    // 3.
    let chosen = closure::closure(&database, asked.packages())?;
    let chosen: Vec<&Package> = chosen.into_iter().map(|at| &database.packages[at]).collect();
    // 4.
    let mut places = Places::new(host_root);
    let info = host_root.join("var/lib/dpkg/info");
    let shared = Shared { info: &info, diversions: &diversions, excludes: &files.excludes };
    let looked: Result<Vec<Contents>, _> =
        chosen.iter().map(|package| contents::contents(package, &shared, &mut places)).collect();
    let mut looked = looked?;
    // 5.
    ownership::settle(&chosen, &mut looked, places.links())?;
    // 6. and 7. A link of the root is wanted where a path that was asked for lies behind it.
    let (paths, path_prefixes) = paths::observe_paths(asked, host_root)?;
    let unpackaged = unpackaged::unpackaged(&chosen, &mut looked, &paths, &mut places)?;
    let packaged = looked.iter().flat_map(|contents| &contents.entries);
    paths::refuse_hiding(packaged.chain(&unpackaged), &paths)?;

    let mut observation = Observation {
        packages: Vec::new(),
        unpackaged,
        paths,
        path_prefixes,
        omitted: Vec::new(),
        stamp,
    };
    for (package, contents) in chosen.into_iter().zip(looked) {
        let (package, omitted) = named(package, contents, &files.distribution)?;
        observation.packages.push(package);
        observation.omitted.extend(omitted);
    }
    Ok(observation)
}

fn named(
    package: &Package,
    contents: Contents,
    distribution: &Distribution,
) -> Result<(HostPackage, Vec<Omitted>), Error> {
    let failed = |source| Error::Package { package: package.name.into(), source };
    let name = PackageName::new(package.name).map_err(failed)?;
    let version = Version::new(package.version).map_err(failed)?;
    let arch = Arch::new(package.arch).map_err(failed)?;
    let purl = Purl::of(distribution, &name, &version, &arch);
    let omitted = |(at, why): (RelPath, _)| Omitted { package: name.clone(), at, why };
    let omitted = contents.omitted.into_iter().map(omitted).collect();
    Ok((HostPackage { name, version, arch, purl, entries: contents.entries }, omitted))
}

/// The database's files that all packages share, read whole.
struct DatabaseFiles {
    status: Vec<u8>,
    arch: Option<String>,
    diversions: String,
    excludes: Excludes,
    distribution: Distribution,
}

impl DatabaseFiles {
    fn read(host_root: &Path) -> Result<DatabaseFiles, Error> {
        let dpkg = host_root.join("var/lib/dpkg");
        let journal = dpkg.join("updates");
        let is_entry = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
        if read::names(&journal)?.iter().any(is_entry) {
            return Err(Error::Interrupted { path: journal });
        }
        Ok(DatabaseFiles {
            status: read::bytes(&dpkg.join("status"))?.unwrap_or_default(),
            arch: read::text(&dpkg.join("arch"))?,
            diversions: read::text(&dpkg.join("diversions"))?.unwrap_or_default(),
            excludes: excludes(host_root)?,
            distribution: distribution(host_root)?,
        })
    }

    fn parse(&self) -> Result<Database<'_>, DatabaseError> {
        Database::parse(&self.status, self.arch.as_deref())
    }
}

fn excludes(host_root: &Path) -> Result<Excludes, ReadError> {
    let folder = host_root.join("etc/dpkg/dpkg.cfg.d");
    let read_by_dpkg = |name: &String| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let parts =
        read::names(&folder)?.into_iter().filter(read_by_dpkg).map(|name| folder.join(name));
    let mut excludes = Excludes::default();
    // dpkg reads the folder first, then the one file.
    for path in parts.chain([host_root.join("etc/dpkg/dpkg.cfg")]) {
        if let Some(text) = read::text(&path)? {
            excludes.add(&text);
        }
    }
    Ok(excludes)
}

/// Reads `ID`, which is `linux` where it is not set: os-release(5).
fn distribution(host_root: &Path) -> Result<Distribution, Error> {
    let text = match read::text(&host_root.join("usr/lib/os-release"))? {
        Some(text) => Some(text),
        None => read::text(&host_root.join("etc/os-release"))?,
    };
    let text = text.unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("ID=")).unwrap_or("linux");
    Distribution::new(id.trim().trim_matches(['"', '\''])).map_err(Error::Distribution)
}
