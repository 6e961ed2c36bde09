//! `inspect` tells what a file claims and decides nothing.

use attestor::dsse::PAYLOAD_TYPE;
use attestor::story::{Story, Told, inspect};
use serde_json::json;

use crate::forger::{Forger, good_bundle, statement};

fn told(bundle: &str) -> Story {
    match inspect(bundle.as_bytes(), None).unwrap().remove(0) {
        Told::Provenance(story) => *story,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_story_has_source_builder_inputs_tools_and_steps() {
    let forger = Forger::p256(1);
    let story = told(&good_bundle(&forger));
    assert_eq!(story.subjects[0].name, "hello");
    assert_eq!(story.source.uri, "git+https://git.example.org/acme/hello");
    assert_eq!(story.source.commit, "a1".repeat(20));
    assert_eq!(story.source.tree, Some("b2".repeat(20)));
    assert_eq!(story.source.build_file.unwrap().name, "kiln.yaml");
    assert_eq!((story.inputs.total, story.inputs.pinned), (4, 4));
    assert_eq!(story.inputs.by_role["environment"], 2);
    assert_eq!(story.inputs.environment_kinds["host"], 2);
    let tools: Vec<&str> = story.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(tools, ["gcc", "make"]);
    assert_eq!(story.tools[0].version, "12.2.0-14");
    assert!(story.network_off && story.waivers.is_empty());
    assert_eq!(story.steps_total, 1);
    assert_eq!(story.rebuild.as_deref(), Some("host-bound"));
    assert_eq!(story.started.as_deref(), Some("2026-11-22T11:25:00Z"));
    assert_eq!(story.signer.named_key, Some(forger.public().id().to_string()));
    assert_eq!(story.more["kiln_host"]["kernel"], "6.1.0");
}

#[test]
fn a_story_is_told_of_a_broken_signature_too() {
    let mut bundle: serde_json::Value =
        serde_json::from_str(&good_bundle(&Forger::p256(1))).unwrap();
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!("AAAA");
    assert_eq!(told(&bundle.to_string()).subjects[0].name, "hello");
}

#[test]
fn what_is_no_provenance_is_told_as_what_it_is() {
    let forger = Forger::p256(1);
    let mut sbom = statement();
    sbom["predicateType"] = json!("https://spdx.dev/Document");
    let bundle = forger.bundle(PAYLOAD_TYPE, sbom.to_string().as_bytes()).to_string();
    let Told::Other { predicate_type, subjects, .. } =
        &inspect(bundle.as_bytes(), None).unwrap()[0]
    else {
        panic!()
    };
    assert_eq!(predicate_type.as_deref(), Some("https://spdx.dev/Document"));
    assert_eq!(subjects.len(), 1);
    assert!(inspect(b"", None).is_err());
    assert!(inspect(b"{}", None).is_err());
}
