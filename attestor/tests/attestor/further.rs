//! Test result, SCAI, link and runtime trace: what each says, byte for byte, and when none is made.

use attestor::Refused;
use attestor::builder::BuilderConfig;
use attestor::dsse::PAYLOAD_TYPE;
use attestor::links::{classic, key_id};
use attestor::pipe::{Answer, Attest, RefusedKind, Request, Signed, State};
use attestor::predicate::Further;
use attestor::public_key::{Algorithm, PublicKey};
use attestor::statement::{derive, derive_further};
use attestor::story::{Told, inspect};
use attestor::trust::Trust;
use attestor::verdict::{Code, Refusal};
use attestor::verify::{Artifact, Evidence, Expected, verify};
use model::Digest;
use model::digest::Blob;
use model::isolation::Guarantee;
use model::record::{Byproduct, Cases, Dependency, Nonce, Record, Role, StepRecord, Subject};
use model::relpath::Ident;
use model::step::StepId;
use serde_json::Value;

use crate::forger::{Forger, statement};
use crate::support::{ARTIFACT, Attestor, NOW, dependency, file, present, record, wrapped};

fn step(name: &str) -> StepRecord {
    let mut step = record().observed.run.steps.remove(0);
    step.id = StepId::plain(Ident::new(name).unwrap());
    step.log = Blob::of(name.as_bytes());
    step
}

/// A test with a report of so many cases that failed.
fn test(name: &str, failures: u64) -> StepRecord {
    let named = (1..=failures).map(|number| format!("case {number}")).collect();
    let cases = Cases { tests: 12, failures, errors: 0, skipped: 1, not_passed: named };
    StepRecord { test: true, cases: Some(cases), ..step(name) }
}

fn tested() -> Record {
    let mut tested = record();
    tested.observed.run.steps.extend([test("unit", 0), test("whole", 0)]);
    let lock = dependency(Role::Lock, "file", "kiln.lock");
    tested.observed.dependencies.push(lock);
    tested
}

fn further(record: &Record, further: Further) -> Result<Vec<u8>, Refused> {
    derive_further(record, &BuilderConfig::local(), further)
}

fn predicate(record: &Record, kind: Further) -> Value {
    let value: Value = serde_json::from_slice(&further(record, kind).unwrap()).unwrap();
    value["predicate"].clone()
}

/// The bytes are those of the golden files, whatever order the Record's lists came in. The evidence of
/// SCAI is the provenance, whose bytes name this platform.
#[test]
fn the_same_record_gives_the_same_bytes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut turned = tested();
    turned.observed.dependencies.reverse();
    turned.observed.run.byproducts.reverse();
    let provenance = derive(&tested(), &BuilderConfig::local()).unwrap().statement_bytes;
    for kind in Further::ALL {
        let bytes = further(&tested(), kind).unwrap();
        assert_eq!(further(&turned, kind).unwrap(), bytes, "{kind:?}");
        let golden = std::fs::read_to_string(folder.join(format!("{}.json", kind.as_str())));
        let golden = golden.unwrap().replace("PROVENANCE", &Digest::of(&provenance).hex());
        assert_eq!(String::from_utf8(bytes).unwrap(), golden.trim_end(), "{kind:?}");
    }
}

#[test]
fn a_test_result_follows_exit_codes_and_tells_of_reports() {
    let passed = predicate(&tested(), Further::TestResult);
    assert_eq!(passed["result"], "PASSED");
    assert_eq!(passed["passedTests"], serde_json::json!(["unit", "whole"]));
    let mut warned = tested();
    warned.observed.run.steps.push(test("odd", 2));
    let warned = predicate(&warned, Further::TestResult);
    assert_eq!(warned["result"], "WARNED");
    assert_eq!(warned["passedTests"], serde_json::json!(["unit", "whole"]));
    assert_eq!(warned["warnedTests"], serde_json::json!(["odd", "odd: case 1", "odd: case 2"]));
    assert_eq!(warned["failedTests"], serde_json::json!([]));
}

#[test]
fn nothing_is_said_of_tests_that_were_none_nor_by_reports_that_lie() {
    assert!(matches!(further(&record(), Further::TestResult), Err(Refused::NoTest)));
    let mut failed = tested();
    failed.observed.run.steps[1].exit_code = 1;
    assert!(matches!(further(&failed, Further::TestResult), Err(Refused::StepFailed { .. })));
    let lies = [
        |step: &mut StepRecord| step.test = false,
        |step: &mut StepRecord| step.cases.as_mut().unwrap().failures = 13,
        |step: &mut StepRecord| step.cases.as_mut().unwrap().errors = u64::MAX,
        |step: &mut StepRecord| step.cases.as_mut().unwrap().not_passed.push("x".into()),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut record = tested();
        lie(&mut record.observed.run.steps[2]);
        let refused = further(&record, Further::TestResult);
        assert!(matches!(refused, Err(Refused::Cases { .. })), "{number}: {refused:?}");
    }
}

