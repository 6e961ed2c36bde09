//! The verifier, attacked: a forger who holds a key, and one who only changes bytes.
//!
//! Rows are named after the attacks of the reference (A1 to A29, S-K01 to S-K20).

use attestor::builder::{BuilderId, LOCAL_BUILDER_ID};
use attestor::dsse::{PAYLOAD_TYPE, pae};
use attestor::expected_source::ExpectedSource;
use attestor::public_key::PublicKey;
use attestor::trust::{Entry, Level, SpeaksFor, Trust, Who};
use attestor::verdict::{Code, Refusal};
use attestor::verify::{Artifact, Evidence, Expected, Verified, verify};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::Digest;
use p256::ecdsa::signature::Signer as _;
use serde_json::{Value, json};

use crate::forger::{Forger, core, good_bundle, statement};
use crate::support::{ARTIFACT, NOW};

fn entry(key: &PublicKey, builder: &str, max_level: Level) -> Entry {
    Entry {
        name: "test".into(),
        who: Who::Key(key.clone()),
        speaks_for: SpeaksFor::Builder(BuilderId::new(builder).unwrap()),
        max_level,
        from: None,
        until: None,
        revoked: None,
    }
}

fn trusting(key: &PublicKey) -> Trust {
    Trust::of(vec![entry(key, LOCAL_BUILDER_ID, Level::L1)])
}

fn check(bytes: &[u8], trust: &Trust) -> Result<Verified<attestor::claims::Statement>, Refusal> {
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let expected = Expected { trust, key: None, identity: None, root: None, source: None };
    verify(&artifact, &Evidence { bytes, manifest: None }, &expected, NOW)
}

fn code(result: Result<Verified<attestor::claims::Statement>, Refusal>) -> Code {
    let refusal = result.expect_err("must be refused");
    refusal.reasons().next().unwrap().code()
}

#[test]
fn a_good_bundle_of_either_algorithm_verifies_and_says_how() {
    for forger in [Forger::p256(1), Forger::ed25519(1)] {
        let verified = check(good_bundle(&forger).as_bytes(), &trusting(&forger.public())).unwrap();
        assert_eq!(verified.level(), Level::L1);
        assert_eq!(verified.payload(), statement().to_string().as_bytes());
        let lines: Vec<String> = verified
            .checks()
            .iter()
            .map(|check| format!("{}: {}", check.subject.as_str(), check.detail))
            .collect();
        let key = forger.public().id();
        assert_eq!(
            lines,
            [
                format!("signature: confirmed, key {key}"),
                "statement: https://kiln.build/buildtypes/build/v1".into(),
                "digest: 853ff93762a0 is in the statement".into(),
                format!("builder: {LOCAL_BUILDER_ID} (test, L1)"),
                format!("source: git+https://git.example.org/acme/hello@{}", "a1".repeat(20)),
                "hermetic: network off, all core guarantees, 4 of 4 inputs by digest".into(),
                "log: not recorded in a transparency log".into(),
            ]
        );
    }
}

