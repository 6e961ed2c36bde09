//! The checks themselves, over the organisation's crates.
//!
//! 1. The bundle is read strictly: no name twice, within caps of size, depth and count. The bytes that
//!    were read so are the ones that the crates read.
//! 2. Times, path, SCT, identity, log, signature, artifact, and the entry against the bundle.
//! 3. With a plain key: the log and the timestamps where there are any, the signature, the artifact.
//! 4. Everything else that stands in the bundle: it is what was signed, or what has to stand there.

use std::collections::BTreeSet;

use model::text::escape;
use serde_json::Value;
use sigstore_trust_root::{SigstoreInstance, TimeRange, TrustedRoot};
use sigstore_types::bundle::VerificationMaterialContent as Material;
use sigstore_types::{Artifact, Bundle, DerPublicKey, Sha256Hash, SignatureContent, TsaAuthority};
use sigstore_verify::crypto::x509::parse_certificate_info;
use sigstore_verify::{
    Error, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier,
};

use super::{
    Claimed, Confirmed, ENTRIES_MAX, Identity, Kind, ROOT_BYTES_MAX, RootError, Signed,
    SigstoreError, Wanted, log, members, stamp,
};
use crate::dsse;
use crate::public_key::PublicKey;
use crate::strict_json::{self, Caps};

/// Caps of a trusted root: few levels, few thousand values.
const ROOT_CAPS: Caps = Caps { bytes: ROOT_BYTES_MAX, depth: 16, values: 1 << 16 };

/// A trusted root, prepared: whose certificates, logs and timestamps are believed, and when.
pub struct Root {
    verifier: Verifier,
    /// Logs of signatures that it lists.
    logs: Vec<log::Log>,
    /// Who timestamps.
    clocks: Vec<TsaAuthority>,
    /// Certificates that vouch for others, but for those that nobody vouches for.
    between: Vec<Vec<u8>>,
    /// Logs of certificates that it lists.
    certificate_logs: usize,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Root")
            .field("logs", &self.logs.len())
            .field("certificate_logs", &self.certificate_logs)
            .finish_non_exhaustive()
    }
}

impl Root {
    /// Reads `trusted_root.json` and prepares every key and certificate of it.
    ///
    /// # Errors
    /// Refuses the whole root if one part of it is wrong: what is dropped could be what limits.
    pub fn parse(bytes: &[u8]) -> Result<Root, RootError> {
        let value = strict_json::parse(bytes, &ROOT_CAPS).map_err(RootError::Json)?;
        strict_json::exact(&value).map_err(RootError::Json)?;
        let text = String::from_utf8_lossy(bytes);
        Self::prepare(TrustedRoot::from_json(&text).map_err(|error| shape(&error))?)
    }

    /// Returns the root of Sigstore's public instance, as it was when this kiln was made.
    ///
    /// # Errors
    /// None in practice: it is part of the program.
    pub fn public() -> Result<Root, RootError> {
        let root = TrustedRoot::from_embedded(SigstoreInstance::PublicGood);
        Self::prepare(root.map_err(|error| shape(&error))?)
    }

    fn prepare(mut root: TrustedRoot) -> Result<Root, RootError> {
        narrow(&mut root)?;
        let verifier = Verifier::new(&root).map_err(|error| shape(&error))?;
        let logs = root.tlogs.iter().map(|log| {
            let id = log.log_id.key_id.as_bytes();
            log::Log::new(id, &log.public_key.raw_bytes)
                .ok_or_else(|| shape(&"the key of a log is of no kind that is known"))
        });
        let chains = root.certificate_authorities.iter().map(|one| &one.cert_chain.certificates);
        let between = chains.filter_map(|chain| Some(chain.split_last()?.1)).flatten();
        Ok(Root {
            logs: logs.collect::<Result<_, _>>()?,
            clocks: root.tsa_authorities(),
            between: between.map(|one| one.raw_bytes.as_bytes().to_vec()).collect(),
            certificate_logs: root.ctlogs.len(),
            verifier,
        })
    }

    /// Reads a bundle whose log entries are all of logs that this root lists.
    fn read(&self, bytes: &[u8]) -> Result<Bundle, SigstoreError> {
        let read = read(bytes)?;
        let strange = read.verification_material.tlog_entries.iter().any(|entry| {
            let name = entry.log_id.key_id.as_bytes();
            !self.logs.iter().any(|log| log.id() == name)
        });
        match strange {
            true => Err(plain(Kind::Log, "its log is none that the trusted root lists")),
            false => Ok(read),
        }
    }

