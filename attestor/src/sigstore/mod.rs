//! Bundles that a certificate, a transparency log or a timestamp authority vouches for.
//!
//! ```text
//! trusted_root.json ──Root::parse──▶ Root      (the verifier's own; never from a bundle)
//! bundle + artifact + signer wanted ──Root::check──▶ Confirmed or a SigstoreError
//! ```
//!
//! The checks are those of Sigstore's client specification, section 4, made by the organisation's own
//! crates: times first, then the certificate's path at each of them, its SCT, identity and issuer, the
//! log's inclusion proof and checkpoint, the signature, the artifact, and that the log's entry is about
//! this very bundle. What a root lists is required, and what it does not list cannot be: a root without
//! logs of certificates asks for no SCT, one without transparency logs for a signed timestamp instead, and
//! for a bundle without entries. Which of them held is told.
//!
//! The crates pass over what decides nothing for them: copies of signed values, names, further signers and
//! certificates, members that they do not know. A bundle that says another thing there than was signed is
//! refused all the same (`log`, `stamp`, `members`): no byte of one can be changed and the bundle verify.
//!
//! Nothing else in kiln names the `sigstore-*` crates, and no type of theirs leaves this module. Their
//! only look at the outside is the clock, which refuses times of the future.
//!
//! Opens no socket but to sign (`keyless`). Does not catch: a root that is out of date; who keeps it has to.
//!
//! Spec: Sigstore client specification, section 4; protobuf-specs, `sigstore_trustroot.proto`.

#[cfg(feature = "sigstore")]
mod check;
#[cfg(feature = "sigstore")]
mod der;
#[cfg(feature = "keyless")]
pub(crate) mod keyless;
#[cfg(feature = "sigstore")]
mod log;
#[cfg(feature = "sigstore")]
mod members;
#[cfg(feature = "sigstore")]
mod stamp;
#[cfg(not(feature = "sigstore"))]
mod without;

#[cfg(feature = "sigstore")]
pub use check::{Root, claimed};
#[cfg(not(feature = "sigstore"))]
pub use without::{Root, claimed};

use model::Digest;

use crate::public_key::PublicKey;

/// Largest trusted root, in bytes. The public one has some 10 KiB.
pub const ROOT_BYTES_MAX: usize = 4 << 20;
/// Most log entries and most timestamps of one bundle: what other clients allow.
pub const ENTRIES_MAX: usize = 32;

/// Who is believed to have signed: both halves, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate's subject: a URI or a mail address.
    pub subject: String,
    /// Who vouched for the subject: the address of the OIDC issuer.
    pub issuer: String,
}

/// Who must have signed.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The holder of a certificate.
    Identity(&'a Identity),
    /// The holder of a key.
    Key(&'a PublicKey),
}

/// What was signed.
#[derive(Clone, Copy, Debug)]
pub enum Signed<'a> {
    /// A file, by what it hashes to.
    Digest(Digest),
    /// A file's bytes: some signatures are over those and not over a digest.
    Bytes(&'a [u8]),
}

/// What held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The certificate's subject and issuer, where there is one.
    pub identity: Option<Identity>,
    /// The times of signing that somebody trusted swore to, in seconds since 1970.
    pub times: Vec<i64>,
    /// Transparency logs in which it was proven to stand.
    pub logs: usize,
    /// Whether a log of certificates swore to the certificate.
    pub sct: bool,
    /// What the certificate says of the job it was given to, by the names of Fulcio's extensions.
    pub claims: Vec<(&'static str, String)>,
}

impl Confirmed {
    /// Returns what the certificate says under one of Fulcio's names.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// What a bundle says of itself. Nothing of it is checked: it is for telling, never for believing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Whom its certificate names, escaped.
    pub identity: Option<Identity>,
    /// When it was signed, by its log or else its timestamp, in seconds since 1970.
    pub signed: Option<i64>,
}

/// Why a root is refused.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// More bytes than [`ROOT_BYTES_MAX`], a name that stands twice, or no JSON.
    #[error("it is no JSON of this size and depth")]
    Json(#[source] crate::strict_json::JsonError),
    /// JSON, but no trusted root.
    #[error("it is no trusted root: {reason}")]
    Shape {
        /// Why, escaped.
        reason: String,
    },
    /// This kiln was built without certificates.
    #[error("this kiln was built without certificates")]
    NotBuilt,
}

/// Of what kind a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bundle is not of a form that is accepted.
    Malformed,
    /// The certificate's subject or issuer is another.
    Identity,
    /// The certificate does not lead to a certificate of the root, or was not valid, or has no SCT.
    Certificate,
    /// The transparency log does not prove it.
    Log,
    /// No trusted time of signing.
    Time,
    /// The signature is not over these bytes.
    Signature,
    /// No subject is the artifact.
    Artifact,
}

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SigstoreError {
    /// Of what kind.
    pub kind: Kind,
    /// What was wrong, escaped.
    pub reason: String,
    /// What was wanted and what came, where two values were compared; escaped.
    pub compared: Option<(String, String)>,
}
