//! The digest of this program, which every statement names.
//!
//! Hashing it takes longer than many a step, so it is begun when the first one starts and waited for at the end.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use model::Digest;

use crate::diagnostic::{Code, Diagnostic};
use crate::store;

/// The thread that hashes this program, once that was begun.
static HASHING: Mutex<Option<JoinHandle<Result<Digest, Diagnostic>>>> = Mutex::new(None);

/// Begins to hash this program beside other work, for [`begun`]: it takes longer than many a step.
pub fn begin() {
    /// Whatever the environment asks for (RUST_MIN_STACK).
    const STACK_BYTES: usize = 256 << 10;
    let mut hashing = HASHING.lock().unwrap_or_else(PoisonError::into_inner);
    if hashing.is_none() {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        // Where no thread can be started, whoever wants the digest hashes.
        *hashing = builder.spawn(digest).ok();
    }
}

/// Returns the digest of this program, once it is there if that was begun.
///
/// # Errors
/// As [`digest`].
pub fn begun() -> Result<Digest, Diagnostic> {
    let hashing = HASHING.lock().unwrap_or_else(PoisonError::into_inner).take();
    match hashing {
        Some(begun) => begun.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        None => digest(),
    }
}

/// Returns the digest of this program.
///
/// # Errors
/// Gives up where its own file cannot be read.
pub fn digest() -> Result<Digest, Diagnostic> {
    let refuse = |error: &dyn std::error::Error| {
        Diagnostic::new(Code::StoreUnusable, "cannot read this program's own file").caused_by(error)
    };
    let file = std::fs::File::open("/proc/self/exe").map_err(|error| refuse(&error))?;
    store::hash_file(&file, &mut |_| ()).map(|blob| blob.digest).map_err(|error| refuse(&error))
}
