//! Limits as a person meets them: what a step may not exceed, and what is never believed again.

use serde_json::Value;

use crate::support::backend::{Backend, Reach};
use crate::support::{Who, World, build_file_with, skipped};

/// Has kiln build, and returns the most memory that it or any program it started held, in KiB.
fn memory_of_build(world: &World) -> u64 {
    memory_of(world, &["build", "--no-cache"], 0)
}

/// The same for any command, which has to end with a code.
fn memory_of(world: &World, arguments: &[&str], code: i32) -> u64 {
    let measure = "import resource, subprocess, sys; ended = subprocess.run(sys.argv[1:]).returncode; \
                   print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(ended)";
    let kiln = world.path("bin/kiln");
    let kiln = kiln.to_str().expect("UTF-8");
    let command = [&["python3", "-c", measure, kiln][..], arguments].concat();
    let ran = world.run(&command, &[]).exits(code);
    let peak = ran.stdout.lines().find_map(|line| line.strip_prefix("peak "));
    peak.and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_log_of_any_length_costs_no_memory() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        let peak = |mib: u32| {
            let run = format!(
                "yes out | head -c {}; yes err | head -c {} >&2; cp input out",
                mib << 19,
                mib << 19
            );
            let more = "    resources: {log: 1Gi}\n";
            let file = build_file_with(&run, "{out: out}", "[{file: attack.out}]", more);
            world.write("kiln.yaml", &file);
            world.kiln(&["lock"]).exits(0);
            world.commit();
            memory_of_build(&world)
        };
        let (short, long) = (peak(1), peak(300));
        assert!(long < short + 48 * 1024, "{who:?}: {short} KiB, then {long} KiB");
    }
}

/// What nobody signed is held once and bounded, whatever it says of itself.
#[test]
fn evidence_that_nobody_signed_costs_no_memory() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", "x\n");
    world.write(
        "kiln.yaml",
        &build_file_with("cp input out", "{out: out}", "[{file: attack.out}]", ""),
    );
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.key();
    world.kiln(&["build", "--sign"]).exits(0);
    let write = "import base64, json, os, sys; os.makedirs('deps', exist_ok=True); \
        subjects = [{'name': 'x', 'digest': {'sha256': '%064x' % n}} for n in range(int(sys.argv[1]))]; \
        text = json.dumps({'subject': subjects, 'predicate': 'x' * (1 << 20)}).encode(); \
        line = {'payloadType': 'application/vnd.in-toto+json', 'signatures': [{'sig': 'AAAA'}], \
        'payload': base64.b64encode(text).decode()}; \
        open('deps/x.intoto.jsonl', 'w').write(json.dumps(line) + chr(10))";
    let verify = ["verify", "kiln-out/out", "--deps", "deps"];
    let peak = |subjects: &str, code: i32| {
        world.run(&["python3", "-c", write, subjects], &[]).exits(0);
        memory_of(&world, &verify, code)
    };
    let (one, many, more) = (peak("1", 0), peak("1000", 0), peak("4000", 4));
    assert!(many < one + 64 * 1024, "{one} KiB, then {many} KiB");
    assert!(more < one + 64 * 1024, "{one} KiB, then {more} KiB");
    assert!(world.kiln(&verify).exits(4).says("4000 subjects"));
    // Files of no content that are large, each within the limit of one.
    let sparse = |name: &str| {
        world.run(&["truncate", "-s", "64M", name], &[]).exits(0);
    };
    for number in 0..3 {
        sparse(&format!("deps/{number}.sigstore.json"));
    }
    memory_of(&world, &verify, 4);
    world.write("policy.yaml", "policy: 1\nrequire: [{type: \"https://a.example/x\"}]\n");
    let verify = ["verify", "kiln-out/out", "--policy", "policy.yaml"];
    sparse("kiln-out/out.dependencies.json");
    for number in 0..15 {
        sparse(&format!("kiln-out/out.{number}.sigstore.json"));
    }
    let peak = memory_of(&world, &verify, 4);
    assert!(peak < one + 320 * 1024, "{one} KiB, then {peak} KiB");
    assert!(world.kiln(&verify).exits(4).says("too large"));
}

