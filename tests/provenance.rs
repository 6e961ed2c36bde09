//! The statement names what went in and what came out, is made by another process than the build,
//! and is refused when anything was changed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Who, World, build_file, build_file_with, skipped};

#[test]
fn statement_names_every_input_with_its_role() {
    let world = World::signed(Who::all()[0]);
    let statement = world.statement("out");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let digest = model::Digest::of(b"the input\nthe input\n").hex();
    assert_eq!(
        statement["subject"],
        serde_json::json!([{"name": "out", "digest": {"sha256": digest}}])
    );
    let definition = &statement["predicate"]["buildDefinition"];
    let parameters = definition["externalParameters"].as_object().expect("a map");
    assert!(parameters.values().all(Value::is_string), "{parameters:?}");
    assert_eq!(parameters["dirty"], "false");
    assert_eq!(parameters["commit"], world.git(&["rev-parse", "HEAD"]).trim());
    let dependencies = definition["resolvedDependencies"].as_array().expect("a list");
    let roles = |role: &str| {
        dependencies.iter().filter(|one| one["annotations"]["role"] == role).collect::<Vec<_>>()
    };
    for one in dependencies {
        assert_eq!(one["digest"]["sha256"].as_str().map(str::len), Some(64), "{one}");
    }
    assert_eq!((roles("source").len(), roles("build-file").len(), roles("lock").len()), (1, 1, 1));
    let tree = world.git(&["rev-parse", "HEAD^{tree}"]);
    assert_eq!(roles("source")[0]["digest"]["gitTree"], tree.trim(), "{}", roles("source")[0]);
    let packages = roles("environment");
    for package in ["gcc", "make", "python3", "dash", "coreutils"] {
        let purl = format!("/{package}@");
        let found = packages.iter().any(|one| {
            one["uri"]
                .as_str()
                .is_some_and(|uri| uri.starts_with("pkg:deb/") && uri.contains(&purl))
        });
        assert!(found, "{package} is not named");
    }
}

#[test]
fn changed_byte_is_refused() {
    for who in Who::all() {
        let world = World::signed(who);
        world.kiln(&["verify", "kiln-out/out"]).exits(0);
        let sound = world.read("kiln-out/out");
        world.write("kiln-out/out", &sound.replacen('t', "T", 1));
        let refused = world.kiln(&["verify", "kiln-out/out"]).exits(4);
        assert!(refused.says("digest"), "{}{}", refused.stdout, refused.stderr);
        world.write("kiln-out/out", &sound);
        world.kiln(&["verify", "kiln-out/out"]).exits(0);
        fs::remove_file(world.path("project/kiln-out/out.sigstore.json")).expect("it is there");
        world.kiln(&["verify", "kiln-out/out"]).exits(0);
        fs::remove_file(world.path("project/kiln-out/out.intoto.jsonl")).expect("it is there");
        world.kiln(&["verify", "kiln-out/out"]).exits(4);
    }
}

#[test]
fn another_key_is_refused() {
    let world = World::signed(Who::all()[0]);
    let other = World::cold(Who::all()[0]);
    other.key();
    let public = other.kiln(&["key", "export"]).exits(0).stdout;
    world.write("other.pem", &public);
    world.kiln(&["verify", "kiln-out/out", "--key", "other.pem"]).exits(4);
    let own = world.kiln(&["key", "export"]).exits(0).stdout;
    world.write("own.pem", &own);
    world.kiln(&["verify", "kiln-out/out", "--key", "own.pem"]).exits(0);
}

#[test]
fn key_is_never_overwritten_and_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    for who in Who::all() {
        let world = World::cold(who);
        world.key();
        let path = world.path("config/kiln/key.pem");
        let mode = fs::metadata(&path).expect("the key is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let before = fs::read(&path).expect("root may read it");
        assert_ne!(world.kiln(&["key", "generate"]).code, 0);
        assert_eq!(fs::read(&path).expect("it is still there"), before);
    }
}

