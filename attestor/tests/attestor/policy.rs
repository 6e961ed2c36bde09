//! Policies, attacked: each rule met and not met, none met by half of two attestations, and none that is
//! dropped because it was not understood.

use attestor::builder::{BuilderId, LOCAL_BUILDER_ID};
use attestor::dsse::PAYLOAD_TYPE;
use attestor::policy::{Decision, NAMES, Policy, Question, Wrong, decide, named};
use attestor::trust::{Entry, Level, SpeaksFor, Trust, Who};
use attestor::verdict::{Code, Reason, Refusal};
use attestor::verify::{Artifact, Evidence, Expected};
use model::Digest;
use serde_json::{Value, json};

use crate::forger::{Forger, statement};
use crate::support::{ARTIFACT, NOW};

const OTHER_BUILDER: &str = "https://other.example/kiln/v1";
const DAY: i64 = 86_400;

pub fn entry(forger: &Forger, builder: &str, max_level: Level) -> Entry {
    Entry {
        name: "test".into(),
        who: Who::Key(forger.public()),
        speaks_for: SpeaksFor::Builder(BuilderId::new(builder).unwrap()),
        max_level,
        from: None,
        until: None,
        revoked: None,
    }
}

pub fn trust() -> Trust {
    Trust::of(vec![
        entry(&Forger::p256(1), LOCAL_BUILDER_ID, Level::L2),
        entry(&Forger::p256(2), OTHER_BUILDER, Level::L2),
        entry(&Forger::p256(1), OTHER_BUILDER, Level::L2),
    ])
}

pub fn bundle(forger: &Forger, statement: &Value) -> String {
    forger.bundle(PAYLOAD_TYPE, statement.to_string().as_bytes()).to_string()
}

pub fn ask(policy: &str, bundles: &[String]) -> Result<Decision, Refusal> {
    let policy =
        Policy::parse(policy.as_bytes()).unwrap_or_else(|found| panic!("{policy}\n{found:?}"));
    let evidence: Vec<Evidence<'_>> =
        bundles.iter().map(|text| Evidence { bytes: text.as_bytes(), manifest: None }).collect();
    decide(&Question {
        artifact: Artifact { name: "./there/hello", digest: Digest::of(ARTIFACT) },
        evidence: &evidence,
        expected: Expected { trust: &trust(), key: None, identity: None, root: None, source: None },
        policy: Some(&policy),
        summary: None,
        now: NOW + DAY,
    })
}

/// Returns the rules that refused.
pub fn rules(result: Result<Decision, Refusal>) -> Vec<String> {
    let Err(refusal) = result else { return Vec::new() };
    let name = |reason: &Reason| match reason {
        Reason::Policy(broken) => {
            assert!(
                broken.line > 0 && !broken.expected.is_empty() && !broken.help.is_empty(),
                "{broken:?}"
            );
            broken.rule.clone()
        }
        other => other.code().to_string(),
    };
    refusal.reasons().map(name).collect()
}

/// One policy, how a good statement is changed, and the rule that refuses; none for one that accepts.
type Row = (&'static str, fn(&mut Value), &'static str);

pub fn parameter(statement: &mut Value, name: &str, value: &str) {
    let build = &mut statement["predicate"]["buildDefinition"];
    build["externalParameters"][name] = json!(value);
    // One that contradicts its sources is refused before a rule is asked.
    let all = build["resolvedDependencies"].as_array_mut().unwrap().iter_mut();
    let ids = all.filter_map(|one| one["digest"].get_mut("gitCommit"));
    ids.filter(|_| name == "commit").for_each(|id| *id = json!(value));
}

pub fn dependency(statement: &mut Value, purl: &str, role: &str) {
    let list = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array_mut();
    list.unwrap().push(json!({"name": "x", "uri": purl, "digest": {"sha256": "0".repeat(64)}, "annotations": {"role": role}}));
}

