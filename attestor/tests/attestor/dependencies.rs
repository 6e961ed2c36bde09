//! `--deps`: attestations of what a file depends on, verified by the same trust, and bounded.

use attestor::claims::SUBJECTS_MAX;
use attestor::dsse::PAYLOAD_TYPE;
use attestor::policy::{Dependencies, DependenciesError, Outcome};
use attestor::trust::Trust;
use attestor::verify::{Artifact, Evidence, Expected, verify};
use model::Digest;
use serde_json::{Value, json};

use crate::forger::{Forger, statement};
use crate::summary::{VERIFIER, builder, summary, verifier};
use crate::support::NOW;

fn depends_on(statement: &mut Value, name: &str, digest: &Digest) {
    let list = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array_mut();
    list.unwrap().push(json!({"name": name, "uri": format!("pkg:generic/{name}@1"), "digest": {"sha256": digest.hex()}, "annotations": {"role": "fetched"}}));
}

/// A statement about `name`, which depends on `on`.
fn built(name: &str, on: &[&str]) -> Value {
    let mut made = statement();
    made["subject"] =
        json!([{"name": name, "digest": {"sha256": Digest::of(name.as_bytes()).hex()}}]);
    for one in on {
        depends_on(&mut made, one, &Digest::of(one.as_bytes()));
    }
    made
}

#[test]
fn dependencies_are_verified_by_the_same_trust_and_cut_by_summaries() {
    let (one, five) = (Forger::p256(1), Forger::p256(5));
    let trust = Trust::of(vec![builder(&one), verifier(&five, VERIFIER)]);
    let text = |forger: &Forger, made: &Value| {
        forger.bundle(PAYLOAD_TYPE, made.to_string().as_bytes()).to_string()
    };
    let root = built("root", &["a", "b", "root"]);
    let artifact = Artifact { name: "root", digest: Digest::of(b"root") };
    let expected = Expected { trust: &trust, key: None, identity: None, root: None, source: None };
    let bundle = text(&one, &root);
    let verified =
        verify(&artifact, &Evidence { bytes: bundle.as_bytes(), manifest: None }, &expected, NOW)
            .unwrap();
    let walk = |files: &[String]| {
        let mut given = Dependencies::default();
        for file in files {
            given.add(file.as_bytes()).unwrap();
        }
        given.walk(&verified, &trust, None, NOW)
    };
    // None has any: told, and no refusal.
    let tree = walk(&[]);
    assert!(tree.verdicts.is_empty() && tree.unattested > 2 && tree.first_bad().is_none());
    assert!(tree.levels().is_empty());
    // One by provenance, with one of its own below it; a cycle ends.
    let tree = walk(&[text(&one, &built("a", &["c"])), text(&one, &built("c", &["a", "root"]))]);
    let names: Vec<(&str, usize)> =
        tree.verdicts.iter().map(|one| (one.name.as_str(), one.depth)).collect();
    assert_eq!(names, [("pkg:generic/a@1", 1), ("pkg:generic/c@1", 2)]);
    assert_eq!(tree.levels(), [("SLSA_BUILD_LEVEL_2".to_owned(), 2)].into());
    // By another key: refused, and not counted.
    let tree = walk(&[text(&Forger::p256(9), &built("a", &[])), text(&one, &built("b", &[]))]);
    assert!(matches!(tree.first_bad().unwrap().outcome, Outcome::Refused { .. }));
    assert_eq!(tree.levels(), [("SLSA_BUILD_LEVEL_2".to_owned(), 1)].into());
    // A summary about the dependency's own address cuts the walk; about another it does not count.
    for (address, good) in [("pkg:generic/a@1", true), ("pkg:generic/b@1", false)] {
        let mut said = summary();
        said["subject"][0]["digest"]["sha256"] = json!(Digest::of(b"a").hex());
        said["predicate"]["resourceUri"] = json!(address);
        let tree = walk(&[text(&five, &said), text(&one, &built("c", &[]))]);
        assert_eq!(tree.first_bad().is_none(), good, "{address}");
        assert_eq!(tree.verdicts.len(), 1);
        // Its verifier's last word counts here as well.
        let mut later = said.clone();
        later["predicate"]["timeVerified"] = json!("2026-11-23T00:00:00Z");
        later["predicate"]["verificationResult"] = json!("FAILED");
        let tree = walk(&[text(&five, &said), text(&five, &later)]);
        assert!(tree.first_bad().is_some(), "{address}");
    }
    // Deeper than is looked at: a refusal, not a pass.
    let chain: Vec<String> = (0..12)
        .map(|depth| {
            let name = if depth == 0 { "a".to_owned() } else { format!("d{depth}") };
            text(&one, &built(&name, &[&format!("d{}", depth + 1)]))
        })
        .collect();
    let tree = walk(&chain);
    assert_eq!(tree.first_bad().unwrap().outcome, Outcome::Beyond);
}

