//! Verification summaries: signed only by a verifier that verified, believed only for what they say.

use attestor::builder::{BuilderId, LOCAL_BUILDER_ID, LOCAL_VERIFIER_ID};
use attestor::bundle;
use attestor::dsse::PAYLOAD_TYPE;
use attestor::pipe::{Answer, EvidenceText, RefusedKind, Request, Signed, Summarise};
use attestor::policy::{Accepted, Decision, Policy, Question, decide};
use attestor::public_key::Algorithm;
use attestor::trust::{Entry, Level, SpeaksFor, Trust, Who};
use attestor::verdict::{Code, Refusal};
use attestor::verify::{Artifact, Evidence, Expected, verify};
use attestor::vsa::{self, Wanted};
use model::Digest;
use model::digest::Blob;
use model::record::{Nonce, Subject};
use serde_json::{Value, json};

use crate::forger::{Forger, statement};
use crate::support::{ARTIFACT, Attestor, NOW, file, record};

pub const VERIFIER: &str = "https://verifier.example/v1";
pub const ADDRESS: &str = "https://dl.example/hello";
pub const POLICY: &str = "policy: 1\nuri: https://policies.example/hello\n";

pub fn believes(forger: &Forger, speaks_for: SpeaksFor, max_level: Level) -> Entry {
    Entry {
        name: "test".into(),
        who: Who::Key(forger.public()),
        speaks_for,
        max_level,
        from: None,
        until: None,
        revoked: None,
    }
}

pub fn verifier(forger: &Forger, id: &str) -> Entry {
    believes(forger, SpeaksFor::Verifier(BuilderId::new(id).unwrap()), Level::L3)
}

pub fn builder(forger: &Forger) -> Entry {
    believes(forger, SpeaksFor::Builder(BuilderId::new(LOCAL_BUILDER_ID).unwrap()), Level::L2)
}

pub fn summary() -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "hello", "digest": {"sha256": Digest::of(ARTIFACT).hex()}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": VERIFIER},
            "timeVerified": "2026-11-22T12:00:00Z",
            "resourceUri": ADDRESS,
            "policy": {"uri": "https://policies.example/hello", "digest": {"sha256": Digest::of(POLICY.as_bytes()).hex()}},
            "inputAttestations": [],
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_2"],
            "slsaVersion": "1.2",
        },
    })
}

fn ask(summary: &Value, trust: &Trust, wanted: Option<&Wanted>) -> Result<Decision, Refusal> {
    let text = Forger::p256(5).bundle(PAYLOAD_TYPE, summary.to_string().as_bytes()).to_string();
    let evidence = [Evidence { bytes: text.as_bytes(), manifest: None }];
    decide(&Question {
        artifact: Artifact { name: "hello", digest: Digest::of(ARTIFACT) },
        evidence: &evidence,
        expected: Expected { trust, key: None, identity: None, root: None, source: None },
        policy: None,
        summary: wanted,
        now: NOW,
    })
}

pub fn wanted() -> Wanted {
    Wanted {
        resource_uri: ADDRESS.into(),
        level: Level::L2,
        policy: Some(Digest::of(POLICY.as_bytes())),
    }
}