    /// Decides whether a bundle that the crates believe holds nothing but what they looked at.
    fn hold(&self, read: &Bundle) -> Result<(), SigstoreError> {
        let material = &read.verification_material;
        log::check(&material.tlog_entries, &self.logs).map_err(|why| plain(Kind::Log, why))?;
        let signature = match &read.content {
            SignatureContent::MessageSignature(message) => &message.signature,
            SignatureContent::DsseEnvelope(envelope) => &envelope.signature.sig,
            _ => return Err(plain(Kind::Malformed, "its signature is of no kind that is known")),
        };
        let stamps = &material.timestamp_verification_data.rfc3161_timestamps;
        let tokens = stamps.iter().map(|one| &one.signed_timestamp);
        stamp::check(tokens, signature, &self.clocks).map_err(|why| plain(Kind::Time, why))?;
        if let Material::X509CertificateChain { certificates } = &material.content {
            let mut further = certificates.iter().skip(1).map(|one| one.raw_bytes.as_bytes());
            if !further.all(|one| self.between.iter().any(|known| known == one)) {
                return Err(plain(
                    Kind::Certificate,
                    "it has a certificate that is not the root's",
                ));
            }
        }
        match (&material.content, &read.content) {
            // Signed by nobody, and for nothing: the signer is who the certificate names.
            (
                Material::Certificate(_) | Material::X509CertificateChain { .. },
                SignatureContent::DsseEnvelope(envelope),
            ) if !envelope.signature.keyid.is_empty() => {
                Err(plain(Kind::Malformed, "it has a certificate and the id of a key"))
            }
            _ => Ok(()),
        }
    }

    /// Decides whether a bundle is the wanted signer's and about what was signed.
    ///
    /// # Errors
    /// The first check that does not hold.
    pub fn check(
        &self,
        bundle: &[u8],
        signed: Signed<'_>,
        wanted: Wanted<'_>,
    ) -> Result<Confirmed, SigstoreError> {
        // 1. One reading of the bytes, for them and for us.
        let read = self.read(bundle)?;
        let artifact = artifact(signed);
        match wanted {
            // 2. A certificate.
            Wanted::Identity(identity) => {
                let policy = self.policy(identity);
                let result = self.verifier.verify(artifact, &read, &policy);
                let result = result.map_err(|error| told(&error))?;
                self.hold(&read)?;
                let checked = result.identity_policy_checked();
                self.confirm(&read, &result, checked)
            }
            // 3. A plain key.
            Wanted::Key(key) => {
                let key = der(key)?;
                let mut policy = PublicKeyVerificationPolicy::new(key);
                if read.verification_material.tlog_entries.is_empty() {
                    policy = policy.skip_tlog_unsafe();
                }
                let result = self.verifier.verify(artifact, &read, &policy);
                let result = result.map_err(|error| told(&error))?;
                self.hold(&read)?;
                let logs = logs(&read);
                Ok(Confirmed {
                    identity: None,
                    times: times(&result),
                    logs: if result.tlog_verified() { logs } else { 0 },
                    sct: false,
                    claims: Vec::new(),
                })
            }
        }
    }

    /// Checks everything but whose the signature is: [`Confirmed::identity`] says that, and whoever asks
    /// has to decide about it.
    ///
    /// # Errors
    /// The first check that does not hold.
    pub fn check_anyone(
        &self,
        bundle: &[u8],
        signed: Signed<'_>,
    ) -> Result<Confirmed, SigstoreError> {
        let read = self.read(bundle)?;
        let policy = self.relaxed(VerificationPolicy::any_identity());
        let result = self.verifier.verify(artifact(signed), &read, &policy);
        let result = result.map_err(|error| told(&error))?;
        self.hold(&read)?;
        self.confirm(&read, &result, true)
    }

    fn policy(&self, identity: &Identity) -> VerificationPolicy {
        let (subject, issuer) = (identity.subject.as_str(), identity.issuer.as_str());
        self.relaxed(VerificationPolicy::new(subject, issuer))
    }

    /// Leaves out what this root cannot be asked for.
    fn relaxed(&self, mut policy: VerificationPolicy) -> VerificationPolicy {
        if self.certificate_logs == 0 {
            policy = policy.skip_sct();
        }
        if self.logs.is_empty() {
            policy = policy.skip_tlog_unsafe();
        }
        policy
    }

