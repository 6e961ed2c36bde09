//! What is stated besides the provenance says what was seen, stands for nothing else, and is refused
//! where nothing is known.

use std::fs;

use serde_json::Value;

use crate::support::{Who, World, build_file, unbase64};

/// A step that wants to go out in vain and passes, and two tests, one of whose report tells of a failure.
fn project(who: Who) -> World {
    let world = World::warm(who);
    world.write("src/input", "the input\n");
    let script = "cp input out\npython3 -c 'import socket\ns = socket.socket()\ns.settimeout(1)\n\
                  print(s.connect_ex((\"192.0.2.1\", 443)))'";
    let file = build_file(script, "{out: out}", "[{file: attack.out}]");
    let tests = "tests:\n  - {name: unit, from: {attack.out: it}, run: 'test -s it'}\n  - {name: odd, run: \
                 'cp report r.xml', reports: {junit: r.xml}}\n";
    let failing =
        "<testsuite><testcase name='good'/><testcase name='bad'><failure/></testcase></testsuite>";
    world.write("src/report", failing);
    world.write("kiln.yaml", &format!("{file}{tests}"));
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.key();
    world
}

const ALL: &str = "test-result,scai,link,runtime-trace";

/// Returns the statements of a line file, in its order.
fn statements(world: &World) -> Vec<Value> {
    let lines = world.read("kiln-out/out.intoto.jsonl");
    let one = |line: &str| {
        let envelope: Value = serde_json::from_str(line).expect("a JSON line");
        let payload = unbase64(envelope["payload"].as_str().expect("a payload"));
        serde_json::from_slice(&payload).expect("a statement")
    };
    lines.lines().map(one).collect()
}

#[test]
fn further_statements_say_what_was_seen() {
    for who in Who::all() {
        let world = project(who);
        world.kiln(&["build", "--attest", ALL]).exits(0);
        let all = statements(&world);
        let digest = model::Digest::of(b"the input\n").hex();
        let types: Vec<&str> =
            all.iter().map(|one| one["predicateType"].as_str().expect("a type")).collect();
        assert_eq!(
            types,
            [
                "https://slsa.dev/provenance/v1",
                "https://in-toto.io/attestation/test-result/v0.1",
                "https://in-toto.io/attestation/scai/v0.3",
                "https://in-toto.io/attestation/link/v0.3",
                "https://in-toto.io/attestation/runtime-trace/v0.1",
            ]
        );
        for one in &all {
            let subject = serde_json::json!([{"name": "out", "digest": {"sha256": digest}}]);
            assert_eq!(one["subject"], subject, "{one}");
        }
        let result = &all[1]["predicate"];
        assert_eq!(result["result"], "WARNED", "{result}");
        assert_eq!(result["passedTests"], serde_json::json!(["unit"]));
        assert_eq!(result["warnedTests"], serde_json::json!(["odd", "odd: bad"]));
        let attributes = all[2]["predicate"]["attributes"].as_array().expect("a list");
        let off = attributes.iter().find(|one| one["attribute"] == "KILN_NETWORK_OFF");
        let mechanism = &off.expect("the network is off")["conditions"]["mechanisms"][0];
        assert_eq!(mechanism["mechanism"], "net-namespace");
        assert_eq!(all[3]["predicate"]["command"], serde_json::json!(["kiln", "build", "out"]));
        let network = &all[4]["predicate"]["monitorLog"]["network"];
        assert_eq!(network.as_array().map(Vec::len), Some(1), "{network}");
        assert_eq!(network[0]["step"], "attack");
        let place = network[0]["attempted"].as_str().expect("a text");
        assert!(place.starts_with("192.0.2.1:443"), "{place}");
    }
}

