//! Ctrl-C and SIGTERM: the first stops cleanly, the second at once.
//!
//! A signal writes one byte into a pipe that the running steps wait on; nothing else happens in a
//! signal handler. Stopping cleanly means that every process of every step is dead and every
//! temporary file gone before kiln ends, with exit code 130.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sandbox::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::diagnostic::{Code, Diagnostic, Exit};

/// Returns the button that signals press from now on.
///
/// # Errors
/// Gives up where the process has no descriptors left.
pub fn watch() -> Result<Cancel, Diagnostic> {
    let refuse = |error: &dyn std::error::Error| {
        Diagnostic::new(Code::Internal, "cannot watch for signals").caused_by(error)
    };
    let cancel = Cancel::new().map_err(|error| refuse(&error))?;
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(Exit::Interrupted.number()),
            Arc::clone(&second),
        )
        .map_err(|error| refuse(&error))?;
        signal_hook::flag::register(signal, Arc::clone(&second)).map_err(|error| refuse(&error))?;
        let end =
            cancel.signal_end().as_fd().try_clone_to_owned().map_err(|error| refuse(&error))?;
        signal_hook::low_level::pipe::register(signal, end).map_err(|error| refuse(&error))?;
    }
    Ok(cancel)
}
