//! `SignedBy`: who made a signature, and what a trust entry lets them speak for.
//!
//! There is one way, for keys and for identities, and for whatever is signed: provenance, a verdict, or
//! another statement. First whose signature holds, under the verifier's own keys and root; then whether an
//! entry in force lets that signer speak for what it speaks for, and up to which level.

use model::text::escape;

use crate::bundle::Attestation;
use crate::public_key::{KeyId, PublicKey};
use crate::sigstore::{self, Identity, SigstoreError};
use crate::trust::{Entry, Level, Trust};
use crate::verdict::{Reason, Subject};
use crate::verify::{Artifact, Expected};

/// Most entries that one message lists.
const LISTED_MAX: usize = 4;

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

/// What a signer speaks for.
#[derive(Clone, Copy)]
pub(crate) enum Role<'a> {
    /// A builder, with its provenance.
    Builder(&'a str),
    /// A verifier, with its verdicts.
    Verifier(&'a str),
    /// Itself, with any other statement.
    Witness,
}

impl Role<'_> {
    fn is_of(self, entry: &Entry) -> bool {
        match self {
            Role::Builder(id) => entry.builder().is_some_and(|known| known.as_str() == id),
            Role::Verifier(id) => entry.verifier().is_some_and(|known| known.as_str() == id),
            Role::Witness => true,
        }
    }

    /// Returns what it is called, and its id.
    fn named(self) -> (&'static str, String) {
        match self {
            Role::Builder(id) => ("builder", escape(id.as_bytes())),
            Role::Verifier(id) => ("verifier", escape(id.as_bytes())),
            Role::Witness => ("statement", String::new()),
        }
    }
}

/// Finds whose signature holds.
pub(crate) fn confirm<'a>(
    artifact: &Artifact<'_>,
    attestation: &Attestation,
    expected: &Expected<'a>,
) -> Result<ConfirmedBy<'a>, Reason> {
    if attestation.certificate {
        return certificate(artifact, attestation, expected);
    }
    if let Some(identity) = expected.identity {
        return Err(Reason::NoCertificate { wanted: escape(identity.subject.as_bytes()) });
    }
    let key = signer(attestation, expected)?;
    let vouched = match (expected.root, &attestation.whole) {
        (Some(root), Some(bundle)) => {
            let signed = sigstore::Signed::Digest(artifact.digest);
            let found = root.check(bundle, signed, sigstore::Wanted::Key(key));
            Some(found.map_err(|error| sigstore_reason(artifact, error))?)
        }
        _ => None,
    };
    Ok(ConfirmedBy::Key(key, vouched))
}

/// With a certificate: the identity is the verifier's, and so is the root.
fn certificate<'a>(
    artifact: &Artifact<'_>,
    attestation: &Attestation,
    expected: &Expected<'a>,
) -> Result<ConfirmedBy<'a>, Reason> {
    if let Some(key) = expected.key {
        return Err(Reason::NoKey { wanted: key.id().to_string() });
    }
    if expected.identity.is_none() && !expected.trust.names_identities() {
        return Err(Reason::NoIdentity);
    }
    let (Some(root), Some(bundle)) = (expected.root, &attestation.whole) else {
        return Err(Reason::NoRoot);
    };
    let signed = sigstore::Signed::Digest(artifact.digest);
    let found = match expected.identity {
        Some(wanted) => root.check(bundle, signed, sigstore::Wanted::Identity(wanted)),
        // Whose it is, is decided below, against every entry.
        None => root.check_anyone(bundle, signed),
    };
    let found = found.map_err(|error| sigstore_reason(artifact, error))?;
    let identity = found.identity.clone().ok_or(Reason::NoIdentity)?;
    let by = ConfirmedBy::Certificate(identity, found);
    if expected.identity.is_none() && by.entries(expected.trust).is_empty() {
        let entries = expected.trust.entries().iter().filter(|entry| entry.key().is_none());
        let known = listed(
            entries.map(|entry| format!("{} ({})", entry.signer(), expected.trust.place_of(entry))),
        );
        return Err(Reason::UnknownIdentity { expected: known, got: by.signer().to_string() });
    }
    Ok(by)
}

fn sigstore_reason(artifact: &Artifact<'_>, error: SigstoreError) -> Reason {
    if error.kind == sigstore::Kind::Artifact {
        let got = "subjects that all have another".to_owned();
        return Reason::Digest { expected: artifact.digest.to_string(), got };
    }
    Reason::Sigstore(error)
}

/// Returns which check a reason of [`confirm`] belongs to.
pub(crate) fn subject_of(reason: &Reason) -> Subject {
    match reason {
        Reason::Digest { .. } => Subject::Digest,
        Reason::Sigstore(error) if error.kind == sigstore::Kind::Log => Subject::Log,
        _ => Subject::Signature,
    }
}

