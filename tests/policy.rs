//! Who is believed and what is expected: `kiln trust`, `kiln policy` and `kiln verify --policy`, as people
//! use them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Ran, Who, World, build_file};

const BUILDER: &str = "https://kiln.build/builders/local/v1";
const ADDRESS: &str = "https://dl.example.org/out";

/// Somebody else, who has the file, its evidence and the builder's public key.
fn receiver(builder: &World) -> World {
    let world = World::cold(builder.who);
    for name in ["out", "out.sigstore.json", "out.intoto.jsonl"] {
        world.write(name, &builder.read(&format!("kiln-out/{name}")));
    }
    world.write("builder.pem", &builder.kiln(&["key", "export"]).exits(0).stdout);
    world
}

fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

#[test]
fn a_receiver_trusts_revokes_and_forgets() {
    for who in Who::all() {
        let builder = World::signed(who);
        let world = receiver(&builder);
        world.kiln(&["verify", "out"]).exits(4);
        let pin = ["trust", "pin", "out", "--key", "builder.pem"];
        let shown = world.kiln(&pin).exits(0);
        assert!(shown.says("would believe builder") && shown.says(BUILDER), "{}", shown.stdout);
        world.kiln(&["verify", "out"]).exits(4);
        world.kiln(&[&pin[..], &["--yes"]].concat()).exits(0);
        world.kiln(&["verify", "out"]).exits(0);
        world.kiln(&[&pin[..], &["--yes"]].concat()).exits(2);
        // Comments of the user stay through every change.
        let trust = world.path("config/kiln/trust.toml");
        let text = fs::read_to_string(&trust).expect("it was written");
        fs::write(&trust, format!("# by hand\n\n{text}\n# the end\n")).expect("ours");
        let add = ["trust", "add", "builder.pem", "--builder-id", "https://ci.example.org/v1"];
        world
            .kiln(
                &[
                    &add[..],
                    &["--name", "ci", "--max-level", "2", "--until", "2036-01-01T00:00:00Z"],
                ]
                .concat(),
            )
            .exits(0);
        let listed = document(&world.kiln(&["--json", "trust", "list"]).exits(0));
        assert_eq!(listed["entries"][1]["max_level"], 2);
        assert_eq!(listed["entries"][1]["until"], "2036-01-01T00:00:00Z");
        let mode = fs::metadata(&trust).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        world.kiln(&["trust", "remove", "builder", "--revoked", "now"]).exits(0);
        let refused = world.kiln(&["verify", "out"]).exits(4);
        assert!(refused.says("KILN-0802") && refused.says("revoked"), "{}", refused.stderr);
        // However it is given, a key that is known to be bad stays bad.
        world.kiln(&["verify", "out", "--key", "builder.pem"]).exits(4);
        let again = ["trust", "add", "builder.pem", "--builder-id", BUILDER];
        assert!(world.kiln(&again).exits(2).says("revoked"));
        // Nor is it believed for another builder or as a verifier, by whichever road.
        for (what, id) in [
            ("--builder-id", "https://b2.example.org/v1"),
            ("--verifier-id", "https://v.example.org/v1"),
        ] {
            let add = ["trust", "add", "builder.pem", what, id, "--max-level", "3"];
            let refused = world.kiln(&add).exits(2);
            assert!(refused.says("was revoked") && refused.says("kiln trust remove"));
        }
        world.kiln(&["trust", "remove", "nobody"]).exits(2);
        let gone = world.kiln(&["trust", "remove", "ci"]).exits(0);
        assert!(gone.says("--revoked now"), "{}", gone.stdout);
        let text = fs::read_to_string(&trust).expect("it is there");
        assert!(
            text.contains("# by hand")
                && text.contains("# the end")
                && !text.contains("ci.example"),
            "{text}"
        );
    }
}

/// Trust never comes from the bundle: a key that did not sign learns nothing.
#[test]
fn another_key_pins_nothing() {
    let builder = World::signed(Who::all()[0]);
    let world = receiver(&builder);
    world.key();
    let own = world.kiln(&["key", "export"]).exits(0).stdout;
    world.write("own.pem", &own);
    let refused = world.kiln(&["trust", "pin", "out", "--key", "own.pem", "--yes"]).exits(4);
    assert!(refused.says("KILN-0802") || refused.says("KILN-0807"), "{}", refused.stderr);
    world.kiln(&["trust", "pin", "out", "--yes"]).exits(2);
    world.kiln(&["verify", "out"]).exits(4);
}

#[test]
fn a_trust_file_that_others_can_write_is_not_believed() {
    for who in Who::all() {
        let builder = World::signed(who);
        builder.kiln(&["verify", "kiln-out/out"]).exits(0);
        let trust = builder.path("config/kiln/trust.toml");
        for (path, mode) in
            [(&trust, 0o620), (&trust, 0o602), (&builder.path("config/kiln"), 0o777)]
        {
            let before = fs::metadata(path).expect("it is there").permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
            let refused = builder.kiln(&["verify", "kiln-out/out"]).exits(2);
            assert!(refused.says("others can write"), "{}", refused.stderr);
            fs::set_permissions(path, before).expect("ours");
        }
        builder.kiln(&["verify", "kiln-out/out"]).exits(0);
        // Nor is the root by which certificates are judged.
        let root = builder.path("config/kiln/trusted_root.json");
        builder.write(
            "root.json",
            include_str!("../attestor/tests/vectors/keyless/trusted_root.json"),
        );
        fs::rename(builder.path("project/root.json"), &root).expect("ours");
        let named =
            ["verify", "kiln-out/out", "--identity", "a@b.example", "--issuer", "https://i"];
        builder.kiln(&named).exits(4);
        for (path, mode) in [(&root, 0o666), (&builder.path("config/kiln"), 0o777)] {
            let before = fs::metadata(path).expect("it is there").permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
            let refused = builder.kiln(&named).exits(2);
            assert!(refused.says("others can write"), "{}", refused.stderr);
            fs::set_permissions(path, before).expect("ours");
        }
        // What belongs to another is theirs to open.
        for path in [&trust, &root, &builder.path("config/kiln")] {
            if who != Who::Root {
                continue;
            }
            chown(path, Some(Who::User.uid()), None).expect("we are root");
            let refused = builder.kiln(&named).exits(2);
            assert!(refused.says("others can write"), "{}", refused.stderr);
            assert!(refused.says("chown") && !refused.says("chmod"), "{}", refused.stderr);
            chown(path, Some(Who::Root.uid()), None).expect("we are root");
        }
        // Where a link leads to counts like what is there.
        for (file, asked) in [(&trust, &named[..2]), (&root, &named[..])] {
            let (open, name) = (builder.path("project/open"), file.file_name().expect("a name"));
            fs::create_dir_all(&open).expect("ours");
            fs::rename(file, open.join(name)).expect("ours");
            std::os::unix::fs::symlink(open.join(name), file).expect("ours");
            fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("ours");
            let refused = builder.kiln(asked).exits(2);
            assert!(refused.says("others can write"), "{}", refused.stderr);
            fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("ours");
            assert_ne!(builder.kiln(asked).code, 2);
        }
    }
}

