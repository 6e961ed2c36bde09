//! Identities in every place where a key may stand: policies, statements that a policy requires, dependencies.
//!
//! The signature is that of `tests/vectors/keyless`, which a private Sigstore made. Verdicts signed with
//! certificates are in `tests/forgeries`, which has an authority of its own.

use attestor::builder::{BuilderId, LOCAL_BUILDER_ID};
use attestor::dsse::PAYLOAD_TYPE;
use attestor::policy::{Decision, Dependencies, Outcome, Policy, Question, decide, learn};
use attestor::sigstore::Root;
use attestor::trust::{self, Entry, Level, SpeaksFor, Trust, Who};
use attestor::verdict::{Reason, Refusal};
use attestor::verify::{Artifact, Evidence, Expected, verify};
use model::Digest;
use serde_json::json;

use crate::certificates::{BUNDLE, HELLO, ISSUER, NOW, ROOT, SUBJECT, entry};
use crate::forger::{Forger, statement};

const OTHER_ROOT: &[u8] = include_bytes!("../vectors/keyless/other_root.json");
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

fn key_entry() -> Entry {
    Entry { name: "key".into(), who: Who::Key(Forger::p256(1).public()), ..entry() }
}

fn verifier() -> SpeaksFor {
    SpeaksFor::Verifier(BuilderId::new("https://verifier.example/v1").unwrap())
}

fn called(subject: &str, issuer: &str, repository: Option<&str>) -> Entry {
    let who = trust::Identity {
        identity: subject.into(),
        issuer: issuer.into(),
        source_repository: repository.map(str::to_owned),
    };
    Entry { who: Who::Identity(who), ..entry() }
}

/// Every entry that must not believe the signature of the vectors, whatever it is about.
fn never() -> Vec<(&'static str, Entry)> {
    vec![
        ("a pattern", called(".*@kiln[.]example", ISSUER, None)),
        ("a wildcard", called("*", ISSUER, None)),
        ("a prefix", called("builder@kiln.exampl", ISSUER, None)),
        ("capitals", called("BUILDER@KILN.EXAMPLE", ISSUER, None)),
        ("another issuer", called(SUBJECT, "https://issuer.example", None)),
        ("a longer issuer", called(SUBJECT, "http://127.0.0.1:46411/", None)),
        ("a repository", called(SUBJECT, ISSUER, Some("https://host.example/x"))),
        ("revoked", Entry { revoked: Some(0), ..entry() }),
        ("revoked in the future", Entry { revoked: Some(NOW + 1), ..entry() }),
        ("ended before it was signed", Entry { until: Some(1_700_000_000), ..entry() }),
        ("begun after it was signed", Entry { from: Some(NOW - 1), ..entry() }),
    ]
}

fn root(bytes: &[u8]) -> Root {
    Root::parse(bytes).unwrap()
}

/// What comes of a file that depends on the one that the vectors' certificate signed for.
fn walked(trust: &Trust, root: Option<&Root>) -> Outcome {
    let mut made = statement();
    made["subject"] = json!([{"name": "top", "digest": {"sha256": Digest::of(b"top").hex()}}]);
    let list = &mut made["predicate"]["buildDefinition"]["resolvedDependencies"];
    list.as_array_mut().unwrap().push(
        json!({"name": "hello", "digest": {"sha256": HELLO}, "annotations": {"role": "fetched"}}),
    );
    let bundle = Forger::p256(1).bundle(PAYLOAD_TYPE, made.to_string().as_bytes()).to_string();
    let expected = Expected { trust, key: None, identity: None, root, source: None };
    let artifact = Artifact { name: "top", digest: Digest::of(b"top") };
    let evidence = Evidence { bytes: bundle.as_bytes(), manifest: None };
    let verified = verify(&artifact, &evidence, &expected, NOW).unwrap();
    let mut given = Dependencies::default();
    given.add(BUNDLE).unwrap();
    let tree = given.walk(&verified, trust, root, NOW);
    tree.verdicts.into_iter().next().unwrap().outcome
}

#[test]
fn a_dependency_by_certificate_is_believed_by_an_entry_and_up_to_its_level() {
    let good = root(ROOT);
    for level in [Level::L1, Level::L2, Level::L3] {
        let trust = Trust::of(vec![key_entry(), Entry { max_level: level, ..entry() }]);
        let outcome = walked(&trust, Some(&good));
        assert_eq!(outcome, Outcome::Verified { level, by_summary: false });
    }
    let ended = Entry { until: Some(NOW - 1), ..entry() };
    let outcome = walked(&Trust::of(vec![key_entry(), ended]), Some(&good));
    assert!(matches!(outcome, Outcome::Verified { .. }), "in force when it was signed");
    let mut all = never();
    let other = SpeaksFor::Builder(BuilderId::new("https://ci.example/kiln/v1").unwrap());
    all.push(("for another builder", Entry { speaks_for: other, ..entry() }));
    all.push(("for a verifier", Entry { speaks_for: verifier(), ..entry() }));
    for (what, entry) in all {
        let outcome = walked(&Trust::of(vec![key_entry(), entry]), Some(&good));
        assert!(matches!(outcome, Outcome::Refused { .. }), "{what}: {outcome:?}");
    }
    let trust = Trust::of(vec![key_entry(), entry()]);
    for (what, root) in [("another root", Some(root(OTHER_ROOT))), ("no root", None)] {
        let outcome = walked(&trust, root.as_ref());
        assert!(matches!(outcome, Outcome::Refused { .. }), "{what}: {outcome:?}");
    }
    let outcome = walked(&Trust::of(vec![key_entry()]), Some(&good));
    let Outcome::Refused { why, .. } = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("no identity is named or has an entry"), "{why}");
}

