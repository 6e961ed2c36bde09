//! The project's files in one pass: our digests, git's names, dirty or not.
//!
//! A local source is what lies in the work tree, so it is hashed as it lies, and its relation to a
//! commit is computed from the same bytes in the same pass (decision 15). Git's program is never
//! asked: flags in the index make it lie, and configuration makes it run foreign code.
//!
//! [`scan`] gives each source as a tree of our digests, and what git calls the project. When a step
//! really has to run, [`Project::copy_verified`] hands on the bytes of single files and refuses those
//! that changed since. With a warm [`StatCache`] a scan opens no source file at all.
//!
//! Starts no program, follows no symlink below the project, writes nothing.
//!
//! # What counts
//!
//! | Where | Files of a source |
//! |---|---|
//! | in git | tracked files as they lie there, and untracked ones that no ignore rule names |
//! | in a submodule | the same, by the submodule's own index and rules |
//! | outside git | every file, and empty folders |
//!
//! Never part of a source: `.git` at any depth, and `kiln-out`, `kiln.yaml`, `kiln.lock` at the root
//! of the project. The latter two count for "clean or dirty", `kiln-out` does not.
//!
//! # What git users will notice
//!
//! - Files that git converts (`autocrlf`, `eol`, `working-tree-encoding`, filters such as LFS) are
//!   hashed as they lie, so they are dirty unless their bytes are the committed ones.
//! - Assume-unchanged, skip-worktree, sparse checkouts, `core.fileMode=false` and replace references
//!   are not believed: what differs from the commit is dirty. So is a submodule that is not checked
//!   out; `exclude` takes it out of the source.
//! - Before the first commit everything is dirty. The index decides what is tracked and nothing
//!   else: a file that equals the commit is clean even if another version of it is staged.

mod claim;
mod compare;
mod error;
mod exclude;
pub mod git;
mod node;
mod open;
mod scan;
mod stat_cache;
mod tree;
mod walk;

pub use claim::claims;
pub use compare::{Change, DirtyPath};
pub use error::SourceError;
pub use exclude::{BUILD_FILE, BadGlob, Exclude, GIT_FOLDER, LOCK_FILE, OUTPUT_FOLDER};
pub use open::Project;
pub use scan::{Checkout, GitIdentity, LocalSource, SOURCES_MAX, Scan, Scanned, UserGit, scan};
pub use stat_cache::StatCache;
pub use tree::{ScannedFile, SourceContent, SourceTree};
