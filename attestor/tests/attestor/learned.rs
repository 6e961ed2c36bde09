//! What `kiln policy init` learns of a statement: it holds to what was seen, and nothing in a statement writes a rule.

use attestor::builder::LOCAL_BUILDER_ID;
use attestor::policy::{Accepted, Policy, Question, decide, learn, queried};
use attestor::trust::{Level, Trust};
use attestor::verify::{Artifact, Evidence, Expected, verify};
use model::Digest;
use serde_json::{Value, json};

use crate::forger::{Forger, statement};
use crate::policy::{ask, bundle, dependency, entry, parameter, rules, trust};
use crate::support::{ARTIFACT, NOW};

#[test]
fn a_learned_policy_accepts_what_it_saw_and_refuses_its_like() {
    let forger = Forger::p256(1);
    let good = bundle(&forger, &statement());
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let (evidence, trust) = (Evidence { bytes: good.as_bytes(), manifest: None }, trust());
    let expected = Expected { trust: &trust, key: None, identity: None, root: None, source: None };
    let verified = verify(&artifact, &evidence, &expected, NOW).unwrap();
    let policy = learn("hello", &verified, None);
    assert_eq!(policy, learn("hello", &verified, None));
    let accepted = ask(&policy, &[good])
        .unwrap_or_else(|refusal| panic!("{policy}\n{:?}", rules(Err(refusal))));
    assert!(matches!(accepted.accepted, Accepted::Provenance(_)));
    type Change = (fn(&mut Value), &'static str);
    let changes: [Change; 5] = [
        (|s| parameter(s, "source", "git+https://git.example.org/fork/hello"), "source.uri"),
        (|s| parameter(s, "target", "other"), "parameters.target"),
        (|s| parameter(s, "matrix", "x=y"), "parameters.matrix"),
        (|s| dependency(s, "pkg:deb/debian/new@1", "environment"), "dependencies.allow"),
        (|s| parameter(s, "waivers", "limits"), "waivers"),
    ];
    for (change, rule) in changes {
        let mut changed = statement();
        change(&mut changed);
        assert_eq!(rules(ask(&policy, &[bundle(&forger, &changed)])), [rule]);
    }
}

/// Who signed, up to which level, and what was held are learned as they were seen, not only what was built.
#[test]
fn a_learned_policy_holds_to_signer_level_reference_and_guarantees() {
    let believed = |forger: &Forger, level, made: &Value| {
        let trust = Trust::of(vec![entry(forger, LOCAL_BUILDER_ID, level)]);
        let text = bundle(forger, made);
        let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
        let evidence = Evidence { bytes: text.as_bytes(), manifest: None };
        let expected =
            Expected { trust: &trust, key: None, identity: None, root: None, source: None };
        (verify(&artifact, &evidence, &expected, NOW).unwrap(), trust, text)
    };
    let (one, two) = (Forger::p256(1), Forger::p256(2));
    let source = |tag: &str| format!("git+https://git.example.org/acme/hello@refs/tags/{tag}");
    let mut seen = statement();
    parameter(&mut seen, "source", &source("v1"));
    let learned = learn("hello", &believed(&one, Level::L2, &seen).0, None);
    let came = |forger: &Forger, level, change: &dyn Fn(&mut Value)| {
        let mut made = seen.clone();
        change(&mut made);
        let (_, trust, text) = believed(forger, level, &made);
        let policy = Policy::parse(learned.as_bytes()).unwrap();
        decide(&Question {
            artifact: Artifact { name: "hello", digest: Digest::of(ARTIFACT) },
            evidence: &[Evidence { bytes: text.as_bytes(), manifest: None }],
            expected: Expected {
                trust: &trust,
                key: None,
                identity: None,
                root: None,
                source: None,
            },
            policy: Some(&policy),
            summary: None,
            now: NOW,
        })
    };
    let same = |_: &mut Value| ();
    assert_eq!(came(&one, Level::L2, &same).unwrap().level, Level::L2);
    assert_eq!(came(&one, Level::L3, &same).unwrap().level, Level::L2, "no more than was seen");
    assert_eq!(rules(came(&one, Level::L1, &same)), ["builders.min-level"]);
    assert_eq!(rules(came(&two, Level::L2, &same)), ["builders"]);
    type Change<'a> = (&'a dyn Fn(&mut Value), &'static str);
    let changes: [Change<'_>; 5] = [
        (&|s| parameter(s, "source", &source("v2")), "source.ref"),
        (&|s| parameter(s, "source", "git+https://git.example.org/acme/hello"), "source.ref"),
        (&|s| parameter(s, "dirty", "true"), "source.dirty"),
        (
            &|s| {
                let run = &mut s["predicate"]["runDetails"];
                let held = run["kiln_enforced"].as_array_mut().unwrap();
                held.retain(|one| one["guarantee"] != "landlock");
            },
            "enforce",
        ),
        (&|s| s["predicate"]["runDetails"]["kiln_backend"] = json!("docker"), "backend"),
    ];
    for (change, rule) in changes {
        assert_eq!(rules(came(&one, Level::L2, change)), [rule]);
    }
    let wrapped = came(&one, Level::L2, &|s| {
        let build = &mut s["predicate"]["buildDefinition"];
        build["buildType"] = json!("https://kiln.build/buildtypes/run/v1");
        let asked = build["externalParameters"].as_object_mut().unwrap();
        let known = ["source", "commit", "dirty", "waivers", "target"];
        asked.retain(|name, _| known.contains(&name.as_str()));
        for name in ["command", "environment", "inputs", "outputs", "packages"] {
            asked.insert(name.to_owned(), json!(""));
        }
    });
    assert!(rules(wrapped).contains(&"build-type".to_owned()));
}

/// A name or package with an asterisk is learned as what it is, not as a pattern.
#[test]
fn what_is_learned_is_no_pattern() {
    let forger = Forger::p256(1);
    let learned_from = |name: &str, uri: &str| {
        let mut seen = statement();
        dependency(&mut seen, uri, "environment");
        other(&mut seen, name);
        let text = bundle(&forger, &seen);
        let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
        let (evidence, trust) = (Evidence { bytes: text.as_bytes(), manifest: None }, trust());
        let expected =
            Expected { trust: &trust, key: None, identity: None, root: None, source: None };
        let learned = learn("hello", &verify(&artifact, &evidence, &expected, NOW).unwrap(), None);
        assert!(ask(&learned, &[text]).is_ok(), "{learned}");
        learned
    };
    let refused = |learned: &str, name: &str, uri: &str| {
        let mut other_one = statement();
        dependency(&mut other_one, uri, "environment");
        other(&mut other_one, name);
        rules(ask(learned, &[bundle(&forger, &other_one)]))
    };
    let purl = "pkg:deb/debian/a%2A@1";
    let learned = learned_from("lib*", purl);
    assert!(refused(&learned, "lib*", purl).is_empty());
    assert_eq!(refused(&learned, "lib*", "pkg:deb/debian/ab@1"), ["dependencies.allow"]);
    assert_eq!(refused(&learned, "libx", purl), ["dependencies.allow"]);
    for odd in
        ["pkg:deb/debian/x@%zz", "pkg:deb/debian/%C3%A9%25%40%3F@1", "pkg:deb/a*b@2", "PKG:deb//x"]
    {
        learned_from("plain", odd);
    }
}

/// Adds an input of no package, with a digest that follows from its name.
fn other(statement: &mut Value, name: &str) {
    let digest = Digest::of(name.as_bytes()).hex();
    let list = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array_mut();
    list.unwrap().push(json!({"name": name, "uri": "https://a.example/x", "digest": {"sha256": digest}, "annotations": {"role": "environment"}}));
}

/// Words of the statement that would stand bare in the policy, and end a list and begin a rule.
#[test]
fn no_statement_writes_a_rule_of_the_policy_that_is_learned_from_it() {
    let forger = Forger::p256(1);
    let hostile = "source]\nmax-age: 9999d\nbackend: [docker";
    let changes: [fn(&mut Value, &str); 5] = [
        |s, text| dependency(s, "pkg:deb/debian/x@1", text),
        |s, text| parameter(s, "waivers", text),
        |s, text| parameter(s, "commit", text),
        |s, text| s["predicate"]["runDetails"]["kiln_backend"] = json!(text),
        |s, text| {
            let held = s["predicate"]["runDetails"]["kiln_enforced"].as_array_mut();
            held.unwrap().push(json!({"guarantee": text, "mechanism": "x", "detail": ""}));
        },
    ];
    for change in changes {
        let mut changed = statement();
        change(&mut changed, hostile);
        let trust = trust();
        let expected =
            Expected { trust: &trust, key: None, identity: None, root: None, source: None };
        let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
        let text = bundle(&forger, &changed);
        let evidence = Evidence { bytes: text.as_bytes(), manifest: None };
        let verified = verify(&artifact, &evidence, &expected, NOW).unwrap();
        let learned = learn("hello", &verified, None);
        let is_rule = |line: &str| line.contains("9999d") && !line.starts_with('#');
        assert!(!learned.lines().any(is_rule), "{learned}");
        let policy = Policy::parse(learned.as_bytes());
        assert!(policy.is_ok(), "{learned}\n{policy:?}");
    }
}

/// A27: others write what they like into a statement, and no word of ours repeats a password of it.
#[test]
fn no_rule_and_no_learned_policy_shows_the_password_of_a_statement() {
    let mut statement = statement();
    let secret = "https://user:s3cret@git.example.org/acme/hello";
    parameter(&mut statement, "source", secret);
    parameter(&mut statement, "overrides", secret);
    dependency(&mut statement, secret, "fetched");
    let signed = bundle(&Forger::p256(1), &statement);
    for (rules, blamed) in [
        ("source: {uri: https://git.example.org/other}", "source.uri"),
        (
            "parameters: {source: {any: true}, commit: {any: true}, target: hello, buildFile: kiln.yaml}",
            "parameters.overrides",
        ),
        ("dependencies: {allow: [{purl: \"pkg:deb/debian/*\"}]}", "dependencies.allow"),
        ("dependencies: {deny: [{name: \"*\", role: fetched}]}", "dependencies.deny"),
    ] {
        let refusal = ask(&format!("policy: 1\n{rules}\n"), std::slice::from_ref(&signed));
        let refusal = refusal.expect_err(blamed);
        let told: Vec<String> = refusal
            .reasons()
            .map(|reason| format!("{reason} {:?}", reason.compared()))
            .chain(refusal.checks.iter().map(|check| check.detail.clone()))
            .collect();
        assert!(told.iter().any(|text| text.contains(blamed)), "{told:?}");
        assert!(told.iter().any(|text| text.contains("git.example.org/acme/hello")), "{told:?}");
        assert!(!told.iter().any(|text| text.contains("s3cret")), "{told:?}");
    }
    let allowed = "policy: 1\nsource: {uri: \"https://user:s3cret@git.example.org/acme/hello\"}\n";
    let decision = ask(allowed, std::slice::from_ref(&signed)).unwrap();
    assert!(decision.held.iter().all(|held| !held.detail.contains("s3cret")));
    let trust = trust();
    let expected = Expected { trust: &trust, key: None, identity: None, root: None, source: None };
    let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
    let evidence = Evidence { bytes: signed.as_bytes(), manifest: None };
    let verified = verify(&artifact, &evidence, &expected, NOW).unwrap();
    let learned = learn("hello", &verified, None);
    assert!(learned.contains("git.example.org") && !learned.contains("s3cret"), "{learned}");
}

/// What a query or a fragment holds may be a token, which a policy would carry on.
#[test]
fn no_learned_policy_carries_the_query_of_an_address() {
    let forger = Forger::p256(1);
    let address = "git+https://git.example.org/acme/hello";
    let learned_from = |change: &dyn Fn(&mut Value)| {
        let mut seen = statement();
        change(&mut seen);
        let text = bundle(&forger, &seen);
        let artifact = Artifact { name: "hello", digest: Digest::of(ARTIFACT) };
        let (evidence, trust) = (Evidence { bytes: text.as_bytes(), manifest: None }, trust());
        let expected =
            Expected { trust: &trust, key: None, identity: None, root: None, source: None };
        let verified = verify(&artifact, &evidence, &expected, NOW).unwrap();
        let learned = learn("hello", &verified, None);
        assert!(!learned.contains("s3cret"), "{learned}");
        (queried(&verified), learned, text)
    };
    for secret in ["?token=s3cret", "#access_token=s3cret", "?token=s3cret@refs/heads/main"] {
        for name in ["source", "overrides", "commit"] {
            let full = format!("{address}{secret}");
            let (found, ..) = learned_from(&|seen| parameter(seen, name, &full));
            assert_eq!(found, Some((name.to_owned(), address.to_owned())), "{secret}");
        }
        // An input has a digest to be known by.
        let full = format!("https://dl.example.org/x{secret}");
        let (found, learned, text) = learned_from(&|seen| other(seen, &full));
        assert!(found.is_none() && learned.contains("- digest: "), "{learned}");
        assert!(ask(&learned, &[text]).is_ok(), "{learned}");
    }
    assert_eq!(learned_from(&|_| ()).0, None);
}