/// Traces a whole signed build: only processes that were started as `kiln attestor` open the key.
#[test]
fn build_process_never_opens_the_key() {
    let world = World::signed(Who::all()[0]);
    fs::remove_dir_all(world.path("project/kiln-out")).expect("it was built");
    let trace = world.path("tmp/trace");
    let kiln = world.path("bin/kiln");
    world
        .run(
            &[
                "strace",
                "-f",
                "-qq",
                "-e",
                "trace=execve,open,openat,openat2",
                "-o",
                trace.to_str().expect("UTF-8"),
                kiln.to_str().expect("UTF-8"),
                "build",
                "--sign",
                "--no-cache",
            ],
            &[],
        )
        .exits(0);
    let trace = fs::read_to_string(trace).expect("strace wrote it");
    let of = |line: &str| line.split_whitespace().next().unwrap_or("").to_owned();
    let attestors: Vec<String> = trace
        .lines()
        .filter(|line| line.contains("execve(") && line.contains("\"attestor\""))
        .map(of)
        .collect();
    let openers: Vec<&str> = trace.lines().filter(|line| line.contains("key.pem")).collect();
    assert!(!attestors.is_empty(), "no attestor was started");
    // The attestor is closed to others of its user, so without root strace sees that it opens files and
    // not which: for a name it prints where the name lies.
    let nameless = |line: &str| line.contains(" open") && line.contains("(0x");
    let opened = |line: &&str| {
        attestors.contains(&of(line))
            && (line.contains("key.pem") || Who::all()[0] == Who::User && nameless(line))
    };
    assert!(trace.lines().any(|line| opened(&line)), "nobody opened the key");
    // Whose opening was seen without a name could have been anything.
    for line in trace.lines().filter(|line| nameless(line)) {
        assert!(attestors.contains(&of(line)), "what does it open? {line}");
    }
    for line in openers {
        assert!(attestors.contains(&of(line)), "not the attestor: {line}");
    }
}

/// Traces a whole signed build: the envelope is in the journal and its line in the log, both on the disk, before it is
/// sent to whoever asked.
#[test]
fn an_envelope_leaves_the_attestor_once_the_disk_has_it() {
    let who = Who::all()[0];
    if who == Who::User {
        return skipped("the order of flushes", "only root sees what the attestor writes to");
    }
    let world = World::signed(who);
    fs::remove_dir_all(world.path("project/kiln-out")).expect("it was built");
    let trace = world.path("tmp/trace");
    let kiln = world.path("bin/kiln");
    let trace_at = trace.to_str().expect("UTF-8");
    let calls = "trace=execve,write,linkat,fsync,unlink,sendto";
    let strace = ["strace", "-f", "-qq", "-y", "-e", calls, "-o", trace_at];
    let build = [kiln.to_str().expect("UTF-8"), "build", "--sign", "--no-cache"];
    world.run(&[&strace[..], &build].concat(), &[]).exits(0);
    let trace = fs::read_to_string(&trace).expect("strace wrote it");
    let by = |line: &'_ str| line.split(' ').next().unwrap_or_default().to_owned();
    let started = |line: &&str| line.contains("execve(") && line.contains("\"attestor\"");
    let attestors: Vec<String> = trace.lines().filter(started).map(by).collect();
    // Another one may have said before which key would sign: the store remembers that of one world alone.
    let sent = |line: &&str| line.contains("sendto(") && line.contains("{\\\"signed\\\"");
    let attestor = trace.lines().find(sent).map(by).expect("an envelope was sent");
    assert!(attestors.contains(&attestor), "{attestor} is none of {attestors:?}");
    let what = |line: &str| {
        let (pid, call) = line.split_once(' ')?;
        let call = call.trim_start();
        let named = |name: &str, place: &str| {
            pid == attestor && call.starts_with(name) && call.contains(place)
        };
        [
            ("entry", named("write(", "/journal/.new-")),
            ("name", named("linkat(", "/journal/.new-")),
            ("entry flushed", named("fsync(", "/journal/.new-")),
            ("folder flushed", named("fsync(", "/journal>")),
            ("line", named("write(", "/signed.log>")),
            ("line flushed", named("fsync(", "/signed.log>")),
            ("mark forgotten", named("unlink(", "/journal/.new-")),
            ("sent", named("sendto(", "")),
        ]
        .into_iter()
        .find_map(|(what, is)| is.then_some(what))
    };
    let mut seen: Vec<&str> = trace.lines().filter_map(what).collect();
    seen.dedup();
    let order = [
        "entry",
        "name",
        "entry flushed",
        "folder flushed",
        "line",
        "line flushed",
        "mark forgotten",
        "sent",
    ];
    assert_eq!(seen, order, "{trace}");
}

