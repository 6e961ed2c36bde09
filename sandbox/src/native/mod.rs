//! kiln's own sandbox on the native kernel: from a checked `Spec` to an `Outcome`.
//!
//! [`run`] is the story of the build process's side. The other side begins in `child.rs` and goes on
//! in `init.rs`. What both say to each other is in `wire.rs`.

pub(crate) mod apply;
pub(crate) mod around;
pub(crate) mod attempts;
pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod copy;
mod crowd;
mod enforced;
pub(crate) mod error;
pub(crate) mod inherited;
pub(crate) mod init;
mod keep_to;
pub(crate) mod landlock;
pub(crate) mod launch;
pub(crate) mod lists;
pub(crate) mod met;
mod mounts;
mod namespaces;
pub(crate) mod order;
mod outer;
pub(crate) mod rehearse;
mod resolver;
pub(crate) mod run;
pub(crate) mod seal;
pub(crate) mod seccomp;
pub(crate) mod setup;
pub(crate) mod share;
pub(crate) mod space;
pub(crate) mod step;
pub(crate) mod supervise;
pub(crate) mod sys;
pub(crate) mod tell;
pub(crate) mod trial;
mod usage;
pub(crate) mod wire;
#[cfg(test)]
mod wire_tests;

pub use around::{MemoryAround, memory_around};
pub use child::enter_child_if_asked;
pub use error::Doing;
pub use keep_to::{INTERRUPT, Reach, interrupt_thread, keep_to};
pub use launch::{cool_down, warm_up};
pub use outer::outer_owner;
pub(crate) use rehearse::rehearse;

pub use run::run;
pub use space::reserve;

/// Removes control groups of dead makers, where groups can be made.
pub fn sweep_groups() {
    cgroup::sweep_up();
}