fn attributes(record: &Record) -> Vec<String> {
    let report = predicate(record, Further::Scai);
    let all = report["attributes"].as_array().unwrap();
    all.iter().map(|one| one["attribute"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_guarantee_is_an_attribute_only_where_all_of_it_held_in_every_step() {
    assert_eq!(attributes(&record()).len(), Guarantee::ALL.len());
    let mut one_without = tested();
    let enforced = &mut one_without.observed.run.steps[2].enforced;
    enforced.mechanisms.retain(|one| one.guarantee != Guarantee::Landlock);
    let mut in_part = record();
    let enforced = &mut in_part.observed.run.steps[0].enforced;
    enforced.absent.insert(Guarantee::Limits, "memory is not limited".into());
    let mut waived = record();
    for waivers in [&mut waived.order.waivers, &mut waived.observed.waivers] {
        waivers.insert(Guarantee::Syscalls);
    }
    for (record, gone) in [
        (one_without, "KILN_LANDLOCK_SET"),
        (in_part, "KILN_LIMITS_SET"),
        (waived, "KILN_SYSCALLS_LISTED"),
    ] {
        let told = attributes(&record);
        assert_eq!(told.len(), Guarantee::ALL.len() - 1, "{gone}");
        assert!(!told.contains(&gone.to_owned()), "{told:?}");
        assert!(told.contains(&"KILN_NETWORK_OFF".to_owned()), "{told:?}");
    }
}

#[test]
fn a_link_has_every_input_of_the_provenance_under_a_name_of_its_own() {
    let link = predicate(&tested(), Further::Link);
    let materials = link["materials"].as_array().unwrap();
    let names: std::collections::BTreeSet<&str> =
        materials.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), materials.len());
    let wanted = ["environment:gcc-12", "environment:make", "kiln.lock", "kiln.yaml", "source:src"];
    assert!(names.iter().eq(&wanted), "{names:?}");
    assert_eq!(link["command"], serde_json::json!(["kiln", "build", "hello"]));
    let run = predicate(&wrapped(), Further::Link);
    assert_eq!(run["command"], serde_json::json!(["make", "-C", "src"]));

    let mut twice = record();
    let lock = Dependency { role: Role::Lock, ..dependency(Role::BuildFile, "file", "kiln.yaml") };
    twice.observed.dependencies.push(lock);
    assert!(matches!(further(&twice, Further::Link), Err(Refused::SameName { .. })));
}

#[test]
fn a_trace_lists_every_attempt_and_is_none_where_nobody_listened() {
    let quiet = predicate(&tested(), Further::RuntimeTrace);
    assert_eq!(quiet["monitorLog"]["network"], serde_json::json!([]));
    let mut loud = tested();
    loud.observed.run.steps[1].network_attempts = vec!["crates.example by cargo".into()];
    assert_eq!(
        predicate(&loud, Further::RuntimeTrace)["monitorLog"]["network"],
        serde_json::json!([{"step": "unit", "attempted": "crates.example by cargo"}])
    );
    let mut deaf = tested();
    deaf.observed.run.steps[2].network_heard = false;
    let refused = further(&deaf, Further::RuntimeTrace);
    assert!(matches!(refused, Err(Refused::NotHeard { .. })), "{refused:?}");
}

#[test]
fn what_may_not_have_provenance_has_no_further_statement() {
    let mut bad = tested();
    bad.observed.run.steps[0].enforced.mechanisms.clear();
    let mut leaky = tested();
    leaky.observed.run.byproducts.push(Byproduct {
        name: "https://user:secret@a.example/x".into(),
        ..leaky.observed.run.byproducts[0].clone()
    });
    for record in [bad, leaky] {
        for kind in Further::ALL {
            assert!(further(&record, kind).is_err(), "{kind:?}");
        }
    }
}

fn state(record: &Record, further: Further) -> Request {
    Request::State(Box::new(State { record: present(record.clone()), further }))
}

fn signed(attestor: &Attestor, record: &Record, further: Further) -> Signed {
    match attestor.ask(&state(record, further), &[file(ARTIFACT)]) {
        Answer::Signed(signed) => signed,
        other => panic!("{other:?}"),
    }
}

fn judged(bytes: &str, key: &PublicKey) -> Result<(), Refusal> {
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let evidence = Evidence { bytes: bytes.as_bytes(), manifest: None };
    let trust = Trust::default();
    let expected =
        Expected { trust: &trust, key: Some(key), source: None, identity: None, root: None };
    verify(&artifact, &evidence, &expected, NOW * 2).map(|_| ())
}

#[test]
fn each_has_one_envelope_and_none_stands_for_the_provenance() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    let key = PublicKey::from_pem(&attestor.generate(Algorithm::EcdsaP256).pem).unwrap();
    let provenance = attestor.signed(&tested());
    let all: Vec<Signed> =
        Further::ALL.iter().map(|kind| signed(&attestor, &tested(), *kind)).collect();
    for (kind, one) in Further::ALL.iter().zip(&all) {
        assert_eq!(&signed(&attestor, &tested(), *kind), one, "{kind:?}");
        let refusal = judged(&one.bundle, &key).unwrap_err();
        let codes: Vec<Code> = refusal.reasons().map(|reason| reason.code()).collect();
        assert_eq!(codes, [Code::WrongKind], "{kind:?}");
        assert!(judged(&one.line, &key).is_err(), "{kind:?}");
    }
    let mut lines: Vec<&str> = all.iter().map(|one| one.line.as_str()).collect();
    assert!(judged(&lines.concat(), &key).is_err());
    // Each line is judged alone: those of other types neither help nor hurt, wherever they stand.
    for place in 0..=lines.len() {
        lines.insert(place, &provenance.line);
        judged(&lines.concat(), &key).unwrap();
        lines.remove(place);
    }
    let mut other = tested();
    other.observed.run.invocation = "another".into();
    match attestor.ask(&state(&other, Further::Link), &[file(ARTIFACT)]) {
        Answer::Refused(refused) => assert_eq!(refused.kind, RefusedKind::Nonce),
        answer => panic!("{answer:?}"),
    }
    match attestor.ask(&state(&tested(), Further::Link), &[file(b"other bytes")]) {
        // The journal knows the request; its subject was hashed when it was signed.
        Answer::Signed(again) => assert_eq!(again, all[2]),
        answer => panic!("{answer:?}"),
    }
    let mut fresh = tested();
    fresh.order.nonce = Nonce::from_bytes([9; 16]);
    fresh.observed.nonce = fresh.order.nonce.clone();
    match attestor.ask(&state(&fresh, Further::Scai), &[file(b"other bytes")]) {
        Answer::Refused(refused) => assert_eq!(refused.kind, RefusedKind::Subject),
        answer => panic!("{answer:?}"),
    }
}

