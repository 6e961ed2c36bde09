//! From Record to statement: what is claimed, what is the same for every rebuilder, what is refused.

use std::collections::BTreeSet;

use attestor::Refused;
use attestor::builder::{BuilderConfig, LOCAL_BUILDER_ID, LOCAL_WAIVED_BUILDER_ID};
use attestor::claims::{self, Statement};
use attestor::predicate::dependencies::DependencyManifest;
use attestor::statement::{Derived, derive};
use model::Digest;
use model::isolation::Guarantee;
use model::record::{Asked, GitId, Nonce, Record, Role};
use model::relpath::{Ident, RelPath};
use serde_json::{Value, json};

use crate::support::{NOW, dependency, record, wrapped};

fn derived(record: &Record) -> Derived {
    derive(record, &BuilderConfig::local()).unwrap()
}

fn statement(record: &Record) -> Value {
    serde_json::from_slice(&derived(record).statement_bytes).unwrap()
}

#[test]
fn a_statement_has_the_members_that_verifiers_want_and_no_other() {
    let statement = statement(&record());
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement.as_object().unwrap().len(), 4);
    assert_eq!(
        statement["subject"],
        json!([{"name": "hello", "digest": {"sha256": Digest::of(b"hello, world\n").hex()}}])
    );
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], "https://kiln.build/buildtypes/build/v1");
    assert_eq!(
        definition["externalParameters"],
        json!({
            "source": "git+https://git.example.org/acme/hello", "commit": "a1".repeat(20),
            "buildFile": "kiln.yaml", "target": "hello", "matrix": "", "overrides": "",
            "waivers": "", "dirty": "false",
        })
    );
    let internal = definition["internalParameters"].as_object().unwrap();
    assert_eq!(
        internal.keys().collect::<Vec<_>>(),
        ["environments", "limits", "options", "platform", "sandboxProfile"]
    );
    assert_eq!(internal["options"], json!({"build.cpus": "2", "build.nested": "true"}));
    let source = &definition["resolvedDependencies"][0];
    assert_eq!(source["annotations"]["role"], "source");
    assert_eq!(source["annotations"]["digestOf"], "reapi-v2-directory");
    assert_eq!(source["digest"]["gitCommit"], "a1".repeat(20));
    assert_eq!(source["digest"]["gitTree"], "b2".repeat(20));
    let run = &statement["predicate"]["runDetails"];
    assert_eq!(run["builder"]["id"], LOCAL_BUILDER_ID);
    assert_eq!(run["builder"]["version"], json!({"kiln": "0.1.0"}));
    assert_eq!(run["metadata"]["startedOn"], "2026-11-22T11:25:00Z");
    assert_eq!(run["metadata"]["finishedOn"], "2026-11-22T11:25:48Z");
    assert_eq!(run["kiln_rebuild"], "host-bound");
    assert_eq!(run["kiln_enforced"].as_array().unwrap().len(), Guarantee::ALL.len());
    assert_eq!(run["kiln_steps"]["listed"][0]["id"], "build");
    assert_eq!(run["byproducts"][0]["name"], "build.log");
}

#[test]
fn the_same_record_gives_the_same_bytes_and_another_run_the_same_build_definition() {
    let first = record();
    assert_eq!(derived(&first), derived(&first));
    let mut second = record();
    second.order.nonce = Nonce::from_bytes([9; 16]);
    second.observed.nonce = second.order.nonce.clone();
    second.order.deadline = NOW * 2;
    second.observed.dependencies.reverse();
    let run = &mut second.observed.run;
    run.invocation = "another".into();
    run.started += 9;
    run.finished += 99;
    run.host.insert("kernel".into(), "6.12.0".into());
    run.claims.insert("CI_JOB_URL".into(), "https://ci.example.org/1".into());
    run.steps[0].cached_from = Some("an earlier run".into());
    run.steps[0].limits.insert("memory".into(), "2Gi".into());
    run.byproducts.retain(|one| one.name == "plan.json");
    let (one, two) = (raw_parts(&first), raw_parts(&second));
    assert_eq!(one.0, two.0, "subject and buildDefinition are the same bytes");
    assert_ne!(one.1, two.1);
}

