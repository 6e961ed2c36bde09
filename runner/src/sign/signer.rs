//! `Signer`: who will sign, as far as the build process knows: a key's public half, or an identity.

use std::sync::Arc;

use attestor::bundle;
use attestor::pipe::{Answer, IdentityInfo, KeyInfo, SignerInfo};
use attestor::public_key::PublicKey;
use attestor::sigstore::{Identity, Root, Signed as Subject, Wanted};
use attestor::verify::SignedBy;
use model::digest::Digest;

use crate::diagnostic::{Code, Diagnostic};

/// Who signs.
#[derive(Clone, Debug)]
pub enum Signer {
    /// A key.
    Key {
        /// Its fingerprint.
        id: String,
        /// Its public half.
        key: PublicKey,
    },
    /// The holder of a certificate that is yet to be given.
    Identity {
        /// Whom it will name, where that can be told before.
        subject: Option<String>,
        /// Who vouches for it.
        issuer: String,
        /// By what such certificates are checked.
        root: Arc<Root>,
    },
}

impl Signer {
    /// Returns the signer that an attestor tells of.
    ///
    /// # Errors
    /// What it answered in its place, or a key that cannot be read.
    pub fn told(answer: Answer) -> Result<Signer, Diagnostic> {
        match answer {
            Answer::Key(info) => key(info),
            Answer::Identity(info) => identity(info),
            other => Err(super::unexpected(other)),
        }
    }

    /// Returns the key, where one signs.
    pub fn key(&self) -> Option<&PublicKey> {
        match self {
            Signer::Key { key, .. } => Some(key),
            Signer::Identity { .. } => None,
        }
    }

    /// Returns how the signer is named in what is kept and told; none for a certificate that is yet to be
    /// given, whose subject nobody can tell before.
    pub fn name(&self) -> Option<String> {
        self.signed_by().map(|one| one.to_string())
    }

    /// Returns the signer as a trust file names it; none as for [`Signer::name`].
    pub fn signed_by(&self) -> Option<SignedBy> {
        match self {
            Signer::Key { key, .. } => Some(SignedBy::Key(key.id())),
            Signer::Identity { .. } => self.identity().map(SignedBy::Identity),
        }
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        match self {
            Signer::Identity { subject: Some(subject), issuer, .. } => {
                Some(Identity { subject: subject.clone(), issuer: issuer.clone() })
            }
            Signer::Identity { .. } | Signer::Key { .. } => None,
        }
    }

    /// Says whether a bundle holds what this signer states of this type about these bytes. What the statement
    /// says is not looked at.
    pub fn names(&self, bundle: &[u8], predicate_type: &'static str, digest: &Digest) -> bool {
        let read = bundle::read(bundle).ok();
        let Some([one]) = read.as_deref() else { return false };
        match (self, self.identity()) {
            (Signer::Key { key, .. }, _) => {
                attestor::verify::names(&one.envelope, key, predicate_type, digest)
            }
            (Signer::Identity { root, .. }, Some(identity)) => {
                let held =
                    root.check(bundle, Subject::Digest(*digest), Wanted::Identity(&identity));
                held.is_ok() && one.claims_type(predicate_type)
            }
            (Signer::Identity { .. }, None) => false,
        }
    }
}

/// Returns the signer with this key.
pub(super) fn key(info: KeyInfo) -> Result<Signer, Diagnostic> {
    let key = PublicKey::from_pem(&info.pem).map_err(|error| {
        Diagnostic::new(Code::KeyUnreadable, "the attestor's public key cannot be read")
            .caused_by(&error)
    })?;
    Ok(Signer::Key { id: info.fingerprint, key })
}

/// Names the holder of a certificate.
pub fn of_certificate(subject: &str, issuer: &str) -> String {
    format!("{subject} ({issuer})")
}

/// Names who signed.
pub fn signed_by(info: &SignerInfo) -> String {
    match info {
        SignerInfo::Key(info) => info.fingerprint.clone(),
        SignerInfo::Certificate(info) => of_certificate(&info.subject, &info.issuer),
    }
}

/// Returns the signer that an identity token speaks of.
pub(super) fn identity(info: IdentityInfo) -> Result<Signer, Diagnostic> {
    let root = match &info.trusted_root {
        Some(text) => Root::parse(text.as_bytes()),
        None => Root::public(),
    };
    let root = root.map_err(|error| {
        Diagnostic::new(Code::KeyUnreadable, "the attestor's trusted root cannot be used")
            .caused_by(&error)
    })?;
    Ok(Signer::Identity { subject: info.subject, issuer: info.issuer, root: Arc::new(root) })
}
