//! The backend that lets a container engine keep the guarantees: Docker, or Podman behind the same
//! interface.
//!
//! kiln asks for everything by name, reads back what the engine made of it, and refuses a container
//! that differs in any field. Inputs are copies in one staging folder, the only thing the engine
//! binds; the environment is an image made from the checkout that the native backend mounts. Outputs
//! are read through descriptors of the staging folder, after the container has stopped, never with
//! the engine's help. `docs/backends.md` lists what differs from the native backend.
//!
//! Whoever reaches the engine's socket is root on the host, so the isolation rests on the daemon.
//! That is why this backend has a builder.id of its own.
//!
//! The one async rim of this crate: a runtime of one thread is made in `run.rs` and dropped there.

mod client;
mod error;
mod image;
mod keeper;
mod kills;
mod layout;
mod observe;
mod podman;
mod request;
mod run;
mod seccomp;
mod staging;
mod sweep;
mod tree;
mod watch;

use std::path::PathBuf;

pub use client::{Facts, look};
pub use error::EngineError;
pub use keeper::{Kept, keep};
pub(crate) use request::short as short_of_engine;
pub use run::{ready, run};
pub use staging::Staging;
pub use sweep::sweep_up;

/// The user and group that every step is, inside.
const USER: u32 = 1000;

/// Returns the account of this host that has the steps' number, where kiln is root and so somebody else.
pub fn shared_account() -> Option<String> {
    let is_root = rustix::process::geteuid().is_root();
    let account = || nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(USER)).ok().flatten();
    is_root.then(account).flatten().map(|account| account.name)
}

/// A container engine, and where kiln keeps what it shares with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// The engine's sockets to try, the one that was asked for alone if there is one.
    pub sockets: Vec<PathBuf>,
    /// The folder in which staging folders are made; kiln's own, readable by nobody else.
    pub staging: PathBuf,
}