/// S-K16, A21: each way in which a summary is not the one that is wanted.
#[test]
#[expect(clippy::too_many_lines, reason = "a table, a row for each way")]
fn a_summary_is_believed_only_for_what_it_says() {
    let trust = Trust::of(vec![verifier(&Forger::p256(5), VERIFIER)]);
    let decision = ask(&summary(), &trust, Some(&wanted())).unwrap();
    assert!(matches!(decision.accepted, Accepted::Summary(_)) && decision.level == Level::L2);
    type Change = fn(&mut Value);
    let changes: [(&str, Change, Code); 14] = [
        (
            "failed",
            |s| s["predicate"]["verificationResult"] = json!("FAILED"),
            Code::SummaryRefused,
        ),
        (
            "no result",
            |s| s["predicate"]["verificationResult"] = json!("passed"),
            Code::SummaryRefused,
        ),
        (
            "another address",
            |s| s["predicate"]["resourceUri"] = json!("https://dl.example/hello2"),
            Code::SummaryRefused,
        ),
        (
            "a lower level",
            |s| s["predicate"]["verifiedLevels"] = json!(["SLSA_BUILD_LEVEL_1"]),
            Code::SummaryRefused,
        ),
        (
            "another track",
            |s| s["predicate"]["verifiedLevels"] = json!(["SLSA_SOURCE_LEVEL_3"]),
            Code::SummaryRefused,
        ),
        (
            "a level that is written otherwise",
            |s| {
                s["predicate"]["verifiedLevels"] =
                    json!(["SLSA_BUILD_LEVEL_03", "SLSA_BUILD_LEVEL_+2"])
            },
            Code::SummaryRefused,
        ),
        (
            "a level that was not evaluated",
            |s| s["predicate"]["verifiedLevels"] = json!(["SLSA_BUILD_LEVEL_UNEVALUATED"]),
            Code::SummaryRefused,
        ),
        ("no levels", |s| s["predicate"]["verifiedLevels"] = json!([]), Code::SummaryRefused),
        (
            "another policy",
            |s| s["predicate"]["policy"]["digest"]["sha256"] = json!("0".repeat(64)),
            Code::SummaryRefused,
        ),
        (
            "a policy without digest",
            |s| s["predicate"]["policy"] = json!({"uri": "https://policies.example/hello"}),
            Code::SummaryRefused,
        ),
        (
            "another verifier",
            |s| s["predicate"]["verifier"]["id"] = json!("https://evil.example/v1"),
            Code::SignerNotTrusted,
        ),
        (
            "another subject",
            |s| s["subject"][0]["digest"]["sha256"] = json!("0".repeat(64)),
            Code::NoStatement,
        ),
        ("no digest", |s| s["subject"][0]["digest"] = json!({}), Code::NoStatement),
        (
            "another statement",
            |s| s["_type"] = json!("https://in-toto.io/Statement/v0.1"),
            Code::WrongKind,
        ),
    ];
    for (what, change, code) in changes {
        let mut changed = summary();
        change(&mut changed);
        let refusal = ask(&changed, &trust, Some(&wanted())).expect_err(what);
        assert_eq!(refusal.reasons().next().unwrap().code(), code, "{what}");
    }
    let refusal = ask(&summary(), &trust, None).expect_err("no address was asked for");
    assert_eq!(refusal.reasons().next().unwrap().code(), Code::SummaryRefused);
}