    /// Says what held, and that everything that this root asks for did: a check that was left out
    /// must not pass for one that held.
    fn confirm(
        &self,
        read: &Bundle,
        result: &VerificationResult,
        identity_checked: bool,
    ) -> Result<Confirmed, SigstoreError> {
        let complete = identity_checked
            && result.certificate_verified()
            && !result.verified_timestamps().is_empty()
            && (result.sct_verified() || self.certificate_logs == 0)
            && (result.tlog_verified() || self.logs.is_empty());
        let entries = read.verification_material.tlog_entries.len();
        let (Some(subject), Some(issuer), true) = (result.identity(), result.issuer(), complete)
        else {
            return Err(plain(Kind::Certificate, "not every check was made"));
        };
        if !self.logs.is_empty() && entries == 0 {
            return Err(plain(Kind::Log, "it stands in no transparency log"));
        }
        Ok(Confirmed {
            identity: Some(Identity {
                subject: escape(subject.as_str().as_bytes()),
                issuer: escape(issuer.as_bytes()),
            }),
            times: times(result),
            logs: if result.tlog_verified() { logs(read) } else { 0 },
            sct: result.sct_verified(),
            claims: claims(result),
        })
    }
}

/// Reads what a bundle says of itself; what cannot be read says nothing.
pub fn claimed(bytes: &[u8]) -> Claimed {
    let Ok(read) = read(bytes) else { return Claimed::default() };
    let material = &read.verification_material;
    let info = read.signing_certificate().and_then(|der| parse_certificate_info(der).ok());
    let identity = info.and_then(|info| {
        Some(Identity {
            subject: escape(info.identity?.as_str().as_bytes()),
            issuer: escape(info.issuer?.as_bytes()),
        })
    });
    let promised = material.tlog_entries.iter().filter(|entry| entry.inclusion_promise.is_some());
    let logged = promised.into_iter().find_map(|entry| entry.integrated_time);
    let stamps = &material.timestamp_verification_data.rfc3161_timestamps;
    let stamped = || stamps.iter().find_map(|one| first_time(one.signed_timestamp.as_bytes()));
    Claimed { identity, signed: logged.map(|time| time.as_second()).or_else(stamped) }
}

/// Returns the first `GeneralizedTime` of a token: what stands before `genTime` in RFC 3161 has none.
fn first_time(token: &[u8]) -> Option<i64> {
    const TAG: u8 = 0x18;
    let texts = token.windows(2).enumerate().filter(|(_, head)| head[0] == TAG);
    texts.filter_map(|(at, head)| token.get(at + 2..at + 2 + usize::from(head[1]))).find_map(
        |text| {
            let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
            let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text.split('.').next()?);
            Some(time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
        },
    )
}

/// Narrows the span in which each authority is believed to what all its certificates allow. The crates
/// take a root's certificates for anchors, of which only the key counts: one that had ended when it
/// was to vouch would be believed as long as the root says nothing of an end.
fn narrow(root: &mut TrustedRoot) -> Result<(), RootError> {
    let authorities = root.certificate_authorities.iter_mut();
    let authorities = authorities.map(|one| (&one.cert_chain, &mut one.valid_for));
    let clocks = root.timestamp_authorities.iter_mut();
    let clocks = clocks.map(|one| (&one.cert_chain, &mut one.valid_for));
    for (chain, span) in authorities.chain(clocks) {
        for certificate in &chain.certificates {
            let info = parse_certificate_info(&certificate.raw_bytes);
            let info = info.map_err(|error| shape(&error))?;
            let start = span.map_or(info.not_before, |span| span.start.max(info.not_before));
            let end = span.and_then(|span| span.end);
            let end = end.map_or(info.not_after, |end| end.min(info.not_after));
            *span = Some(TimeRange::new(start, Some(end)));
        }
    }
    Ok(())
}

/// Reads a bundle within caps, once strictly and once into the crates' own form.
fn read(bytes: &[u8]) -> Result<Bundle, SigstoreError> {
    let malformed = |reason: String| SigstoreError {
        kind: Kind::Malformed,
        reason: escape(reason.as_bytes()),
        compared: None,
    };
    let value = strict_json::parse(bytes, &dsse::CAPS).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        malformed(format!("{error}{}", cause.map(|one| format!(": {one}")).unwrap_or_default()))
    })?;
    strict_json::exact(&value).map_err(|error| malformed(error.to_string()))?;
    members::check(&value).map_err(malformed)?;
    let material = value.get("verificationMaterial");
    let count = |path: &[&str]| {
        let found = path.iter().try_fold(material?, |at, name| at.get(name));
        found.and_then(Value::as_array).map(Vec::len)
    };
    let entries = count(&["tlogEntries"]).unwrap_or_default();
    let stamps = count(&["timestampVerificationData", "rfc3161Timestamps"]).unwrap_or_default();
    if entries > ENTRIES_MAX || stamps > ENTRIES_MAX {
        return Err(malformed(format!(
            "{entries} log entries and {stamps} timestamps, more than {ENTRIES_MAX}"
        )));
    }
    let text = String::from_utf8_lossy(bytes);
    Bundle::from_json(&text).map_err(|error| malformed(error.to_string()))
}