/// Decides about the file of the vectors by a policy; with provenance by a key besides, where that is asked.
fn decided(policy: &str, trust: &Trust, by_key: bool) -> Result<Decision, Refusal> {
    let policy = Policy::parse(policy.as_bytes()).unwrap_or_else(|found| panic!("{found:?}"));
    let mut made = statement();
    made["subject"] = json!([{"name": "hello", "digest": {"sha256": HELLO}}]);
    let bundle = Forger::p256(1).bundle(PAYLOAD_TYPE, made.to_string().as_bytes()).to_string();
    let by_certificate = Evidence { bytes: BUNDLE, manifest: None };
    let keyed = Evidence { bytes: bundle.as_bytes(), manifest: None };
    let evidence = if by_key { vec![keyed, by_certificate] } else { vec![by_certificate] };
    let root = root(ROOT);
    let expected = Expected { trust, key: None, identity: None, root: Some(&root), source: None };
    decide(&Question {
        artifact: Artifact { name: "hello", digest: Digest::from_hex(HELLO).unwrap() },
        evidence: &evidence,
        expected,
        policy: Some(&policy),
        summary: None,
        now: NOW,
    })
}

fn signer(subject: &str, issuer: &str) -> String {
    format!("{{identity: \"{subject}\", issuer: \"{issuer}\"}}")
}