const ROWS: [Row; 59] = [
    ("", |_| {}, ""),
    ("", |s| parameter(s, "dirty", "true"), "source.dirty"),
    ("source: {dirty: true}", |s| parameter(s, "dirty", "true"), ""),
    ("source: {dirty: true}", |s| parameter(s, "dirty", "maybe"), "source.dirty"),
    ("", |s| parameter(s, "waivers", "limits"), "waivers"),
    ("waivers: [limits]", |s| parameter(s, "waivers", "limits"), ""),
    ("waivers: [limits]", |s| parameter(s, "waivers", "limits,files"), "waivers"),
    ("waivers: [limits]", |s| parameter(s, "waivers", " limits"), "waivers"),
    ("waivers: [limits]", |s| parameter(s, "waivers", "LIMITS"), "waivers"),
    ("waivers: [limits]", |s| parameter(s, "waivers", "limits,"), "waivers"),
    ("", |s| parameter(s, "waivers", ","), "waivers"),
    ("level: 2", |_| {}, ""),
    ("level: 3", |_| {}, "level"),
    ("builders: [{id: \"https://kiln.build/builders/local/v1\"}]", |_| {}, ""),
    (
        "builders: [{id: \"https://kiln.build/builders/local/v1\", max-level: 1}]\nlevel: 1",
        |_| {},
        "",
    ),
    (
        "builders: [{id: \"https://kiln.build/builders/local/v1\", min-level: 3}]",
        |_| {},
        "builders.min-level",
    ),
    ("builders: [{id: \"https://kiln.build/builders/local/v2\"}]", |_| {}, "builders"),
    (
        "builders: [{id: \"https://kiln.build/builders/local/v1\", signer: \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}]",
        |_| {},
        "builders",
    ),
    ("source: {uri: https://git.example.org/acme/hello.git}", |_| {}, ""),
    ("source: {uri: [https://a.example/x, git+https://git.example.org/acme/hello]}", |_| {}, ""),
    ("source: {uri: https://git.example.org/acme/hell}", |_| {}, "source.uri"),
    ("source: {uri: https://git.example.org.evil.example/acme/hello}", |_| {}, "source.uri"),
    (
        "source: {uri: https://git.example.org/acme/hello}",
        |s| parameter(s, "source", "git+https://git.example.org/fork/hello"),
        "source.uri",
    ),
    ("source: {commit: a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1}", |_| {}, ""),
    ("source: {commit: {pattern: \"[0-9a-f]{40}\"}}", |_| {}, ""),
    (
        "source: {commit: {pattern: \"[0-9a-f]{40}\"}}",
        |s| parameter(s, "commit", "none"),
        "source.commit",
    ),
    ("source: {commit: {pattern: \"a1\"}}", |_| {}, "source.commit"),
    (
        "source: {ref: {pattern: \"refs/tags/v[0-9.]+\"}}",
        |s| parameter(s, "source", "git+https://h/r@refs/tags/v1.0"),
        "",
    ),
    (
        "source: {ref: {pattern: \"refs/tags/v[0-9.]+\"}}",
        |s| parameter(s, "source", "git+https://h/r@refs/tags/v1.0-rc"),
        "source.ref",
    ),
    ("source: {ref: refs/heads/main}", |_| {}, "source.ref"),
    ("build-type: https://kiln.build/buildtypes/build/v1", |_| {}, ""),
    ("build-type: https://kiln.build/buildtypes/run/v1", |_| {}, "build-type"),
    (
        "parameters: {target: hello, buildFile: kiln.yaml, source: {any: true}, commit: {any: true}}",
        |_| {},
        "",
    ),
    (
        "parameters: {target: [hullo, hello], buildFile: {pattern: \"kiln.*\"}, source: {any: true}, commit: {any: true}}",
        |_| {},
        "",
    ),
    (
        "parameters: {target: hell, buildFile: {any: true}, source: {any: true}, commit: {any: true}}",
        |_| {},
        "parameters.target",
    ),
    (
        "parameters: {target: {pattern: \"hell|x\"}, buildFile: {any: true}, source: {any: true}, commit: {any: true}}",
        |_| {},
        "parameters.target",
    ),
    (
        "parameters: {target: hello, source: {any: true}, commit: {any: true}}",
        |_| {},
        "parameters.buildFile",
    ),
    ("parameters: {target: hello, buildFile: kiln.yaml}", |_| {}, "parameters.commit"),
    (
        "parameters: {target: hello, buildFile: kiln.yaml}\nsource: {uri: https://git.example.org/acme/hello}",
        |s| parameter(s, "overrides", "x=y"),
        "parameters.overrides",
    ),
    ("enforce: [landlock, limits, network]", |_| {}, ""),
    (
        "enforce: [landlock]",
        |s| {
            s["predicate"]["runDetails"]["kiln_enforced"]
                .as_array_mut()
                .unwrap()
                .retain(|one| one["guarantee"] != "landlock")
        },
        "enforce",
    ),
    ("backend: native", |_| {}, ""),
    ("backend: [docker, confined]", |_| {}, "backend"),
    (
        "backend: native",
        |s| {
            s["predicate"]["runDetails"].as_object_mut().unwrap().remove("kiln_backend");
        },
        "backend",
    ),
    ("max-age: 2d", |_| {}, ""),
    ("max-age: 1h", |_| {}, "max-age"),
    (
        "max-age: 2d",
        |s| s["predicate"]["runDetails"]["metadata"]["finishedOn"] = json!("2036-01-01T00:00:00Z"),
        "max-age",
    ),
    (
        "max-age: 2d",
        |s| {
            s["predicate"]["runDetails"]["metadata"].as_object_mut().unwrap().remove("finishedOn");
        },
        "max-age",
    ),
    ("not-before: 2026-11-01T00:00:00Z", |_| {}, ""),
    ("not-before: 2027-01-01T00:00:00Z", |_| {}, "not-before"),
    (
        "dependencies: {deny: [{purl: \"pkg:deb/debian/xz-utils\", version: \">=5.6.0, <5.6.2\", why: a back door}]}",
        |s| dependency(s, "pkg:deb/debian/xz-utils@5.6.1-1", "environment"),
        "dependencies.deny",
    ),
    (
        "dependencies: {deny: [{purl: \"pkg:deb/debian/xz-utils\", version: \">=5.6.0, <5.6.2\"}]}",
        |s| dependency(s, "pkg:deb/debian/xz-utils@5.4.1-0.2", "environment"),
        "",
    ),
    (
        "dependencies: {deny: [{purl: \"pkg:deb/debian/xz-utils\", version: \">=5.6.0, <5.6.2\"}]}",
        |s| dependency(s, "pkg:deb/debian/xz-utils", "environment"),
        "dependencies.deny",
    ),
    (
        "dependencies: {roles: [source, build-file, environment]}",
        |s| dependency(s, "pkg:cargo/serde@1", "fetched"),
        "dependencies.roles",
    ),
    (
        "dependencies: {roles: [source, build-file, environment]}",
        |s| dependency(s, "pkg:cargo/serde@1", ""),
        "dependencies.roles",
    ),
    (
        "dependencies: {allow: [{purl: \"pkg:deb/debian/*\"}, {name: \"gcc-*\"}, {name: make}]}",
        |s| dependency(s, "pkg:cargo/serde@1", "fetched"),
        "dependencies.allow",
    ),
    (
        "rules: [{name: few, expr: \"size(dependencies) < 10 && dependencies.all(d, size(d.digest) > 0)\"}]",
        |_| {},
        "",
    ),
    ("rules: [{name: base, expr: \"artifact.name == 'hello'\"}]", |_| {}, ""),
    (
        "rules: [{name: none, expr: \"size(dependencies) == 0\", why: no inputs}]",
        |_| {},
        "rules.none",
    ),
];

