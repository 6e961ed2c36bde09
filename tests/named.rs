//! Who is meant: entries of one name, a signer that was revoked, and what `kiln inspect` names.

use std::fs;

use crate::support::{Who, World, build_file, build_file_with};

fn fingerprint(world: &World) -> String {
    let shown = world.kiln(&["key", "show"]).exits(0).stdout;
    shown.lines().next().expect("a line").to_owned()
}

/// After a rotation both keys' entries have one name, and revoking the old one must not cost the new one.
#[test]
fn a_name_of_two_keys_takes_neither_and_lists_both() {
    let world = World::signed(Who::all()[0]);
    let old = fingerprint(&world);
    world.kiln(&["key", "rotate"]).exits(0);
    let new = fingerprint(&world);
    let trust = world.path("config/kiln/trust.toml");
    let before = fs::read_to_string(&trust).expect("it is there");
    for more in [&[][..], &["--revoked", "now"]] {
        let command = [&["trust", "remove", "made on this machine"], more].concat();
        let refused = world.kiln(&command).exits(2);
        let flat: String = refused.stderr.split_whitespace().collect();
        assert!(flat.contains(&old) && flat.contains(&new), "{}", refused.stderr);
        for (at, line) in before.lines().enumerate() {
            let told = flat.contains(&format!("line{}:", at + 1));
            assert_eq!(told, line == "[[trust]]", "line {}: {}", at + 1, refused.stderr);
        }
        assert_eq!(fs::read_to_string(&trust).expect("it is there"), before);
    }
    world.kiln(&["trust", "remove", &old, "--revoked", "now"]).exits(0);
    world.kiln(&["build", "--sign"]).exits(0);
    world.kiln(&["verify", "kiln-out/out"]).exits(0);
}

/// Entries that differ in nothing but the repository are told apart as they were added.
#[test]
fn entries_of_one_identity_are_removed_by_their_source_repository() {
    let world = World::cold(Who::all()[0]);
    let identity = ["--identity", "a@b.example", "--issuer", "https://i.example"];
    let (one, two) = ("https://h.example/one", "https://h.example/two");
    let id = ["--builder-id", "https://b.example/v1"];
    for more in [&["--source-repository", one][..], &["--source-repository", two], &[]] {
        world.kiln(&[&["trust", "add"][..], &identity, &id, more].concat()).exits(0);
    }
    let trust = world.path("config/kiln/trust.toml");
    let text = || fs::read_to_string(&trust).expect("it is there");
    let before = text();
    for name in ["a@b.example", "a@b.example (https://i.example)"] {
        for more in [&[][..], &["--revoked", "now"]] {
            let refused = world.kiln(&[&["trust", "remove", name][..], more].concat()).exits(2);
            let flat: String = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains("--source-repository URL"), "{flat}");
            for listed in ["line 1: ", "line 9: ", "line 17: ", one, two] {
                assert!(flat.contains(listed), "{listed}: {flat}");
            }
        }
        let of = |url: &str| world.kiln(&["trust", "remove", name, "--source-repository", url]);
        let refused = of("https://h.example/three").exits(2);
        assert!(refused.says("is of this source repository"), "{}", refused.stderr);
        assert_eq!(text(), before);
    }
    let remove = ["trust", "remove", "a@b.example", "--source-repository"];
    world.kiln(&[&remove[..], &[one, "--revoked", "now"]].concat()).exits(0);
    let revoked = text();
    let entries: Vec<&str> = revoked.split("[[trust]]").skip(1).collect();
    let is_revoked = |entry: &&str| entry.contains("revoked = ");
    assert!(entries.len() == 3 && is_revoked(&entries[0]) && entries[0].contains(one), "{revoked}");
    assert_eq!(entries.iter().filter(|entry| is_revoked(entry)).count(), 1);
    world.kiln(&[&remove[..], &[""]].concat()).exits(0);
    assert!(text().matches("[[trust]]").count() == 2 && text().contains(two), "{}", text());
    world.kiln(&[&remove[..], &[two]].concat()).exits(0);
    assert!(text().contains(one) && !text().contains(two), "{}", text());
}