#[test]
fn a_step_above_its_disk_limit_does_not_pass_whatever_its_command_says() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        // A limit is no part of what a result is kept under: the larger one comes last.
        for (more, limited) in [("    resources: {disk: 1Mi}\n", true), ("", false)] {
            // Of this world alone, or an earlier one's result would be found.
            let token = &world.token;
            let run = format!("cp input out; head -c 2M /dev/zero > /tmp/{token} || true");
            let file = build_file_with(&run, "{out: out}", "[{file: attack.out}]", more);
            world.write("kiln.yaml", &file);
            world.kiln(&["lock"]).exits(0);
            world.commit();
            for _ in 0..2 {
                let ran = world.kiln(&["build"]).exits(i32::from(limited));
                assert_eq!(ran.says("KILN-0406"), limited, "{who:?}");
            }
        }
        assert!(world.kiln(&["build"]).exits(0).says("cached"), "control: {who:?}");
    }
}

/// More room would change nothing, so nobody is sent to ask for it.
#[test]
fn a_tree_that_is_too_deep_is_told_as_that_and_not_as_a_full_disk() {
    // Confined steps have no limit on disk.
    for backend in Backend::here().iter().filter(|one| **one != Backend::Confined) {
        let world = World::warm(backend.who());
        let reach = Reach::of(*backend, &world);
        world.write("src/input", "x\n");
        let told = |run: &str, more: &str| {
            let file = build_file_with(run, "{out: out}", "[{file: attack.out}]", more);
            world.write("kiln.yaml", &file);
            reach.kiln(&world, &["build", "--no-sign"]).exits(1)
        };
        // Found while it runs, and at its end.
        for end in ["sleep 600", "cp input out"] {
            // Below what an engine's container is measured to, and below what is walked.
            let depth = if *backend == Backend::Docker { 300 } else { 4200 };
            let deep =
                format!("perl -e 'for (1..{depth}) {{ mkdir q(d); chdir q(d) or die }}'; {end}");
            let ran = told(&deep, "");
            for words in [
                "KILN-0406",
                "folders that lie too deep inside one another",
                "fewer folders inside",
            ] {
                assert!(ran.says(words), "{backend:?}, {end}: {words}\n{}", ran.stderr);
            }
            assert!(!ran.says("filled its writable") && !ran.says("raise `"), "{}", ran.stderr);
        }
        // Control: a full one is told with the key that gives it more.
        let full = "head -c 4M /dev/zero > more || true; cp input out";
        let ran = told(full, "    resources: {disk: 1Mi}\n");
        assert!(ran.says("filled its writable") && ran.says("raise `"), "{}", ran.stderr);
        assert!(!ran.says("too deep"), "{backend:?}: {}", ran.stderr);
    }
}

#[test]
fn a_result_holds_under_its_limit_of_open_files() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        for (files, word) in [("64", "64"), ("64", "cached"), ("128", "128"), ("64", "cached")] {
            let run = format!("echo {} $(ulimit -n); ulimit -n > out", world.token);
            let more = format!("    resources: {{files: {files}}}\n");
            world.write(
                "kiln.yaml",
                &build_file_with(&run, "{out: out}", "[{file: attack.out}]", &more),
            );
            let ran = world.kiln(&["-v", "build", "--no-sign"]).exits(0);
            assert!(ran.says(word), "{who:?}: {files}: {}", ran.stderr);
            assert_eq!(world.read("kiln-out/out"), format!("{files}\n"), "{who:?}");
        }
    }
}