#[test]
fn every_rule_refuses_what_it_forbids_and_nothing_else() {
    let forger = Forger::p256(1);
    for (policy, change, rule) in ROWS {
        let mut changed = statement();
        change(&mut changed);
        let came = rules(ask(&format!("policy: 1\n{policy}\n"), &[bundle(&forger, &changed)]));
        let wanted: &[&str] = if rule.is_empty() { &[] } else { &[rule] };
        let came: Vec<&str> = came
            .iter()
            .map(String::as_str)
            .filter(|one| !one.starts_with("parameters.") || rule.starts_with("parameters."))
            .collect();
        if rule.starts_with("parameters.") {
            assert!(came.contains(&rule), "{policy}: {came:?}");
        } else {
            assert_eq!(came, wanted, "{policy}");
        }
    }
}

/// A19: one attestation from the right source and another by the right builder are not one of both.
#[test]
fn halves_of_two_attestations_make_no_whole() {
    let policy = format!(
        "policy: 1\nsource: {{uri: https://git.example.org/acme/hello}}\nbuilders: [{{id: \"{OTHER_BUILDER}\"}}]\n"
    );
    let mut fork = statement();
    parameter(&mut fork, "source", "git+https://git.example.org/fork/hello");
    fork["predicate"]["runDetails"]["builder"]["id"] = json!(OTHER_BUILDER);
    let first = bundle(&Forger::p256(1), &statement());
    let second = bundle(&Forger::p256(2), &fork);
    assert_eq!(rules(ask(&policy, std::slice::from_ref(&first))), ["builders"]);
    assert_eq!(rules(ask(&policy, std::slice::from_ref(&second))), ["source.uri"]);
    assert_eq!(rules(ask(&policy, &[first, second])).len(), 1);
}