/// Returns the one rule that refused: what it wants, what it got, and where it stands.
fn refused(came: Result<Decision, Refusal>) -> (String, String, (usize, usize)) {
    let refusal = came.expect_err("must be refused");
    let mut reasons = refusal.reasons();
    match (reasons.next(), reasons.next()) {
        (Some(Reason::Policy(broken)), None) => {
            (broken.expected.clone(), broken.got.clone(), (broken.line, broken.column))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_policy_may_name_an_identity_as_the_signer_exactly() {
    let trust = Trust::of(vec![entry(), key_entry()]);
    let policy = |signer: &str| {
        format!("policy: 1\nbuilders:\n  - id: {LOCAL_BUILDER_ID}\n    signer: {signer}\n")
    };
    let key = Forger::p256(1).public().id();
    let us = signer(SUBJECT, ISSUER);
    for good in [us.clone(), format!("[{us}]"), format!("[\"{key}\", {us}]")] {
        decided(&policy(&good), &trust, false).unwrap_or_else(|error| panic!("{good}: {error:?}"));
    }
    for bad in [
        signer(".*", ISSUER),
        signer("*@kiln.example", ISSUER),
        signer("builder@kiln.exampl", ISSUER),
        signer("BUILDER@kiln.example", ISSUER),
        signer(SUBJECT, "https://issuer.example"),
        signer(SUBJECT, "http://127.0.0.1:4641"),
        signer(&format!("{SUBJECT} ({ISSUER})"), ISSUER),
        format!("\"{key}\""),
    ] {
        let (expected, got, place) = refused(decided(&policy(&bad), &trust, false));
        assert!(got.ends_with(&format!("signed by {SUBJECT} ({ISSUER})")), "{got}");
        assert!(expected.contains(", signed by "), "{expected}");
        assert_eq!(place, (4, 13), "{bad}");
    }
    // The other way round: by the key, where the policy wants the identity.
    let ours = policy(&us);
    let only_key = Trust::of(vec![key_entry()]);
    let (expected, got, _) = refused(decided(&ours, &only_key, true));
    assert!(expected.ends_with(&format!("signed by {SUBJECT} ({ISSUER})")), "{expected}");
    assert!(got.ends_with(&format!("signed by {key}")), "{got}");
    // A policy narrows and never makes anybody believed.
    for (what, entry) in never() {
        assert!(decided(&ours, &Trust::of(vec![entry]), false).is_err(), "{what}");
    }
    assert!(decided(&ours, &Trust::default(), false).is_err());
}

#[test]
fn a_signer_that_is_no_identity_and_no_fingerprint_is_refused_with_its_place() {
    for (signer, at, words) in [
        ("{identity: a@b.example}", 0, "no `issuer`"),
        ("{issuer: \"https://i.example\"}", 0, "no `identity`"),
        ("{identity: a@b.example, issuer: \"https://i.example\", level: 3}", 53, "unknown key"),
        ("{identity: \"\", issuer: \"https://i.example\"}", 11, "`identity` of `signer`"),
        ("{identity: a@b.example, issuer: \"\"}", 32, "`issuer` of `signer`"),
        ("{identity: {pattern: \".*\"}, issuer: \"https://i.example\"}", 11, "wrong type"),
        ("{identity: [a, b], issuer: \"https://i.example\"}", 11, "wrong type"),
        ("a@b.example", 0, "`signer` is not allowed"),
        ("[]", 0, "`signer` is not allowed"),
    ] {
        for head in [
            "policy: 1\nbuilders: [{id: \"https://a/\", signer: ",
            "policy: 1\nrequire: [{type: t, signer: ",
        ] {
            let text = format!("{head}{signer}}}]\n");
            let problems = Policy::parse(text.as_bytes()).expect_err(&text);
            assert!(problems[0].to_string().contains(words), "{text}\n{problems:?}");
            assert_eq!(problems[0].span.start, head.len() + at, "{text}\n{problems:?}");
        }
    }
}

#[test]
fn a_required_statement_may_be_signed_by_an_identity() {
    let policy = |signer: &str| {
        format!("policy: 1\nrequire:\n  - type: {PROVENANCE}\n    signer: {signer}\n")
    };
    let us = signer(SUBJECT, ISSUER);
    let trust = Trust::of(vec![key_entry(), entry()]);
    let held = decided(&policy(&us), &trust, true).unwrap().held;
    let last = held.last().unwrap();
    assert_eq!(last.detail, format!("by {SUBJECT} ({ISSUER})"));
    let any = format!("policy: 1\nrequire:\n  - type: {PROVENANCE}\n");
    decided(&any, &trust, true).unwrap();
    let by = format!(
        "policy: 1\nrequire:\n  - type: {PROVENANCE}\n    where: signer == \"{SUBJECT} ({ISSUER})\"\n"
    );
    decided(&by, &trust, true).unwrap();
    let by_key = format!("one signed by {}", Forger::p256(1).public().id());
    for bad in [signer("*", ISSUER), signer(SUBJECT, "https://other.example")] {
        let (expected, got, place) = refused(decided(&policy(&bad), &trust, true));
        assert!(expected.contains(", signed by "), "{expected}");
        assert_eq!((got, place), (by_key.clone(), (3, 5)));
    }
    // Provenance that is refused is none, though whoever signed it is believed for something else.
    let mut all = never();
    all.push(("for a verifier", Entry { speaks_for: verifier(), ..entry() }));
    let ours = policy(&us);
    for (what, entry) in all {
        let (_, got, _) = refused(decided(&ours, &Trust::of(vec![key_entry(), entry]), true));
        assert_eq!(got, by_key, "{what}");
    }
}

#[test]
fn a_policy_is_learned_from_an_identity_and_refuses_every_other_signer() {
    let root = root(ROOT);
    let trust = Trust::of(vec![entry(), key_entry()]);
    let expected =
        Expected { trust: &trust, key: None, identity: None, root: Some(&root), source: None };
    let artifact = Artifact { name: "hello", digest: Digest::from_hex(HELLO).unwrap() };
    let evidence = Evidence { bytes: BUNDLE, manifest: None };
    let verified = verify(&artifact, &evidence, &expected, NOW).unwrap();
    let text = learn("hello", &verified, None);
    assert!(text.contains(&format!("signer: {}", signer(SUBJECT, ISSUER))), "{text}");
    assert!(!text.contains("key"), "{text}");
    decided(&text, &trust, false).unwrap();
    let other = text.replacen(SUBJECT, "somebody@else.example", 1);
    assert_ne!(other, text);
    assert!(decided(&other, &trust, false).is_err());
}

#[test]
fn a_refusal_names_the_entry_and_its_line() {
    let text = |more: &str| {
        let (key, identity) = (key_entry().to_toml().unwrap(), entry().to_toml().unwrap());
        Trust::parse(format!("# us\n\n{key}\n{identity}{more}").as_bytes()).unwrap()
    };
    let line = 3 + key_entry().to_toml().unwrap().lines().count() + 1;
    for (more, words) in [
        ("revoked = \"2020-01-01T00:00:00Z\"\n", "the identity was revoked"),
        ("until = \"2020-01-01T00:00:00Z\"\n", "the identity is no longer valid"),
        ("from = \"2029-01-01T00:00:00Z\"\n", "the identity is not yet valid"),
    ] {
        let refusal = decided("policy: 1\n", &text(more), false).expect_err(words);
        let reason = refusal.reasons().next().unwrap();
        assert_eq!(reason.to_string(), words);
        let place = reason.entry().unwrap();
        assert_eq!((place.name.as_str(), place.line), ("ci", Some(line)));
        let whole = reason.whole();
        assert!(whole.contains(&format!("entry `ci` in line {line} of trust.toml")), "{whole}");
        assert!(!whole.contains("key") && !reason.help().unwrap().contains("key"), "{whole}");
    }
}