/// Cuts the statement's bytes at `runDetails`.
fn raw_parts(record: &Record) -> (Vec<u8>, Vec<u8>) {
    let bytes = derived(record).statement_bytes;
    let at = String::from_utf8(bytes.clone()).unwrap().find("\"runDetails\"").unwrap();
    (bytes[..at].to_vec(), bytes[at..].to_vec())
}

#[test]
fn a_wrapped_command_has_a_build_type_and_parameters_of_its_own() {
    let definition = &statement(&wrapped())["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], "https://kiln.build/buildtypes/run/v1");
    assert_eq!(definition["externalParameters"]["command"], "[\"make\",\"-C\",\"src\"]");
    assert_eq!(definition["externalParameters"]["commit"], "none");
    assert!(definition["externalParameters"].as_object().unwrap().values().all(Value::is_string));
    assert_eq!(definition["externalParameters"].as_object().unwrap().len(), 10);
}

#[test]
fn the_examples_of_the_build_types_pages_are_what_is_written() {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/buildtypes");
    for (page, record) in [("build-v1.md", record()), ("run-v1.md", wrapped())] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        let example = text.split("```json\n").last().unwrap().split("```").next().unwrap();
        let example: Value = serde_json::from_str(example).unwrap();
        assert_eq!(example, statement(&record), "{page}");
        for name in example["predicate"]["buildDefinition"]["externalParameters"]
            .as_object()
            .unwrap()
            .keys()
        {
            assert!(text.contains(&format!("| `{name}` |")), "{page} does not explain {name}");
        }
    }
}

#[test]
fn a_waived_guarantee_is_in_the_build_definition_and_changes_the_builder() {
    let mut waived = record();
    waived.order.waivers = BTreeSet::from([Guarantee::Syscalls, Guarantee::Files]);
    waived.observed.waivers = waived.order.waivers.clone();
    let gone = |guarantee| guarantee == Guarantee::Syscalls;
    waived.observed.run.steps[0].enforced.mechanisms.retain(|one| !gone(one.guarantee));
    let statement = statement(&waived);
    let predicate = &statement["predicate"];
    assert_eq!(predicate["buildDefinition"]["externalParameters"]["waivers"], "files,syscalls");
    assert_eq!(predicate["runDetails"]["builder"]["id"], LOCAL_WAIVED_BUILDER_ID);
}

#[test]
fn what_held_in_one_step_only_is_not_called_enforced() {
    let mut record = record();
    let mut second = record.observed.run.steps[0].clone();
    second.enforced.mechanisms.retain(|one| one.guarantee != Guarantee::Landlock);
    second.enforced.mechanisms = second
        .enforced
        .mechanisms
        .into_iter()
        .map(|mut one| {
            if one.guarantee == Guarantee::Limits {
                one.detail = "other".into();
            }
            one
        })
        .collect();
    second.limits.insert("memory".into(), "1Gi".into());
    second.id = model::step::StepId::parse("check").unwrap();
    record.observed.run.steps.push(second);
    let run = &statement(&record)["predicate"]["runDetails"];
    let enforced = run["kiln_enforced"].as_array().unwrap();
    assert!(!enforced.iter().any(|one| one["guarantee"] == "landlock"));
    let limits = enforced.iter().find(|one| one["guarantee"] == "limits").unwrap();
    assert_eq!(limits["detail"], "");
    assert_eq!(run["kiln_limits"], json!({"build.memory": "4Gi", "check.memory": "1Gi"}));
}

#[test]
fn many_inputs_move_into_a_manifest_whole_and_by_digest() {
    let mut many = record();
    let fetched = |index| dependency(Role::Fetched, "cargo", &format!("crate-{index:04}"));
    many.observed.dependencies.extend((0..1000).map(fetched));
    many.observed.dependencies.push(dependency(Role::Lock, "file", "kiln.lock"));
    let derived = derived(&many);
    let DependencyManifest { name, bytes } = derived.dependency_manifest.unwrap();
    assert_eq!(name, "hello.dependencies.json");
    let listed = claims::read_manifest(&bytes).unwrap();
    assert_eq!(listed.len(), many.observed.dependencies.len());
    let statement = Statement::read(&derived.statement_bytes).unwrap();
    let names: Vec<&str> = statement.dependencies.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["src", "kiln.yaml", "kiln.lock", "hello.dependencies.json"]);
    assert_eq!(statement.manifest().unwrap().sha256(), Some(Digest::of(&bytes)));
    assert_eq!(statement.manifest().unwrap().annotation("entries"), Some("1005"));

    let mut large = record();
    for index in 0..200 {
        let mut one = fetched(index);
        one.uri = Some(format!("pkg:cargo/{}@1", "x".repeat(1500)));
        large.observed.dependencies.push(one);
    }
    assert!(self::derived(&large).dependency_manifest.is_some(), "over 256 KiB");
}

