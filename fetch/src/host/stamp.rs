//! A cheap identity of the host's package database, so that a second use need not look at packages.
//!
//! Made of what the kernel keeps of the database's own files and folders: a few dozen looks instead
//! of some ten thousand. dpkg and update-alternatives replace files by renaming, which changes the
//! time and number of the folder or file; so an equal stamp means that no package was installed,
//! removed, diverted or given another alternative.
//!
//! What an equal stamp does not prove: that no file of a package was changed behind dpkg's back, and
//! it says nothing of `paths`. Decision: the host's packages are read again only when the database
//! changed; until then the copies in the store, which were checked and are named by digest, are
//! used, so such a change does not reach a build. Folders asked for by path are walked every time.
//!
//! How a caller uses it: `stamp()`; if known, use the stored trees. Else `observe()`, import, and
//! keep the result only if `stamp()` is still the same afterwards.

use std::fmt;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use model::Digest;

use super::asked::Asked;
use super::generated::GENERATED;
use super::observe::ROOT_LINKS;
use super::read::is_absent;
use super::walk::WalkError;

/// Names this way of observing. Raised by every change of what an observation holds, so that what
/// an older kiln stored is observed again.
const OBSERVATION_VERSION: u32 = 1;

/// What the database is made of, below the host's root; absent ones count as absent.
const DATABASE: [&str; 13] = [
    "etc/alternatives",
    "etc/dpkg/dpkg.cfg",
    "etc/dpkg/dpkg.cfg.d",
    "etc/os-release",
    "etc/ssl/certs",
    "usr/lib/os-release",
    "var/lib/dpkg",
    "var/lib/dpkg/alternatives",
    "var/lib/dpkg/arch",
    "var/lib/dpkg/diversions",
    "var/lib/dpkg/info",
    "var/lib/dpkg/status",
    "var/lib/dpkg/updates",
];

/// Identity of a package database as seen through one request. Equal stamps, equal packages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(Digest);

impl Stamp {
    /// Returns the stamp as a digest, to be kept under.
    pub fn digest(&self) -> Digest {
        self.0
    }
}

/// Computes the stamp of what `asked` would find on the host.
///
/// # Errors
/// Fails where the kernel refuses to look at a file of the database.
pub fn stamp(asked: &Asked, host_root: &Path) -> Result<Stamp, WalkError> {
    let mut text = format!("kiln host observation {OBSERVATION_VERSION}\n");
    for package in asked.packages() {
        let _ = writeln!(text, "package {package}");
    }
    let generated = GENERATED.iter().map(|row| row.at);
    for at in DATABASE.into_iter().chain(ROOT_LINKS).chain(generated) {
        let path = host_root.join(at);
        let _ = match path.symlink_metadata() {
            Ok(found) => writeln!(
                text,
                "{at} {}:{} {} {}.{} {}.{}",
                found.dev(),
                found.ino(),
                found.size(),
                found.mtime(),
                found.mtime_nsec(),
                found.ctime(),
                found.ctime_nsec()
            ),
            Err(error) if is_absent(&error) => writeln!(text, "{at} absent"),
            Err(source) => return Err(WalkError::Look { path, source }),
        };
    }
    Ok(Stamp(Digest::of(text.as_bytes())))
}

impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.hex())
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}
