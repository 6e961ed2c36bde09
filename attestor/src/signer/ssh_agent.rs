//! Signs with a key that an agent of ssh holds: the key never leaves it.
//!
//! The agent signs the bytes as they are (`SSH_AGENTC_SIGN_REQUEST`). Nothing of SSHSIG is put
//! around them, so what comes is an ordinary signature of an ordinary key: 64 bytes for Ed25519, two
//! numbers for ECDSA, which are written as DER. A key is named by its fingerprint, never by its
//! comment, which anybody can write.
//!
//! A client of our own, since two messages of the protocol are used; answers are capped, and an
//! agent that does not answer is given up. Keys of a security key (`sk-…`) are not offered: they
//! sign a counter and flags as well, which nobody checks in a DSSE envelope.
//!
//! Source: draft-miller-ssh-agent, 3.5 and 3.6; RFC 5656, 3.1; RFC 8709, 4 and 6.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use model::Digest;

use crate::public_key::{Algorithm, KeyError, PublicKey};

/// Largest message, in bytes: that of OpenSSH's agent.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// How long an agent may take: it may have to ask a person.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const FAILURE: u8 = 5;

/// A key of an agent, and the connection to it.
pub(crate) struct SshAgentSigner {
    socket: PathBuf,
    blob: Vec<u8>,
    public: PublicKey,
}

/// Why an agent can not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("reach the ssh agent at {}", socket.display())]
    Reach {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("speak with the ssh agent at {}", socket.display())]
    Speak {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the ssh agent at {} did not answer within {} seconds, in which it may ask its user",
        socket.display(), patience.as_secs()
    )]
    Silent { socket: PathBuf, patience: Duration },
    #[error("the ssh agent's answer is not of its protocol")]
    Protocol,
    #[error("the ssh agent refused: it is locked, or its user said no")]
    Refused,
    #[error("the ssh agent holds no key {wanted}; it holds: {}", held(present))]
    NoKey { wanted: String, present: Vec<String> },
    #[error("the key {wanted} is of type {got}; offered are ssh-ed25519 and ecdsa-sha2-nistp256")]
    Kind { wanted: String, got: String },
    #[error("the key {wanted}")]
    Key {
        wanted: String,
        #[source]
        source: KeyError,
    },
    #[error("a statement of {got} bytes, and an ssh agent takes at most {MESSAGE_BYTES_MAX}")]
    TooLarge { got: usize },
}

fn held(present: &[String]) -> String {
    if present.is_empty() { "none".to_owned() } else { present.join(", ") }
}

impl SshAgentSigner {
    /// Finds the key of that fingerprint.
    pub(crate) fn open(socket: &Path, wanted: &str) -> Result<SshAgentSigner, AgentError> {
        let answer = ask(socket, &[REQUEST_IDENTITIES])?;
        let mut fields = Fields { rest: &answer };
        if fields.byte() != Some(IDENTITIES_ANSWER) {
            return Err(AgentError::Protocol);
        }
        let count = fields.number().ok_or(AgentError::Protocol)?;
        let mut present = Vec::new();
        for _ in 0..count {
            let blob = fields.text().ok_or(AgentError::Protocol)?;
            let _comment = fields.text().ok_or(AgentError::Protocol)?;
            let fingerprint = fingerprint(blob);
            if fingerprint == wanted {
                let public = public_key(wanted, blob)?;
                return Ok(SshAgentSigner {
                    socket: socket.to_owned(),
                    blob: blob.to_vec(),
                    public,
                });
            }
            present.push(fingerprint);
        }
        Err(AgentError::NoKey { wanted: wanted.to_owned(), present })
    }

    pub(crate) fn sign(&self, signed_bytes: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut message = vec![SIGN_REQUEST];
        put(&mut message, &self.blob);
        put(&mut message, signed_bytes);
        // No flags: they choose among the hashes of RSA.
        message.extend([0; 4]);
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(AgentError::TooLarge { got: signed_bytes.len() });
        }
        let answer = ask(&self.socket, &message)?;
        let mut fields = Fields { rest: &answer };
        match fields.byte() {
            Some(SIGN_RESPONSE) => {}
            Some(FAILURE) => return Err(AgentError::Refused),
            _ => return Err(AgentError::Protocol),
        }
        let mut signature = Fields { rest: fields.text().ok_or(AgentError::Protocol)? };
        let name = signature.text().ok_or(AgentError::Protocol)?;
        let value = signature.text().ok_or(AgentError::Protocol)?;
        match (self.public.algorithm(), name) {
            (Algorithm::Ed25519, b"ssh-ed25519") => Ok(value.to_vec()),
            (Algorithm::EcdsaP256, b"ecdsa-sha2-nistp256") => {
                der(value).ok_or(AgentError::Protocol)
            }
            _ => Err(AgentError::Protocol),
        }
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// Returns the name that `ssh-add -l` gives a key.
fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Digest::of(blob).as_bytes()))
}

