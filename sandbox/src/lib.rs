//! Asks the kernel for a sealed place and runs one step in it.
//!
//! The promise, guarantee by guarantee (`model::isolation`): a step sees its declared inputs and
//! changes nothing but its private views (`files`); has a loopback and nothing else (`network`);
//! sees only its own processes, none of which outlives it (`processes`); is one fixed user without
//! privilege (`identity`); reaches only the listed system calls (`syscalls`). `limits` and
//! `landlock` are used where the host has them, and their absence is told.
//!
//! | To find | Look in |
//! |---|---|
//! | the network switched off, ids, host name | `native/namespaces.rs` |
//! | what is mounted where, in which order | `native/setup.rs` |
//! | the numbered order in the child | `native/child.rs`, then `native/init.rs` |
//! | a step's time limit, kill and proof of death | `native/supervise.rs` |
//! | the list of allowed system calls | `native/seccomp/groups.rs` |
//! | why this host cannot do it, and the fix | `probe.rs` |
//!
//! The step is started by executing this program again as a single-threaded child, so `main` must
//! call [`enter_child_if_asked`] before anything else. The process with threads is never forked.
//!
//! Never sees a key, the store, or the network. Changes no state of the calling process.
//! Does not catch: a fault of the kernel itself; it is no boundary of a virtual machine.
//! Needs Linux 5.12 or newer (overlay in user namespaces, `mount_setattr`).
#![deny(unsafe_code)]

mod cancel;
mod error;
mod native;
mod outcome;
pub mod probe;
mod spec;

pub use cancel::Cancel;
pub use error::{Cause, Error, LimitName, MountProblem};
pub use native::{Doing, cool_down, enter_child_if_asked, outer_owner, run, warm_up};
pub use outcome::{Exit, NetworkAttempt, Outcome, Stream, Usage, Writable};
pub use spec::{InjectedFile, Mount, MountMode, Parts, Spec, SpecError};