#[test]
fn every_input_is_in_the_statement() {
    let record = record();
    let statement = Statement::read(&derived(&record).statement_bytes).unwrap();
    for wanted in &record.observed.dependencies {
        let found = statement.dependencies.iter().find(|one| {
            one.name == wanted.name && one.annotation("role") == Some(wanted.role.as_str())
        });
        assert_eq!(found.unwrap().sha256(), Some(wanted.digest), "{}", wanted.name);
    }
    assert_eq!(statement.dependencies.len(), record.observed.dependencies.len());
}

type Build<'r> = (&'r mut RelPath, &'r mut String, &'r mut String, &'r mut String);

fn parts(asked: &mut Asked) -> Build<'_> {
    match asked {
        Asked::Build { build_file, target, matrix, overrides } => {
            (build_file, target, matrix, overrides)
        }
        Asked::Run { .. } => panic!("not wrapped"),
    }
}

fn build(record: &mut Record) -> Build<'_> {
    parts(&mut record.observed.asked)
}

fn ordered(record: &mut Record) -> Build<'_> {
    parts(&mut record.order.asked)
}

/// Gives the artifact another name, everywhere.
fn rename(record: &mut Record, name: &str) {
    *build(record).1 = name.into();
    *ordered(record).1 = name.into();
    record.observed.subject.name = name.into();
}

fn parameter(error: &Refused, name: &str) -> bool {
    matches!(error, Refused::Parameter { parameter, .. } if *parameter == name)
}