/// Who may write a folder on the way may put another in the place of the next one.
#[test]
fn a_trust_file_below_a_folder_that_others_can_write_is_not_believed() {
    for who in Who::all() {
        let builder = World::signed(who);
        let verify = ["verify", "kiln-out/out"];
        let (home, above) = (builder.path("home"), builder.path("home/above"));
        fs::create_dir(&above).expect("ours");
        fs::rename(builder.path("config"), above.join("config")).expect("ours");
        who.give(&home);
        std::os::unix::fs::symlink(&above, builder.path("by-link")).expect("ours");
        let config = |at: &Path| at.join("config").to_str().expect("UTF-8").to_owned();
        let ways = [config(&above), config(&builder.path("by-link"))];
        let told =
            |way: &str, command: &[&str]| builder.kiln_with(command, &[("XDG_CONFIG_HOME", way)]);
        for way in &ways {
            told(way, &verify).exits(0);
        }
        builder.write("key.pem", &told(&ways[0], &["key", "export"]).exits(0).stdout);
        for (folder, mode) in [(&above, 0o777), (&above, 0o775), (&home, 0o777)] {
            let before = fs::metadata(folder).expect("it is there").permissions();
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("ours");
            for way in &ways {
                for command in [&verify[..], &["trust", "list"]] {
                    let refused = told(way, command).exits(2);
                    let help = format!("chmod go-w {}\n", folder.display());
                    let flat = refused.stderr.replace("\n  ", " ");
                    assert!(
                        refused.says("KILN-0105") && flat.contains(&help),
                        "{}",
                        refused.stderr
                    );
                }
            }
            // Nor is one begun there, with the words that somebody is believed.
            let fresh = config(&folder.join("fresh"));
            let add = ["trust", "add", "key.pem", "--builder-id", "https://b.example/v1"];
            assert!(told(&fresh, &add).exits(2).says("others can write"));
            assert!(!Path::new(&fresh).join("kiln/trust.toml").exists());
            // Sticky, as the folder is in which these tests run: nobody moves what is another's.
            fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o1000)).expect("ours");
            told(&ways[0], &verify).exits(0);
            fs::set_permissions(folder, before).expect("ours");
        }
        if who == Who::Root {
            // A home that is mounted into a container.
            chown(&above, Some(Who::User.uid()), None).expect("we are root");
            told(&ways[0], &verify).exits(0);
        } else if Who::all().contains(&Who::Root) {
            chown(&above, Some(Who::User.uid() + 1), None).expect("we are root");
            assert!(told(&ways[0], &verify).exits(2).says("sudo chown"));
        }
    }
}

/// A link to nothing is no absent file: what it led to may revoke. And a link stays one when kiln writes.
#[test]
fn a_trust_file_that_is_a_link_is_followed_or_refused() {
    let builder = World::signed(Who::all()[0]);
    let trust = builder.path("config/kiln/trust.toml");
    builder.write("key.pem", &builder.kiln(&["key", "export"]).exits(0).stdout);
    let kept = builder.path("project/kept.toml");
    fs::rename(&trust, &kept).expect("ours");
    std::os::unix::fs::symlink(&kept, &trust).expect("ours");
    builder.kiln(&["verify", "kiln-out/out"]).exits(0);
    let name = builder.kiln(&["key", "show"]).exits(0).stdout;
    let name = name.lines().next().expect("a line");
    builder.kiln(&["trust", "remove", name, "--revoked", "now"]).exits(0);
    assert!(fs::symlink_metadata(&trust).expect("it is there").is_symlink());
    assert!(fs::read_to_string(&kept).expect("it is there").contains("revoked = "));
    let by_key = ["verify", "kiln-out/out", "--key", "key.pem"];
    assert!(builder.kiln(&by_key).exits(4).says("revoked"));
    fs::rename(&kept, builder.path("project/gone.toml")).expect("ours");
    for command in [&by_key[..], &["trust", "list"], &["verify", "kiln-out/out"]] {
        let refused = builder.kiln(command).exits(2);
        let words = refused.says("KILN-0105") && refused.says("a link to what is not there");
        assert!(words, "{}", refused.stderr);
    }
    fs::remove_file(&trust).expect("ours");
    builder.kiln(&by_key).exits(0);
}

/// A layout stands in provenance's place: what is about provenance is not passed over.
#[test]
fn what_a_layout_does_not_look_at_is_refused_beside_it() {
    let world = World::cold(Who::all()[0]);
    let layout = ["verify", "out", "--layout", "root.layout", "--layout-key", "key.pem"];
    for more in [&["--resource-uri", ADDRESS][..], &["--trusted-root", "root.json"], &["--explain"]]
    {
        let refused = world.kiln(&[&layout[..], more].concat()).exits(2);
        assert!(refused.says("cannot stand beside"), "{}", refused.stderr);
    }
    assert!(!world.kiln(&layout).says("cannot stand beside"));
}

#[test]
fn rotation_keeps_old_artifacts_verifiable() {
    for who in Who::all() {
        let world = World::signed(who);
        for name in ["out", "out.sigstore.json"] {
            world.write(&format!("old/{name}"), &world.read(&format!("kiln-out/{name}")));
        }
        let old = world.kiln(&["key", "show"]).exits(0).stdout;
        world.kiln(&["key", "rotate"]).exits(0);
        assert_ne!(world.kiln(&["key", "show"]).exits(0).stdout, old);
        world.kiln(&["verify", "old/out"]).exits(0);
        world.commit();
        world.kiln(&["build", "--sign"]).exits(0);
        world.kiln(&["verify", "kiln-out/out", "old/out"]).exits(0);
        assert_ne!(world.read("kiln-out/out.sigstore.json"), world.read("old/out.sigstore.json"));
        // Who gives up the old key because it leaked revokes it; the new one stays.
        let fingerprint = old.lines().next().expect("a line");
        world.kiln(&["trust", "remove", fingerprint, "--revoked", "now"]).exits(0);
        world.kiln(&["verify", "old/out"]).exits(4);
        world.kiln(&["verify", "kiln-out/out"]).exits(0);
    }
}