fn public_key(wanted: &str, blob: &[u8]) -> Result<PublicKey, AgentError> {
    let unusable = |source| AgentError::Key { wanted: wanted.to_owned(), source };
    let mut fields = Fields { rest: blob };
    let kind = fields.text().ok_or(AgentError::Protocol)?;
    match kind {
        b"ssh-ed25519" => {
            let point = fields.text().ok_or(AgentError::Protocol)?;
            let point = ed25519_dalek::VerifyingKey::try_from(point)
                .map_err(|_| unusable(KeyError::Public))?;
            PublicKey::from_ed25519(&point).map_err(unusable)
        }
        b"ecdsa-sha2-nistp256" => {
            let _curve = fields.text().ok_or(AgentError::Protocol)?;
            let point = fields.text().ok_or(AgentError::Protocol)?;
            let point = p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .map_err(|_| unusable(KeyError::Public))?;
            PublicKey::from_p256(&point).map_err(unusable)
        }
        other => {
            Err(AgentError::Kind { wanted: wanted.to_owned(), got: model::text::escape(other) })
        }
    }
}

/// Turns two numbers of variable length into ASN.1 DER.
fn der(value: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Fields { rest: value };
    let (r, s) = (scalar(fields.text()?)?, scalar(fields.text()?)?);
    let signature = p256::ecdsa::Signature::from_scalars(r, s).ok()?;
    Some(signature.to_der().as_bytes().to_vec())
}

/// Returns a positive number of at most 32 bytes with its leading zeros back.
fn scalar(number: &[u8]) -> Option<[u8; 32]> {
    let bare = match number {
        [0, rest @ ..] => rest,
        rest => rest,
    };
    let mut scalar = [0_u8; 32];
    scalar.get_mut(32_usize.checked_sub(bare.len())?..)?.copy_from_slice(bare);
    Some(scalar)
}

/// Sends one message and returns the answer's body.
fn ask(socket: &Path, message: &[u8]) -> Result<Vec<u8>, AgentError> {
    ask_within(PATIENCE, socket, message)
}

fn ask_within(patience: Duration, socket: &Path, message: &[u8]) -> Result<Vec<u8>, AgentError> {
    let reach = |source| AgentError::Reach { socket: socket.to_owned(), source };
    let speak = |source: std::io::Error| match source.kind() {
        // What a socket says whose time is over.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            AgentError::Silent { socket: socket.to_owned(), patience }
        }
        _ => AgentError::Speak { socket: socket.to_owned(), source },
    };
    let mut agent = UnixStream::connect(socket).map_err(reach)?;
    agent.set_read_timeout(Some(patience)).map_err(speak)?;
    agent.set_write_timeout(Some(patience)).map_err(speak)?;
    let mut framed = Vec::with_capacity(message.len() + 4);
    put(&mut framed, message);
    agent.write_all(&framed).map_err(speak)?;
    let mut length = [0_u8; 4];
    agent.read_exact(&mut length).map_err(speak)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MESSAGE_BYTES_MAX {
        return Err(AgentError::Protocol);
    }
    let mut answer = vec![0_u8; length];
    agent.read_exact(&mut answer).map_err(speak)?;
    Ok(answer)
}

/// Appends a length and the bytes. What is put here is far below 4 GiB, or is refused afterwards.
fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    message.extend(length.to_be_bytes());
    message.extend_from_slice(bytes);
}

/// What is left of a message.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_says_nothing_is_told_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let patience = Duration::from_millis(20);
        let told = ask_within(patience, &socket, &[REQUEST_IDENTITIES]).unwrap_err();
        assert!(matches!(told, AgentError::Silent { .. }), "{told:?}");
        assert!(told.to_string().contains("did not answer within"), "{told}");
    }

    #[test]
    fn numbers_of_any_length_become_der() {
        let number = |bytes: &[u8]| {
            let mut out = Vec::new();
            put(&mut out, bytes);
            out
        };
        // A leading zero before a high bit, and a number that lost its leading zeros.
        let high = [&[0_u8, 0x80][..], &[1; 31]].concat();
        let value = [number(&high), number(&[7])].concat();
        let written = der(&value).unwrap();
        assert_eq!(&written[..4], &[0x30, 0x26, 0x02, 0x21]);
        assert_eq!(&written[written.len() - 3..], &[0x02, 0x01, 0x07]);
        let zero = [number(&[]), number(&[7])].concat();
        assert_eq!(der(&zero), None, "zero is no signature");
        let long = [number(&[1; 33]), number(&[7])].concat();
        assert_eq!(der(&long), None);
        assert_eq!(der(&value[..value.len() - 1]), None);
    }
}
