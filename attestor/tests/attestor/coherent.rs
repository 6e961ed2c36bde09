//! What a believed key signed and the attestor never would: a core guarantee that nobody kept, and a
//! commit that the sources do not carry.

use attestor::dsse::PAYLOAD_TYPE;
use attestor::trust::Trust;
use attestor::verdict::{Code, Reason};
use attestor::verify::{Artifact, Evidence, Expected, verify};
use model::Digest;
use serde_json::{Value, json};

use crate::forger::{Forger, statement};
use crate::summary::builder;
use crate::support::{ARTIFACT, NOW};

/// Returns the detail of a check of what `spoil` makes of a good statement, or code, expected and got.
fn judged(check: &str, spoil: &dyn Fn(&mut Value)) -> Result<String, (Code, String, String)> {
    let forger = Forger::p256(1);
    let trust = Trust::of(vec![builder(&forger)]);
    let mut made = statement();
    spoil(&mut made);
    let bundle = forger.bundle(PAYLOAD_TYPE, made.to_string().as_bytes()).to_string();
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let expected = Expected { trust: &trust, key: None, identity: None, root: None, source: None };
    let evidence = Evidence { bytes: bundle.as_bytes(), manifest: None };
    match verify(&artifact, &evidence, &expected, NOW) {
        Ok(verified) => {
            let found = verified.checks().iter().find(|one| one.subject.as_str() == check);
            Ok(found.unwrap().detail.clone())
        }
        Err(refusal) => {
            let reasons: Vec<&Reason> = refusal.reasons().collect();
            assert_eq!(reasons.len(), 1, "{reasons:?}");
            assert!(reasons[0].help().is_some());
            let (expected, got) = reasons[0].compared().unwrap();
            Err((reasons[0].code(), expected, got))
        }
    }
}

fn run(statement: &mut Value) -> &mut Value {
    &mut statement["predicate"]["runDetails"]
}

fn build(statement: &mut Value) -> &mut Value {
    &mut statement["predicate"]["buildDefinition"]
}

fn without(statement: &mut Value, name: &str) {
    let held = run(statement)["kiln_enforced"].as_array_mut().unwrap();
    held.retain(|one| one["guarantee"] != name);
}

#[test]
fn each_core_guarantee_held_or_was_waived_by_name() {
    assert_eq!(
        judged("hermetic", &|_| ()).unwrap(),
        "network off, all core guarantees, 4 of 4 inputs by digest"
    );
    for name in ["files", "network", "processes", "identity", "syscalls"] {
        type Spoil<'a> = &'a dyn Fn(&mut Value);
        let waives = |s: &mut Value, word: &str| {
            without(s, name);
            build(s)["externalParameters"]["waivers"] = json!(word);
        };
        let spoils: [Spoil<'_>; 8] = [
            &|s| without(s, name),
            &|s| {
                let held = run(s)["kiln_enforced"].as_array_mut().unwrap();
                held.iter_mut()
                    .filter(|one| one["guarantee"] == name)
                    .for_each(|one| one["mechanism"] = json!(""));
            },
            // It is said to have held and to have been absent.
            &|s| run(s)["kiln_absent"] = json!({name: "not here"}),
            &|s| run(s)["kiln_absent"] = json!([name]),
            // Waived in other words than its name.
            &|s| waives(s, &name.to_uppercase()),
            &|s| waives(s, &format!(" {name}")),
            &|s| waives(s, "landlock,limits"),
            &|s| waives(s, "all"),
        ];
        for (index, spoil) in spoils.into_iter().enumerate() {
            let (code, expected, got) = judged("hermetic", spoil).unwrap_err();
            assert_eq!(code, Code::NotHermetic, "{name} {index}");
            assert!(expected.contains(name), "{expected}");
            let (held, _) = got.split_once("; waived: ").unwrap();
            assert!(!held.contains(name), "{name} {index}: {got}");
        }
        let waived = judged("hermetic", &|s| waives(s, &format!("landlock,{name}")));
        match name {
            "network" => assert_eq!(waived.unwrap_err().0, Code::NotHermetic),
            _ => assert_eq!(
                waived.unwrap(),
                format!("network off, core guarantees but {name}, 4 of 4 inputs by digest")
            ),
        }
    }
    // The extra ones are asked for by a policy alone.
    for name in ["limits", "landlock"] {
        assert!(judged("hermetic", &|s| without(s, name)).is_ok());
    }
}

#[test]
fn the_commit_is_that_of_the_sources() {
    let (ours, other) = ("a1".repeat(20), "00".repeat(20));
    let named = |s: &mut Value, commit: &str| {
        build(s)["externalParameters"]["commit"] = json!(commit);
    };
    let source = |s: &mut Value, spoil: &dyn Fn(&mut Value)| {
        let all = build(s)["resolvedDependencies"].as_array_mut().unwrap();
        spoil(all.iter_mut().find(|one| one["annotations"]["role"] == "source").unwrap());
    };
    type Spoil<'a> = &'a dyn Fn(&mut Value);
    let bad: [Spoil<'_>; 6] = [
        &|s| named(s, &other),
        &|s| named(s, "none"),
        &|s| named(s, &ours[..12]),
        &|s| source(s, &|one| one["digest"]["gitCommit"] = json!(other)),
        &|s| {
            source(s, &|one| {
                one["digest"].as_object_mut().unwrap().remove("gitCommit");
            });
        },
        // A second one, beside that which is right.
        &|s| {
            let all = build(s)["resolvedDependencies"].as_array_mut().unwrap();
            let mut second = all[0].clone();
            assert_eq!(second["annotations"]["role"], "source");
            second["name"] = json!("more");
            second["digest"]["gitCommit"] = json!(other);
            all.push(second);
        },
    ];
    for (index, spoil) in bad.into_iter().enumerate() {
        let (code, expected, got) = judged("source", spoil).unwrap_err();
        assert_eq!(code, Code::SourceDiffers, "{index}");
        assert_ne!(expected, got);
    }
    let good: [Spoil<'_>; 4] = [
        &|_| (),
        // No source is mounted: only the build file went in.
        &|s| {
            let all = build(s)["resolvedDependencies"].as_array_mut().unwrap();
            all.retain(|one| one["annotations"]["role"] != "source");
        },
        // Outside git.
        &|s| {
            named(s, "none");
            source(s, &|one| {
                let digests = one["digest"].as_object_mut().unwrap();
                digests.retain(|name, _| name == "sha256");
            });
        },
        // Another repository's files beside the project's own.
        &|s| {
            let all = build(s)["resolvedDependencies"].as_array_mut().unwrap();
            let mut second = all[0].clone();
            second["name"] = json!("more");
            second["annotations"]["kind"] = json!("git");
            second["digest"]["gitCommit"] = json!(other);
            all.push(second);
        },
    ];
    for (index, spoil) in good.into_iter().enumerate() {
        assert!(judged("source", spoil).is_ok(), "{index}");
    }
}
