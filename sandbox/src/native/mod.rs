//! kiln's own sandbox on the native kernel: from a checked `Spec` to an `Outcome`.
//!
//! [`run`] is the story of the build process's side. The other side begins in `child.rs` and goes on
//! in `init.rs`. What both say to each other is in `wire.rs`.

mod apply;
mod attempts;
mod cgroup;
mod child;
pub(crate) mod copy;
mod enforced;
mod error;
mod inherited;
mod init;
mod landlock;
mod launch;
pub(crate) mod lists;
mod namespaces;
pub(crate) mod order;
mod outer;
mod rehearse;
mod resolver;
mod run;
mod seal;
pub(crate) mod seccomp;
pub(crate) mod setup;
pub(crate) mod space;
mod step;
mod supervise;
mod sys;
mod tell;
mod usage;
mod wire;
#[cfg(test)]
mod wire_tests;

pub use child::enter_child_if_asked;
pub use error::Doing;
pub use launch::{cool_down, warm_up};
pub use outer::outer_owner;
pub(crate) use rehearse::rehearse;
pub use run::run;
