//! The store: bytes under the name of their digest, and everything that is rebuilt from them.
//!
//! Written once, verified on every read, shared by processes without a server: files are the truth
//! and rename is the only commit. There is no index that could disagree with them.
//!
//! ```text
//! STORE/                        0700, one owner
//! ├── schema                    the version of this layout
//! ├── lock/gc                   held while a run registers and while `gc` looks for roots
//! ├── lock/action-HEX           held while an action is run
//! ├── objects/ab/cdef…          0444; the name is the SHA-256 of the bytes
//! ├── checkouts/NAME/tree       what a step sees: fresh inodes, fixed modes and times
//! ├── checkouts/NAME/stamp      its metadata as one digest, compared before each use
//! ├── actions/ab/cdef….json     action digest → result, written by the runner alone
//! ├── records/PROJECT/TIME.json which record a build of a project left, newest last
//! ├── state/NAME                caches that may vanish at any time
//! ├── refs/NAME                 what `gc` must keep beside results and records
//! ├── synced                    up to when everything is known to be on the disk
//! ├── tmp/RUN/                  files in the making, logs and writes of running steps; locked
//! ├── trash/                    renamed away, about to be deleted
//! └── quarantine/               objects whose bytes were not those of their name
//! ```
//!
//! **Order.** Bytes are written whole under `tmp/`, then renamed; a kill at any instruction leaves
//! nothing partial outside `tmp/`. Nothing is flushed one by one: [`Store::sync`] flushes the file
//! system once, before a build is acknowledged, and notes the moment in `synced`. After a power
//! failure everything younger than that moment is hashed again before it is believed.
//!
//! **Locks** are held descriptors, never process ids: a dead holder frees its lock by dying. The
//! order is: gc, then a run's own folder, an action's turn, or a checkout.
//!
//! Nothing is hardlinked, neither into a checkout nor inside one. No blob changes under its name.
//! A checkout that somebody touched is told by its stamp and not used.
//! Does not catch: a process of the same user that changes a checkout and writes the stamp to match,
//! until `verify --deep`; a clock that was set back between the last flush and a power failure.
//!
//! Spec: decisions 1–4; REAPI v2 `Directory`.

mod action;
mod blob;
mod checkout;
mod error;
mod gc;
mod lock;
mod open;
mod record;
mod remove;
mod run;
mod scan;
mod scratch;
mod stamp;
#[cfg(test)]
mod stamp_tests;
#[cfg(test)]
mod tests;
mod tree;
mod turn;
#[cfg(test)]
mod upkeep_tests;
mod verify;
mod writer;

pub use action::{ActionResult, Held};
pub use blob::hash_file;
pub use checkout::{Checkout, Look, Owner};
pub use error::{Error, Operation};
pub use gc::{Collected, Keep};
pub use open::{Info, Store, open};
pub use record::{RecordEntry, UnixMillis};
pub use run::{OtherRun, RunFile, is_free};
pub use scratch::Scratch;
pub use tree::TreeParts;
pub use turn::{Tried, Turn};
pub use verify::{Damage, DamageKind, Depth, Report};
pub use writer::ObjectWriter;