/// The statement names a commit; a lock that is not in that commit is no part of it.
#[test]
fn lock_written_by_the_build_counts_as_changed() {
    for who in Who::all() {
        let world = World::signed(who);
        world.run(&["rm", "kiln.lock"], &[]).exits(0);
        world.commit();
        let refused = world.kiln(&["build", "--sign"]).exits(2);
        assert!(refused.says("KILN-0702") && refused.says("kiln.lock"), "{}", refused.stderr);
        let built = world.kiln(&["build", "--sign", "--allow-dirty"]).exits(0);
        let statement = world.statement("out");
        let parameters = &statement["predicate"]["buildDefinition"]["externalParameters"];
        assert_eq!(parameters["dirty"], "true", "{}", built.stderr);
    }
}

/// What is told is what helps, word for word: with a lock that was never written, and with one out of date.
#[test]
fn the_first_signed_build_is_led_to_its_lock() {
    let world = World::warm(Who::all()[0]);
    world.key();
    world.write("src/input", "the input\n");
    let file = build_file("cp src/input out", "{out: out}", "[{file: attack.out}]");
    let file = file.replace("{local: src}", "{local: .}");
    for file in [file.clone(), file.replace("[gcc, ", "[")] {
        world.write("kiln.yaml", &file);
        world.commit();
        let told = world.kiln(&["build", "--sign"]).exits(2);
        assert!(told.says("KILN-0702") && told.says("kiln.lock"), "{}", told.stderr);
        let remedy = "kiln lock && git add -A && git commit";
        assert!(
            told.says(&format!("help: write it, then commit all:  {remedy}")),
            "{}",
            told.stderr
        );
        world.kiln(&["lock"]).exits(0);
        world.commit();
        world.kiln(&["build", "--sign"]).exits(0);
        let statement = world.statement("out");
        let parameters = &statement["predicate"]["buildDefinition"]["externalParameters"];
        assert_eq!(parameters["dirty"], "false", "{parameters}");
        // With the lock there, it is not named again.
        world.write("src/input", "another\n");
        let told = world.kiln(&["build", "--sign"]).exits(2);
        assert!(
            !told.says("kiln lock") && told.says("help: commit what changed"),
            "{}",
            told.stderr
        );
        world.write("src/input", "the input\n");
    }
}

/// S-F10 and S-F11: what git would be told to overlook, or to ask a foreign program about.
#[test]
fn hidden_changes_are_seen_and_foreign_programs_are_not_run() {
    for who in Who::all() {
        for flag in ["--assume-unchanged", "--skip-worktree"] {
            let world = World::signed(who);
            world.git(&["update-index", flag, "src/input"]);
            world.write("src/input", "the INPUT\n");
            assert_eq!(world.git(&["status", "-uno", "--porcelain"]), "", "git must be deceived");
            let refused = world.kiln(&["build", "--sign"]).exits(2);
            assert!(refused.says("KILN-0702"), "{}", refused.stderr);
            world.kiln(&["build", "--sign", "--allow-dirty"]).exits(0);
            assert!(world.read("kiln-out/out").contains("INPUT"));
            let statement = world.statement("out");
            let parameters = &statement["predicate"]["buildDefinition"]["externalParameters"];
            assert_eq!(parameters["dirty"], "true");
        }
        let world = World::signed(who);
        let program = world.path("tmp/program");
        let marker = world.path("tmp/marker");
        let text = format!("#!/bin/sh\ntouch {}\n", marker.display());
        fs::write(&program, text).expect("a new file");
        who.give(&program);
        world.run(&["chmod", "755", program.to_str().expect("UTF-8")], &[]).exits(0);
        world.git(&["config", "core.fsmonitor", program.to_str().expect("UTF-8")]);
        let user = format!("[core]\n\tfsmonitor = {}\n", program.display());
        fs::write(world.path("home/.gitconfig"), user).expect("a new file");
        world.kiln(&["build", "--sign", "--no-cache"]).exits(0);
        world.write("src/input", "changed\n");
        world.kiln(&["build", "--sign"]).exits(2);
        assert!(!marker.exists(), "a program of the repository's configuration was run");
        world.git(&["status"]);
        assert!(marker.exists(), "the control: git itself runs it");
        fs::remove_file(marker).expect("it is there");
    }
}

