//! The verifier and certificates: a bundle that a private Sigstore made, believed and attacked.
//!
//! `tests/vectors/keyless` holds a statement of kiln's about `tests/vectors/hello`, signed by cosign with a
//! short-lived certificate, a log of version 2 and a timestamp, and the trusted root of that instance.
//! `tests/interop/keyless_vectors.sh` makes such an instance; its keys are gone.

use attestor::builder::{BuilderId, LOCAL_BUILDER_ID};
use attestor::public_key::PublicKey;
use attestor::sigstore::{Identity, Root};
use attestor::trust::{self, Entry, Level, SpeaksFor, Trust, Who};
use attestor::verdict::{Code, Refusal};
use attestor::verify::{Artifact, Evidence, Expected, SignedBy, Verified, verify};
use model::Digest;
use serde_json::{Value, json};

pub const BUNDLE: &[u8] = include_bytes!("../vectors/keyless/hello.sigstore.json");
pub const ROOT: &[u8] = include_bytes!("../vectors/keyless/trusted_root.json");
pub const HELLO: &str = "853ff93762a06ddbf722c4ebe9ddd66d8f63ddaea97f521c3ecc20da7c976020";
pub const SUBJECT: &str = "builder@kiln.example";
pub const ISSUER: &str = "http://127.0.0.1:46411";
/// Some time after it was signed.
pub const NOW: i64 = 1_900_000_000;

pub fn by_hand(subject: &str, issuer: &str) -> Identity {
    Identity { subject: subject.into(), issuer: issuer.into() }
}

pub fn entry() -> Entry {
    Entry {
        name: "ci".into(),
        who: Who::Identity(trust::Identity {
            identity: SUBJECT.into(),
            issuer: ISSUER.into(),
            source_repository: None,
        }),
        speaks_for: SpeaksFor::Builder(BuilderId::new(LOCAL_BUILDER_ID).unwrap()),
        max_level: Level::L3,
        from: None,
        until: None,
        revoked: None,
    }
}

struct Asked<'a> {
    bundle: &'a [u8],
    digest: Digest,
    root: Option<&'a [u8]>,
    trust: Trust,
    identity: Option<Identity>,
    key: Option<PublicKey>,
}

impl Asked<'_> {
    fn good() -> Asked<'static> {
        Asked {
            bundle: BUNDLE,
            digest: Digest::from_hex(HELLO).unwrap(),
            root: Some(ROOT),
            trust: Trust::default(),
            identity: Some(by_hand(SUBJECT, ISSUER)),
            key: None,
        }
    }

    fn by(entry: Entry) -> Asked<'static> {
        Asked { trust: Trust::of(vec![entry]), identity: None, ..Asked::good() }
    }

    fn answer(&self) -> Result<Verified<attestor::claims::Statement>, Refusal> {
        let root = self.root.map(|bytes| Root::parse(bytes).unwrap());
        let expected = Expected {
            trust: &self.trust,
            key: self.key.as_ref(),
            identity: self.identity.as_ref(),
            root: root.as_ref(),
            source: None,
        };
        let evidence = Evidence { bytes: self.bundle, manifest: None };
        verify(&Artifact { name: "hello", digest: self.digest }, &evidence, &expected, NOW)
    }

    fn code(&self) -> Code {
        let refusal = self.answer().expect_err("must be refused");
        refusal.reasons().next().unwrap().code()
    }
}

#[test]
fn an_identity_is_believed_by_hand_at_level_1_and_by_an_entry_up_to_its_level() {
    let verified = Asked::good().answer().unwrap();
    assert_eq!(*verified.signer(), SignedBy::Identity(by_hand(SUBJECT, ISSUER)));
    assert_eq!(verified.level(), Level::L1);
    let log = verified.checks().last().unwrap();
    assert!(log.detail.starts_with("recorded in a transparency log, signed at 2026-"), "{log:?}");
    assert_eq!(Asked::by(entry()).answer().unwrap().level(), Level::L3);
}