/// A long list of inputs lies beside the statement: whoever takes it away must not take them out of sight.
#[test]
fn dependencies_of_a_list_that_moved_are_verified_or_it_is_missed() {
    let one = Forger::p256(1);
    let trust = Trust::of(vec![builder(&one)]);
    let text = |forger: &Forger, made: &Value| {
        forger.bundle(PAYLOAD_TYPE, made.to_string().as_bytes()).to_string()
    };
    let moved = |name: &str, on: &[&str]| {
        let mut made = built(name, on);
        let inputs = made["predicate"]["buildDefinition"]["resolvedDependencies"].take();
        let list = json!({"version": 1, "dependencies": inputs}).to_string();
        let digest = Digest::of(list.as_bytes());
        made["predicate"]["buildDefinition"]["resolvedDependencies"] = json!([{
            "name": format!("{name}.dependencies.json"), "digest": {"sha256": digest.hex()},
            "mediaType": "application/vnd.kiln.dependencies.v1+json",
            "annotations": {"role": "manifest", "entries": "1001"},
        }]);
        (text(&one, &made), list)
    };
    let (bundle, list) = moved("root", &["a"]);
    let artifact = Artifact { name: "root", digest: Digest::of(b"root") };
    let expected = Expected { trust: &trust, key: None, identity: None, root: None, source: None };
    let walk = |manifest: Option<&str>, files: &[&String]| {
        let evidence = Evidence { bytes: bundle.as_bytes(), manifest: manifest.map(str::as_bytes) };
        let verified = verify(&artifact, &evidence, &expected, NOW).unwrap();
        let mut given = Dependencies::default();
        files.iter().for_each(|file| given.add(file.as_bytes()).unwrap());
        given.walk(&verified, &trust, None, NOW)
    };
    let bad = |tree: attestor::policy::Tree| {
        tree.first_bad().map(|one| (one.name.clone(), one.outcome.clone()))
    };
    let missed = |name: &str| Some((format!("{name}.dependencies.json"), Outcome::NoList));
    let by_nobody = text(&Forger::p256(9), &built("a", &[]));
    // Beside the file or in the folder: what it lists is verified.
    for (manifest, more) in [(Some(list.as_str()), None), (None, Some(&list))] {
        let files: Vec<&String> = [&by_nobody].into_iter().chain(more).collect();
        let (name, outcome) = bad(walk(manifest, &files)).expect("nobody is believed");
        assert_eq!(name, "pkg:generic/a@1");
        assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
        let good = text(&one, &built("a", &[]));
        let files: Vec<&String> = [&good].into_iter().chain(more).collect();
        let tree = walk(manifest, &files);
        assert!(tree.levels().len() == 1 && tree.first_bad().is_none(), "{tree:?}");
    }
    // At hand nowhere, or another's.
    let (below, below_list) = moved("a", &["b"]);
    assert_eq!(bad(walk(None, &[&by_nobody])), missed("root"));
    assert_eq!(bad(walk(None, &[&by_nobody, &below_list])), missed("root"));
    // The same of a dependency's own.
    assert_eq!(bad(walk(Some(&list), &[&below])), missed("a"));
    assert_eq!(bad(walk(Some(&list), &[&below, &list])), missed("a"));
    assert_eq!(bad(walk(Some(&list), &[&below, &below_list])), None);
    let by_nobody = text(&Forger::p256(9), &built("b", &[]));
    let found = bad(walk(Some(&list), &[&below, &below_list, &by_nobody])).expect("two below");
    assert_eq!(found.0, "pkg:generic/b@1");
}

/// Nobody is believed yet when they are added, so what they may take is bounded, one and all together.
#[test]
fn attestations_of_dependencies_are_bounded_before_one_is_verified() {
    let forger = Forger::p256(9);
    let about = |subjects: usize| {
        let said = json!({"subject": vec![json!({}); subjects]}).to_string();
        forger.bundle(PAYLOAD_TYPE, said.as_bytes()).to_string()
    };
    let mut given = Dependencies::default();
    given.add(about(SUBJECTS_MAX).as_bytes()).unwrap();
    let refused = given.add(about(SUBJECTS_MAX + 1).as_bytes());
    assert!(matches!(refused, Err(DependenciesError::Subjects { got }) if got > SUBJECTS_MAX));
    let text = about(SUBJECTS_MAX);
    for _ in 1..(256 << 10) / SUBJECTS_MAX {
        given.add(text.as_bytes()).unwrap();
    }
    let refused = given.add(about(1).as_bytes());
    assert!(matches!(refused, Err(DependenciesError::AllSubjects)), "{refused:?}");
    // Whatever they are, also what is no evidence.
    let mut given = Dependencies::default();
    let half = vec![b' '; (64 << 20) / 2];
    for _ in 0..2 {
        let refused = given.add(&half);
        assert!(matches!(refused, Err(DependenciesError::Evidence(_))), "{refused:?}");
    }
    let refused = given.add(about(1).as_bytes());
    assert!(matches!(refused, Err(DependenciesError::Bytes)), "{refused:?}");
}
