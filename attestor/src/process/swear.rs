//! Swearing to a statement: by the key that is configured, or by a certificate for this one time.
//!
//! With a certificate the services of an instance are asked, and that is waited for under the lock of the
//! state folder, as a token or an agent is: one nonce, one envelope. Nobody who asks can make it take longer.

use model::Digest;

use super::keyring::{Keyring, KeyringError};
use crate::bundle;
use crate::dsse::Envelope;
use crate::envelope;
use crate::pipe::{Answer, SignerInfo};
use crate::signer::SignError;

/// A statement that was sworn to.
pub(super) struct Sworn {
    /// The content of `X.sigstore.json`.
    pub(super) bundle: String,
    pub(super) envelope: Envelope,
    pub(super) by: SignerInfo,
}

/// Why nobody swears to it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SwearError {
    #[error("use the signing key")]
    Key(#[source] KeyringError),
    #[error("sign the statement")]
    Sign(#[source] SignError),
    #[cfg(feature = "keyless")]
    #[error("sign the statement with a certificate")]
    Keyless(#[source] crate::sigstore::keyless::KeylessError),
    #[cfg(feature = "keyless")]
    #[error("the statement is about no file")]
    NoSubject,
    #[error("write the envelope")]
    Write(#[source] serde_json::Error),
}

/// Signs the statement's bytes, once. `subject` is the first file that it is about.
pub(super) fn swear(
    keyring: &Keyring,
    statement: Vec<u8>,
    subject: Option<Digest>,
    now: i64,
) -> Result<Sworn, SwearError> {
    #[cfg(feature = "keyless")]
    if let Some((keyless, _)) = keyring.keyless().map_err(SwearError::Key)? {
        return certified(&keyless, &statement, subject, now);
    }
    #[cfg(not(feature = "keyless"))]
    {
        let _ = (subject, now, keyring.keyless().map_err(SwearError::Key)?);
    }
    let signer = keyring.signer().map_err(SwearError::Key)?;
    let envelope = envelope::sign(statement, &signer).map_err(SwearError::Sign)?;
    Ok(Sworn {
        bundle: bundle::to_bundle(&envelope, &signer.public().id()).map_err(SwearError::Write)?,
        envelope,
        by: SignerInfo::Key(keyring.info(signer.public()).map_err(SwearError::Key)?),
    })
}

#[cfg(feature = "keyless")]
fn certified(
    keyless: &crate::sigstore::keyless::Keyless,
    statement: &[u8],
    subject: Option<Digest>,
    now: i64,
) -> Result<Sworn, SwearError> {
    let subject = subject.ok_or(SwearError::NoSubject)?;
    let signed = keyless.sign(statement, subject, &ambient(), now).map_err(SwearError::Keyless)?;
    let by = signed.confirmed.identity.ok_or(SwearError::NoSubject)?;
    let by = crate::pipe::CertificateInfo { subject: by.subject, issuer: by.issuer };
    Ok(Sworn { bundle: signed.bundle, envelope: signed.envelope, by: SignerInfo::Certificate(by) })
}

/// Says who would sign.
pub(super) fn who(keyring: &Keyring, now: i64) -> Result<Answer, SwearError> {
    #[cfg(feature = "keyless")]
    if let Some((keyless, instance)) = keyring.keyless().map_err(SwearError::Key)? {
        let holder = keyless.holder(&ambient(), now).map_err(SwearError::Keyless)?;
        let config = keyring.config().map_err(SwearError::Key)?;
        let path = keyring.place(&config);
        return Ok(Answer::Identity(crate::pipe::IdentityInfo {
            subject: holder.subject,
            issuer: holder.issuer,
            builder_id: config.builder.full().next().map(ToString::to_string).unwrap_or_default(),
            path,
            trusted_root: instance
                .map(|one| String::from_utf8_lossy(&one.trusted_root).into_owned()),
        }));
    }
    #[cfg(not(feature = "keyless"))]
    {
        let _ = (now, keyring.keyless().map_err(SwearError::Key)?);
    }
    let signer = keyring.signer().map_err(SwearError::Key)?;
    keyring.info(signer.public()).map(Answer::Key).map_err(SwearError::Key)
}

/// This process' own variables, and files as whoever mounts a token leaves them.
#[cfg(feature = "keyless")]
fn ambient() -> crate::sigstore::keyless::Ambient<'static> {
    use super::{environment, files};
    use crate::sigstore::keyless::TOKEN_BYTES_MAX;
    crate::sigstore::keyless::Ambient {
        variable: &environment::variable,
        file: &|path| {
            let read = files::read_mounted(path, TOKEN_BYTES_MAX);
            read.map_err(|error| super::refusal::causes(&error).join(": "))
        },
    }
}