#[test]
fn a_policy_is_learned_met_and_broken_with_place_and_remedy() {
    let world = World::signed(Who::all()[0]);
    world.kiln(&["policy", "init", "kiln-out/out", "-o", "policy.yaml"]).exits(0);
    world.kiln(&["policy", "init", "kiln-out/out", "-o", "policy.yaml"]).exits(2);
    world.kiln(&["policy", "check", "policy.yaml"]).exits(0);
    let met = world.kiln(&["verify", "kiln-out/out", "--policy", "policy.yaml"]).exits(0);
    assert!(met.says("are met"), "{}", met.stdout);
    let explained =
        world.kiln(&["verify", "kiln-out/out", "--policy", "policy.yaml", "--explain"]).exits(0);
    assert!(explained.says("source.uri: "), "{}", explained.stdout);
    let policy = world.read("policy.yaml").replace("target: \"out\"", "target: \"other\"");
    world.write("wrong.yaml", &policy);
    let line = policy.lines().position(|line| line.contains("target:")).expect("it is there") + 1;
    let refused = world.kiln(&["verify", "kiln-out/out", "--policy", "wrong.yaml"]).exits(4);
    for words in [
        "KILN-0804",
        "rule `parameters.target`",
        &format!("wrong.yaml:{line}:3"),
        "expected: other",
        "got:      out",
        "^^^^^^",
        "help: ",
    ] {
        assert!(refused.stderr.contains(words), "{words}\n{}", refused.stderr);
    }
    let told = document(
        &world.kiln(&["--json", "verify", "kiln-out/out", "--policy", "wrong.yaml"]).exits(4),
    );
    let checks = told["files"][0]["checks"].as_array().expect("a list").clone();
    let failed: Vec<&Value> = checks.iter().filter(|one| one["outcome"] == "failed").collect();
    assert_eq!(
        (failed.len(), &failed[0]["rule"], &failed[0]["line"]),
        (1, &json!("parameters.target"), &json!(line))
    );
    assert_eq!(told["files"][0]["errors"][0]["code"], "KILN-0804");
    world.write("typo.yaml", "policy: 1\nsourse: {uri: x}\n");
    let wrong = world.kiln(&["verify", "kiln-out/out", "--policy", "typo.yaml"]).exits(2);
    for words in ["KILN-0820", "typo.yaml:2:1", "did you mean `source`?", "^^^^^^"] {
        assert!(wrong.stderr.contains(words), "{words}\n{}", wrong.stderr);
    }
    let absent = world.kiln(&["verify", "kiln-out/out", "--policy", "absent.yaml"]).exits(2);
    assert!(absent.says("there is no such file"), "{}", absent.stderr);
    world.kiln(&["verify", "kiln-out/out", "--policy", "slsa-l1"]).exits(0);
    assert!(
        world
            .kiln(&["verify", "kiln-out/out", "--policy", "slsa-l2"])
            .exits(4)
            .says("rule `level`")
    );
    world.kiln(&["verify", "kiln-out/out", "--level", "2"]).exits(4);
    world.kiln(&["verify", "kiln-out/out", "--level", "1"]).exits(0);
}

/// One snapshot for each way in which a policy is wrong: code, place with caret, what was expected, remedy.
#[test]
fn wrong_policies_are_shown_with_place_and_remedy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy_messages.txt");
    let text = fs::read_to_string(&path).expect("the snapshots are there");
    let (head, rest) = text.split_once("=== ").expect("a head");
    let world = World::cold(Who::all()[0]);
    let (mut written, mut wrong) = (head.to_owned(), Vec::new());
    let rows: Vec<&str> = rest.split("=== ").collect();
    assert!(rows.len() >= 16, "{} rows", rows.len());
    for row in rows {
        let (title, rest) = row.split_once('\n').expect("a title");
        let (policy, expected) = rest.split_once("--- \n").expect("a transcript");
        world.write("policy.yaml", policy);
        let plain = [("NO_COLOR", ""), ("COLUMNS", "100")];
        let ran = world.kiln_with(&["policy", "check", "policy.yaml"], &plain);
        let code = title.split_whitespace().next().expect("a code");
        let told = ran.stderr.trim();
        let placed = told.contains("policy.yaml:") && told.contains("help: ");
        if ran.code != 2 || !told.contains(&format!("error[{code}]")) || !placed {
            wrong.push(format!("{title}: exit {}\n{told}", ran.code));
        }
        if std::env::var_os("KILN_BLESS").is_none() && told != expected.trim() {
            wrong.push(format!("{title}: the message changed:\n{told}"));
        }
        written.push_str(&format!("=== {title}\n{policy}--- \n{told}\n\n"));
    }
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(path, written).expect("the snapshots can be written");
    }
    assert!(wrong.is_empty(), "{} messages:\n{}", wrong.len(), wrong.join("\n"));
}

/// `attestor/tests/vectors`: a statement of kiln's that a private Sigstore signed, and the root of that instance.
#[test]
fn a_policy_is_learned_from_evidence_with_a_certificate_and_tried_on_it() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../attestor/tests/vectors");
    let vector = |name: &str| fs::read_to_string(vectors.join(name)).expect("it is committed");
    for who in Who::all() {
        let world = World::cold(who);
        world.write("cases/hello", &vector("hello"));
        world.write("cases/hello.sigstore.json", &vector("keyless/hello.sigstore.json"));
        world.write("cases/root.json", &vector("keyless/trusted_root.json"));
        let who = ["--identity", "builder@kiln.example", "--issuer", "http://127.0.0.1:46411"];
        let add = [&["trust", "add"], &who[..], &["--builder-id", BUILDER]].concat();
        world.kiln(&add).exits(0);
        assert!(world.kiln(&add).exits(2).says("there is an entry for this signer"));
        assert!(world.kiln(&["trust", "list"]).exits(0).says("builder@kiln.example"));
        let init = ["policy", "init", "cases/hello", "-o", "cases/policy.yaml"];
        // Control: that instance is not the public one.
        world.kiln(&init).exits(4);
        let root = ["--trusted-root", "cases/root.json"];
        world.kiln(&[&init[..], &root[..]].concat()).exits(0);
        let policy = ["--policy", "cases/policy.yaml"];
        world.kiln(&[&["verify", "cases/hello"], &root[..], &policy[..]].concat()).exits(0);
        let case =
            "cases:\n  - {name: good, bundle: hello.sigstore.json, file: hello, expect: accept}\n";
        world.write("cases/cases.yaml", &format!("policy: policy.yaml\n{case}"));
        world.kiln(&["policy", "test", "cases"]).exits(1);
        let own = format!("policy: policy.yaml\ntrusted-root: root.json\n{case}");
        world.write("cases/cases.yaml", &own);
        world.kiln(&["policy", "test", "cases"]).exits(0);
    }
}

