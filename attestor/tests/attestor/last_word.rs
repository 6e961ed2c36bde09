//! Several summaries of one file: the newest of a verifier decides, and no older one in its place.

use attestor::dsse::PAYLOAD_TYPE;
use attestor::policy::{Decision, Policy, Question, decide};
use attestor::trust::{Entry, Level, Trust};
use attestor::verdict::{Code, Reason, Refusal};
use attestor::verify::{Artifact, Evidence, Expected};
use attestor::vsa::Wanted;
use model::Digest;
use serde_json::{Value, json};

use crate::forger::Forger;
use crate::summary::{POLICY, VERIFIER, builder, summary, verifier, wanted};
use crate::support::{ARTIFACT, NOW};

const OTHER: &str = "https://other.example/v1";

/// One summary: what is changed of a good one, and who signs.
type Said<'a> = (u8, &'a [(&'a str, Value)]);

fn ask(all: &[Said<'_>], policy: Option<&Policy>) -> Result<Decision, Refusal> {
    let (five, six) = (Forger::p256(5), Forger::p256(6));
    let mut revoked = verifier(&Forger::p256(7), VERIFIER);
    revoked.revoked = Some(NOW - 1);
    let entries = vec![verifier(&five, VERIFIER), verifier(&six, VERIFIER), verifier(&six, OTHER)];
    let trust = Trust::of([entries, vec![revoked]].concat());
    let text = |(who, changes): &Said<'_>| {
        let mut said = summary();
        for (member, value) in *changes {
            said["predicate"][member] = value.clone();
        }
        Forger::p256(*who).bundle(PAYLOAD_TYPE, said.to_string().as_bytes()).to_string()
    };
    let texts: Vec<String> = all.iter().map(text).collect();
    let evidence: Vec<Evidence<'_>> =
        texts.iter().map(|text| Evidence { bytes: text.as_bytes(), manifest: None }).collect();
    let wanted = Wanted {
        level: Level::L1,
        policy: policy.map(attestor::policy::Policy::digest),
        ..wanted()
    };
    decide(&Question {
        artifact: Artifact { name: "hello", digest: Digest::of(ARTIFACT) },
        evidence: &evidence,
        expected: Expected { trust: &trust, key: None, identity: None, root: None, source: None },
        policy,
        summary: Some(&wanted),
        now: NOW,
    })
}

fn time(text: &str) -> (&'static str, Value) {
    ("timeVerified", if text.is_empty() { Value::Null } else { json!(text) })
}

#[test]
fn the_newest_summary_of_a_verifier_decides() {
    let (old, new) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00+01:00");
    let failed = ("verificationResult", json!("FAILED"));
    let levels = |text: &str| ("verifiedLevels", json!([text]));
    let passed = |at: &str| [time(at), levels("SLSA_BUILD_LEVEL_2")];
    let no = |at: &str| [time(at), failed.clone(), levels("FAILED")];
    let elsewhere = [time(new), failed.clone(), ("resourceUri", json!("https://dl.example/other"))];
    let others = [time(new), failed.clone(), ("verifier", json!({"id": OTHER}))];
    let lower = [time(new), levels("SLSA_BUILD_LEVEL_1")];
    let reproduced = [time(new), levels("SLSA_BUILD_REPRODUCED")];
    for (what, all, level) in [
        ("the older failed", [(5, &no(old)[..]), (5, &passed(new)[..])], Some(Level::L2)),
        ("the newer failed", [(5, &passed(old)[..]), (5, &no(new)[..])], None),
        ("the newer failed, by its other key", [(5, &passed(old)[..]), (6, &no(new)[..])], None),
        ("at the same time", [(5, &passed(new)[..]), (5, &no(new)[..])], None),
        ("failed at no time", [(5, &passed(new)[..]), (5, &no("")[..])], None),
        ("failed at a time that is none", [(5, &passed(new)[..]), (5, &no("soon")[..])], None),
        ("passed at no time", [(5, &passed("")[..]), (5, &no(old)[..])], None),
        ("both passed", [(5, &passed(old)[..]), (5, &passed(new)[..])], Some(Level::L2)),
        ("the newer is lower", [(5, &passed(old)[..]), (5, &lower[..])], Some(Level::L1)),
        ("the same twice", [(5, &passed(old)[..]), (5, &passed(old)[..])], Some(Level::L2)),
        ("reproduced is no level", [(5, &passed(old)[..]), (5, &reproduced[..])], Some(Level::L2)),
        ("about another address", [(5, &passed(old)[..]), (5, &elsewhere[..])], Some(Level::L2)),
        ("of another verifier", [(5, &passed(old)[..]), (6, &others[..])], Some(Level::L2)),
        // Whose word is not believed takes none back: anyone could write such a one.
        ("by a stranger", [(5, &passed(old)[..]), (8, &no(new)[..])], Some(Level::L2)),
        ("by a revoked key", [(5, &passed(old)[..]), (7, &no(new)[..])], Some(Level::L2)),
        ("in another verifier's name", [(5, &passed(old)[..]), (5, &others[..])], Some(Level::L2)),
    ] {
        let [one, two] = all;
        for all in [[one, two], [two, one]] {
            let came = ask(&all, None);
            assert_eq!(came.as_ref().ok().map(|one| one.level), level, "{what}: {came:?}");
            let Err(refusal) = came else { continue };
            let Some(reason @ Reason::Summary { expected, got, .. }) = refusal.reasons().next()
            else {
                panic!("{what}: {refusal:?}")
            };
            assert_eq!(reason.code(), Code::SummaryRefused, "{what}");
            assert!(expected.contains("FAILED") || got.contains("FAILED"), "{what}: {reason:?}");
        }
    }
}

/// A verdict by another policy is another verdict; one that names none could be by any.
#[test]
fn the_newest_by_the_wanted_policy_decides() {
    let policy = Policy::parse(POLICY.as_bytes()).unwrap();
    let passed = [time("2026-11-01T00:00:00Z")];
    let failed = |policy: Value| {
        [time("2026-11-02T00:00:00Z"), ("verificationResult", json!("FAILED")), ("policy", policy)]
    };
    let digest =
        |hex: String| json!({"uri": "https://policies.example/x", "digest": {"sha256": hex}});
    for (by, decides) in [
        (digest(policy.digest().hex()), true),
        (digest("0".repeat(64)), false),
        (json!({"uri": "https://policies.example/x"}), true),
    ] {
        let all = [(5, &passed[..]), (5, &failed(by.clone())[..])];
        assert_eq!(ask(&all, Some(&policy)).is_err(), decides, "{by}");
        assert!(ask(&all, None).is_err(), "no policy was asked for: {by}");
    }
}

/// Revocation and validity are a verifier's as they are a builder's; one entry that revokes a signer is enough.
#[test]
fn a_summary_is_believed_only_of_a_verifier_in_force() {
    let five = Forger::p256(5);
    let entry = |change: &dyn Fn(&mut Entry)| {
        let mut entry = verifier(&five, VERIFIER);
        change(&mut entry);
        entry
    };
    let sound = entry(&|_| {});
    let text = five.bundle(PAYLOAD_TYPE, summary().to_string().as_bytes()).to_string();
    let evidence = [Evidence { bytes: text.as_bytes(), manifest: None }];
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let wanted = Wanted { level: Level::L1, ..wanted() };
    let public = five.public();
    for (what, entries, good, by_hand) in [
        ("in force", vec![sound.clone()], true, true),
        ("ended", vec![entry(&|one| one.until = Some(NOW - 1))], false, true),
        ("not begun", vec![entry(&|one| one.from = Some(NOW + 1))], false, true),
        ("revoked", vec![entry(&|one| one.revoked = Some(NOW - 1))], false, false),
        ("revoked later", vec![entry(&|one| one.revoked = Some(NOW + 1))], false, false),
        (
            "revoked as a builder",
            vec![sound, Entry { revoked: Some(0), ..builder(&five) }],
            false,
            false,
        ),
    ] {
        let trust = Trust::of(entries);
        for (key, good) in [(None, good), (Some(&public), by_hand)] {
            let came = decide(&Question {
                artifact,
                evidence: &evidence,
                expected: Expected { trust: &trust, key, identity: None, root: None, source: None },
                policy: None,
                summary: Some(&wanted),
                now: NOW,
            });
            assert_eq!(came.is_ok(), good, "{what}, by hand {}: {came:?}", key.is_some());
            let code = came.err().and_then(|refusal| refusal.reasons().next().map(Reason::code));
            assert!(code.is_none_or(|code| code == Code::SignerNotTrusted), "{what}: {code:?}");
        }
    }
}