/// What would never be believed is not added with the words that it is.
#[test]
fn an_entry_that_is_over_is_refused_or_said_to_be_for_old_files() {
    let world = World::signed(Who::all()[0]);
    world.write("key.pem", &world.kiln(&["key", "export"]).exits(0).stdout);
    let trust = world.path("config/kiln/trust.toml");
    let before = fs::read_to_string(&trust).expect("it is there");
    let key = ["trust", "add", "key.pem", "--builder-id", "https://b.example/v1"];
    let identity = ["trust", "add", "--identity", "a@b.example", "--issuer", "https://i.example"];
    let identity = [&identity[..], &["--builder-id", "https://b.example/v1"]].concat();
    let (past, future) = ("2020-01-01T00:00:00Z", "2049-01-01T00:00:00Z");
    for (who, more, words) in [
        (&key[..], &["--until", past][..], "--until is over"),
        (&key, &["--until", past, "--from", "2019-01-01T00:00:00Z"], "--until is over"),
        (&key, &["--until", past, "--from", future], "--until is before --from"),
        (&identity, &["--until", past, "--from", future], "--until is before --from"),
    ] {
        let told = world.kiln(&[who, more].concat()).exits(2);
        assert!(told.says(words) && told.says("help: "), "{}", told.stderr);
        assert!(!told.says("believes"), "{}", told.stderr);
        assert_eq!(fs::read_to_string(&trust).expect("it is there"), before);
    }
    let told = world.kiln(&[&identity[..], &["--until", past]].concat()).exits(0);
    assert!(
        told.says("believes only what was signed until 2020-01-01T00:00:00Z"),
        "{}",
        told.stdout
    );
    let told = world.kiln(&[&key[..], &["--until", future]].concat()).exits(0);
    assert!(told.says(" believes key: "), "{}", told.stdout);
}

/// Exit 2 ends a command before it begins: no verdict stands behind it, passed or refused.
#[test]
fn a_file_that_is_not_there_ends_verify_before_any_is_judged() {
    let world = World::signed(Who::all()[0]);
    world.write("refused", "nothing speaks for this\n");
    let verify = |files: &[&str]| world.kiln(&[&["verify"][..], files].concat());
    verify(&["kiln-out/out", "refused"]).exits(4);
    for files in [
        &["refused", "absent", "kiln-out/out", "src"][..],
        &["absent", "src", "refused"],
        &["kiln-out/out", "absent", "src"],
    ] {
        let told = verify(files).exits(2);
        assert!(told.says("cannot read absent") && told.says("cannot read src"), "{}", told.stderr);
        assert!(!told.says("is verified") && !told.says("refused"), "{}", told.stderr);
        let json = world.kiln(&[&["--json", "verify"][..], files].concat()).exits(2);
        assert!(!json.stdout.contains("\"verified\": true"), "{}", json.stdout);
        assert_eq!(json.stdout.matches("KILN-0105").count(), 2, "{}", json.stdout);
    }
    let layout = ["--layout", "absent.layout", "--layout-key", "absent.pem"];
    assert!(
        verify(&[&["kiln-out/out", "absent"][..], &layout].concat())
            .exits(2)
            .says("cannot read absent")
    );
}

/// Nobody who trusts alike would believe it.
#[test]
fn a_revoked_key_signs_no_verdict_whether_it_is_passed_or_failed() {
    let world = World::signed(Who::all()[0]);
    world.kiln(&["key", "rotate"]).exits(0);
    let key = fingerprint(&world);
    let rules = "policy: 1\nuri: https://policies.example.org/out\n";
    world.write("passed.yaml", rules);
    world.write("failed.yaml", &format!("{rules}level: 3\n"));
    let verify = |policy: &str| {
        let more = ["--resource-uri", "https://dl.example.org/out", "--vsa", "out.vsa.jsonl"];
        world.kiln(&[&["verify", "kiln-out/out", "--policy", policy][..], &more].concat())
    };
    verify("passed.yaml").exits(0);
    fs::remove_file(world.path("project/out.vsa.jsonl")).expect("it was written");
    world.kiln(&["trust", "remove", &key, "--revoked", "now"]).exits(0);
    for policy in ["passed.yaml", "failed.yaml"] {
        let told = verify(policy).exits(4);
        assert!(
            told.says("KILN-0802") && told.says("that would sign was revoked"),
            "{}",
            told.stderr
        );
        assert!(told.says("kiln key rotate") && told.says("trust.toml:"), "{}", told.stderr);
        assert!(!world.path("project/out.vsa.jsonl").exists());
    }
    // The file itself verifies: it was signed with the key before.
    world.kiln(&["verify", "kiln-out/out", "--policy", "passed.yaml"]).exits(0);
}