#[test]
fn nobody_else_is_believed() {
    for (subject, issuer) in [
        ("somebody@else.example", ISSUER),
        ("builder@kiln.exampl", ISSUER),
        ("BUILDER@kiln.example", ISSUER),
        (".*", ISSUER),
        ("", ISSUER),
        (SUBJECT, "http://127.0.0.1:46411/"),
        (SUBJECT, "https://127.0.0.1:46411"),
        (SUBJECT, ""),
    ] {
        let asked = Asked { identity: Some(by_hand(subject, issuer)), ..Asked::good() };
        assert_eq!(asked.code(), Code::SignerNotTrusted, "{subject} {issuer}");
    }
    let identity = |identity: &str, issuer: &str, source_repository: Option<&str>| {
        Asked::by(Entry {
            who: Who::Identity(trust::Identity {
                identity: identity.into(),
                issuer: issuer.into(),
                source_repository: source_repository.map(Into::into),
            }),
            ..entry()
        })
    };
    assert_eq!(identity("other", ISSUER, None).code(), Code::SignerNotTrusted);
    assert_eq!(identity(SUBJECT, "other", None).code(), Code::SignerNotTrusted);
    // The certificate names no repository, so one that is wanted is not there.
    let repository = Some("https://git.example/a/b");
    assert_eq!(identity(SUBJECT, ISSUER, repository).code(), Code::SignerNotTrusted);
    let other_builder = BuilderId::new("https://ci.example/kiln/v1").unwrap();
    let asked = Asked::by(Entry { speaks_for: SpeaksFor::Builder(other_builder), ..entry() });
    assert_eq!(asked.code(), Code::SignerNotTrusted);
    for wrong in [
        Entry { revoked: Some(NOW - 1), ..entry() },
        // Held against the time of signing, which is trusted, and not against now.
        Entry { from: Some(NOW - 1), ..entry() },
        Entry { until: Some(1_700_000_000), ..entry() },
    ] {
        assert_eq!(Asked::by(wrong).code(), Code::SignerNotTrusted);
    }
    let ended = Entry { until: Some(NOW - 1), ..entry() };
    assert!(Asked::by(ended).answer().is_ok(), "in force when it was signed");
    // Nobody is named, or a key is, or there is nothing to check it with.
    let nobody = Asked { identity: None, ..Asked::good() };
    assert_eq!(nobody.code(), Code::SignerNotTrusted);
    let key = crate::forger::Forger::p256(1).public();
    let keyed = Asked { key: Some(key), identity: None, ..Asked::good() };
    assert_eq!(keyed.code(), Code::SignerNotTrusted);
    assert_eq!(Asked { root: None, ..Asked::good() }.code(), Code::SignerNotTrusted);
    let public = Root::public().unwrap();
    let identity = by_hand(SUBJECT, ISSUER);
    let trust = Trust::default();
    let expected = Expected {
        trust: &trust,
        key: None,
        identity: Some(&identity),
        root: Some(&public),
        source: None,
    };
    let artifact = Artifact { name: "hello", digest: Digest::from_hex(HELLO).unwrap() };
    assert!(
        verify(&artifact, &Evidence { bytes: BUNDLE, manifest: None }, &expected, NOW).is_err()
    );
}

#[test]
fn another_file_is_told_as_that() {
    let asked = Asked { digest: Digest::of(b"other"), ..Asked::good() };
    assert_eq!(asked.code(), Code::NoStatement);
}

/// What a bundle may not do without, and what may not be put in its place.
#[test]
fn a_bundle_that_lacks_a_part_is_refused() {
    let change = |at: &str, value: Value| {
        let mut bundle: Value = serde_json::from_slice(BUNDLE).unwrap();
        *bundle.pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = value;
        serde_json::to_vec(&bundle).unwrap()
    };
    let certificate = "/verificationMaterial/certificate/rawBytes";
    for (at, value) in [
        ("/verificationMaterial/tlogEntries", json!([])),
        ("/verificationMaterial/timestampVerificationData", json!({})),
        ("/verificationMaterial/timestampVerificationData/rfc3161Timestamps", json!([])),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope", json!("none")),
        ("/verificationMaterial/tlogEntries/0/canonicalizedBody", json!("e30=")),
        ("/verificationMaterial/tlogEntries/0/logId/keyId", json!("AAAA")),
        (certificate, json!("AAAA")),
        ("/dsseEnvelope/payload", json!("e30=")),
        ("/dsseEnvelope/signatures", json!([])),
        ("/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.9+json")),
    ] {
        let bundle = change(at, value);
        assert!(Asked { bundle: &bundle, ..Asked::good() }.answer().is_err(), "{at}");
    }
    // A whole chain in the certificate's place, and a second document.
    let chain = String::from_utf8(BUNDLE.to_vec()).unwrap();
    let chain = chain.replacen("\"certificate\"", "\"x509CertificateChain\"", 1);
    assert!(Asked { bundle: chain.as_bytes(), ..Asked::good() }.answer().is_err());
    let twice = [BUNDLE, BUNDLE].concat();
    assert!(Asked { bundle: &twice, ..Asked::good() }.answer().is_err());
}