/// What git takes from its caller's environment, and what it reads beside the objects.
#[test]
fn variables_and_grafts_that_deceive_git_are_not_believed() {
    for who in Who::all() {
        let world = World::signed(who);
        let head = world.git(&["rev-parse", "HEAD"]);
        // Another repository, in which what lies in the work tree is what was committed.
        let other = world.path("other");
        let copy = ["cp", "-r", ".", other.to_str().expect("UTF-8")];
        world.run(&copy, &[]).exits(0);
        world.write("src/input", "the INPUT\n");
        world.write("../other/src/input", "the INPUT\n");
        let all = ["-C", other.to_str().expect("UTF-8"), "commit", "-qam", "other"];
        world.git(&all);
        let inside = |name: &str| other.join(".git").join(name).display().to_string();
        let (folder, index, objects) = (inside(""), inside("index"), inside("objects"));
        let variables = [
            ("GIT_DIR", folder.as_str()),
            ("GIT_COMMON_DIR", folder.as_str()),
            ("GIT_INDEX_FILE", index.as_str()),
            ("GIT_OBJECT_DIRECTORY", objects.as_str()),
            ("GIT_WORK_TREE", "."),
            ("GIT_CEILING_DIRECTORIES", "/"),
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "core.worktree"),
            ("GIT_CONFIG_VALUE_0", "/"),
        ];
        let status = ["git", "-c", "safe.directory=*", "status", "-uno", "--porcelain"];
        let deceived = world.run(&status, &variables[..5]).exits(0).stdout;
        assert_eq!(deceived, "", "git must be deceived");
        let refused = world.kiln_with(&["build", "--sign"], &variables).exits(2);
        assert!(refused.says("KILN-0702") && refused.says("src/input"), "{}", refused.stderr);
        // The commit is the repository's own, whatever parents and variables say.
        world.write("src/input", "the input\n");
        fs::create_dir_all(world.path("project/.git/info")).expect("a folder");
        world.write(".git/info/grafts", &format!("{}\n", head.trim()));
        world.kiln_with(&["build", "--sign", "--no-cache"], &variables).exits(0);
        let commit = &world.statement("out")["predicate"]["buildDefinition"]["externalParameters"];
        assert!(commit.to_string().contains(head.trim()), "{commit}");
    }
}

#[test]
fn one_command_is_wrapped_without_a_build_file() {
    for who in Who::all() {
        let world = World::warm(who);
        world.key();
        world.write("data/a", "a\n");
        let command = ["--input", "data", "--output", "made", "--", "cp", "data/a", "made"];
        let all: Vec<&str> = ["run"].into_iter().chain(command).collect();
        world.kiln(&all).exits(0);
        assert_eq!(world.read("kiln-out/made"), "a\n");
        world.kiln(&["verify", "kiln-out/made"]).exits(0);
        let statement = world.statement("made");
        let kind = statement["predicate"]["buildDefinition"]["buildType"].as_str();
        assert!(kind.is_some_and(|kind| kind.contains("/run/")), "{kind:?}");
        assert!(!world.path("project/made").exists() && !world.path("project/kiln.yaml").exists());
        let all: Vec<&str> = ["run", "--print-build-file"].into_iter().chain(command).collect();
        let file = world.kiln(&all).exits(0).stdout;
        world.write("kiln.yaml", &file);
        world.kiln(&["lock"]).exits(0);
        world.kiln(&["build", "--no-sign"]).exits(0);
        assert_eq!(world.read("kiln-out/made"), "a\n");
    }
}