/// A6, A7: a builder or a key that speaks twice is one.
#[test]
fn rebuilds_count_by_builder_and_by_key() {
    let policy = "policy: 1\nreproduced-by: 2\nbackend: native\n";
    let by = |forger: &Forger, builder: &str, change: fn(&mut Value)| {
        let mut made = statement();
        made["predicate"]["runDetails"]["builder"]["id"] = json!(builder);
        change(&mut made);
        bundle(forger, &made)
    };
    let (one, two) = (Forger::p256(1), Forger::p256(2));
    let first = by(&one, LOCAL_BUILDER_ID, |_| {});
    let other_run =
        |s: &mut Value| s["predicate"]["runDetails"]["metadata"]["invocationId"] = json!("again");
    for (what, second, met) in [
        ("the same again", first.clone(), false),
        ("the same builder, another run", by(&one, LOCAL_BUILDER_ID, other_run), false),
        ("another builder by the same key", by(&one, OTHER_BUILDER, |_| {}), false),
        ("another builder and key", by(&two, OTHER_BUILDER, |_| {}), true),
        ("another key that is not trusted", by(&Forger::p256(9), OTHER_BUILDER, |_| {}), false),
        ("another definition", by(&two, OTHER_BUILDER, |s| parameter(s, "matrix", "x=y")), false),
        (
            "one that breaks a rule of its own",
            by(&two, OTHER_BUILDER, |s| {
                s["predicate"]["runDetails"]["kiln_backend"] = json!("docker");
            }),
            false,
        ),
    ] {
        let came = ask(policy, &[first.clone(), second]);
        match came {
            Ok(decision) => assert!(met && decision.reproduced == 2, "{what}"),
            Err(refusal) => assert!(!met, "{what}: {:?}", rules(Err(refusal))),
        }
    }
}

#[test]
fn other_attestations_are_asked_for_by_type_signer_and_content() {
    let signer = Forger::p256(2).public().id();
    let policy = format!(
        "policy: 1\nrequire:\n  - type: https://in-toto.io/attestation/test-result/v0.1\n    signer: \"{signer}\"\n    where: predicate.result == \"PASSED\"\n"
    );
    let rule = "require https://in-toto.io/attestation/test-result/v0.1";
    let result = |forger: &Forger, kind: &str, digest: &str, result: &str| {
        let made = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "hello", "digest": {"sha256": digest}}],
            "predicateType": kind,
            "predicate": {"result": result},
        });
        bundle(forger, &made)
    };
    let kind = "https://in-toto.io/attestation/test-result/v0.1";
    let (right, hex) = (Forger::p256(2), Digest::of(ARTIFACT).hex());
    let provenance = bundle(&Forger::p256(1), &statement());
    for (what, other, met) in [
        ("right", result(&right, kind, &hex, "PASSED"), true),
        ("failed", result(&right, kind, &hex, "FAILED"), false),
        ("another file", result(&right, kind, &"0".repeat(64), "PASSED"), false),
        ("another type", result(&right, "https://a.example/x", &hex, "PASSED"), false),
        ("another believed key", result(&Forger::p256(1), kind, &hex, "PASSED"), false),
        ("a key nobody believes", result(&Forger::p256(9), kind, &hex, "PASSED"), false),
    ] {
        let came = rules(ask(&policy, &[provenance.clone(), other]));
        assert_eq!(came, if met { vec![] } else { vec![rule.to_owned()] }, "{what}");
    }
    assert_eq!(rules(ask(&policy, &[provenance])), [rule]);
}

