//! Reads git repositories as files: which commit is checked out, its trees, the index, ignore rules.
//!
//! Git's own program is never asked. Its answer about a work tree can be lied to by flags in the
//! index, and asking makes it run programs that the repository's configuration names (decision 15).
//! What is needed is little: names out of the index, one commit and a few tree objects.
//!
//! Starts no program, writes nothing. No hook, filter, fsmonitor, include, replace reference or
//! graft is obeyed. Every object read is hashed and must have the name it was asked for by.
//!
//! ```text
//! repository ─┬─ HEAD ─▶ refs ─▶ commit ─▶ tree      refs.rs, object.rs, pack.rs, delta.rs
//!             ├─ index ─▶ tracked paths              index.rs
//!             ├─ config ─▶ origin, excludesFile      config.rs
//!             └─ info/exclude, .gitignore            ignore.rs
//! ```
//!
//! Source: gitrepository-layout(5), gitformat-index(5), gitformat-pack(5), gitignore(5).

pub(in crate::source) mod config;
mod delta;
pub mod error;
pub mod id;
pub(in crate::source) mod ignore;
pub(in crate::source) mod index;
pub(in crate::source) mod object;
mod pack;
pub(in crate::source) mod refs;
pub(in crate::source) mod repository;

pub use error::GitError;
pub use id::{GitFormat, GitId};