#[test]
fn cases_fail_where_another_rule_refuses_than_the_one_that_is_named() {
    let world = World::signed(Who::all()[0]);
    for name in ["out", "out.sigstore.json"] {
        world.write(&format!("cases/{name}"), &world.read(&format!("kiln-out/{name}")));
    }
    world.write("cases/policy.yaml", "policy: 1\nbackend: docker\n");
    let case = |expect: &str| {
        let text = format!(
            "policy: policy.yaml\ncases:\n  - {{name: a build, bundle: out.sigstore.json, file: out, expect: {expect}}}\n  - {{name: another file, bundle: out.sigstore.json, digest: \"sha256:{}\", expect: {{refuse: KILN-0801}}}}\n",
            "0".repeat(64)
        );
        world.write("cases/cases.yaml", &text);
        world.kiln(&["policy", "test", "cases"])
    };
    case("{refuse: backend}").exits(0);
    case("refuse").exits(0);
    for (expect, words) in
        [("accept", "expected: accepted"), ("{refuse: source.uri}", "refused by backend")]
    {
        let failed = case(expect).exits(1);
        assert!(
            failed.says("KILN-0823") && failed.says(words) && failed.says("cases.yaml:3:5"),
            "{}",
            failed.stderr
        );
    }
    assert!(case("maybe").exits(2).says("KILN-0820"));
    world.write("cases/policy.yaml", "policy: 1\n");
    assert!(case("refuse").exits(1).says("got:      accepted"));
}

#[test]
fn a_verdict_is_signed_and_believed_only_from_a_trusted_verifier() {
    for who in Who::all() {
        let world = World::signed(who);
        world.write(
            "policy.yaml",
            "policy: 1\nuri: https://policies.example.org/out\nhermetic: true\n",
        );
        let verify = [
            "verify",
            "kiln-out/out",
            "--policy",
            "policy.yaml",
            "--resource-uri",
            ADDRESS,
            "--vsa",
            "out.vsa.jsonl",
        ];
        let told = world.kiln(&verify).exits(0);
        assert!(told.says("wrote out.vsa.jsonl"), "{}", told.stdout);
        let receiver = receiver(&world);
        for name in ["out.vsa.jsonl", "out.vsa.sigstore.json"] {
            receiver.write(name, &world.read(name));
        }
        receiver.write("policy.yaml", &world.read("policy.yaml"));
        let by = |bundle: &str, more: &[&str]| {
            receiver.kiln(&[&["verify", "out", "--bundle", bundle][..], more].concat())
        };
        let address = ["--resource-uri", ADDRESS];
        assert!(by("out.vsa.jsonl", &address).exits(4).says("KILN-0802"));
        let id = [
            "trust",
            "add",
            "builder.pem",
            "--verifier-id",
            "https://kiln.build/verifiers/local/v1",
        ];
        receiver.kiln(&id).exits(0);
        for bundle in ["out.vsa.jsonl", "out.vsa.sigstore.json"] {
            by(bundle, &address).exits(0);
        }
        by("out.vsa.jsonl", &[&address[..], &["--policy", "policy.yaml"]].concat()).exits(0);
        assert!(by("out.vsa.jsonl", &[]).exits(4).says("--resource-uri URI"));
        assert!(
            by("out.vsa.jsonl", &["--resource-uri", "https://dl.example.org/evil"])
                .exits(4)
                .says("KILN-0821")
        );
        assert!(
            by("out.vsa.jsonl", &[&address[..], &["--level", "2"]].concat())
                .exits(4)
                .says("KILN-0821")
        );
        assert!(
            by("out.vsa.jsonl", &[&address[..], &["--policy", "slsa-l1"]].concat())
                .exits(4)
                .says("KILN-0821")
        );
        // The verifier's entry is for verdicts: the same key's provenance is not believed by it.
        receiver.kiln(&["verify", "out"]).exits(4);
        receiver.write("out", "another\n");
        assert!(by("out.vsa.jsonl", &address).exits(4).says("KILN-0801"));
        // A refusal is signed as one, and is no pass.
        world.write("strict.yaml", "policy: 1\nuri: https://policies.example.org/out\nlevel: 3\n");
        let mut strict = verify;
        strict[3] = "strict.yaml";
        strict[7] = "failed.vsa.jsonl";
        world.kiln(&strict).exits(4);
        assert!(world.read("failed.vsa.jsonl").len() > 100);
        let summary = document(
            &world
                .kiln(&[
                    "--json",
                    "verify",
                    "kiln-out/out",
                    "--bundle",
                    "failed.vsa.jsonl",
                    "--resource-uri",
                    ADDRESS,
                ])
                .exits(4),
        );
        assert_eq!(summary["verified"], false);
    }
}

/// Whatever lies beside a file of one verifier, its last word counts.
#[test]
fn a_newer_failed_summary_beside_the_file_is_not_passed_over() {
    let world = World::signed(Who::all()[0]);
    let rules = "policy: 1\nuri: https://policies.example.org/out\n";
    world.write("policy.yaml", rules);
    world.write("strict.yaml", &format!("{rules}level: 3\n"));
    let verify = ["verify", "kiln-out/out", "--resource-uri", ADDRESS, "--policy"];
    let vsa = |policy: &str, out: &str, code: i32| {
        world.kiln(&[&verify[..], &[policy, "--vsa", out]].concat()).exits(code);
    };
    vsa("policy.yaml", "passed.vsa.jsonl", 0);
    vsa("strict.yaml", "failed.vsa.jsonl", 4);
    let receiver = receiver(&world);
    let id = "https://kiln.build/verifiers/local/v1";
    receiver.kiln(&["trust", "add", "builder.pem", "--verifier-id", id]).exits(0);
    let verify = ["verify", "out", "--resource-uri", ADDRESS];
    fs::remove_file(receiver.path("project/out.sigstore.json")).expect("the provenance");
    let give = |from: &str, to: &str| receiver.write(to, &world.read(from));
    give("passed.vsa.jsonl", "out.vsa.jsonl");
    receiver.kiln(&verify).exits(0);
    for name in ["out.vsa.sigstore.json", "out.later.vsa.jsonl", "out.intoto.jsonl", "out.sigstore"]
    {
        give("failed.vsa.jsonl", name);
        let told = receiver.kiln(&verify).exits(4);
        assert!(told.says("KILN-0821") && told.says("FAILED"), "{name}: {}", told.stderr);
        // What is named counts, and nothing beside it.
        receiver.kiln(&[&verify[..], &["--bundle", "out.vsa.jsonl"]].concat()).exits(0);
        fs::remove_file(receiver.path("project").join(name)).expect("it was written");
    }
    receiver.kiln(&verify).exits(0);
}

