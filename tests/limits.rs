//! Limits as a person meets them: what a step may not exceed, and what is never believed again.

use crate::support::{Who, World, build_file_with};

/// Has kiln build, and returns the most memory that it or any program it started held, in KiB.
fn memory_of_build(world: &World) -> u64 {
    let measure = "import resource, subprocess, sys; ended = subprocess.run(sys.argv[1:]).returncode; \
                   print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(ended)";
    let kiln = world.path("bin/kiln");
    let kiln = kiln.to_str().expect("UTF-8");
    let ran = world.run(&["python3", "-c", measure, kiln, "build", "--no-cache"], &[]).exits(0);
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

#[test]
fn a_step_that_met_a_limit_is_not_used_again() {
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
                let ran = world.kiln(&["build"]).exits(0);
                assert_eq!(ran.says("met its limit of `disk`"), limited, "{who:?}");
            }
        }
        assert!(world.kiln(&["build"]).exits(0).says("cached"), "control: {who:?}");
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
                      any(b'ready' in line for line in kiln.stderr); kiln.kill(); kiln.wait()";
        world.run(&["python3", "-c", killed, kiln, "-v", "build"], &[]).exits(0);
        assert_eq!(left(), "1\n", "control: it lay on the disk, {who:?}");
        world.kiln(&["store", "info"]);
        assert_eq!(left(), "0\n", "{who:?}");
    }
}