#[test]
fn further_statements_stand_for_no_provenance_and_hurt_none() {
    let world = project(Who::all()[0]);
    world.kiln(&["build", "--attest", ALL]).exits(0);
    world.kiln(&["verify", "kiln-out/out"]).exits(0);
    let lines = world.read("kiln-out/out.intoto.jsonl");
    let turned: Vec<&str> = lines.lines().rev().collect();
    world.write("turned.intoto.jsonl", &turned.join("\n"));
    world.kiln(&["verify", "kiln-out/out", "--bundle", "kiln-out/out.intoto.jsonl"]).exits(0);
    world.kiln(&["verify", "kiln-out/out", "--bundle", "turned.intoto.jsonl"]).exits(0);
    world.write("without.intoto.jsonl", &turned[..4].join("\n"));
    world.kiln(&["verify", "kiln-out/out", "--bundle", "without.intoto.jsonl"]).exits(4);
    for one in ALL.split(',') {
        let bundle = format!("kiln-out/out.{one}.sigstore.json");
        let refused = world.kiln(&["verify", "kiln-out/out", "--bundle", &bundle]).exits(4);
        assert!(refused.says("predicateType"), "{}{}", refused.stdout, refused.stderr);
    }
    let told = world.kiln(&["inspect", "kiln-out/out.intoto.jsonl"]).exits(0);
    for words in
        ["result       WARNED", "warned       odd: bad", "KILN_NETWORK_OFF", "attempts     1"]
    {
        assert!(told.says(words), "{words}: {}", told.stdout);
    }
    world.write("forged.json", "{}");
    for kind in ["test-result/v0.1", "scai/v0.3", "link/v0.3", "runtime-trace/v0.1"] {
        let kind = format!("https://in-toto.io/attestation/{kind}");
        let by_hand = ["attest", "kiln-out/out", "--predicate", "forged.json", "--type", &kind];
        assert!(world.kiln(&by_hand).code != 0, "{kind}");
    }
}

#[test]
fn further_statements_are_made_once_and_follow_the_bytes() {
    let world = project(Who::all()[0]);
    world.kiln(&["build", "--sign"]).exits(0);
    let bundle = "kiln-out/out.link.sigstore.json";
    let there = |at: &str| fs::symlink_metadata(world.path(&format!("project/{at}"))).is_ok();
    assert!(!there(bundle));
    world.kiln(&["build", "--attest", "link"]).exits(0);
    let (first, lines) = (world.read(bundle), world.read("kiln-out/out.intoto.jsonl"));
    assert_eq!(lines.lines().count(), 2);
    // A build that changes nothing signs nothing, and one that asks for less takes nothing away.
    for arguments in [&["build", "--attest", "link"][..], &["build", "--sign"]] {
        world.kiln(arguments).exits(0);
        assert_eq!(
            (world.read(bundle), world.read("kiln-out/out.intoto.jsonl")),
            (first.clone(), lines.clone())
        );
    }
    // What was changed there is made anew.
    for (at, bytes) in
        [(bundle, "{}"), ("kiln-out/out.intoto.jsonl", lines.lines().next().expect("a line"))]
    {
        world.write(at, bytes);
        world.kiln(&["build", "--attest", "link"]).exits(0);
        assert_eq!(world.read("kiln-out/out.intoto.jsonl").lines().count(), 2, "{at}");
        assert!(world.read(bundle).contains("dsseEnvelope"), "{at}");
    }
    // New bytes: the link of the old ones goes, a file of that name that is somebody else's stays.
    let own = "kiln-out/out.scai.sigstore.json";
    world.write(own, "mine");
    world.write("src/input", "other input\n");
    world.commit();
    world.kiln(&["build", "--sign"]).exits(0);
    assert!(!there(bundle));
    assert_eq!(world.read(own), "mine");
}