/// A Record of the same Order about these bytes.
fn about(bytes: &[u8]) -> Record {
    let mut record = tested();
    record.observed.subject.blob = Blob::of(bytes);
    record
}

/// Every request that a Record could be in.
fn all_requests(record: &Record) -> Vec<Request> {
    let of = |kind: &Further| state(record, *kind);
    let whole = || Box::new(present(record.clone()));
    let first = [Request::Sign(whole()), Request::ClassicLink(whole())];
    first.into_iter().chain(Further::ALL.iter().map(of)).collect()
}

#[test]
fn whatever_is_signed_under_an_order_is_about_the_same_bytes() {
    const OTHER: &[u8] = b"other bytes";
    let mut same_bytes = tested();
    same_bytes.observed.run.invocation = "another".into();
    // Whatever comes first decides, and another process knows it too.
    for first in 0..all_requests(&tested()).len() {
        let folder = tempfile::tempdir().unwrap();
        let attestor = Attestor::start(folder.path());
        attestor.generate(Algorithm::Ed25519);
        let request = &all_requests(&tested())[first];
        assert!(matches!(attestor.ask(request, &[file(ARTIFACT)]), Answer::Signed(_)), "{first}");
        assert_eq!(attestor.end(), Some(0));
        let attestor = Attestor::start(folder.path());
        for (record, bytes) in [(about(OTHER), OTHER), (same_bytes.clone(), ARTIFACT)] {
            for (number, request) in all_requests(&record).iter().enumerate() {
                match attestor.ask(request, &[file(bytes)]) {
                    Answer::Refused(refused) => assert_eq!(refused.kind, RefusedKind::Nonce),
                    answer => panic!("{first}, {number}: {answer:?}"),
                }
            }
        }
        for request in all_requests(&tested()) {
            let answer = attestor.ask(&request, &[file(ARTIFACT)]);
            assert!(matches!(answer, Answer::Signed(_)), "{first}: {answer:?}");
        }
        assert_eq!(attestor.end(), Some(0));
        let journal = std::fs::read_dir(folder.path().join("state/journal")).unwrap();
        assert_eq!(journal.count(), all_requests(&tested()).len());
    }
}

