//! The few variables that the attestor's process reads or lets its parts read.
//!
//! Whoever starts it hands over those that its configuration needs and no others, so nothing that happens to
//! be set can change what is signed. Of an identity token, and of what one is asked for with, only an attestor
//! that signs with certificates learns. None of them reaches a step.
#![expect(clippy::disallowed_methods, reason = "the attestor's process reads its own variables")]

use std::path::PathBuf;

use crate::config::AttestorConfig;

/// Returns what is handed over to an attestor that a build starts, where it is set. `config` is the content
/// of its `attestor.toml`; of one that can not be read nothing is handed over, and the attestor says why.
pub fn variables(config: Option<&[u8]>) -> Vec<String> {
    let config = match config {
        Some(bytes) => AttestorConfig::parse(bytes),
        None => Ok(AttestorConfig::local()),
    };
    config.map_or_else(
        |_| Vec::new(),
        |config| config.signer.variables().into_iter().map(str::to_owned).collect(),
    )
}

/// Returns a variable of this process that is set, is text and is not empty.
#[cfg(feature = "keyless")]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

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