/// One way to spoil a good Record, and the refusal it must meet.
type SpoiledRow = (&'static str, fn(&mut Record), fn(&Refused) -> bool);
const SPOILED: [SpoiledRow; 45] = [
    ("version", |r| r.version = 2, |e| matches!(e, Refused::Version { .. })),
    ("nonce", |r| r.observed.nonce = Nonce::from_bytes([2; 16]), |e| matches!(e, Refused::Nonce)),
    ("source", |r| r.observed.source.uri.push('x'), |e| matches!(e, Refused::Source { .. })),
    (
        "commit",
        |r| r.observed.source.commit = GitId::parse(&"c".repeat(40)).ok(),
        |e| matches!(e, Refused::Source { .. }),
    ),
    ("no commit", |r| r.observed.source.commit = None, |e| matches!(e, Refused::Source { .. })),
    ("dirty", |r| r.observed.source.dirty = true, |e| matches!(e, Refused::Source { .. })),
    (
        "folder",
        |r| r.observed.source.subfolder = RelPath::new("x").unwrap(),
        |e| matches!(e, Refused::Source { .. }),
    ),
    (
        "late",
        |r| r.order.deadline = r.observed.run.finished - 1,
        |e| matches!(e, Refused::Late { late_seconds: 1 }),
    ),
    ("target", |r| build(r).1.push('x'), |e| parameter(e, "target")),
    ("target of the order", |r| ordered(r).1.push('x'), |e| parameter(e, "target")),
    ("matrix", |r| build(r).2.push_str("a=b"), |e| parameter(e, "matrix")),
    ("overrides", |r| build(r).3.push_str("a=b"), |e| parameter(e, "overrides")),
    (
        "build file",
        |r| *build(r).0 = RelPath::new("other.yaml").unwrap(),
        |e| parameter(e, "build file"),
    ),
    ("another kind", |r| r.observed.asked = wrapped().observed.asked, |e| parameter(e, "kind")),
    (
        "waived unasked",
        |r| {
            r.observed.waivers.insert(Guarantee::Files);
        },
        |e| parameter(e, "waivers"),
    ),
    (
        "asked and not waived",
        |r| {
            r.order.waivers.insert(Guarantee::Files);
        },
        |e| parameter(e, "waivers"),
    ),
    ("another file", |r| r.observed.subject.name = "other".into(), |e| parameter(e, "target")),
    ("hidden letters", |r| rename(r, "hel\u{202e}lo"), |e| matches!(e, Refused::OddName { .. })),
    ("control bytes", |r| rename(r, "hello\u{1b}[2J"), |e| matches!(e, Refused::OddName { .. })),
    ("two lines", |r| rename(r, "hello\nother"), |e| matches!(e, Refused::OddName { .. })),
    ("a space at the end", |r| rename(r, "hello "), |e| matches!(e, Refused::OddName { .. })),
    ("sums", |r| rename(r, "SHA256SUMS"), |e| matches!(e, Refused::OddName { .. })),
    ("no plan", |r| r.observed.run.byproducts.truncate(1), |e| matches!(e, Refused::NoPlan)),
    (
        "two plans",
        |r| {
            let plan = r.observed.run.byproducts[1].clone();
            r.observed.run.byproducts.push(plan);
        },
        |e| matches!(e, Refused::NoPlan),
    ),
    (
        "a step twice",
        |r| {
            let step = r.observed.run.steps[0].clone();
            r.observed.run.steps.push(step);
        },
        |e| matches!(e, Refused::SameStep { .. }),
    ),
    (
        "a limit of no step",
        |r| {
            r.observed.asked_limits.insert("other.memory".into(), "1Gi".into());
        },
        |e| matches!(e, Refused::UnknownStep { .. }),
    ),
    (
        "another log",
        |r| r.observed.run.byproducts[0].digest = Digest::of(b"x"),
        |e| matches!(e, Refused::OtherLog { .. }),
    ),
    (
        "a step before its run",
        |r| r.observed.run.steps[0].started = NOW - 301,
        |e| matches!(e, Refused::StepTimes { .. }),
    ),
    (
        "a step longer than its run",
        |r| r.observed.run.steps[0].wall_ms = 1000 * 400,
        |e| matches!(e, Refused::StepTimes { .. }),
    ),
    ("times", |r| r.observed.run.finished = NOW - 1, |e| matches!(e, Refused::Times)),
    (
        "network",
        |r| {
            r.order.waivers.insert(Guarantee::Network);
            r.observed.waivers.insert(Guarantee::Network);
        },
        |e| matches!(e, Refused::NetworkWaived),
    ),
    (
        "no sandbox",
        |r| r.observed.run.steps[0].enforced = Default::default(),
        |e| matches!(e, Refused::NotEnforced { .. }),
    ),
    (
        "network on",
        |r| {
            r.observed.run.steps[0]
                .enforced
                .mechanisms
                .retain(|m| m.guarantee != Guarantee::Network)
        },
        |e| matches!(e, Refused::NotEnforced { guarantee: Guarantee::Network, .. }),
    ),
    ("no step", |r| r.observed.run.steps.clear(), |e| matches!(e, Refused::NoStep)),
    (
        "failed",
        |r| r.observed.run.steps[0].exit_code = 1,
        |e| matches!(e, Refused::StepFailed { .. }),
    ),
    (
        "backend",
        |r| r.observed.run.backend = "none".into(),
        |e| matches!(e, Refused::Backend { .. }),
    ),
    ("no name", |r| rename(r, ""), |e| matches!(e, Refused::SubjectName { .. })),
    ("path", |r| rename(r, "../hello"), |e| matches!(e, Refused::SubjectName { .. })),
    (
        "no build file",
        |r| r.observed.dependencies.retain(|d| d.role != Role::BuildFile),
        |e| matches!(e, Refused::NoBuildFile),
    ),
    (
        "same name",
        |r| r.observed.dependencies.push(dependency(Role::Environment, "host", "make")),
        |e| matches!(e, Refused::SameName { .. }),
    ),
    (
        "secret in source",
        |r| {
            r.order.source.uri = "git+https://u:p@h/r".into();
            r.observed.source.uri = r.order.source.uri.clone();
        },
        |e| matches!(e, Refused::Address { .. }),
    ),
    (
        "letters that nobody sees in the source",
        |r| {
            r.order.source.uri = "git+https://h/a\u{202e}r".into();
            r.observed.source.uri = r.order.source.uri.clone();
        },
        |e| matches!(e, Refused::Address { .. }),
    ),
    (
        "an escape sequence in a source's own address",
        |r| {
            let mut sources = r.observed.dependencies.iter_mut();
            let source = sources.find(|one| one.role == Role::Source).unwrap();
            source.uri = Some("git+https://h/a\x1b[31mr".into());
        },
        |e| matches!(e, Refused::Address { .. }),
    ),
    (
        "secret in input",
        |r| r.observed.dependencies[0].uri = Some("https://token@h/x".into()),
        |e| matches!(e, Refused::Address { .. } | Refused::Credential { .. }),
    ),
    (
        "secret in claim",
        |r| {
            r.observed.run.claims.insert("CI_REPOSITORY_URL".into(), "https://u:p@h/r".into());
        },
        |e| matches!(e, Refused::Credential { .. }),
    ),
];

/// S-J10, S-J06, S-J05: each row spoils a good Record in one way.
#[test]
fn a_record_that_contradicts_its_order_or_itself_is_refused() {
    for (name, spoil, expected) in SPOILED {
        let mut record = record();
        spoil(&mut record);
        let error = derive(&record, &BuilderConfig::local()).unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
        assert!(!error.to_string().contains("u:p@"), "{name} repeats the secret");
    }
}

/// S-J10, for a wrapped command: each parameter of its own.
#[test]
fn a_command_that_was_not_the_ordered_one_is_refused() {
    for at in 0..6 {
        let mut record = wrapped();
        let Asked::Run { command, inputs, outputs, packages, environment, target } =
            &mut record.observed.asked
        else {
            panic!()
        };
        let all = [command, inputs, outputs, packages, environment, target];
        all.into_iter().nth(at).unwrap().push('x');
        let error = derive(&record, &BuilderConfig::local()).unwrap_err();
        assert!(matches!(error, Refused::Parameter { .. }), "{at}: {error:?}");
    }
}

/// A step that was found ran at any time before; one that ran, ran within its run.
#[test]
fn a_found_step_may_be_older_than_its_run_but_not_younger() {
    let mut record = record();
    let step = &mut record.observed.run.steps[0];
    step.cached_from = Some("an earlier run".into());
    step.started = NOW - 1_000_000;
    derived(&record);
    for started in [-1, NOW + 1_000_000] {
        record.observed.run.steps[0].started = started;
        let error = derive(&record, &BuilderConfig::local()).unwrap_err();
        assert!(matches!(error, Refused::StepTimes { .. }), "{error:?}");
    }
}

#[test]
fn a_times_of_no_calendar_is_refused_and_not_a_panic() {
    let mut record = record();
    record.observed.run.finished = i64::MAX;
    let error = derive(&record, &BuilderConfig::local()).unwrap_err();
    assert!(matches!(error, Refused::Calendar { .. }), "{error:?}");
}

#[test]
fn a_folder_below_the_repository_is_part_of_the_build_files_path() {
    let mut below = record();
    below.order.source.subfolder = RelPath::new("tools/hello").unwrap();
    below.observed.source.subfolder = below.order.source.subfolder.clone();
    let definition = &statement(&below)["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["buildFile"], "tools/hello/kiln.yaml");
    assert_eq!(definition["resolvedDependencies"][0]["annotations"]["subfolder"], "tools/hello");
}

#[test]
fn a_thousand_steps_are_counted_and_not_all_listed() {
    let mut record = record();
    let step = record.observed.run.steps[0].clone();
    let one = |number: u32| {
        let mut one = step.clone();
        let choice = (Ident::new("number").unwrap(), number.to_string());
        one.id.choice.extend((number > 0).then_some(choice));
        one
    };
    record.observed.run.steps = (0..1000).map(one).collect();
    let steps = &statement(&record)["predicate"]["runDetails"]["kiln_steps"];
    assert_eq!(steps["total"], 1000);
    assert_eq!(steps["listed"].as_array().unwrap().len(), 256);
}
