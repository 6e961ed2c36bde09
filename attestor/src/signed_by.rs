//! `SignedBy`: who made a signature, and which trust entries are about them.

use crate::public_key::{KeyId, PublicKey};
use crate::sigstore::{self, Identity};
use crate::trust::{Entry, Trust};

/// Who made the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// A key that the verifier has.
    Key(KeyId),
    /// The holder of a certificate for this identity.
    Identity(Identity),
}

/// What step 2 found: who signed, and who else vouches for it.
pub(crate) enum ConfirmedBy<'a> {
    /// A key, and what the trusted root says of logs and timestamps, if both are there.
    Key(&'a PublicKey, Option<sigstore::Confirmed>),
    /// A certificate.
    Certificate(Identity, sigstore::Confirmed),
}

impl ConfirmedBy<'_> {
    pub(crate) fn signer(&self) -> SignedBy {
        match self {
            ConfirmedBy::Key(key, _) => SignedBy::Key(key.id()),
            ConfirmedBy::Certificate(identity, _) => SignedBy::Identity(identity.clone()),
        }
    }

    /// Returns the trust entries of the signer.
    pub(crate) fn entries<'t>(&self, trust: &'t Trust) -> Vec<&'t Entry> {
        match self {
            ConfirmedBy::Key(key, _) => trust.of_key(&key.id()).collect(),
            ConfirmedBy::Certificate(Identity { subject, issuer }, found) => {
                trust.of_identity(subject, issuer, found.claim(SOURCE_REPOSITORY))
            }
        }
    }

    /// Returns the first and the last time of signing that is sworn to; of a plain key both are now.
    pub(crate) fn signed_between(&self, now: i64) -> (i64, i64) {
        match self {
            ConfirmedBy::Key(..) => (now, now),
            ConfirmedBy::Certificate(_, found) => (
                found.times.iter().copied().min().unwrap_or(now),
                found.times.iter().copied().max().unwrap_or(now),
            ),
        }
    }
}

/// The extension of a certificate that names the repository the job was for.
const SOURCE_REPOSITORY: &str = "sourceRepositoryURI";

impl SignedBy {
    /// Returns the key, where a plain key signed.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            SignedBy::Key(key) => Some(key),
            SignedBy::Identity(_) => None,
        }
    }
}

impl std::fmt::Display for ConfirmedBy<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfirmedBy::Key(key, _) => write!(out, "confirmed, key {}", key.id()),
            ConfirmedBy::Certificate(Identity { subject, issuer }, _) => {
                write!(out, "confirmed, {subject}, vouched for by {issuer}")
            }
        }
    }
}

impl std::fmt::Display for SignedBy {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SignedBy::Key(key) => write!(out, "{key}"),
            SignedBy::Identity(Identity { subject, issuer }) => write!(out, "{subject} ({issuer})"),
        }
    }
}