/// Each option of a step is in its Action, in `buildDefinition`, and shown; leaving one out is seen.
#[test]
fn options_of_a_step_are_named_and_shown() {
    let mut options = vec![("nested", "true"), ("fakeroot", "true"), ("cpus", "1")];
    // Without it in the kernel the step is exit 7.
    if Path::new("/proc/sys/abi/vsyscall32").exists() {
        options.push(("abi32", "true"));
    }
    let mut actions = std::collections::BTreeSet::new();
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "the input\n");
        world.key();
        for (name, value) in options.iter().copied().chain([("", "")]) {
            let more =
                if name.is_empty() { String::new() } else { format!("    {name}: {value}\n") };
            let artifacts = "[{file: attack.out}]";
            let file = build_file_with("id -u > out", "{out: out}", artifacts, &more);
            world.write("kiln.yaml", &file.replace("{local: src}", "{local: .}"));
            world.kiln(&["lock"]).exits(0);
            world.commit();
            world.kiln(&["build", "--sign"]).exits(0);
            let statement = world.statement("out");
            let told = &statement["predicate"]["buildDefinition"]["internalParameters"]["options"];
            let action = &statement["predicate"]["runDetails"]["kiln_steps"]["listed"][0]["action"];
            actions.insert(action.to_string());
            let (verified, inspected) = (
                world.kiln(&["verify", "kiln-out/out"]).exits(0),
                world.kiln(&["inspect", "kiln-out/out"]).exits(0),
            );
            if name.is_empty() {
                assert!(told.is_null(), "{told}");
                assert!(!verified.says("option ") && !inspected.says("option "));
                continue;
            }
            assert_eq!(*told, serde_json::json!({ (format!("attack.{name}")): value }));
            let words = format!("attack.{name}: {value}");
            assert!(verified.says(&words), "{}", verified.stdout);
            assert!(inspected.says(&words), "{}", inspected.stdout);
            let refused = world.kiln(&["verify", "kiln-out/out", "--level", "3"]).exits(4);
            assert!(!refused.says("is verified"), "{}", refused.stdout);
            let root = if name == "fakeroot" { "0\n" } else { "1000\n" };
            assert_eq!(world.read("kiln-out/out"), root);
        }
    }
    // The same for root and user, another for each option and for none.
    assert_eq!(actions.len(), options.len() + 1, "{actions:?}");
}

/// Landlock and mounts of one's own exclude each other, so asking for both is told before anything runs.
#[test]
fn a_nested_step_is_refused_where_landlock_is_required() {
    let world = World::warm(Who::all()[0]);
    // A script of this world only: a result that is found is not noted again.
    let script = format!("echo {} > out", world.token);
    let file = |more| build_file_with(&script, "{out: out}", "", more);
    world.write("src/input", "");
    fs::create_dir_all(world.path("config/kiln")).expect("a folder");
    fs::write(world.path("config/kiln/config.toml"), "require = [\"landlock\"]\n").expect("a file");
    world.write("kiln.yaml", &file("    nested: true\n"));
    world.kiln(&["lock"]).exits(0);
    let refused = world.kiln(&["build", "--no-sign"]).exits(7);
    assert!(refused.says("KILN-0506") && refused.says("`nested`"), "{}", refused.stderr);
    fs::remove_file(world.path("config/kiln/config.toml")).expect("it is there");
    let noted = world.kiln(&["build", "--no-sign"]).exits(0);
    assert!(noted.says("a step is nested"), "{}", noted.stderr);
}

#[test]
fn verify_says_of_which_files_an_artifact_was_built() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", "x\n");
    world.write("kiln.yaml", &build_file("cp input out", "{out: out}", "[{file: attack.out}]"));
    world.kiln(&["lock"]).exits(0);
    world.key();
    let verified = |dirty: bool| {
        let json = world.kiln(&["verify", "--json", "kiln-out/out"]).exits(0).stdout;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["files"][0]["dirty"], dirty, "{json:#}");
        let text = world.kiln(&["verify", "kiln-out/out"]).exits(0).stdout;
        text.lines().last().expect("a verdict").to_owned()
    };
    world.kiln(&["build", "--sign"]).exits(0);
    let last = verified(false);
    assert!(last.ends_with("L1: built from local files that no commit names"), "{last}");
    world.commit();
    world.kiln(&["build", "--sign"]).exits(0);
    let commit = world.git(&["rev-parse", "HEAD"]);
    let last = verified(false);
    assert!(last.ends_with(&format!("built from {} of local", &commit[..12])), "{last}");
    world.write("src/input", "y\n");
    world.kiln(&["build", "--sign", "--allow-dirty"]).exits(0);
    let last = verified(true);
    assert!(last.ends_with(" of local, and files that differ from it"), "{last}");
}
