//! The few variables that the attestor's process reads or lets its parts read.
//!
//! Whoever starts it hands over those that its configuration needs and no others, so nothing that happens to
//! be set can change what is signed. Of an identity token, and of what one is asked for with, only an attestor
//! that signs with certificates learns. None of them reaches a step.
#![expect(clippy::disallowed_methods, reason = "the attestor's process reads its own variables")]

use std::path::PathBuf;

use crate::config::AttestorConfig;

/// How a service manager tells of descriptors that it hands over. Source: `sd_listen_fds(3)`.
const HANDED: [&str; 2] = ["LISTEN_PID", "LISTEN_FDS"];

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

/// Returns all that any configuration may have handed over, or an attestor that listens reads, each with what it is
/// for. The name of a variable that a configuration itself names is not among them.
pub fn known_variables() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut all = crate::signer::known_variables();
    all.push(("a socket that a service manager hands to `kiln attestor listen`", HANDED.to_vec()));
    all
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
pub(super) fn handed_descriptors() -> Option<u32> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let [process, count] = HANDED;
    (number(process) == Some(std::process::id())).then(|| number(count))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_configuration_has_handed_over_is_known() {
        let known: Vec<&str> = known_variables().into_iter().flat_map(|(_, names)| names).collect();
        let mut checked = 0;
        for signer in [
            "kind = \"file\"",
            "kind = \"pkcs11\"\nmodule = \"/lib/m.so\"\ntoken = \"t\"\nkey = \"k\"\npin-file = \"/p\"",
            "kind = \"ssh-agent\"\nkey = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
            "kind = \"keyless\"",
            "kind = \"keyless\"\ntoken = \"github\"",
            "kind = \"keyless\"\ntoken = \"gitlab\"",
            "kind = \"keyless\"\ntoken = \"circleci\"",
            "kind = \"keyless\"\ntoken = \"buildkite\"",
        ] {
            let config = AttestorConfig::parse(format!("[signer]\n{signer}\n").as_bytes());
            let config = config.unwrap_or_else(|error| panic!("{signer}: {error:?}"));
            for name in config.signer.variables() {
                assert!(known.contains(&name), "{signer}: {name}");
                checked += 1;
            }
        }
        assert!(checked > 40, "{checked}");
    }
}
