//! What a build hands over: files in `kiln-out/`.
//!
//! Whoever looks there sees whole files only. A file that is right already is not touched, so a build
//! without changes rewrites nothing (decision 24); one that somebody changed is put back, and that is
//! told. Nothing there is followed: a symlink in a file's place is replaced, one in the folder's place
//! is refused.
//!
//! Two builds never write there at once: the second waits for the first.
//!
//! Deletes nothing: what is no artifact of this build is not kiln's to judge. It stays in the list of
//! digests as long as it has the bytes that are listed.
//!
//! Spec: decisions 12, 24; sha256sum(1).

mod claim;
mod land;
mod sums;
#[cfg(test)]
mod tests;

pub use claim::{Claim, Claimed};
pub use land::{Batch, ExportError, Landed, OutFolder, Ready};
pub use sums::{SUMS_NAME, sums_text};
