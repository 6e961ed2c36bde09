//! The system calls a step may make: an allow-list, turned into one filter program.
//!
//! A list of what is forbidden rots as kernels grow; new mount calls missed in such lists were real
//! escapes. So every number has a verdict: those in the table theirs, other known ones EPERM, and
//! everything above the newest known one ENOSYS, so that libraries fall back. The x32 numbers (bit 30)
//! lie above the newest known one and need no rule of their own.
//!
//! The program is written here and not by a library: one pass over the number line gives a verdict
//! to every number there is, where stacked single-verdict filters need three programs and an order
//! among them. It is short enough to be run in a test over the same table.
//!
//! Two options of a step widen the list, each in a file of its own: `nested.rs` and `i386.rs`.
//!
//! The filter cannot see through pointers: `openat2` can ask for mode bits that it refuses elsewhere.
//! Refusal at capture is the control, this is early feedback.
//! See seccomp(2) and Documentation/userspace-api/seccomp_filter.rst of Linux.

mod confined;
mod families;
mod groups;
#[cfg(target_arch = "x86_64")]
mod i386;
mod names;
mod nested;
mod program;
mod table;

pub use confined::{confined_count, confined_program};
pub use families::families_program;
pub use names::name;
pub use program::{Instruction, program, unheard};
pub use table::{
    Check, FAMILIES, FIRST_PROCESS, MAKES_A_FILE, NEWEST, OWN_ANSWER, SET_ID, Verdict,
    allowed_count, verdicts,
};