#[test]
fn what_a_step_wrote_is_gone_also_when_kiln_was_killed() {
    for who in Who::all() {
        let world = World::cold(who);
        world.write("src/input", "x\n");
        let run = "head -c 4M /dev/zero > /tmp/large; echo ready; sleep 600; cp input out";
        let file = build_file_with(run, "{out: out}", "[{file: attack.out}]", "");
        world.write("kiln.yaml", &file);
        world.kiln(&["lock"]).exits(0);
        world.commit();
        let left = || {
            let count =
                "import os, sys; print(sum('large' in f for _, _, f in os.walk(sys.argv[1])))";
            let store = world.store.to_str().expect("UTF-8");
            world.run(&["python3", "-c", count, store], &[]).exits(0).stdout
        };
        let kiln = world.path("bin/kiln");
        let kiln = kiln.to_str().expect("UTF-8");
        let killed = "import subprocess, sys; kiln = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE); \
                      any(b'ready' in line for line in kiln.stderr); kiln.kill(); kiln.wait(); print(kiln.pid)";
        let dead = world.run(&["python3", "-c", killed, kiln, "-v", "build"], &[]).exits(0).stdout;
        if left() == "0\n" && is_too_full(&world) {
            return skipped("what a step wrote", "a disk this full is not written to by a step");
        }
        assert_eq!(left(), "1\n", "control: it lay on the disk, {who:?}");
        // Its control groups, where it could make any, go as well.
        let before = control_groups_of(dead.trim());
        world.kiln(&["store", "gc"]).exits(0);
        assert_eq!(left(), "0\n", "{who:?}");
        assert_eq!(control_groups_of(dead.trim()), 0, "{who:?}: {before} before");
    }
}

/// Says whether the disk of a world has so little room that a step's space lies in memory: the reserve and
/// half of the memory limit, which is at most the host's memory.
fn is_too_full(world: &World) -> bool {
    let store = world.store.parent().expect("a folder");
    let all = ["stat", "-f", "-c", "%a %S", store.to_str().expect("UTF-8")];
    let said = world.run(&all, &[]).exits(0).stdout;
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let free: u64 = said.split_whitespace().map(number).product();
    let memory = std::fs::read_to_string("/proc/meminfo").expect("/proc is there");
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("a line");
    free < (2 << 30) + number(total.trim().trim_end_matches(" kB")) * 1024 / 2
}

/// Counts the control groups that a kiln with this number made.
fn control_groups_of(kiln: &str) -> usize {
    let find = ["/sys/fs/cgroup", "-type", "d", "-name", &format!("kiln-{kiln}-*")];
    let found = std::process::Command::new("find").args(find).output().expect("find starts");
    String::from_utf8_lossy(&found.stdout).lines().count()
}

#[test]
fn a_log_that_was_cut_says_so_at_its_end_and_in_the_report() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        for (end, code) in [("true", 0), ("exit 3", 1), ("rm out", 1)] {
            // Of this world alone, or an earlier one's result would be found.
            let run = format!("echo {}; cp input out; yes | head -c 20K; {end}", world.token);
            for (log, cut) in [("4Ki", true), ("1Mi", false)] {
                let more = format!("    resources: {{log: {log}}}\n");
                let file = build_file_with(&run, "{out: out}", "[{file: attack.out}]", &more);
                world.write("kiln.yaml", &file);
                world.kiln(&["lock"]).exits(0);
                world.commit();
                let ran = world.kiln(&["build", "--no-cache", "--json"]).exits(code);
                let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
                let id = told["id"].as_str().expect("an id");
                assert_eq!(ran.says("log cut at its limit"), cut, "{who:?}: {end}: {}", ran.stderr);
                let named = ran.says("log cut at its limit of 4Ki: raise `resources: {log: …}`");
                assert_eq!(named, cut && code != 0, "{who:?}: {end}: {}", ran.stderr);
                let kept = world.kiln(&["log", id]).exits(0).stdout;
                let mark = "\n[kiln: log cut at its limit of 4Ki]\n";
                assert_eq!(kept.ends_with(mark), cut, "{who:?}: {end}");
                assert!(!cut || kept.len() == 4096 + mark.len(), "{who:?}: {end}: {}", kept.len());
            }
        }
    }
}