/// Nobody waits for a build whose signature nobody here would believe.
#[test]
fn a_revoked_key_signs_no_build_and_no_step_is_run_to_find_out() {
    for who in Who::all() {
        let world = World::signed(who);
        let key = fingerprint(&world);
        world.kiln(&["trust", "remove", &key, "--revoked", "now"]).exits(0);
        world.write("src/input", "something new\n");
        world.commit();
        let refused = world.kiln(&["build", "--sign"]).exits(4);
        assert!(refused.says("KILN-0802") && refused.says("kiln key rotate"), "{}", refused.stderr);
        let text = fs::read_to_string(world.path("config/kiln/trust.toml")).expect("it is there");
        let line = text.lines().position(|line| line == "[[trust]]").expect("an entry") + 1;
        assert!(refused.says(&format!("trust.toml:{line}")), "{}", refused.stderr);
        assert!(!refused.says("attack"), "a step ran: {}", refused.stderr);
        // Not told to sign, it builds, and says why it does not.
        let unsigned = world.kiln(&["build"]).exits(0);
        assert!(
            unsigned.says("unsigned: the key that would sign was revoked"),
            "{}",
            unsigned.stderr
        );
        assert!(!world.path("project/kiln-out/out.sigstore.json").exists());
        // Nor is a predicate signed.
        world.write("checked.json", "{}");
        let attest = ["attest", "kiln-out/out", "--predicate", "checked.json", "--type"];
        let attest = [&attest[..], &["https://example.org/checked/v1"]].concat();
        let refused = world.kiln(&attest).exits(4);
        assert!(refused.says("KILN-0802") && refused.says("kiln key rotate"), "{}", refused.stderr);
        assert!(refused.says(&format!("trust.toml:{line}")), "{}", refused.stderr);
        let bundle = world.path("project/kiln-out/out.checked.sigstore.json");
        assert!(!bundle.exists());
        world.kiln(&["key", "rotate"]).exits(0);
        world.kiln(&attest).exits(0);
        fs::remove_file(bundle).expect("it is signed with another key");
        fs::remove_file(world.path("project/checked.json")).expect("it is there");
        world.kiln(&["build", "--sign"]).exits(0);
        world.kiln(&["verify", "kiln-out/out"]).exits(0);
    }
}

/// While its step runs; nothing that others refuse is left behind.
#[test]
fn a_key_that_is_revoked_during_a_build_signs_nothing_at_its_end() {
    let world = World::signed(Who::all()[0]);
    let key = fingerprint(&world);
    world.write("src/input", "something new\n");
    // Of this world alone, or an earlier one's result would be found.
    let run = format!("echo ready {}; sleep 5; cp input out", world.token);
    world.write("kiln.yaml", &build_file_with(&run, "{out: out}", "[{file: attack.out}]", ""));
    world.kiln(&["lock"]).exits(0);
    world.commit();
    let kiln = world.path("bin/kiln");
    let kiln = kiln.to_str().expect("UTF-8");
    // Stopped meanwhile, it cannot come to its end before.
    let revoke = "import signal, subprocess, sys; kiln = subprocess.Popen([sys.argv[1], '-v', 'build', '--sign'], stderr=subprocess.PIPE); \
                  any(b'ready' in line for line in kiln.stderr); kiln.send_signal(signal.SIGSTOP); \
                  subprocess.check_call([sys.argv[1], 'trust', 'remove', sys.argv[2], '--revoked', 'now']); \
                  kiln.send_signal(signal.SIGCONT); sys.stderr.buffer.write(kiln.stderr.read()); sys.exit(kiln.wait())";
    let refused = world.run(&["python3", "-c", revoke, kiln, &key], &[]).exits(4);
    assert!(refused.says("KILN-0802") && refused.says("was revoked"), "{}", refused.stderr);
    // What the build before signed is about other bytes, and lies beside those.
    assert_ne!(world.read("kiln-out/out"), "something new\n");
}