/// One way to spoil a good statement, and the code of the refusal.
type WrongRow = (&'static str, fn(&mut Value), Code);
const WRONG: [WrongRow; 26] = [
    (
        "statement v0.1",
        |s| s["_type"] = json!("https://in-toto.io/Statement/v0.1"),
        Code::WrongKind,
    ),
    (
        "no type",
        |s| {
            s.as_object_mut().unwrap().remove("_type");
        },
        Code::EvidenceMalformed,
    ),
    (
        "provenance v0.2",
        |s| s["predicateType"] = json!("https://slsa.dev/provenance/v0.2"),
        Code::WrongKind,
    ),
    (
        "provenance v1.0",
        |s| s["predicateType"] = json!("https://slsa.dev/provenance/v1.0"),
        Code::WrongKind,
    ),
    (
        "publish",
        |s| s["predicateType"] = json!("https://docs.pypi.org/attestations/publish/v1"),
        Code::WrongKind,
    ),
    ("no subject", |s| s["subject"] = json!([]), Code::EvidenceMalformed),
    ("no digest", |s| s["subject"] = json!([{"name": "hello"}]), Code::EvidenceMalformed),
    (
        "empty digest",
        |s| s["subject"] = json!([{"name": "hello", "digest": {}}]),
        Code::EvidenceMalformed,
    ),
    (
        "md5 only",
        |s| s["subject"] = json!([{"name": "hello", "digest": {"md5": "00"}}]),
        Code::NoStatement,
    ),
    (
        "upper case",
        |s| s["subject"][0]["digest"]["sha256"] = json!(Digest::of(ARTIFACT).hex().to_uppercase()),
        Code::EvidenceMalformed,
    ),
    ("short", |s| s["subject"][0]["digest"]["sha256"] = json!(""), Code::EvidenceMalformed),
    (
        "other file",
        |s| s["subject"][0]["digest"]["sha256"] = json!(Digest::of(b"other").hex()),
        Code::NoStatement,
    ),
    ("path", |s| s["subject"][0]["name"] = json!("dir/../hello"), Code::EvidenceMalformed),
    (
        "same name",
        |s| s["subject"] = json!([s["subject"][0], s["subject"][0]]),
        Code::EvidenceMalformed,
    ),
    (
        "no predicate",
        |s| {
            s.as_object_mut().unwrap().remove("predicate");
        },
        Code::EvidenceMalformed,
    ),
    (
        "no builder",
        |s| {
            s["predicate"]["runDetails"].as_object_mut().unwrap().remove("builder");
        },
        Code::EvidenceMalformed,
    ),
    (
        "empty builder",
        |s| s["predicate"]["runDetails"]["builder"]["id"] = json!(""),
        Code::SignerNotTrusted,
    ),
    (
        "other builder",
        |s| s["predicate"]["runDetails"]["builder"]["id"] = json!("https://ci.example.org/v1"),
        Code::SignerNotTrusted,
    ),
    (
        "other build type",
        |s| s["predicate"]["buildDefinition"]["buildType"] = json!("https://a.example/x"),
        Code::WrongKind,
    ),
    (
        "new parameter",
        |s| s["predicate"]["buildDefinition"]["externalParameters"]["debug"] = json!("1"),
        Code::UnknownParameter,
    ),
    (
        "no parameter",
        |s| {
            s["predicate"]["buildDefinition"]["externalParameters"]
                .as_object_mut()
                .unwrap()
                .remove("commit");
        },
        Code::EvidenceMalformed,
    ),
    (
        "not a text",
        |s| s["predicate"]["buildDefinition"]["externalParameters"]["dirty"] = json!(false),
        Code::EvidenceMalformed,
    ),
    ("network", |s| s["predicate"]["runDetails"]["kiln_enforced"] = json!([]), Code::NotHermetic),
    (
        "waived network",
        |s| {
            s["predicate"]["buildDefinition"]["externalParameters"]["waivers"] =
                json!("files,network")
        },
        Code::NotHermetic,
    ),
    (
        "unpinned",
        |s| {
            s["predicate"]["buildDefinition"]["resolvedDependencies"][1]["digest"] =
                json!({"md5": "00"})
        },
        Code::NotHermetic,
    ),
    (
        "no inputs",
        |s| s["predicate"]["buildDefinition"]["resolvedDependencies"] = json!([]),
        Code::NotHermetic,
    ),
];

/// A1, A4, A15, A16, A18, A22, A24, A28; K01, K05, K07, K08, K10: a trusted key signed it, and yet.
#[test]
fn a_trusted_signature_over_a_wrong_statement_is_refused() {
    let forger = Forger::p256(1);
    let trust = trusting(&forger.public());
    for (name, spoil, expected) in WRONG {
        let mut statement = statement();
        spoil(&mut statement);
        let bundle = forger.bundle(PAYLOAD_TYPE, statement.to_string().as_bytes()).to_string();
        let refused = check(bundle.as_bytes(), &trust);
        for reason in refused.as_ref().unwrap_err().reasons() {
            let (expected, got) = reason.compared().unwrap_or_else(|| panic!("{name}: {reason}"));
            assert!(expected != got && !got.is_empty() && reason.help().is_some(), "{name}");
        }
        assert_eq!(code(refused), expected, "{name}");
    }
}

#[test]
fn a_refusal_names_everything_that_is_wrong() {
    let forger = Forger::p256(1);
    let mut statement = statement();
    statement["subject"][0]["digest"]["sha256"] = json!(Digest::of(b"other").hex());
    statement["predicate"]["runDetails"]["builder"]["id"] = json!("https://ci.example.org/v1");
    statement["predicate"]["runDetails"]["kiln_enforced"] = json!([]);
    let bundle = forger.bundle(PAYLOAD_TYPE, statement.to_string().as_bytes()).to_string();
    let refusal = check(bundle.as_bytes(), &trusting(&forger.public())).unwrap_err();
    let codes: Vec<Code> = refusal.reasons().map(|reason| reason.code()).collect();
    assert_eq!(codes, [Code::NoStatement, Code::SignerNotTrusted, Code::NotHermetic]);
    let (expected, got) = refusal.reasons().next().unwrap().compared().unwrap();
    assert_eq!(expected, Digest::of(ARTIFACT).to_string());
    assert!(got.starts_with(&Digest::of(b"other").to_string()));
}

/// A1, A2, A24; K01, K07, K17, K19: payload types and payloads that are no statement.
#[test]
fn a_trusted_signature_over_something_else_is_refused() {
    let forger = Forger::p256(1);
    let trust = trusting(&forger.public());
    let good = statement().to_string();
    let twice = good.replacen("\"subject\":", "\"subject\":[],\"subject\":", 1);
    let inner = good.replacen("\"target\":", "\"target\":\"x\",\"target\":", 1);
    assert!(twice != good && inner != good);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (payload_type, payload) in [
        ("application/json", good.as_str()),
        ("text/plain", &good),
        ("APPLICATION/VND.IN-TOTO+JSON", &good),
        ("application/vnd.in-toto+json; charset=utf-8", &good),
        ("application/vnd.in-toto.provenance+json", &good),
        ("", &good),
        (PAYLOAD_TYPE, ""),
        (PAYLOAD_TYPE, "null"),
        (PAYLOAD_TYPE, "[]"),
        (PAYLOAD_TYPE, "{}"),
        (PAYLOAD_TYPE, &format!("{good}{good}")),
        (PAYLOAD_TYPE, &format!("{good} x")),
        (PAYLOAD_TYPE, &twice),
        (PAYLOAD_TYPE, &inner),
        (PAYLOAD_TYPE, &deep),
        (PAYLOAD_TYPE, "\u{feff}{}"),
    ] {
        let bundle = forger.bundle(payload_type, payload.as_bytes()).to_string();
        let code = code(check(bundle.as_bytes(), &trust));
        assert!(
            matches!(code, Code::WrongKind | Code::EvidenceMalformed),
            "{payload:.40}: {code:?}"
        );
    }
}

/// A3, A11, A14, A25; K02, K03, K18: signatures that are none of ours.
#[test]
fn a_signature_that_no_trusted_key_made_is_refused() {
    let (ours, theirs, edwards) = (Forger::p256(1), Forger::p256(2), Forger::ed25519(1));
    let trust = trusting(&ours.public());
    let payload = statement().to_string();
    let signed = pae(PAYLOAD_TYPE, payload.as_bytes());
    let raw = {
        let Forger::P256(key) = &ours else { panic!() };
        let signature: p256::ecdsa::Signature = key.sign(&signed);
        signature.to_bytes().to_vec()
    };
    let rows: [(&str, Vec<u8>); 9] = [
        ("another key", theirs.sign(&signed)),
        ("another algorithm", edwards.sign(&signed)),
        ("another payload", ours.sign(&pae(PAYLOAD_TYPE, b"{}"))),
        ("another type", ours.sign(&pae("text/plain", payload.as_bytes()))),
        ("payload without encoding", ours.sign(payload.as_bytes())),
        ("raw r and s", raw),
        ("zero", vec![0]),
        ("zeros", vec![0; 64]),
        ("r and s of zero", vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
    ];
    for (name, signature) in rows {
        // The hint names the trusted key, and a key id does so too.
        let mut bundle = ours.bundle(PAYLOAD_TYPE, payload.as_bytes());
        bundle["dsseEnvelope"]["signatures"] = json!([
            {"keyid": ours.public().id().to_string(), "sig": BASE64_STANDARD.encode(signature)}
        ]);
        assert_eq!(
            code(check(bundle.to_string().as_bytes(), &trust)),
            Code::SignatureBroken,
            "{name}"
        );
        // Without a hint nobody can say whether key or bytes are wrong.
        let line = bundle["dsseEnvelope"].to_string();
        assert_eq!(code(check(line.as_bytes(), &trust)), Code::SignerNotTrusted, "{name}");
    }
    // A key that nobody accepted, whatever the bundle says about itself.
    assert_eq!(code(check(good_bundle(&theirs).as_bytes(), &trust)), Code::SignerNotTrusted);
    assert_eq!(
        code(check(good_bundle(&ours).as_bytes(), &Trust::default())),
        Code::SignerNotTrusted
    );
    // No key id and no hint, right key: accepted.
    let line = ours.envelope(PAYLOAD_TYPE, payload.as_bytes()).to_string();
    assert!(check(line.as_bytes(), &trust).is_ok());
}

/// A6, A13, A19; K02, K04, K11, K12, K17, K19: envelopes of the wrong shape or number.
#[test]
fn evidence_of_another_shape_is_refused() {
    let forger = Forger::p256(1);
    let trust = trusting(&forger.public());
    let good = good_bundle(&forger);
    let value: Value = serde_json::from_str(&good).unwrap();
    let one = &value["dsseEnvelope"]["signatures"][0];
    let with = |signatures: Value| {
        let mut value = value.clone();
        value["dsseEnvelope"]["signatures"] = signatures;
        value.to_string()
    };
    let many = format!("{{\"signatures\":[{}1]}}", "1,".repeat(1_000_000));
    let deep = "[".repeat(100_000);
    for text in [
        String::new(),
        " \n\t".into(),
        "{}".into(),
        "null".into(),
        with(json!([])),
        with(json!([""])),
        with(json!([{}])),
        with(json!([{"sig": ""}])),
        with(json!([one, one])),
        with(json!(null)),
        format!("{good}{good}"),
        format!("{good}x"),
        good.replacen("\"payload\":", "\"payload\":\"e30=\",\"payload\":", 1),
        many,
        deep,
        "\0".repeat(100),
    ] {
        let code = code(check(text.as_bytes(), &trust));
        assert!(
            matches!(code, Code::EvidenceEmpty | Code::EvidenceMalformed),
            "{text:.60}: {code:?}"
        );
    }
    let huge = vec![b' '; attestor::dsse::ENVELOPE_BYTES_MAX + 2];
    assert_eq!(code(check(&huge, &trust)), Code::EvidenceEmpty);
    let huge = [good.as_bytes(), &huge].concat();
    assert_eq!(code(check(&huge, &trust)), Code::EvidenceMalformed);
}

#[test]
fn each_line_is_judged_alone() {
    let forger = Forger::p256(1);
    let trust = trusting(&forger.public());
    let good = forger.envelope(PAYLOAD_TYPE, statement().to_string().as_bytes());
    let mut other = statement();
    other["subject"][0]["digest"]["sha256"] = json!(Digest::of(b"other").hex());
    let other = forger.envelope(PAYLOAD_TYPE, other.to_string().as_bytes());
    let mut broken = good.clone();
    broken["signatures"] = other["signatures"].clone();
    let lines = |all: &[&Value]| all.iter().map(|one| format!("{one}\n")).collect::<String>();
    // K12: one good statement about another file and one broken about ours make no pass.
    let text = lines(&[&other, &broken]);
    assert_eq!(code(check(text.as_bytes(), &trust)), Code::NoStatement);
    // A good one is found wherever it stands.
    assert!(check(lines(&[&other, &good]).as_bytes(), &trust).is_ok());
    assert!(check(lines(&[&broken, &good, &other]).as_bytes(), &trust).is_ok());
}

/// A17, A8; K09, K13: who may speak for which builder, and when.
#[test]
fn a_key_speaks_only_for_its_builder_and_only_while_it_is_in_force() {
    let (ours, theirs) = (Forger::p256(1).public(), Forger::p256(2).public());
    let bundle = good_bundle(&Forger::p256(1));
    let own = || entry(&ours, LOCAL_BUILDER_ID, Level::L2);
    let elsewhere = "https://ci.example.org/kiln/v1";
    let rows: [(&str, Vec<Entry>, Result<Level, Code>); 12] = [
        ("own", vec![own()], Ok(Level::L2)),
        ("other builder", vec![entry(&ours, elsewhere, Level::L3)], Err(Code::SignerNotTrusted)),
        (
            "builder by another key",
            vec![entry(&theirs, LOCAL_BUILDER_ID, Level::L3), entry(&ours, elsewhere, Level::L3)],
            Err(Code::SignerNotTrusted),
        ),
        ("not yet", vec![Entry { from: Some(NOW + 1), ..own() }], Err(Code::SignerNotTrusted)),
        ("just", vec![Entry { from: Some(NOW), until: Some(NOW), ..own() }], Ok(Level::L2)),
        ("ended", vec![Entry { until: Some(NOW - 1), ..own() }], Err(Code::SignerNotTrusted)),
        ("revoked", vec![Entry { revoked: Some(NOW - 1), ..own() }], Err(Code::SignerNotTrusted)),
        (
            "revoked later",
            vec![Entry { revoked: Some(NOW + 9), ..own() }],
            Err(Code::SignerNotTrusted),
        ),
        (
            "revoked beats another entry",
            vec![own(), Entry { revoked: Some(0), ..own() }],
            Err(Code::SignerNotTrusted),
        ),
        (
            "revoked for another builder",
            vec![own(), Entry { revoked: Some(NOW - 1), ..entry(&ours, elsewhere, Level::L1) }],
            Err(Code::SignerNotTrusted),
        ),
        (
            "another key of that builder revoked",
            vec![own(), Entry { revoked: Some(NOW - 1), ..entry(&theirs, elsewhere, Level::L1) }],
            Ok(Level::L2),
        ),
        (
            "highest in force",
            vec![
                Entry { max_level: Level::L3, until: Some(0), ..own() },
                entry(&ours, LOCAL_BUILDER_ID, Level::L1),
                own(),
            ],
            Ok(Level::L2),
        ),
    ];
    for (name, entries, expected) in rows {
        let result = check(bundle.as_bytes(), &Trust::of(entries));
        match expected {
            Ok(level) => assert_eq!(result.unwrap().level(), level, "{name}"),
            Err(wanted) => assert_eq!(code(result), wanted, "{name}"),
        }
    }
}

#[test]
fn a_bare_key_gives_level_one_and_no_way_round_a_revocation() {
    let forger = Forger::p256(1);
    let (key, other) = (forger.public(), Forger::p256(2).public());
    let mut statement = statement();
    statement["predicate"]["runDetails"]["builder"]["id"] = json!("https://ci.example.org/v1");
    let bundle = forger.bundle(PAYLOAD_TYPE, statement.to_string().as_bytes()).to_string();
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let with = |trust: &Trust, key: &PublicKey| {
        let expected = Expected { trust, key: Some(key), identity: None, root: None, source: None };
        verify(&artifact, &Evidence { bytes: bundle.as_bytes(), manifest: None }, &expected, NOW)
    };
    assert_eq!(with(&Trust::default(), &key).unwrap().level(), Level::L1);
    let high = Trust::of(vec![entry(&key, "https://ci.example.org/v1", Level::L3)]);
    assert_eq!(with(&high, &key).unwrap().level(), Level::L1);
    assert_eq!(code(with(&high, &other)), Code::SignerNotTrusted);
    let revoked = Entry { revoked: Some(1), ..entry(&key, "https://ci.example.org/v1", Level::L3) };
    assert_eq!(code(with(&Trust::of(vec![revoked]), &key)), Code::SignerNotTrusted);
}

/// K10: another repository, commit or state.
#[test]
fn a_source_other_than_expected_is_refused() {
    let forger = Forger::p256(1);
    let trust = trusting(&forger.public());
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let from = |bundle: &str, source: &str| {
        let source = ExpectedSource::parse(source);
        let expected = Expected {
            trust: &trust,
            key: None,
            identity: None,
            root: None,
            source: Some(&source),
        };
        verify(&artifact, &Evidence { bytes: bundle.as_bytes(), manifest: None }, &expected, NOW)
    };
    let bundle = good_bundle(&forger);
    let commit = "a1".repeat(20);
    for good in [
        "https://git.example.org/acme/hello".to_owned(),
        "git+https://git.example.org/acme/hello.git".to_owned(),
        format!("https://git.example.org/acme/hello@{commit}"),
    ] {
        assert!(from(&bundle, &good).is_ok(), "{good}");
    }
    for bad in [
        "https://git.example.org/fork/hello".to_owned(),
        "https://git.example.org.evil.com/acme/hello".to_owned(),
        "local".to_owned(),
        String::new(),
        format!("https://git.example.org/acme/hello@{}", "b".repeat(40)),
        "https://git.example.org/acme/hello@refs/tags/v1".to_owned(),
    ] {
        assert_eq!(code(from(&bundle, &bad)), Code::SourceDiffers, "{bad}");
    }
    let mut dirty = statement();
    dirty["predicate"]["buildDefinition"]["externalParameters"]["dirty"] = json!("true");
    let dirty = forger.bundle(PAYLOAD_TYPE, dirty.to_string().as_bytes()).to_string();
    let result = from(&dirty, "https://git.example.org/acme/hello");
    assert_eq!(code(result), Code::SourceDiffers);
}

/// K06: every byte of a bundle and of the digest, each turned into others.
#[test]
fn no_byte_of_a_bundle_can_be_changed_but_the_unsigned_and_unused() {
    let forger = Forger::ed25519(1);
    let trust = trusting(&forger.public());
    // As small as a good statement can be, for each byte costs one check of a signature.
    let mut small = statement();
    let predicate = &mut small["predicate"];
    predicate["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap().truncate(1);
    predicate["buildDefinition"].as_object_mut().unwrap().remove("internalParameters");
    predicate["runDetails"] = json!({
        "builder": {"id": LOCAL_BUILDER_ID},
        "kiln_enforced": core(),
    });
    let bundle = forger.bundle(PAYLOAD_TYPE, small.to_string().as_bytes()).to_string().into_bytes();
    assert!(check(&bundle, &trust).is_ok());
    let text = String::from_utf8(bundle.clone()).unwrap();
    // Unsigned and unused: the hint, which only says what to try first. (A letter of base64 written
    // in the other alphabet would be the other one; no single bit turns one into the other.)
    let hint = text.find("\"hint\":\"").unwrap() + 8;
    let free = hint..hint + text[hint..].find('"').unwrap();
    let mut accepted = Vec::new();
    for index in 0..bundle.len() {
        let mut changed = bundle.clone();
        changed[index] ^= 1 << (index % 7);
        if check(&changed, &trust).is_ok() && !free.contains(&index) {
            accepted.push((index, bundle[index] as char, changed[index] as char));
        }
    }
    assert_eq!(accepted, []);

    let digest = Digest::of(ARTIFACT);
    for bit in 0..256 {
        let mut raw = *digest.as_bytes();
        raw[bit / 8] ^= 1 << (bit % 8);
        let artifact = Artifact { name: "hello", digest: Digest::from_bytes(raw) };
        let expected =
            Expected { trust: &trust, key: None, identity: None, root: None, source: None };
        let evidence = Evidence { bytes: &bundle, manifest: None };
        assert_eq!(code(verify(&artifact, &evidence, &expected, NOW)), Code::NoStatement);
    }
}

#[test]
fn half_a_bundle_is_never_a_panic_and_never_a_pass() {
    let forger = Forger::p256(1);
    let trust = trusting(&forger.public());
    let bundle = good_bundle(&forger).into_bytes();
    for length in 0..bundle.len() {
        assert!(check(&bundle[..length], &trust).is_err(), "{length}");
    }
}

#[test]
fn a_manifest_must_be_the_one_that_is_named_and_pins_every_input() {
    let forger = Forger::p256(1);
    let trust = trusting(&forger.public());
    let manifest = json!({"version": 1, "dependencies": [
        {"name": "a", "digest": {"sha256": "a".repeat(64)}},
        {"name": "b", "digest": {"gitCommit": "b".repeat(40)}},
    ]})
    .to_string();
    let unpinned = manifest.replace("gitCommit", "sha1");
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let run = |named: &str, given: Option<&str>| {
        let mut statement = statement();
        statement["predicate"]["buildDefinition"]["resolvedDependencies"] = json!([{
            "name": "hello.dependencies.json", "digest": {"sha256": Digest::of(named.as_bytes()).hex()},
            "mediaType": "application/vnd.kiln.dependencies.v1+json", "annotations": {"entries": "2"},
        }]);
        let bundle = forger.bundle(PAYLOAD_TYPE, statement.to_string().as_bytes()).to_string();
        let expected =
            Expected { trust: &trust, key: None, identity: None, root: None, source: None };
        let evidence = Evidence { bytes: bundle.as_bytes(), manifest: given.map(str::as_bytes) };
        verify(&artifact, &evidence, &expected, NOW).map(|verified| {
            let checks = verified.checks().iter();
            checks
                .map(|check| check.detail.clone())
                .find(|detail| detail.contains("network"))
                .unwrap()
        })
    };
    assert_eq!(
        run(&manifest, Some(&manifest)).unwrap(),
        "network off, all core guarantees, 2 of 2 inputs by digest"
    );
    assert_eq!(
        run(&manifest, None).unwrap(),
        "network off, all core guarantees, 2 inputs listed in hello.dependencies.json, which is named by digest"
    );
    assert!(run(&manifest, Some(&unpinned)).is_err());
    assert!(run(&unpinned, Some(&unpinned)).is_err());
    assert!(run("{}", Some("{}")).is_err());
}