#[test]
fn a_classic_link_goes_with_the_bytes_that_it_is_about() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", "the input\n");
    world.write("kiln.yaml", &build_file("cp input out", "{out: out}", "[{file: attack.out}]"));
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.kiln(&["key", "generate", "--algorithm", "ed25519"]).exits(0);
    world.kiln(&["build", "--attest", "in-toto-link"]).exits(0);
    world.write("kiln-out/out.0123abcd.link", "mine");
    let links = || {
        let all = fs::read_dir(world.path("project/kiln-out")).expect("a folder");
        let names =
            all.map(|one| one.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".link")).collect::<Vec<_>>()
    };
    assert_eq!(links().len(), 2, "control: {:?}", links());
    world.write("src/input", "other input\n");
    world.commit();
    world.kiln(&["build", "--sign"]).exits(0);
    assert_eq!(links(), ["out.0123abcd.link"]);
}

#[test]
fn what_a_build_can_never_say_is_refused_before_it_runs() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", "the input\n");
    world.write("kiln.yaml", &build_file("cp input out", "{out: out}", "[{file: attack.out}]"));
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.key();
    for (arguments, words) in [
        (&["build", "--attest", "in-toto-link"][..], "needs an Ed25519 key"),
        (&["build", "--attest", "test-result"][..], "no test"),
        (&["build", "--attest", "runtime-trace", "--backend", "confined"], "does not hear"),
        (&["build", "--attest", "link", "--no-sign"], "cannot stand beside"),
    ] {
        let refused = world.kiln(arguments).exits(2);
        assert!(refused.says(words), "{words}: {}", refused.stderr);
        assert!(!world.path("project/kiln-out").exists(), "{words}");
    }
}

/// Evidence stands only where no step ran, and nobody then calls it this build's.
#[test]
fn what_ran_is_signed_anew_and_what_stands_is_said_to_stand() {
    let world = project(Who::all()[0]);
    let file = world.read("kiln.yaml");
    let two = "[{file: attack.out}, {file: attack.out, name: second}]";
    world.write("kiln.yaml", &file.replace("[{file: attack.out}]", two));
    world.commit();
    let build = |more: &[&str]| {
        let ran = world.kiln(&[&["--json", "build", "--sign"], more].concat()).exits(0);
        let told: Value = serde_json::from_str(&ran.stdout).expect("one document");
        let of = |index: usize, key: &str| told["artifacts"][index][key].clone();
        assert!(of(0, "signed_by").is_string() && of(0, "signed_by") == of(1, "signed_by"));
        [of(0, "signed_before"), of(1, "signed_before")]
    };
    let about = |name: &str| {
        let statement = world.statement(name);
        statement["predicate"]["runDetails"]["metadata"]["invocationId"].clone()
    };
    assert_eq!(build(&[]), [false, false]);
    let first = about("out");
    assert_eq!(build(&[]), [true, true]);
    assert_eq!((about("out"), about("second")), (first.clone(), first.clone()));
    // The bytes are the same, and the run is another.
    assert_eq!(build(&["--no-cache"]), [false, false]);
    let second = about("out");
    assert!(second != first && about("second") == second, "{first} {second}");
    let shown = world.kiln(&["show"]).exits(0).stdout;
    assert!(shown.contains(second.as_str().expect("text")), "{shown}");
    assert!(!shown.contains("for an earlier build"), "{shown}");
    // One of the two alone: the other's statement is about the build before.
    fs::remove_file(world.path("project/kiln-out/second.sigstore.json")).expect("it is there");
    assert_eq!(build(&[]), [true, false]);
    assert!(about("out") == second && about("second") != second);
    let shown = world.kiln(&["show"]).exits(0).stdout;
    let signed: Vec<&str> = shown.lines().filter(|line| line.contains("signed by")).collect();
    assert_eq!(signed.len(), 2, "{shown}");
    assert!(
        signed[0].contains("→ out") && signed[0].ends_with(", for an earlier build"),
        "{shown}"
    );
    assert!(!signed[1].contains("earlier"), "{shown}");
    let told = world.kiln(&["build", "--sign"]).exits(0);
    assert_eq!(told.stderr.matches("   signed before\n").count(), 2, "{}", told.stderr);
}
