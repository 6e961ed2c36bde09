//! The few variables that the attestor's process reads or lets its parts read.
//!
//! Whoever starts it hands over these and no others, so nothing that happens to be set can change
//! what is signed. None of them holds a secret; none of them reaches a step.
#![expect(clippy::disallowed_methods, reason = "the attestor's process reads its own variables")]

use std::path::PathBuf;

/// What is handed over to an attestor that a build starts, where it is set: the socket of the ssh
/// agent, and where the modules of common tokens find their own configuration.
pub const VARIABLES: [&str; 5] =
    ["SSH_AUTH_SOCK", "SOFTHSM2_CONF", "OPENSC_CONF", "TPM2_PKCS11_STORE", "KMS_PKCS11_CONFIG"];

/// Returns the socket of the caller's ssh agent.
pub(super) fn ssh_agent() -> Option<PathBuf> {
    let socket = PathBuf::from(std::env::var_os("SSH_AUTH_SOCK")?);
    socket.is_absolute().then_some(socket)
}

/// Returns how many descriptors a service manager handed to this very process.
/// Source: `sd_listen_fds(3)`.
pub(super) fn handed_descriptors() -> Option<u32> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    (number("LISTEN_PID") == Some(std::process::id())).then(|| number("LISTEN_FDS"))?
}