/// What a policy asks is judged of the summary, or told as standing on the verifier's word; a verifier that
/// was named by hand has none.
#[test]
fn a_policy_is_asked_of_a_summary_too() {
    let five = Forger::p256(5);
    let trust = Trust::of(vec![verifier(&five, VERIFIER), builder(&Forger::p256(1))]);
    let ask = |rules: &str, key: bool, provenance: bool, change: &dyn Fn(&mut Value)| {
        let policy = Policy::parse(format!("policy: 1\n{rules}").as_bytes()).unwrap();
        let mut said = summary();
        said["predicate"]["policy"]["digest"]["sha256"] = json!(policy.digest().hex());
        change(&mut said);
        let text = five.bundle(PAYLOAD_TYPE, said.to_string().as_bytes()).to_string();
        let built = Forger::p256(1).bundle(PAYLOAD_TYPE, statement().to_string().as_bytes());
        let built = built.to_string();
        let mut evidence = vec![Evidence { bytes: text.as_bytes(), manifest: None }];
        evidence.extend(provenance.then_some(Evidence { bytes: built.as_bytes(), manifest: None }));
        let public = five.public();
        let key = key.then_some(&public);
        decide(&Question {
            artifact: Artifact { name: "hello", digest: Digest::of(ARTIFACT) },
            evidence: &evidence,
            expected: Expected { trust: &trust, key, identity: None, root: None, source: None },
            policy: Some(&policy),
            summary: Some(&Wanted { policy: Some(policy.digest()), level: Level::L1, ..wanted() }),
            now: NOW,
        })
    };
    let code = |came: Result<Decision, Refusal>| {
        came.expect_err("it must be refused").reasons().next().map(|reason| reason.code())
    };
    let same: &dyn Fn(&mut Value) = &|_| {};
    // By hand there is no policy, not even one of no rules: it always has some.
    for rules in ["", "level: 1\n", "level: 3\n", "max-age: 5200w\n"] {
        assert_eq!(code(ask(rules, true, false, same)), Some(Code::SummaryRefused), "{rules}");
    }
    assert_eq!(code(ask("level: 3\n", false, false, same)), Some(Code::PolicyRefused));
    let capped = "builders: [{id: \"https://b.example/v1\", max-level: 1}]\n";
    assert_eq!(ask(capped, false, false, same).unwrap().level, Level::L1);
    for (rules, time, good) in [
        ("max-age: 1d\n", json!(NOW - 86_400), true),
        ("max-age: 1d\n", json!(NOW - 86_401), false),
        ("max-age: 1d\n", json!(NOW + 301), false),
        ("max-age: 1d\n", json!(null), false),
        ("not-before: 2026-01-01T00:00:00Z\n", json!(NOW), true),
        ("not-before: 2049-01-01T00:00:00Z\n", json!(NOW), false),
        ("not-before: 2026-01-01T00:00:00Z\n", json!(null), false),
    ] {
        let text =
            time.as_i64().map(|time| jiff::Timestamp::from_second(time).unwrap().to_string());
        let came = ask(rules, false, false, &|said: &mut Value| {
            said["predicate"]["timeVerified"] = json!(text);
        });
        assert_eq!(came.is_ok(), good, "{rules} {time}: {came:?}");
    }
    // Refused provenance beside it is told, and so is what rests on the verifier's word.
    let rules = "level: 2\nsource: {uri: \"https://other.example/x\"}\nenforce: [network]\n";
    let decision = ask(rules, false, true, same).unwrap();
    assert!(matches!(decision.accepted, Accepted::Summary(_)), "{decision:?}");
    assert_eq!(decision.held.iter().map(|held| held.rule.as_str()).collect::<Vec<_>>(), ["level"]);
    assert_eq!(decision.stood_for, ["source.uri", "source.dirty", "waivers", "enforce"]);
    assert!(decision.beside.is_some_and(|why| why.contains("source.uri")));
}

#[test]
fn a_builders_key_passes_no_judgement_and_a_verifiers_key_builds_nothing() {
    let five = Forger::p256(5);
    for trust in [
        Trust::default(),
        Trust::of(vec![builder(&five)]),
        Trust::of(vec![verifier(&Forger::p256(6), VERIFIER)]),
        Trust::of(vec![verifier(&five, "https://other.example/v1")]),
        Trust::of(vec![Entry { revoked: Some(0), ..verifier(&five, VERIFIER) }]),
        Trust::of(vec![verifier(&five, VERIFIER), Entry { revoked: Some(0), ..builder(&five) }]),
        Trust::of(vec![Entry { until: Some(NOW - 1), ..verifier(&five, VERIFIER) }]),
        Trust::of(vec![Entry { from: Some(NOW + 1), ..verifier(&five, VERIFIER) }]),
        Trust::of(vec![Entry { max_level: Level::L1, ..verifier(&five, VERIFIER) }]),
    ] {
        assert!(ask(&summary(), &trust, Some(&wanted())).is_err(), "{trust:?}");
    }
    let trust = Trust::of(vec![verifier(&five, LOCAL_BUILDER_ID)]);
    let text = five.bundle(PAYLOAD_TYPE, statement().to_string().as_bytes()).to_string();
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let expected = Expected { trust: &trust, key: None, identity: None, root: None, source: None };
    let evidence = Evidence { bytes: text.as_bytes(), manifest: None };
    let refusal = verify(&artifact, &evidence, &expected, NOW).unwrap_err();
    assert_eq!(refusal.reasons().next().unwrap().code(), Code::SignerNotTrusted);
}