/// A13: nothing is no pass, with a policy as without.
#[test]
fn no_attestation_is_no_pass() {
    for bundles in [vec![], vec![String::new()], vec![" \n".to_owned()]] {
        let refusal = ask("policy: 1\n", &bundles).expect_err("must be refused");
        assert!(refusal.reasons().all(|reason| reason.code() == Code::EvidenceEmpty));
    }
}

#[test]
fn an_expression_that_fails_or_is_no_truth_refuses() {
    let good = bundle(&Forger::p256(1), &statement());
    for expr in [
        "predicate.nothing == 1",
        "parameters",
        "parameters.commit",
        "1 / 0 == 1",
        "dependencies[99].name == ''",
    ] {
        let policy = format!("policy: 1\nrules: [{{name: r, expr: \"{expr}\"}}]\n");
        assert_eq!(rules(ask(&policy, std::slice::from_ref(&good))), ["rules.r"], "{expr}");
    }
    for expr in [
        "parameters.target == 'hello' && level == 2 && builder.startsWith('https://kiln.build/')",
        "dependencies.filter(d, d.annotations.role == 'source').size() == 1",
        "signer.startsWith('SHA256:') && artifact.name == 'hello' && now > 1700000000",
        "predicate.runDetails.kiln_enforced.exists(e, e.guarantee == 'landlock' && e.detail.matches('ABI [5-9]'))",
    ] {
        let policy = format!("policy: 1\nrules: [{{name: r, expr: \"{expr}\"}}]\n");
        assert_eq!(rules(ask(&policy, std::slice::from_ref(&good))), [""; 0], "{expr}");
    }
}

