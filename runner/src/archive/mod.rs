//! Archives with one possible content: `.tar`, `.tar.gz`, `.tar.zst`.
//!
//! The same members give the same bytes on every machine and day: entries sorted, owner 0 without a
//! name, one time, modes 0644 and 0755, fixed compression settings, and no header field that tells of
//! the host. Headers are written by hand, because a general writer fills them from the file system.
//!
//! Reads only the store, verified; writes only the store. No file of the host is opened.
//! Does not promise: equal compressed bytes across kiln releases that change a compressor's version;
//! the digest of the plain tar inside stays the same.
//!
//! Spec: POSIX.1-2008 pax, ustar interchange format and extended headers; RFC 1952; RFC 8878.

mod entries;
mod links;
mod tar;
#[cfg(test)]
mod tests;
mod write;

pub use entries::{Member, MemberKind};
pub use write::{ArchiveError, Format, write};