fn asked(bundle: &str, change: fn(&mut Summarise)) -> Request {
    let mut asked = Summarise {
        subject: Subject { name: "hello".into(), blob: Blob::of(ARTIFACT) },
        evidence: vec![EvidenceText { text: bundle.to_owned(), manifest: None }],
        policy: POLICY.into(),
        resource_uri: ADDRESS.into(),
        dependencies: None,
        reproduced: false,
        nonce: Nonce::from_bytes([9; 16]),
        deadline: i64::MAX,
    };
    change(&mut asked);
    Request::Summarise(Box::new(asked))
}

fn payload(signed: &Signed) -> Value {
    let all = bundle::read(signed.line.as_bytes()).unwrap();
    serde_json::from_slice(all[0].envelope.unverified_payload()).unwrap()
}

/// Whoever asks decides how long a verdict takes, so it must not be passed under the lock.
#[test]
fn a_verdict_is_passed_while_another_has_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let state = folder.path().join("state");
    // Large, so that there is time to take the lock while it is hashed.
    let bytes = vec![0; 64 << 20];
    let Request::Summarise(mut wish) = asked("", |a| a.policy = "policy: 1\n".into()) else {
        panic!("a summary was asked for")
    };
    wish.subject.blob = Blob::of(&bytes);
    let request = Request::Summarise(wish);
    let subject = [file(&bytes)];
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| attestor.ask(&request, &subject));
        // It is made the first time that the attestor has the lock.
        while !state.join("journal").exists() {
            std::thread::yield_now();
        }
        let lock = std::fs::File::open(state.join("lock")).unwrap();
        lock.lock().unwrap();
        let inode = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&lock.metadata().unwrap()));
        while !asking.is_finished() {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            let waits = locks.lines().any(|line| line.contains("->") && line.contains(&inode));
            assert!(!waits, "the attestor waits for the lock before it judges: {locks}");
            std::thread::yield_now();
        }
        asking.join().unwrap()
    });
    match answer {
        Answer::Refused(refused) => assert_eq!(refused.kind, RefusedKind::Summary),
        other => panic!("{other:?}"),
    }
}

