//! The environment kind `host`: declared packages and paths of this machine, observed.
//!
//! A build that needs no download uses what is installed. But a host is not an input; an exact list
//! of its files is. So this module answers one question, "which files make up this environment?",
//! from the host's package database alone, and names every one of them with the package it came
//! from. The runner then reads, checks, hashes and stores exactly those; steps see the copies, so
//! the provenance names the bytes that were used.
//!
//! ```text
//! Asked ──observe──▶ Observation ──import (runner)──▶ trees in the store
//!   └────stamp────▶ Stamp: known already? then the stored trees are used and no package is read
//! ```
//!
//! Writes nothing, runs nothing, opens no file but the database's own, follows no link out of the
//! root it is given. Nothing is taken because it happens to lie there: every entry comes from a
//! package's list, from one of the short tables here, or from a path that the build file names.
//!
//! Packages need a database that is read here: dpkg's. On other hosts `paths` alone still work; such
//! an environment has no base set, only the paths and kiln's own `/etc`.
//!
//! Does not catch: a file changed behind the package manager's back after its import
//! ([`stamp()`] says why), or one for which the package has no checksum.
//!
//! Source: dpkg's manual pages and the Debian Policy, named in each file.

mod absent;
mod alternatives;
mod asked;
mod closure;
mod contents;
mod control;
mod database;
mod diversions;
mod entry;
mod generated;
mod observation;
mod observe;
mod owner;
mod ownership;
mod package;
mod paths;
mod places;
mod read;
mod relation;
mod stamp;
mod synthetic;
mod unpackaged;
mod version;
mod walk;

pub use absent::{COMMONLY_DELETED, Why};
pub use alternatives::AlternativesError;
pub use asked::{Asked, AskedError, AskedPath, Forbidden};
pub use closure::ClosureError;
pub use contents::ContentsError;
pub use control::ControlError;
pub use database::DatabaseError;
pub use diversions::DiversionsError;
pub use entry::{Altered, Entry, EntryKind};
pub use observation::{HostPackage, HostPath, Observation, Omitted};
pub use observe::{Error, observe};
pub use owner::{OwnerError, owner};
pub use ownership::OwnershipError;
pub use package::{
    Arch, AskedPackage, Distribution, PackageName, Purl, TEXT_BYTES_MAX, TextError, Version,
};
pub use paths::{PathsError, observe_paths};
pub use places::{LINKS_MAX, PlacesError};
pub use read::{FILE_BYTES_MAX, ReadError};
pub use relation::RelationError;
pub use stamp::{Stamp, stamp};
pub use unpackaged::UnpackagedError;
pub use walk::{ENTRIES_MAX, WalkError};
