//! The lock: from exactly which bytes. A program writes it, nobody edits it by hand.
//!
//! TOML, tables in a fixed order, rows sorted by what identifies them, one field a line, so that
//! merges stay readable. The writer is ours, since the form is part of the format; the reader
//! refuses unknown fields, missing ones, and two rows for one thing.
//!
//! A lock carries names, versions, digests, sizes and purls. It carries a host name only where the
//! build file wrote one. Environments of kind `host` are observed, not locked (decision 9): they
//! have rows only with `pin: true`.
//!
//! Reads and writes no file: text in, text out. Does not catch: a row that was edited by hand and
//! still has the right form; whoever fetches or observes compares the bytes.

mod change;
mod input;
mod read;
mod row;
mod write;

pub use change::{absent, check, required, stale};
use input::inputs;
pub use input::inputs_digest;
pub use read::{LOCK_BYTES_MAX, parse};
pub use row::{
    FetchPin, HostItem, HostPin, ImagePin, InputPin, LockfilePin, PackagePin, RootfsPin,
    SourceFrom, SourcePin, UsedBy,
};

use model::Digest;

use crate::manifest::Manifest;

/// The version of the format that this kiln writes, and the newest that it reads.
pub const LOCK_VERSION: u64 = 1;

/// What the build file was pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Which kiln wrote it: `kiln 0.1.0`. Not compared.
    pub generated_by: String,
    /// The sources and environments that it was made for, see [`inputs_digest`].
    pub inputs_digest: Digest,
    /// What it was made for, wish by wish; none in a lock of a kiln that did not write them.
    pub inputs: Vec<InputPin>,
    /// Packages of `deb` environments and sources.
    pub packages: Vec<PackagePin>,
    /// Images of `oci` environments and sources.
    pub images: Vec<ImagePin>,
    /// Root file systems.
    pub rootfs: Vec<RootfsPin>,
    /// Packages and paths of `host` environments with `pin: true`.
    pub hosts: Vec<HostPin>,
    /// Sources of kind `git` and `url`.
    pub sources: Vec<SourcePin>,
    /// Lock files of other tools.
    pub lockfiles: Vec<LockfilePin>,
    /// What those name without a plain SHA-256.
    pub fetches: Vec<FetchPin>,
}

impl Lock {
    /// Returns a lock for the sources and environments of `manifest`, which pins nothing yet.
    pub fn made_for(manifest: &Manifest, generated_by: impl Into<String>) -> Lock {
        let inputs = inputs(manifest);
        Lock { inputs, ..Lock::new(generated_by, inputs_digest(manifest)) }
    }

    /// Returns a lock without rows.
    pub fn new(generated_by: impl Into<String>, inputs_digest: Digest) -> Lock {
        Lock {
            generated_by: generated_by.into(),
            inputs_digest,
            inputs: Vec::new(),
            packages: Vec::new(),
            images: Vec::new(),
            rootfs: Vec::new(),
            hosts: Vec::new(),
            sources: Vec::new(),
            lockfiles: Vec::new(),
            fetches: Vec::new(),
        }
    }

    /// Returns the pins of one `host` environment.
    pub fn hosts_of(&self, used_by: &UsedBy) -> impl Iterator<Item = &HostPin> {
        self.hosts.iter().filter(move |pin| pin.used_by == *used_by)
    }
}

#[cfg(test)]
mod tests;