/// The caller names evidence, policy and address; what is said of them is the attestor's.
#[test]
#[expect(clippy::too_many_lines, reason = "a table, a row for each way")]
fn the_attestor_judges_for_itself_and_signs_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let built = attestor.signed(&record()).bundle;
    type Row = (&'static str, fn(&mut Summarise), &'static [u8], bool);
    let rows: [Row; 6] = [
        ("good", |a| a.nonce = Nonce::from_bytes([10; 16]), ARTIFACT, true),
        (
            "another file",
            |a| {
                a.nonce = Nonce::from_bytes([11; 16]);
                a.subject.blob = Blob::of(b"evil");
            },
            b"evil",
            false,
        ),
        (
            "no evidence",
            |a| {
                a.nonce = Nonce::from_bytes([12; 16]);
                a.evidence.clear();
            },
            ARTIFACT,
            false,
        ),
        (
            "a policy that it does not meet",
            |a| {
                a.nonce = Nonce::from_bytes([13; 16]);
                a.policy.push_str("level: 2\n");
            },
            ARTIFACT,
            false,
        ),
        (
            "another's key",
            |a| {
                a.nonce = Nonce::from_bytes([14; 16]);
                a.evidence[0].text = Forger::p256(9)
                    .bundle(PAYLOAD_TYPE, statement().to_string().as_bytes())
                    .to_string();
            },
            ARTIFACT,
            false,
        ),
        (
            "dependencies without any",
            |a| {
                a.nonce = Nonce::from_bytes([15; 16]);
                a.dependencies = Some(Vec::new());
            },
            ARTIFACT,
            true,
        ),
    ];
    for (what, change, bytes, passed) in rows {
        let Answer::Signed(signed) = attestor.ask(&asked(&built, change), &[file(bytes)]) else {
            panic!("{what}")
        };
        let said = payload(&signed);
        let predicate = &said["predicate"];
        assert_eq!(said["predicateType"], vsa::PREDICATE_TYPE);
        assert_eq!(said["subject"][0]["digest"]["sha256"], Digest::of(bytes).hex(), "{what}");
        assert_eq!(predicate["verifier"]["id"], LOCAL_VERIFIER_ID);
        assert_eq!(
            predicate["verificationResult"],
            if passed { "PASSED" } else { "FAILED" },
            "{what}"
        );
        let level = if passed { "SLSA_BUILD_LEVEL_1" } else { "FAILED" };
        assert_eq!(predicate["verifiedLevels"], json!([level]), "{what}");
        assert_eq!(
            (&predicate["resourceUri"], &predicate["slsaVersion"]),
            (&json!(ADDRESS), &json!("1.2"))
        );
        let inputs = predicate["inputAttestations"].as_array().unwrap();
        assert!(inputs.iter().all(|one| one["digest"]["sha256"].as_str().unwrap().len() == 64));
        assert_eq!(inputs.is_empty(), what == "no evidence");
        assert_eq!(
            predicate.get("dependencyLevels"),
            (what == "dependencies without any").then(|| json!({})).as_ref()
        );
    }
    for (what, change, bytes, kind) in [
        (
            "no address",
            (|a| a.resource_uri.clear()) as fn(&mut Summarise),
            ARTIFACT,
            RefusedKind::Summary,
        ),
        (
            "a credential",
            |a| a.resource_uri = "https://u:p@dl.example/x".into(),
            ARTIFACT,
            RefusedKind::Summary,
        ),
        (
            "a policy without address",
            |a| a.policy = "policy: 1\n".into(),
            ARTIFACT,
            RefusedKind::Summary,
        ),
        ("no policy", |a| a.policy = "level: 1\n".into(), ARTIFACT, RefusedKind::Summary),
        ("not reproduced", |a| a.reproduced = true, ARTIFACT, RefusedKind::Summary),
        ("an odd name", |a| a.subject.name = "../x".into(), ARTIFACT, RefusedKind::Summary),
        ("too late", |a| a.deadline = 0, ARTIFACT, RefusedKind::Late),
        ("other bytes", |_| {}, b"evil", RefusedKind::Subject),
    ] {
        match attestor.ask(&asked(&built, change), &[file(bytes)]) {
            Answer::Refused(refused) => assert_eq!(refused.kind, kind, "{what}: {refused:?}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(attestor.end(), Some(0));
}

#[test]
fn the_configuration_names_the_verifier_and_the_policies() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    let built = attestor.signed(&record()).bundle;
    let configured = |policy: &str| {
        let text = format!(
            "[verifier]\nid = \"{VERIFIER}\"\npolicies = [\"{}\"]\n",
            Digest::of(policy.as_bytes())
        );
        let mut file = std::fs::File::create(folder.path().join("config/attestor.toml")).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    configured("another policy");
    let refused = attestor.ask(&asked(&built, |_| {}), &[file(ARTIFACT)]);
    assert!(matches!(refused, Answer::Refused(refused) if refused.kind == RefusedKind::Summary));
    configured(POLICY);
    let Answer::Signed(signed) = attestor.ask(&asked(&built, |_| {}), &[file(ARTIFACT)]) else {
        panic!()
    };
    assert_eq!(payload(&signed)["predicate"]["verifier"]["id"], VERIFIER);
}

/// A predicate of a summary's type can be had in no other way (decision 31).
#[test]
fn a_summary_of_ones_own_choosing_is_not_signed() {
    assert!(attestor::predicate::is_derived(vsa::PREDICATE_TYPE));
}

#[test]
fn a_policy_of_another_digest_is_another_policy() {
    let policy = Policy::parse(POLICY.as_bytes()).unwrap();
    assert_eq!(policy.digest(), Digest::of(POLICY.as_bytes()));
    assert_ne!(Policy::parse(format!("{POLICY}#\n").as_bytes()).unwrap().digest(), policy.digest());
}