/// Not reproduced by two builders: no such property is signed, and a policy that asks for it refuses.
#[test]
fn one_builder_is_no_two() {
    let world = World::signed(Who::all()[0]);
    world.write(
        "policy.yaml",
        "policy: 1\nuri: https://policies.example.org/out\nreproduced-by: 2\n",
    );
    let refused = world.kiln(&["verify", "kiln-out/out", "--policy", "policy.yaml"]).exits(4);
    assert!(
        refused.says("reproduced-by") && refused.says("1 independent builders"),
        "{}",
        refused.stderr
    );
}

/// A second builder, another key and another builder.id, builds the same: `reproduced-by` is met, and the
/// property is signed in a summary of its own.
#[test]
fn two_builders_that_agree_reproduce() {
    let world = World::signed(Who::all()[0]);
    let other = World::warm(world.who);
    fs::create_dir_all(other.path("config/kiln")).expect("a folder");
    fs::set_permissions(other.path("config/kiln"), fs::Permissions::from_mode(0o700))
        .expect("ours");
    let ids = "[builder]\nid = \"https://other.example/kiln/v1\"\nwaived-id = \"https://other.example/kiln-waived/v1\"\n";
    fs::write(other.path("config/kiln/attestor.toml"), ids).expect("ours");
    other.who.give(&other.path("config/kiln"));
    for name in ["src/input", "kiln.yaml", "kiln.lock", ".gitignore"] {
        if world.path("project").join(name).exists() {
            other.write(name, &world.read(name));
        }
    }
    other.commit();
    other.key();
    other.kiln(&["build", "--sign"]).exits(0);
    world.write("other.sigstore.json", &other.read("kiln-out/out.sigstore.json"));
    world.write("other.pem", &other.kiln(&["key", "export"]).exits(0).stdout);
    world.write(
        "policy.yaml",
        "policy: 1\nuri: https://policies.example.org/out\nreproduced-by: 2\n",
    );
    let verify = [
        "verify",
        "kiln-out/out",
        "--bundle",
        "kiln-out/out.sigstore.json",
        "--bundle",
        "other.sigstore.json",
        "--policy",
        "policy.yaml",
    ];
    world.kiln(&verify).exits(4);
    world
        .kiln(&["trust", "add", "other.pem", "--builder-id", "https://other.example/kiln/v1"])
        .exits(0);
    world.kiln(&verify).exits(0);
    let signed = world
        .kiln(&[&verify[..], &["--resource-uri", ADDRESS, "--vsa", "out.vsa.jsonl"]].concat())
        .exits(0);
    assert!(signed.says("out.reproduced.vsa.jsonl"), "{}", signed.stdout);
    let levels = |name: &str| {
        let told = world.kiln(&["inspect", "--raw", name]).exits(0).stdout;
        let statement: Value = serde_json::from_str(told.trim()).expect("a statement");
        statement["predicate"]["verifiedLevels"].clone()
    };
    assert_eq!(levels("out.vsa.jsonl"), json!(["SLSA_BUILD_LEVEL_1"]));
    assert_eq!(levels("out.reproduced.vsa.jsonl"), json!(["SLSA_BUILD_REPRODUCED"]));
}

#[test]
fn dependencies_with_attestations_are_told_and_a_bad_one_refuses() {
    let world = World::signed(Who::all()[0]);
    fs::create_dir(world.path("project/deps")).expect("a folder");
    world.who.give(&world.path("project/deps"));
    let told = world.kiln(&["verify", "kiln-out/out", "--deps", "deps"]).exits(0);
    assert!(told.says("have no attestation"), "{}", told.stdout);
    world.write("deps/x.sigstore.json", "{}");
    assert!(world.kiln(&["verify", "kiln-out/out", "--deps", "deps"]).exits(4).says("KILN-0806"));
    world.kiln(&["verify", "kiln-out/out", "--deps", "absent"]).exits(4);
    // About an input, and no provenance: whatever else is told, not that the file is verified.
    world.write("predicate.json", "{}\n");
    let kind = ["--predicate", "predicate.json", "--type", "https://example.org/other"];
    world.kiln(&[&["attest", "kiln.yaml"][..], &kind].concat()).exits(0);
    world.write("deps/x.sigstore.json", &world.read("kiln.yaml.predicate.sigstore.json"));
    let refused = world.kiln(&["verify", "kiln-out/out", "--deps", "deps"]).exits(4);
    assert!(refused.stderr.contains("KILN-0822"), "{}", refused.stderr);
    assert!(refused.says("is in the statement") && !refused.says("is verified"));
    assert!(!refused.says("trust its builder too"), "{}", refused.stderr);
    let good = ["verify", "kiln-out/out", "--deps", "deps"];
    // By whatever name; but not below a folder, and other JSON is passed over.
    let (folder, bundle) = (world.path("project/deps"), world.read("deps/x.sigstore.json"));
    let rename = |from: &str, to: &str| {
        fs::rename(folder.join(from), folder.join(to)).expect("both in one folder");
    };
    for (from, to) in [("x.sigstore.json", "1.json"), ("1.json", "x.JSONL"), ("x.JSONL", "x.jsonl")]
    {
        rename(from, to);
        assert!(world.kiln(&good).exits(4).says("KILN-0822"), "{to}");
    }
    world.write("deps/x.jsonl", &format!("{bundle}{bundle}"));
    assert!(world.kiln(&good).exits(4).says("KILN-0822"));
    world.write("deps/x.jsonl", &bundle[..bundle.len() / 2]);
    assert!(world.kiln(&good).exits(4).says("KILN-0806"));
    fs::create_dir(folder.join("more.json")).expect("a folder");
    rename("x.jsonl", "more.json/x.json");
    world.write("deps/parts.json", "{\"bomFormat\": \"CycloneDX\", \"version\": 1.5}");
    let told = world.kiln(&good).exits(0);
    assert!(
        told.says("is verified") && told.says("1 files of --deps passed over"),
        "{}",
        told.stdout
    );
    // A summary names no inputs, so it can not stand in for what is asked of them.
    let policy = "policy: 1\nuri: https://policies.example.org/out\n";
    world.write("policy.yaml", policy);
    let address = ["--resource-uri", ADDRESS];
    let sign = ["verify", "kiln-out/out", "--policy", "policy.yaml", "--vsa", "out.vsa.jsonl"];
    world.kiln(&[&sign[..], &address].concat()).exits(0);
    let told = world.kiln(&[&["verify", "kiln-out/out"][..], &address].concat()).exits(0);
    assert!(told.says("--resource-uri says nothing of it"), "{}", told.stdout);
    world.write("key.pem", &world.kiln(&["key", "export"]).exits(0).stdout);
    let by_hand = ["verify", "kiln-out/out", "--bundle", "out.vsa.jsonl", "--key", "key.pem"];
    assert!(world.kiln(&[&by_hand[..], &address].concat()).exits(0).says("is verified"));
    let refused = world.kiln(&[&by_hand[..], &address, &["--deps", "deps"]].concat()).exits(4);
    assert!(refused.says("KILN-0822") && !refused.says("is verified"), "{}", refused.stdout);
}