/// Returns how many logs have it: an entry that is there twice is of one log.
fn logs(read: &Bundle) -> usize {
    let entries = read.verification_material.tlog_entries.iter();
    entries.map(|entry| entry.log_id.key_id.as_bytes()).collect::<BTreeSet<_>>().len()
}

fn der(key: &PublicKey) -> Result<DerPublicKey, SigstoreError> {
    let pem = key.to_pem().map_err(|error| plain(Kind::Signature, &error.to_string()))?;
    DerPublicKey::from_pem(&pem).map_err(|error| plain(Kind::Signature, &error.to_string()))
}

fn artifact(signed: Signed<'_>) -> Artifact<'_> {
    match signed {
        Signed::Bytes(bytes) => Artifact::from_blob(bytes),
        Signed::Digest(digest) => Artifact::from(Sha256Hash::new(*digest.as_bytes())),
    }
}

fn times(result: &VerificationResult) -> Vec<i64> {
    let mut times: Vec<i64> =
        result.verified_timestamps().iter().map(|time| time.as_second()).collect();
    times.sort_unstable();
    times.dedup();
    times
}

/// Returns what the certificate says of its job, each claim by the name of its extension.
fn claims(result: &VerificationResult) -> Vec<(&'static str, String)> {
    let Some(certificate) = result.certificate() else { return Vec::new() };
    let claims = &certificate.ci_claims;
    let all = [
        ("buildSignerURI", &claims.build_signer_uri),
        ("buildSignerDigest", &claims.build_signer_digest),
        ("runnerEnvironment", &claims.runner_environment),
        ("sourceRepositoryURI", &claims.source_repository_uri),
        ("sourceRepositoryDigest", &claims.source_repository_digest),
        ("sourceRepositoryRef", &claims.source_repository_ref),
        ("sourceRepositoryIdentifier", &claims.source_repository_identifier),
        ("sourceRepositoryOwnerURI", &claims.source_repository_owner_uri),
        ("buildConfigURI", &claims.build_config_uri),
        ("buildConfigDigest", &claims.build_config_digest),
        ("buildTrigger", &claims.build_trigger),
        ("runInvocationURI", &claims.run_invocation_uri),
        ("deploymentEnvironment", &claims.deployment_environment),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, escape(value.as_ref()?.as_bytes()))))
        .collect()
}

fn plain(kind: Kind, reason: &str) -> SigstoreError {
    SigstoreError { kind, reason: reason.to_owned(), compared: None }
}

fn shape(error: &dyn std::fmt::Display) -> RootError {
    RootError::Shape { reason: escape(error.to_string().as_bytes()) }
}

/// Turns the crates' error into ours. A kind of theirs that is not known counts as malformed.
fn told(error: &Error) -> SigstoreError {
    let reason = escape(error.to_string().as_bytes());
    let none = || "none".to_owned();
    let pair = |expected: String, got: Option<String>| {
        let got = got.map_or_else(none, |got| escape(got.as_bytes()));
        Some((escape(expected.as_bytes()), got))
    };
    let (kind, compared) = match error {
        Error::IdentityMismatch { expected, actual } => {
            (Kind::Identity, pair(expected.to_string(), actual.as_ref().map(ToString::to_string)))
        }
        Error::IssuerMismatch { expected, actual } => {
            (Kind::Identity, pair(expected.clone(), actual.clone()))
        }
        Error::SignatureInvalid(_) | Error::Crypto(_) => (Kind::Signature, None),
        // The same kind of theirs for two things: here it is the log's entry that is of something else.
        Error::ArtifactMismatch(detail) if detail.contains("hashedrekord") => (Kind::Log, None),
        Error::ArtifactMismatch(_) => (Kind::Artifact, None),
        Error::Certificate(_) | Error::TrustedCertificate(_) => (Kind::Certificate, None),
        Error::TransparencyLog(_) => (Kind::Log, None),
        Error::Timestamp(_) => (Kind::Time, None),
        _ => (Kind::Malformed, None),
    };
    SigstoreError { kind, reason, compared }
}