#[test]
fn a_failed_step_that_was_refused_a_process_names_the_limit() {
    // Another user may have no control group that tells of it.
    let Some(root) = Who::all().into_iter().find(|who| *who == Who::Root) else {
        return skipped(
            "the limit of processes in a report",
            "only root can make control groups here",
        );
    };
    let world = World::warm(root);
    world.write("src/input", "x\n");
    for (pids, refused) in [("20", true), ("4096", false)] {
        let run = "cp input out; sh -c 'for i in $(seq 40); do sleep 3 & done'; exit 3";
        let more = format!("    resources: {{pids: {pids}}}\n");
        world
            .write("kiln.yaml", &build_file_with(run, "{out: out}", "[{file: attack.out}]", &more));
        world.kiln(&["lock"]).exits(0);
        world.commit();
        let ran = world.kiln(&["build"]).exits(1);
        let code = if refused { "KILN-0409" } else { "KILN-0401" };
        assert!(ran.says(code), "{}", ran.stderr);
        let named = ran.says("at most 20 processes") && ran.says("raise `resources: {pids: …}`");
        assert_eq!(named, refused, "{}", ran.stderr);
    }
}

/// Whatever a limit that no step can live under does, the report names it, its line and what to do.
#[test]
fn a_limit_too_low_for_any_step_is_named_with_its_line() {
    const ALL: [Backend; 4] = Backend::ALL;
    const GROUPED: [Backend; 2] = [Backend::NativeRoot, Backend::Docker];
    let opens =
        "perl -e 'push @kept, do { open my $file, q(<), q(input) or die $!; $file } while 1'";
    let rows: [(&str, &str, &str, &[Backend]); 5] = [
        ("memory: 64Ki", "cp input out", "KILN-0405", &GROUPED),
        ("pids: 1", "cp input out", "KILN-0409", &[Backend::NativeRoot]),
        ("pids: 1", "cp input out", "KILN-0401", &[Backend::Docker]),
        ("files: 3", "cp input out", "KILN-0401", &ALL),
        ("files: 64", opens, "KILN-0401", &ALL),
    ];
    for backend in Backend::here() {
        let world = World::warm(backend.who());
        let reach = Reach::of(*backend, &world);
        world.write("src/input", "x\n");
        for (limit, run, code, _) in rows.iter().filter(|(_, _, _, on)| on.contains(backend)) {
            let more = format!("    resources: {{{limit}}}\n");
            let run = format!("{run} # {}", world.token);
            let file = build_file_with(&run, "{out: out}", "[{file: attack.out}]", &more);
            world.write("kiln.yaml", &file);
            world.kiln(&["lock"]).exits(0);
            world.commit();
            let ran = reach.kiln(&world, &["build", "--no-sign"]).exits(1);
            let (key, value) = limit.split_once(": ").expect("a key and a value");
            let line = format!("resources: {{{key}: {value}}}");
            let remedy = format!("raise `resources: {{{key}: …}}`");
            for words in [*code, &line, &remedy] {
                assert!(ran.says(words), "{backend:?}: {limit}: no {words} in\n{}", ran.stderr);
            }
        }
    }
}

/// What docs/threat-model.md lists, so that the list stays true: better is welcome, and changes it.
#[test]
fn limits_met_in_silence_are_those_that_are_listed() {
    let open = "python3 -c '\nkept = []\ntry:\n  while True: kept.append(open(\"input\"))\nexcept OSError as e: print(e)\n'";
    let fork = "python3 -c '\nimport os\ntry:\n  while True:\n    if os.fork() == 0: os.pause() if hasattr(os, \"pause\") else __import__(\"signal\").pause()\nexcept OSError as e: print(e)\n'";
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        for (limit, act, met, seen) in [
            ("files: 64", open, "Too many open files", false),
            ("pids: 64", fork, "Resource temporarily unavailable", true),
        ] {
            // Of this world alone, or an earlier one's result would be found.
            let run = format!("echo {}\n{act}\ncp input out", world.token);
            let more = format!("    resources: {{{limit}}}\n");
            world.write(
                "kiln.yaml",
                &build_file_with(&run, "{out: out}", "[{file: attack.out}]", &more),
            );
            let ran = world.kiln(&["-v", "build", "--no-sign"]).exits(0);
            assert!(ran.says(met), "control: {limit}, {who:?}: {}", ran.stderr);
            let again = world.kiln(&["build", "--no-sign"]).exits(0);
            assert_eq!(again.says("cached"), !seen, "{limit}, {who:?}: {}", again.stderr);
            assert_eq!(ran.says("the result is not used again"), seen, "{limit}, {who:?}");
        }
    }
}