/// A required attestation lies beside the file and is found there.
#[test]
fn a_required_attestation_is_found_beside_the_file() {
    let world = World::signed(Who::all()[0]);
    world.write("policy.yaml", "policy: 1\nrequire:\n  - {type: \"https://spdx.dev/Document\", where: predicate.name == \"out\"}\n");
    let verify = ["verify", "kiln-out/out", "--policy", "policy.yaml"];
    assert!(world.kiln(&verify).exits(4).says("require https://spdx.dev/Document"));
    world.write("spdx.json", "{\"name\": \"out\"}\n");
    let attest = |kind: &str| {
        world.kiln(&["attest", "kiln-out/out", "--predicate", "spdx.json", "--type", kind])
    };
    attest("https://spdx.dev/Document").exits(0);
    world.kiln(&verify).exits(0);
    // One of another kind would take its place.
    assert!(attest("https://example.org/other").exits(2).says("a statement of another kind"));
    // What can not be stated is told before anything is signed.
    world.write("src/out", "another\n");
    for files in [["kiln-out/out", "src/out"], ["kiln-out/out", "kiln-out/../kiln-out/out"]] {
        let kind = ["--predicate", "spdx.json", "--type", "https://example.org/other"];
        let refused = world.kiln(&[&["attest"], &files[..], &kind].concat()).exits(2);
        assert!(files.iter().all(|file| refused.says(file)), "{}", refused.stderr);
    }
    world.write("twice.json", "{\n \"a\": 1,\n \"a\": 2}\n");
    let kind = ["--predicate", "twice.json", "--type", "https://example.org/other"];
    let refused = world.kiln(&[&["attest", "kiln-out/out"][..], &kind].concat()).exits(2);
    assert!(refused.says("`a` stands twice") && refused.says("twice.json:3"), "{}", refused.stderr);
    attest("https://spdx.dev/Document").exits(0);
    world.kiln(&verify).exits(0);
    // The same set that is found without a policy, whatever is the first of it.
    let bundle = world.read("kiln-out/out.spdx.sigstore.json");
    for name in ["kiln-out/out.intoto.jsonl", "kiln-out/out.sigstore"] {
        let before = fs::read_to_string(world.path("project").join(name)).ok();
        fs::remove_file(world.path("project/kiln-out/out.spdx.sigstore.json"))
            .expect("it is there");
        world.kiln(&verify).exits(4);
        world.write(name, &bundle);
        world.kiln(&verify).exits(0);
        match before {
            Some(before) => world.write(name, &before),
            None => fs::remove_file(world.path("project").join(name)).expect("it is there"),
        }
        world.write("kiln-out/out.spdx.sigstore.json", &bundle);
    }
    let policy = world.read("policy.yaml").replace("\"out\"", "\"other\"");
    world.write("policy.yaml", &policy);
    world.kiln(&verify).exits(4);
}

/// Writes an OCI layout of one image with one bundle that refers to it. Returns the bundle's blob.
fn layout(world: &World, image: &str, bundle: &str) -> String {
    let blob = |bytes: &str| {
        let digest = model::Digest::of(bytes.as_bytes());
        world.write(&format!("oci/blobs/sha256/{}", digest.hex()), bytes);
        digest.to_string()
    };
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let (subject, layer) = (blob(image), blob(bundle));
    let referrer = json!({
        "schemaVersion": 2, "mediaType": manifest, "artifactType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": blob("{}"), "size": 2, "data": "e30="},
        "layers": [{"mediaType": kind, "digest": layer, "size": bundle.len()}],
        "subject": {"mediaType": manifest, "digest": subject, "size": image.len()},
    })
    .to_string();
    let (size, referrer) = (referrer.len(), blob(&referrer));
    world.write("oci/oci-layout", "{\"imageLayoutVersion\": \"1.0.0\"}");
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": manifest, "digest": subject, "size": image.len()},
        {"mediaType": manifest, "digest": referrer, "size": size},
    ]});
    world.write("oci/index.json", &index.to_string());
    layer
}

fn digest_of(text: &str) -> String {
    model::Digest::of(text.as_bytes()).to_string()
}

