//! The backend for containers that refuse namespaces: other mechanisms, chosen by name.
//!
//! Inside an ordinary container kiln is root and may make neither a namespace nor a mount. What it may
//! do is change its root folder and its user, and shut itself in. So a step runs as a user that nobody
//! else has, in a prepared root that belongs to another, under Landlock, without any socket, and it is
//! over when every process of that user is dead.
//!
//! | To find | Look in |
//! |---|---|
//! | the numbered order of a run | `run.rs` |
//! | whether it can be done here, and why not | `preflight.rs` |
//! | the users of steps, and who of them is alive | `users.rs` |
//! | slots: one user and one root per running step | `slot.rs` |
//! | the prepared root, and the proof that it is as it was | `root.rs` |
//! | what one step gets besides, and its removal | `work.rs`, `used.rs`, `remove.rs` |
//! | the process that watches, kills and proves | `warden.rs` |
//! | how the step is shut in, and what is read back | `shut.rs` |
//! | what this backend cannot give | `lacks.rs` |
//!
//! It falls back to nothing and nothing falls back to it. Nothing of it is mounted.
//! Does not catch: another root process of the same container, which is not kept out of anything.

mod enforced;
mod lacks;
mod preflight;
mod remove;
mod root;
mod run;
mod shut;
mod slot;
mod used;
mod users;
mod warden;
mod work;

pub use lacks::Lack;
pub use preflight::purpose;
pub use run::{rehearse, run};
pub use slot::Slots;
pub(crate) use used::Used;
pub use users::Users;
pub use warden::{Order, start, sweep};