/// Where a file of its evidence could have no name, that is told before the first step; unsigned it is built. A file of
/// a long name is verified by a bundle that is named.
#[test]
fn a_name_with_no_room_for_evidence_is_told_before_the_first_step() {
    let world = World::signed(Who::all()[0]);
    let name = "n".repeat(240);
    let file =
        build_file("cp input out", "{out: out}", &format!("[{{file: attack.out, name: {name}}}]"));
    world.write("kiln.yaml", &file);
    world.kiln(&["lock"]).exits(0);
    world.commit();
    let refused = world.kiln(&["build", "--sign"]).exits(2);
    assert!(refused.says("KILN-0105") && refused.says("240 bytes"), "{}", refused.stderr);
    assert!(refused.says("at most 22") && refused.says("--> kiln.yaml:"), "{}", refused.stderr);
    assert!(!refused.says("passed"), "a step ran: {}", refused.stderr);
    world.kiln(&["build", "--no-sign"]).exits(0);
    assert!(world.path("project/kiln-out").join(&name).exists());
    let long = "m".repeat(255);
    let out = world.path("project/kiln-out");
    fs::copy(out.join("out"), out.join(&long)).expect("it was built");
    let bundle = ["--bundle", "kiln-out/out.sigstore.json"];
    world.kiln(&[&["verify", &format!("kiln-out/{long}")][..], &bundle].concat()).exits(0);
}

/// The line that `inspect` prints for sha256sum is run as it stands, from where kiln was.
#[test]
fn the_line_for_sha256sum_works_as_it_stands() {
    let world = World::signed(Who::all()[0]);
    let run = |arguments: &[&str], place: &str| {
        let told = world.kiln(arguments).exits(0).stdout;
        let line = told.lines().find(|line| line.contains("| sha256sum -c")).expect("the line");
        let command = line.trim().strip_prefix("to compare").expect("its name").trim().to_owned();
        world.run(&["sh", "-c", &format!("cd '{place}' && {command}")], &[])
    };
    for file in ["kiln-out/out", "kiln-out/out.sigstore.json", "kiln-out/out.intoto.jsonl"] {
        assert!(run(&["inspect", file], ".").exits(0).says("out: OK"));
    }
    assert!(run(&["-C", "kiln-out", "inspect", "out"], ".").exits(0).says("kiln-out/out: OK"));
    world.write("kiln-out/out", "changed\n");
    assert!(run(&["inspect", "kiln-out/out"], ".").exits(1).says("FAILED"));
}

/// A summary tells its verdict, by whom, by which policy, of what and for where.
#[test]
fn inspect_tells_what_a_summary_says() {
    let world = World::signed(Who::all()[0]);
    let uri = "https://policies.example.org/out";
    for (level, result, levels, exit) in
        [(1, "PASSED", "SLSA_BUILD_LEVEL_1", 0), (3, "FAILED", "FAILED", 4)]
    {
        world.write("policy.yaml", &format!("policy: 1\nuri: {uri}\nlevel: {level}\n"));
        let verify = ["verify", "kiln-out/out", "--policy", "policy.yaml"];
        let address = ["--resource-uri", "https://dl.example.org/out", "--vsa", "out.vsa.jsonl"];
        world.kiln(&[verify, address].concat()).exits(exit);
        for file in ["out.vsa.jsonl", "out.vsa.sigstore.json"] {
            let told = world.kiln(&["inspect", file]).exits(0);
            for (name, text) in [
                ("result", result),
                ("levels", levels),
                ("resource", "https://dl.example.org/out"),
                ("verifier", "https://kiln.build/verifiers/local/v1"),
                ("policy", uri),
                ("about", "out"),
            ] {
                let line = format!("  {name:<12} {text}");
                assert!(
                    told.stdout.lines().any(|one| one.starts_with(&line)),
                    "{line}\n{}",
                    told.stdout
                );
            }
        }
    }
}