/// A signed manifest says nothing of layers that are not the ones it names.
#[test]
fn an_image_in_a_layout_is_whole() {
    let world = World::warm(Who::all()[0]);
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let image = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "layers": [{"mediaType": kind, "digest": digest_of("a layer"), "size": 7}],
    })
    .to_string();
    world.write("src/input", &image);
    let file = build_file("cp src/input image", "{image: image}", "[{file: attack.image}]");
    world.write("kiln.yaml", &file.replace("{local: src}", "{local: .}"));
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.key();
    world.kiln(&["build", "--sign"]).exits(0);
    layout(&world, &image, &world.read("kiln-out/image.sigstore.json"));
    assert!(world.kiln(&["verify", "oci"]).exits(4).says("can not be read"));
    let layer = format!("oci/blobs/sha256/{}", model::Digest::of(b"a layer").hex());
    world.write(&layer, "another");
    assert!(world.kiln(&["verify", "oci"]).exits(4).says("not what its name says"));
    world.write(&layer, "a layer");
    world.kiln(&["verify", "oci"]).exits(0);
    // Content that a descriptor embeds is that which it names; where else a blob may be had is not asked.
    let good = world.read("oci/index.json");
    let with = |member: &str, value: Value| {
        let mut index: Value = serde_json::from_str(&good).expect("an index");
        index["manifests"][0][member] = value;
        world.write("oci/index.json", &index.to_string());
        world.kiln(&["verify", "oci"])
    };
    for data in ["ZXZpbA==", "e30", "", "e30=\n"] {
        let refused = with("data", json!(data)).exits(4);
        assert!(refused.says("embeds other content"), "{data}: {}", refused.stderr);
    }
    with("urls", json!(["https://dl.example.org/evil"])).exits(0);
}