#[test]
fn nobody_attests_them_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    attestor.generate(Algorithm::EcdsaP256);
    for (number, kind) in (20..).zip(Further::ALL) {
        let request = Request::Attest(Attest {
            predicate_type: kind.predicate_type().into(),
            predicate: "{}".into(),
            subjects: vec![Subject { name: "hello".into(), blob: Blob::of(ARTIFACT) }],
            nonce: Nonce::from_bytes([number; 16]),
            deadline: i64::MAX,
        });
        match attestor.ask(&request, &[file(ARTIFACT)]) {
            Answer::Refused(refused) => assert_eq!(refused.kind, RefusedKind::Predicate),
            other => panic!("{kind:?}: {other:?}"),
        }
    }
}

#[test]
fn what_they_say_is_told_and_so_is_what_they_lack() {
    let forger = Forger::p256(1);
    let says = |payload: &[u8]| {
        let bundle = forger.bundle(PAYLOAD_TYPE, payload).to_string();
        match inspect(bundle.as_bytes(), None).unwrap().remove(0) {
            Told::Other { says, .. } => {
                let lines = says.iter().map(|(name, text)| format!("{name}: {text}"));
                lines.collect::<Vec<_>>()
            }
            other @ Told::Provenance(_) => panic!("{other:?}"),
        }
    };
    let of = |kind| says(&further(&tested(), kind).unwrap());
    assert_eq!(of(Further::TestResult)[..2], ["result: PASSED", "passed: unit"]);
    assert!(of(Further::Scai).contains(&"attribute: KILN_NETWORK_OFF".to_owned()));
    assert!(of(Further::Link).contains(&"materials: 5".to_owned()));
    assert!(of(Further::RuntimeTrace).contains(&"attempts: 0".to_owned()));
    let mut empty = statement();
    empty["predicateType"] = Further::RuntimeTrace.predicate_type().into();
    empty["predicate"] = serde_json::json!({});
    assert_eq!(says(empty.to_string().as_bytes()), ["monitor: not said", "attempts: not said"]);
}

#[test]
fn a_classic_link_is_one_envelope_that_is_no_statement() {
    let folder = tempfile::tempdir().unwrap();
    let attestor = Attestor::start(folder.path());
    let request = Request::ClassicLink(Box::new(present(tested())));
    let ask = |attestor: &Attestor| attestor.ask(&request, &[file(ARTIFACT)]);
    attestor.generate(Algorithm::EcdsaP256);
    match ask(&attestor) {
        Answer::Refused(refused) => assert!(refused.causes[1].contains("Ed25519"), "{refused:?}"),
        other => panic!("{other:?}"),
    }
    let key = match attestor.ask(&Request::Rotate { algorithm: Algorithm::Ed25519 }, &[]) {
        Answer::Key(info) => PublicKey::from_pem(&info.pem).unwrap(),
        other => panic!("{other:?}"),
    };
    let (Answer::Signed(signed), Answer::Signed(again)) = (ask(&attestor), ask(&attestor)) else {
        panic!("not signed")
    };
    assert_eq!(signed, again);
    assert!(judged(&signed.line, &key).is_err() && judged(&signed.bundle, &key).is_err());
    let link = classic::file(&signed.line, &key).unwrap();
    let digest = Digest::of(ARTIFACT);
    assert!(classic::speaks(link.as_bytes(), &key, "hello", &digest));
    assert!(!classic::speaks(link.as_bytes(), &key, "other", &digest));
    assert!(!classic::speaks(link.as_bytes(), &key, "hello", &Digest::of(b"other")));
    assert!(!classic::speaks(link.as_bytes(), &Forger::ed25519(1).public(), "hello", &digest));
    let envelope: Value = serde_json::from_str(&link).unwrap();
    let id = key_id(&key).unwrap();
    assert_eq!(envelope["signatures"][0]["keyid"], id.as_str());
    assert_eq!(classic::file_name("hello", &key), format!("hello.{}.link", &id[..8]));
    let lists = inspect(signed.line.as_bytes(), None).unwrap();
    assert!(matches!(&lists[0], Told::Other { predicate_type: None, .. }), "{lists:?}");
}

/// The ids that securesystemslib 1.6.0 gives these keys.
#[test]
fn keys_have_the_names_that_in_toto_gives_them() {
    for (key, id) in [
        (Forger::ed25519(1), "7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12"),
        (Forger::p256(1), "e2e78b13c23ec1e89bb3f64689136e48f97a80f2c9ea24fd758f5f709d7ede42"),
    ] {
        assert_eq!(key_id(&key.public()).unwrap(), id);
    }
}
