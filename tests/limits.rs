//! Limits as a person meets them: what a step may not exceed, and what is never believed again.

use serde_json::Value;

use crate::support::backend::{Backend, Reach};
use crate::support::processes::{
    TRIES_MAX, are_few, of_processes, once_there_are_enough, tried_often,
};
use crate::support::{Ran, Who, World, build_file_with, skipped};

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

/// A step that starts processes until it is refused one, and passes.
const FORKS_AND_PASSES: &str =
    "perl -e 'while (defined(my $p = fork)) { if (!$p) { sleep 600; exit } }'; cp input out";

/// A world of a user whose processes the kernel counts, with a step for each of `runs`.
fn counted(runs: &[&str]) -> Option<World> {
    let user = Who::all().into_iter().find(|who| *who != Who::Root)?;
    let world = World::warm(user);
    world.write("src/input", "x\n");
    let mut file = String::new();
    for (number, run) in runs.iter().enumerate() {
        // Of this world alone, or an earlier one's result would be found.
        let script = format!("# {}\n{run}", world.token);
        let whole = build_file_with(&script, "{out: out}", "", "");
        let (head, step) = whole.split_once("  - name: attack").expect("its step");
        file += if number == 0 { head } else { "" };
        file += &format!("  - name: attack{number}{step}");
    }
    world.write("kiln.yaml", &file);
    world.kiln(&["lock"]).exits(0);
    Some(world)
}

/// Builds under a limit that counts all that this user runs: other tests do so at the same time, and may leave too
/// few just now.
fn build_under(world: &World, limit: &str) -> Ran {
    once_there_are_enough(|| try_under(world, limit))
}

fn try_under(world: &World, limit: &str) -> Ran {
    let kiln = world.path("bin/kiln").display().to_string();
    let script = format!("ulimit {limit}; exec {kiln} build --no-sign -j 4");
    world.run(&["bash", "-c", &script], &[])
}

/// Whatever the caller's limit is: a step meets its own one first, or is not started.
#[test]
fn a_callers_limit_of_processes_is_never_met_unseen_and_never_by_kiln() {
    let Some(world) = counted(&[FORKS_AND_PASSES]) else { return };
    let _alone = of_processes();
    let mut ran_once = false;
    for limit in ["-u 1100", "-u 1200", "-u 1300", "-u 1400", "-u 4096", "-S -u 2000"] {
        for _ in 0..3 {
            // The largest leaves enough once others have fewer; a small one may never do.
            let ran = match limit {
                "-u 4096" => build_under(&world, limit),
                _ => tried_often(|| try_under(&world, limit)),
            };
            let noted = ran.says("met its limit of `pids`; the result is not used again");
            let few = are_few(&ran) && !noted;
            assert_eq!((few, noted), (ran.code == 7, ran.code == 0), "{limit}: {}", ran.stderr);
            assert!(!ran.says("cached"), "{limit}: {}", ran.stderr);
            ran_once |= noted;
        }
    }
    assert!(ran_once, "control: some limit left enough");
}

/// Control of the above: whoever does not come near is not told so.
#[test]
fn a_callers_limit_of_processes_that_is_not_met_changes_nothing() {
    let Some(world) = counted(&["sleep 600 & sleep 600 & cp input out"]) else { return };
    let _alone = of_processes();
    // Others of this user may meet it meanwhile, which is noted: then it is built once more.
    let found = (0..TRIES_MAX).any(|_| {
        let ran = build_under(&world, "-u 2000").exits(0);
        !ran.says("met its limit")
    });
    assert!(found, "noted although nobody was refused");
    for limit in ["-u 1300", "-S -u 500"] {
        assert!(build_under(&world, limit).exits(0).says("cached"), "{limit}");
    }
}

/// Together they would meet the limit of their user: each has what it has alone, one after the other.
#[test]
fn steps_side_by_side_share_a_callers_limit_of_processes() {
    let Some(world) = counted(&[FORKS_AND_PASSES; 4]) else { return };
    let _alone = of_processes();
    for _ in 0..3 {
        let ran = build_under(&world, "-u 1400").exits(0);
        let noted = ran.stderr.matches("met its limit of `pids`").count();
        assert_eq!(noted, 4, "{}", ran.stderr);
    }
}

/// The step has three processes; whoever started kiln takes all the rest while it runs.
#[test]
fn a_limit_of_processes_that_others_meet_is_noted() {
    let refused = "perl -e '$| = 1; print qq(ready\\n); while (1) { my $p = fork; last unless defined $p; \
                   exec q(/bin/true) unless $p; waitpid $p, 0 } print qq(refused\\n); open my $f, q(>), q(out); print $f 1'";
    let Some(world) = counted(&[refused]) else { return };
    // Whatever the step gives back is taken, until it is refused.
    let fill = "import os, signal, subprocess, sys\n\
        kiln = None\n\
        while not kiln:\n  \
          try: kiln = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, text=True)\n  \
          except BlockingIOError: pass\n\
        def take():\n  \
          os.setpgid(0, 0)\n  \
          while True:\n    \
            try:\n      \
              if os.fork() == 0: signal.pause()\n    \
            except OSError: pass\n\
        taker = 0\n\
        for line in kiln.stderr:\n  \
          sys.stderr.write(line)\n  \
          if line.strip().endswith('ready'):\n    \
            taker = os.fork()\n    \
            if taker == 0: take()\n    \
            os.setpgid(taker, taker)\n  \
          if line.strip().endswith('refused'): os.killpg(taker, 9)\n\
        sys.exit(kiln.wait())";
    let _alone = of_processes();
    let kiln = world.path("bin/kiln").display().to_string();
    let script = format!("ulimit -u 1400; exec python3 -c \"$0\" {kiln} -v build --no-sign");
    for _ in 0..3 {
        let ran = once_there_are_enough(|| world.run(&["bash", "-c", &script, fill], &[])).exits(0);
        assert!(ran.says("refused"), "control: {}", ran.stderr);
        assert!(
            ran.says("met its limit of `pids`; the result is not used again"),
            "{}",
            ran.stderr
        );
    }
}