#[test]
fn an_image_in_a_layout_is_verified_by_the_bundle_that_refers_to_it() {
    let world = World::warm(Who::all()[0]);
    let image = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []});
    world.write("src/input", &image.to_string());
    let file = build_file("cp src/input image", "{image: image}", "[{file: attack.image}]");
    world.write("kiln.yaml", &file.replace("{local: src}", "{local: .}"));
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.key();
    world.kiln(&["build", "--sign"]).exits(0);
    let bundle = world.read("kiln-out/image.sigstore.json");
    let layer = layout(&world, &image.to_string(), &bundle);
    let told = world.kiln(&["verify", "oci"]).exits(0);
    assert!(told.says("is verified"), "{}", told.stdout);
    // A blob that is not what its name says.
    let path = format!("oci/blobs/sha256/{}", layer.trim_start_matches("sha256:"));
    world.write(&path, &bundle.replacen("payload", "paylord", 1));
    assert!(world.kiln(&["verify", "oci"]).exits(4).says("not what its name says"));
    // A manifest that an engine runs, whatever it calls itself, and that nobody speaks for.
    layout(&world, &image.to_string(), &bundle);
    let index = world.read("oci/index.json");
    let oci = "application/vnd.oci.image";
    for (disguise, media_type) in [
        (json!({"layers": []}), "manifest.v1+json"),
        (
            json!({"layers": [], "subject": {"mediaType": "x", "digest": digest_of(&image.to_string()), "size": 1}}),
            "manifest.v1+json",
        ),
        (
            json!({"layers": [], "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "config": {"mediaType": format!("{oci}.config.v1+json"), "digest": digest_of("{}"), "size": 2},
            "subject": {"mediaType": "x", "digest": digest_of(&image.to_string()), "size": 1}}),
            "manifest.v1+json",
        ),
        (
            json!({"manifests": [{"mediaType": "x", "digest": digest_of("{}"), "size": 2}]}),
            "index.v1+json",
        ),
    ] {
        let evil = disguise.to_string();
        world.write(
            &format!("oci/blobs/sha256/{}", model::Digest::of(evil.as_bytes()).hex()),
            &evil,
        );
        let mut listed: Value = serde_json::from_str(&index).expect("JSON");
        let one = json!({"mediaType": format!("{oci}.{media_type}"), "digest": digest_of(&evil), "size": evil.len(),
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"}});
        listed["manifests"].as_array_mut().expect("a list").push(one);
        world.write("oci/index.json", &listed.to_string());
        let told = world.kiln(&["verify", "oci"]).exits(4);
        assert!(told.says("KILN-0801") && told.says(&digest_of(&evil)), "{evil}: {}", told.stderr);
        // What is about another is told as that, with what it holds besides.
        let holds = disguise["subject"]
            .is_object()
            .then_some("got:      a manifest about another one, which holds");
        assert!(holds.is_none_or(|words| told.says(words)), "{}", told.stderr);
    }
    let both = json!({"layers": [{"mediaType": "application/vnd.in-toto+json", "digest": digest_of("{}"), "size": 2}],
        "manifests": [{"mediaType": "x", "digest": digest_of("{}"), "size": 2}]})
    .to_string();
    let at = format!("oci/blobs/sha256/{}", model::Digest::of(both.as_bytes()).hex());
    world.write(&at, &both);
    let mut listed: Value = serde_json::from_str(&index).expect("JSON");
    let one = json!({"mediaType": format!("{oci}.index.v1+json"), "digest": digest_of(&both), "size": both.len()});
    listed["manifests"].as_array_mut().expect("a list").push(one);
    world.write("oci/index.json", &listed.to_string());
    assert!(world.kiln(&["verify", "oci"]).exits(4).says("both a manifest and an index"));
    // The bundle of another image, and none.
    layout(&world, &image.to_string().replace('2', "3"), &bundle);
    assert!(world.kiln(&["verify", "oci"]).exits(4).says("KILN-0801"));
    world.write("oci/index.json", "{\"schemaVersion\": 2, \"manifests\": []}");
    assert!(world.kiln(&["verify", "oci"]).exits(4).says("no image"));
}

/// Every folder without a remote is called `local`: what was learned from one does not take another's build.
#[test]
fn a_source_without_a_name_is_held_by_what_it_is_and_never_ticked() {
    let world = World::signed(Who::all()[0]);
    let learn = |name: &str| {
        world.kiln(&["policy", "init", "kiln-out/out", "-o", name]).exits(0);
        world.read(name)
    };
    let verify = |policy: &str, code: i32| {
        world.kiln(&["verify", "kiln-out/out", "--policy", policy]).exits(code)
    };
    let line = "source.uri: local: any folder without a remote, so it pins nothing";
    let committed = learn("committed.yaml");
    assert!(committed.contains("  uri: \"local\"\n  commit: "), "{committed}");
    assert!(!committed.contains("Any commit of this source"), "{committed}");
    let met = verify("committed.yaml", 0);
    assert!(met.says(&format!("– policy       {line}")), "{}", met.stdout);
    let named = world.kiln(&["verify", "kiln-out/out", "--source", "local"]).exits(0).stdout;
    assert!(named.contains("– source ") && !named.contains("✓ source "), "{named}");
    let commit = world.git(&["rev-parse", "HEAD"]);
    let exact = format!("local@{}", commit.trim());
    let pinned = world.kiln(&["verify", "kiln-out/out", "--source", &exact]).exits(0).stdout;
    assert!(pinned.contains("✓ source "), "control: {pinned}");
    // What an older kiln learned: it is met by whatever has no remote, and says so.
    let loose = committed.lines().filter(|line| !line.starts_with("  commit: "));
    world.write("loose.yaml", &loose.map(|line| format!("{line}\n")).collect::<String>());
    // Another repository without a remote, with other files of the same names.
    world.write("src/input", "the evil input\n");
    world.write(".gitignore", "*.yaml\n!kiln.yaml\nkiln-out\n");
    world.commit();
    world.kiln(&["build", "--sign"]).exits(0);
    let refused = verify("committed.yaml", 4);
    assert!(refused.says("rule `source.commit`"), "{}", refused.stderr);
    let met = verify("loose.yaml", 0);
    assert!(met.says(&format!("– policy       {line}")), "{}", met.stdout);
    let explained = world.kiln(&["--json", "verify", "kiln-out/out", "--policy", "loose.yaml"]);
    let rules = document(&explained.exits(0))["files"][0]["policy"]["rules"].clone();
    let uri = rules.as_array().expect("a list").iter().find(|one| one["rule"] == "source.uri");
    assert_eq!(uri.expect("it was judged")["outcome"], "not-applicable", "{rules}");
    // No commit names changed files: their digests do.
    world.write("src/input", "changed\n");
    world.kiln(&["build", "--sign", "--allow-dirty"]).exits(0);
    let dirty = learn("dirty.yaml");
    assert!(dirty.contains("files-as-seen") && dirty.contains("dirty: true"), "{dirty}");
    verify("dirty.yaml", 0);
    world.write("src/input", "changed again\n");
    world.kiln(&["build", "--sign", "--allow-dirty"]).exits(0);
    let refused = verify("dirty.yaml", 4);
    assert!(refused.says("rule `rules.files-as-seen`"), "{}", refused.stderr);
}

/// A verdict has a name of its own, and it is told where it was written.
#[test]
fn a_verdict_is_written_where_it_says_and_nowhere_else() {
    let world = World::signed(Who::all()[0]);
    world.write("policy.yaml", "policy: 1\nuri: https://policies.example.org/out\n");
    fs::create_dir_all(world.path("project/there")).expect("a folder");
    let write = |out: &str| {
        let all = ["verify", "kiln-out/out", "--policy", "policy.yaml", "--resource-uri", ADDRESS];
        world.kiln(&[&all[..], &["--vsa", out]].concat())
    };
    let device = world.path("project/there/device");
    std::os::unix::fs::symlink("/dev/null", &device).expect("a link");
    let parent = || {
        let names = |at: &str| fs::read_dir(world.path(at)).expect("it is there").flatten();
        let all = names("").chain(names("project")).chain(names("project/there"));
        let mut all: Vec<_> = all.map(|one| one.path()).collect();
        all.sort();
        all
    };
    let before = parent();
    for out in [".", "..", "there", "there/", "there/device", "new/", "there/..", ".vsa.jsonl", ""]
    {
        let refused = write(out).exits(2);
        assert!(refused.says("--vsa"), "{out}: {}", refused.stderr);
        assert_eq!(parent(), before, "{out}");
    }
    for (out, told) in [
        ("out.vsa.jsonl", " wrote out.vsa.jsonl\n wrote out.vsa.sigstore.json\n"),
        ("there/it", " wrote there/it.vsa.jsonl\n wrote there/it.vsa.sigstore.json\n"),
        ("./there/../b", " wrote ./there/../b.vsa.jsonl\n"),
    ] {
        let written = write(out).exits(0);
        assert!(written.stdout.contains(told), "{out}: {}", written.stdout);
        for name in told.lines().filter_map(|line| line.strip_prefix(" wrote ")) {
            assert!(!world.read(name).is_empty(), "{name}");
        }
    }
}

/// A rule that nothing could ever meet is wrong, whoever is judged; so is an entry that nobody could name.
#[test]
fn what_nothing_can_meet_is_wrong_when_it_is_read() {
    let world = World::signed(Who::all()[0]);
    let check = |text: &str| {
        world.write("policy.yaml", &format!("policy: 1\n{text}\n"));
        world.kiln(&["policy", "check", "policy.yaml"])
    };
    let late = "not-before: 2999-01-01T00:00:00Z";
    for (text, words) in [
        ("rules: [{name: a, expr: \"1\"}]", "yields int, not true or false"),
        ("rules: [{name: a, expr: size(dependencies)}]", "yields int, not true or false"),
        ("source: {uri: \"\"}", "`uri` of `source`"),
        ("source: {uri: [https://a.example/b, \" \"]}", "`uri` of `source`"),
        (&format!("{late}\nmax-age: 1d"), "`not-before` can never hold"),
    ] {
        let refused = check(text).exits(2);
        assert!(refused.says("KILN-0820") && refused.says(words), "{text}: {}", refused.stderr);
        assert!(refused.says("policy.yaml:2:"), "{text}: {}", refused.stderr);
        world.kiln(&["verify", "kiln-out/out", "--policy", "policy.yaml"]).exits(2);
    }
    for sound in ["rules: [{name: a, expr: has(predicate.runDetails)}]", late, "max-age: 1d"] {
        check(sound).exits(0);
    }
    let past = "not-before: 2020-01-01T00:00:00Z\nmax-age: 1d";
    check(past).exits(0);
    // What is there and says something else is not to be put there.
    let own = "require: [{type: \"https://slsa.dev/provenance/v1\", where: predicate.buildDefinition == 1}]";
    check(own).exits(0);
    let refused = world.kiln(&["verify", "kiln-out/out", "--policy", "policy.yaml"]).exits(4);
    assert!(refused.says("what `where` asks for"), "{}", refused.stderr);
    assert!(!refused.says("put it beside the file"), "{}", refused.stderr);
    let add = |more: &[&str]| {
        let id = ["trust", "add", "--builder-id", "https://b.example/v1"];
        world.kiln(&[&id[..], more].concat())
    };
    let who = ["--identity", "a@b.example", "--issuer"];
    for issuer in ["x", "", "i.example", "https://", "https:///a", "ftp://i.example", "https://a b"]
    {
        let refused = add(&[&who[..], &[issuer]].concat()).exits(2);
        assert!(refused.says("--issuer"), "{issuer}: {}", refused.stderr);
    }
    for name in ["", " "] {
        let named = [&who[..], &["https://i.example", "--name", name]].concat();
        assert!(add(&named).exits(2).says("--name"), "{name}");
    }
    add(&[&who[..], &["https://i.example", "--name", "one"]].concat()).exits(0);
}