/// Finds the key that made the signature among those that are believed.
fn signer<'a>(attestation: &Attestation, expected: &Expected<'a>) -> Result<&'a PublicKey, Reason> {
    let mut keys: Vec<&PublicKey> = match expected.key {
        Some(key) => vec![key],
        None => expected.trust.entries().iter().filter_map(Entry::key).collect(),
    };
    keys.sort_by_cached_key(|key| (Some(key.id().hint()) != attestation.hint, key.id()));
    keys.dedup_by_key(|key| key.id());
    let signed_bytes = attestation.envelope.signed_bytes();
    let signature = attestation.envelope.signature();
    if let Some(key) = keys.iter().find(|key| key.check(&signed_bytes, signature).is_ok()) {
        return Ok(key);
    }
    let is_named = |key: &&&PublicKey| Some(key.id().hint()) == attestation.hint;
    match keys.iter().find(is_named) {
        Some(key) => Err(Reason::Broken { key: key.id().to_string() }),
        None => {
            let named = attestation.hint.as_ref();
            let named = named.map(|hint| format!("SHA256:{}", escape(hint.as_bytes())));
            Err(Reason::Signer { tried: keys.len(), named })
        }
    }
}

impl ConfirmedBy<'_> {
    pub(crate) fn signer(&self) -> SignedBy {
        match self {
            ConfirmedBy::Key(key, _) => SignedBy::Key(key.id()),
            ConfirmedBy::Certificate(identity, _) => SignedBy::Identity(identity.clone()),
        }
    }

    /// Returns what the trusted root says of logs and timestamps, where it was asked.
    pub(crate) fn vouched(&self) -> Option<&sigstore::Confirmed> {
        match self {
            ConfirmedBy::Key(_, vouched) => vouched.as_ref(),
            ConfirmedBy::Certificate(_, vouched) => Some(vouched),
        }
    }

    /// Returns the level up to which the signer is believed in this role, and by what, for people. `now` is in
    /// seconds since 1970.
    pub(crate) fn believed(
        &self,
        role: Role<'_>,
        expected: &Expected<'_>,
        now: i64,
    ) -> Result<(Level, String), Reason> {
        let trust = expected.trust;
        let of_signer = self.entries(trust);
        let bare = match self {
            ConfirmedBy::Key(..) => expected.key.map(|_| "a bare key"),
            ConfirmedBy::Certificate(..) => expected.identity.map(|_| "a bare identity"),
        };
        // A signer that is known to be bad stays bad, however it is given and for whatever it speaks.
        let revoked =
            of_signer.iter().find_map(|entry| Some((trust.place_of(entry), entry.revoked?)));
        let who = self.kind();
        if let Some((entry, since)) = revoked {
            return Err(Reason::Revoked { who, entry, since });
        }
        if let Some(bare) = bare {
            return Ok((Level::L1, format!(", by {bare}: L1 at most")));
        }
        let of_pair: Vec<&Entry> =
            of_signer.iter().copied().filter(|entry| role.is_of(entry)).collect();
        if of_pair.is_empty() {
            let known = of_signer.iter().map(|entry| {
                let (kind, id) = entry.role().named();
                format!("{kind} {id} ({})", trust.place_of(entry))
            });
            let (role, got) = role.named();
            return Err(Reason::Builder { who, role, expected: listed(known), got });
        }
        // At every trusted time of signing; a plain key has none, so now.
        let (first, last) = self.signed_between(now);
        let in_force = |entry: &&&Entry| {
            entry.from.is_none_or(|from| from <= first)
                && entry.until.is_none_or(|until| last <= until)
        };
        if let Some(entry) = of_pair.iter().filter(in_force).max_by_key(|entry| entry.max_level) {
            let (name, level) = (escape(entry.name.as_bytes()), entry.max_level);
            return Ok((level, format!(" ({name}, {level})")));
        }
        let signed = self.vouched().filter(|_| who == "identity").map(|_| last);
        let ended = of_pair.iter().filter_map(|entry| Some((entry.until?, *entry)));
        let ended = ended.filter(|(until, _)| *until < last).max_by_key(|(until, _)| *until);
        if let Some((until, entry)) = ended {
            return Err(Reason::Expired { who, entry: trust.place_of(entry), until, signed });
        }
        let begins = of_pair.iter().min_by_key(|entry| entry.from.unwrap_or(i64::MAX));
        let entry = begins.map(|entry| trust.place_of(entry)).unwrap_or_default();
        let from = begins.and_then(|entry| entry.from).unwrap_or(i64::MAX);
        Err(Reason::NotYetValid { who, entry, from, signed: signed.map(|_| first) })
    }

    fn kind(&self) -> &'static str {
        match self {
            ConfirmedBy::Key(..) => "key",
            ConfirmedBy::Certificate(..) => "identity",
        }
    }

    /// Returns the trust entries of the signer.
    fn entries<'t>(&self, trust: &'t Trust) -> Vec<&'t Entry> {
        match self {
            ConfirmedBy::Key(key, _) => trust.of_key(&key.id()).collect(),
            ConfirmedBy::Certificate(Identity { subject, issuer }, found) => {
                trust.of_identity(subject, issuer, found.claim(SOURCE_REPOSITORY))
            }
        }
    }

    /// Returns the first and the last time of signing that is sworn to; of a plain key both are now.
    fn signed_between(&self, now: i64) -> (i64, i64) {
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

fn listed(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    let more = all.len().saturating_sub(LISTED_MAX);
    let told = all[..all.len() - more].join(", ");
    if more > 0 { format!("{told} and {more} more") } else { told }
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