/// What is wrong with a text, where (0 for wherever), and a word of the message.
const FAULTS: [(&str, usize, &str); 46] = [
    ("", 0, "empty"),
    (
        "policy: 1\nrules: [{name: r, expr: 'dependencies.all(x, dependencies.all(y, x.name.matches(\"(a{200}){200}\") || true))'}]\n",
        0,
        "the expression of rule `r`",
    ),
    ("policy: 2\n", 8, "policy"),
    ("name: x\n", 0, "no `policy`"),
    ("policy: 1\nlevle: 2\n", 10, "unknown key `levle`"),
    ("policy: 1\nlevel: 4\n", 17, "level"),
    ("policy: 1\nlevel: \"2\"\n", 17, "wrong type"),
    ("policy: 1\nlevel: 1\nlevel: 2\n", 19, "twice"),
    ("policy: 1\nsource: {uri: x, url: y}\n", 27, "unknown key `url`"),
    ("policy: 1\nsource: {uri: []}\n", 24, "uri"),
    ("policy: 1\nsource: {commit: {pattern: \"(\"}}\n", 37, "pattern"),
    ("policy: 1\nsource: {commit: {pattern: \"a)|(?:b\"}}\n", 37, "pattern"),
    ("policy: 1\nwaivers: [network]\n", 20, "waivers"),
    ("policy: 1\nenforce: [everything]\n", 20, "enforce"),
    ("policy: 1\nhermetic: false\n", 20, "hermetic"),
    ("policy: 1\nmax-age: 90\n", 19, "max-age"),
    ("policy: 1\nmax-age: 0d\n", 19, "max-age"),
    ("policy: 1\nreproduced-by: 0\n", 25, "reproduced-by"),
    ("policy: 1\nreproduced-by: 1\n", 25, "reproduced-by"),
    ("policy: 1\nbuilders: []\n", 10, "never hold"),
    (
        "policy: 1\nbuilders: [{id: \"https://a/\", max-level: 1}, {id: \"https://a/\"}]\n",
        0,
        "never hold",
    ),
    ("policy: 1\nrules: [{name: x, expr: \"builder.startswith('a')\"}]\n", 0, "expression"),
    ("policy: 1\nbuilders: [{id: \"https://a/\", min-level: 3, max-level: 2}]\n", 40, "never hold"),
    ("policy: 1\nlevel: 3\nbuilders: [{id: \"https://a/\", max-level: 2}]\n", 17, "never hold"),
    ("policy: 1\nreproduced-by: 2\nbuilders: [{id: \"https://a/\"}]\n", 25, "never hold"),
    (
        "policy: 1\ndependencies: {deny: [{purl: \"pkg:deb/a/x\", version: \">2, <1\"}]}\n",
        0,
        "never hold",
    ),
    (
        "policy: 1\ndependencies: {deny: [{purl: \"pkg:deb/a/x\", version: \"1.0\"}]}\n",
        0,
        "version",
    ),
    ("policy: 1\ndependencies: {deny: [{purl: \"deb/x\"}]}\n", 0, "purl"),
    ("policy: 1\ndependencies: {deny: [{purl: \"pkg:deb/gcc-12\"}]}\n", 0, "purl"),
    ("policy: 1\ndependencies: {deny: [{purl: \"pkg:deb/**\"}]}\n", 0, "purl"),
    ("policy: 1\ndependencies: {deny: [{purl: \"pkg:npm/**/x\"}]}\n", 0, "purl"),
    ("policy: 1\ndependencies: {allow: [{purl: \"pkg:deb/debian/\"}]}\n", 0, "purl"),
    ("policy: 1\ndependencies: {deny: [{purl: \"pkg:deb/a/x\", name: x}]}\n", 0, "dependency"),
    (
        "policy: 1\ndependencies: {allow: [{purl: \"pkg:a/x\"}], deny: [{purl: \"pkg:a/x\"}]}\n",
        0,
        "never hold",
    ),
    ("policy: 1\nparameters: {tarjet: x}\n", 23, "tarjet"),
    (
        "policy: 1\nbuild-type: https://kiln.build/buildtypes/run/v1\nparameters: {matrix: x}\n",
        0,
        "never hold",
    ),
    ("policy: 1\nrules: [{name: a, expr: \"1 +\"}]\n", 34, "expression"),
    ("policy: 1\nrules: [{name: a, expr: \"x\"}]\n", 34, "expression"),
    ("policy: 1\nrules: [{expr: \"true\"}]\n", 18, "no `name`"),
    (
        "policy: 1\nrequire: [{type: \"https://slsa.dev/verification_summary/v1\"}]\n",
        27,
        "`type` of a required attestation is not allowed",
    ),
    ("policy: 1\nname: !!str x\n", 0, "tag"),
    ("policy: 1\nname: &a x\n", 0, "anchor"),
    ("policy: 1\n---\npolicy: 1\n", 0, "second document"),
    ("policy: 1\nname: {<<: x}\n", 0, "merge"),
    ("[1]\n", 0, "wrong type"),
    ("policy: 1\nname: \"\n", 0, "YAML"),
];

/// What is not understood refuses the whole: it may be the rule that forbids.
#[test]
fn a_policy_with_any_fault_is_no_policy() {
    for (text, place, part) in FAULTS {
        let found = Policy::parse(text.as_bytes()).expect_err(text);
        let told: Vec<String> = found.iter().map(|problem| problem.wrong.to_string()).collect();
        assert!(told.iter().any(|told| told.contains(part)), "{text}: {told:?}");
        assert!(
            place == 0 || found.iter().any(|problem| problem.span.start == place),
            "{text}: {found:?}"
        );
    }
    for bytes in [&b"\xff"[..], b"policy: 1\0", &[b'a'; 300_000], "[".repeat(100_000).as_bytes()] {
        assert!(Policy::parse(bytes).is_err());
    }
    let found = Policy::parse(b"policy: 1\nlevle: 2\nnaem: x\n").unwrap_err();
    assert!(found.len() == 2 && matches!(found[0].wrong, Wrong::UnknownKey { .. }), "{found:?}");
}

#[test]
fn curated_policies_say_what_they_promise() {
    let good = bundle(&Forger::p256(1), &statement());
    for (name, refused_by) in [
        ("slsa-l1", &[][..]),
        ("slsa-l2", &[]),
        ("slsa-l3", &["level"]),
        ("ssdf", &["require https://spdx.dev/Document"]),
    ] {
        assert!(NAMES.contains(&name));
        assert_eq!(
            rules(ask(named(name).unwrap(), std::slice::from_ref(&good))),
            refused_by,
            "{name}"
        );
    }
}
