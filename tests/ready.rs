//! What can be refused is refused before anything is brought in or run: exit 2 for the build file, exit 7
//! for the host, each at the key that asked.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::processes::{of_processes, once_there_are_enough};
use crate::support::{Ran, Who, World, build_file, skipped};

/// What follows the steps, two of them: the first can always run, the second is the row's.
struct Row {
    name: &'static str,
    /// Top-level keys.
    top: &'static str,
    /// The second step, without its name.
    second: &'static str,
    /// What else goes on the command line.
    flags: &'static [&'static str],
    code: i32,
    told: &'static str,
    /// Line and text of the place, where the build file is to blame.
    place: &'static str,
}

const PLAIN: &str = "    from: {first.out: got}\n    run: cp got out\n    outputs: {out: out}\n";

const ROWS: [Row; 13] = [
    Row {
        name: "more processors than there are",
        top: "",
        second: "    from: {first.out: got}\n    cpus: 8192\n    run: cp got out\n    outputs: {out: out}\n",
        flags: &[],
        code: 7,
        told: "KILN-0506",
        place: "    cpus: 8192",
    },
    Row {
        name: "more open files than the host allows",
        top: "",
        second: "    from: {first.out: got}\n    resources: {files: 4194304}\n    run: cp got out\n    outputs: {out: out}\n",
        flags: &[],
        code: 7,
        told: "KILN-0504",
        place: "    resources: {files: 4194304}",
    },
    Row {
        name: "a limit that the backend cannot keep",
        top: "",
        second: "    from: {first.out: got}\n    resources: {disk: 1Gi}\n    run: cp got out\n    outputs: {out: out}\n",
        flags: &["--backend", "confined"],
        code: 7,
        told: "KILN-0504",
        place: "    resources: {disk: 1Gi}",
    },
    Row {
        name: "an option that the backend does not have",
        top: "",
        second: "    from: {first.out: got}\n    nested: true\n    run: cp got out\n    outputs: {out: out}\n",
        flags: &["--backend", "docker"],
        code: 7,
        told: "KILN-0506",
        place: "    nested: true",
    },
    Row {
        name: "no engine",
        top: "",
        second: PLAIN,
        flags: &["--backend", "docker"],
        code: 7,
        told: "KILN-0506",
        place: "",
    },
    Row {
        name: "no commit to take the time of",
        top: "source-date-epoch: commit\n",
        second: PLAIN,
        flags: &[],
        code: 2,
        told: "KILN-0105",
        place: "source-date-epoch: commit",
    },
    Row {
        name: "an output where the source has a file",
        top: "",
        second: "    mount: {src: .}\n    from: {first.out: input}\n    run: cp input out\n    outputs: {out: out}\n",
        flags: &[],
        code: 2,
        told: "KILN-0114",
        place: "    from: {first.out: input}",
    },
    Row {
        name: "an output below a file of the source",
        top: "",
        second: "    mount: {src: .}\n    from: {first.out: input/got}\n    run: cp input out\n    outputs: {out: out}\n",
        flags: &[],
        code: 2,
        told: "KILN-0114",
        place: "    from: {first.out: input/got}",
    },
    Row {
        name: "a source below a file that a step will leave",
        top: "",
        second: "    mount: {src: got/src}\n    from: {first.out: got}\n    run: cp got out\n    outputs: {out: out}\n",
        flags: &[],
        code: 2,
        told: "KILN-0114",
        place: "    mount: {src: got/src}",
    },
    Row {
        name: "two files of one name in an archive",
        top: "",
        second: PLAIN,
        flags: &[],
        code: 2,
        told: "KILN-0114",
        place: "artifacts: [{archive: [first.out, second.out], name: all.tar}]",
    },
    Row {
        name: "a target that is not there",
        top: "",
        second: PLAIN,
        flags: &["thrid"],
        code: 2,
        told: "KILN-0108",
        place: "",
    },
    Row {
        name: "a signature without a key",
        top: "",
        second: PLAIN,
        flags: &["--sign"],
        code: 5,
        told: "KILN-0701",
        place: "",
    },
    Row {
        name: "an output folder that is none",
        top: "",
        second: PLAIN,
        flags: &["-o", "src/input"],
        code: 2,
        told: "KILN-0105",
        place: "",
    },
];

/// A host environment of the Essential set alone, and two steps.
fn write(world: &World, row: &Row) {
    let archive = row.name.contains("archive");
    let artifacts = if archive {
        "artifacts: [{archive: [first.out, second.out], name: all.tar}]\n"
    } else {
        "artifacts: [{file: second.out}]\n"
    };
    let file = format!(
        "kiln: 1\nname: test\nsources: {{src: {{local: src}}}}\n{}steps:\n  - name: first\n    run: cp input out\n    \
         outputs: {{out: out}}\n  - name: second\n{}{artifacts}",
        row.top, row.second
    );
    world.write("src/input", "x\n");
    world.write("kiln.yaml", &file);
}

/// Fails if anything is in the store: an object, a result, the mark of an environment.
#[track_caller]
fn nothing_came_in(world: &World, what: &str) {
    for below in ["objects", "actions", "checkouts", "records", "refs"] {
        let entries = fs::read_dir(world.store.join(below)).map_or(0, Iterator::count);
        assert_eq!(entries, 0, "{what}: {below}");
    }
    assert!(!world.path("project/kiln-out").exists(), "{what}");
}

#[track_caller]
fn nothing_was_said_to_begin(ran: &Ran, what: &str) {
    for words in ["running", "environment default", "files in"] {
        assert!(!ran.says(words), "{what}: {}", ran.stderr);
    }
}

#[test]
fn what_can_be_refused_is_refused_before_anything_comes_in() {
    for who in Who::all() {
        for row in ROWS {
            if row.flags.contains(&"confined") && who != Who::Root {
                // Another user is refused the backend itself.
                continue;
            }
            let world = World::cold(who);
            write(&world, &row);
            let mut arguments = vec!["build"];
            arguments.extend(row.flags);
            let nowhere = [("DOCKER_HOST", "unix:///nowhere/docker.sock"), ("COLUMNS", "200")];
            let ran = world.kiln_with(&arguments, &nowhere).exits(row.code);
            assert!(ran.says(row.told), "{}: {}", row.name, ran.stderr);
            let place = ran.stderr.lines().find(|line| line.contains(row.place));
            let caret = ran.stderr.contains("--> kiln.yaml:");
            assert!(
                place.is_some() && caret != row.place.is_empty(),
                "{}: {}",
                row.name,
                ran.stderr
            );
            nothing_came_in(&world, row.name);
            nothing_was_said_to_begin(&ran, row.name);
        }
    }
}

/// The key of each limit is blamed, and not the step.
#[test]
fn a_limit_that_cannot_be_kept_is_refused_at_its_key() {
    for who in Who::all() {
        let world = World::cold(who);
        let second = "    from: {first.out: got}\n    resources:\n      memory: 1Gi\n      cpu: 2\n    run: cp got out\n    outputs: {out: out}\n";
        write(&world, &Row { second, name: "limits", ..ROWS[4] });
        let able: Value =
            serde_json::from_str(&world.kiln(&["doctor", "--json"]).stdout).expect("JSON");
        let groups = &able["host"]["cgroups"];
        let world = World::cold(who);
        write(&world, &Row { second, name: "limits", ..ROWS[4] });
        let control = World::warm(who);
        write(&control, &Row { second, name: "limits", ..ROWS[4] });
        if groups["memory"] == true && groups["cpu"] == true {
            control.kiln(&["build", "--no-sign"]).exits(0);
            continue;
        }
        let ran = world.kiln(&["build"]).exits(7);
        for (able, key, line) in
            [("memory", "memory: 1Gi", "kiln.yaml:11:15"), ("cpu", "cpu: 2", "kiln.yaml:12:12")]
        {
            let told = ran.says(key) && ran.says(line);
            assert_eq!(told, groups[able] == false, "{who:?}: {}", ran.stderr);
        }
        nothing_came_in(&world, "limits");
        // Whoever may do without is not asked.
        control.kiln(&["build", "--no-sign", "--allow-missing", "limits"]).exits(0);
    }
}

/// The rehearsal comes before the first environment is read, and not where nothing has to be.
#[test]
fn a_host_that_cannot_sandbox_is_told_before_the_environment_is_read() {
    for who in Who::all() {
        let world = World::cold(who);
        write(&world, &Row { name: "a host", ..ROWS[4] });
        let kiln = world.path("bin/kiln");
        let shut = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces && exec {} build --no-sign",
            kiln.display()
        );
        let ran = world.run(&["unshare", "-Ur", "sh", "-c", &shut], &[]).exits(7);
        assert!(ran.says("KILN-0503"), "{}", ran.stderr);
        nothing_came_in(&world, "a host");
        nothing_was_said_to_begin(&ran, "a host");
        // The control: with everything done elsewhere, nothing has to be sandboxed.
        let open = format!("exec {} build --no-sign", kiln.display());
        world.run(&["unshare", "-Ur", "sh", "-c", &open], &[]).exits(0);
        let ran = world.run(&["unshare", "-Ur", "sh", "-c", &shut], &[]).exits(0);
        assert!(ran.says("cached"), "{}", ran.stderr);
    }
}

#[test]
fn doctor_in_a_project_asks_what_its_steps_ask() {
    let world = World::cold(Who::all()[0]);
    world.kiln(&["doctor"]).exits(0);
    write(&world, &ROWS[0]);
    let ran = world.kiln(&["doctor"]).exits(7);
    assert!(ran.says("KILN-0506") && ran.says("kiln.yaml:10:"), "{}{}", ran.stdout, ran.stderr);
    let told: Value =
        serde_json::from_str(&world.kiln(&["doctor", "--json"]).exits(7).stdout).expect("JSON");
    assert_eq!(told["errors"][0]["line"], 10, "{told}");
    // What the configuration requires holds there as in a build.
    let nested = "    from: {first.out: got}\n    nested: true\n    run: cp got out\n    outputs: {out: out}\n";
    write(&world, &Row { second: nested, ..ROWS[0] });
    world.kiln(&["doctor"]).exits(0);
    fs::create_dir_all(world.path("config/kiln")).expect("a folder");
    let config = world.path("config/kiln/config.toml");
    fs::write(&config, "require = [\"landlock\"]\n").expect("it can be written");
    world.who.give(Path::new(&world.path("config")));
    for command in ["doctor", "build"] {
        let ran = world.kiln(&[command]).exits(7);
        let told = ran.says("requires `landlock`") && ran.says("kiln.yaml:10:");
        assert!(told, "{command}: {}", ran.stderr);
    }
}

/// Writes the configuration of a world.
fn configure(world: &World, text: &str) {
    fs::create_dir_all(world.path("config/kiln")).expect("a folder");
    fs::write(world.path("config/kiln/config.toml"), text).expect("it can be written");
    world.who.give(&world.path("config"));
    world.who.give(&world.path("config/kiln"));
}

#[test]
fn what_the_configuration_requires_holds_whatever_is_waived() {
    for who in Who::all() {
        let world = World::warm(who);
        write(&world, &Row { name: "a requirement", ..ROWS[4] });
        let doctor = world.kiln(&["doctor", "--json"]).stdout;
        let doctor: Value = serde_json::from_str(&doctor).expect("JSON");
        let kept = doctor["guarantees"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|one| one["guarantee"] == "limits" && one["state"] == "kept");
        let waive = ["build", "--no-sign", "--allow-missing", "limits"];
        world.kiln(&waive).exits(0);
        configure(&world, "require = [\"limits\"]\n");
        let ran = world.kiln(&waive).exits(if kept { 0 } else { 7 });
        let told = ran.says("cannot keep `limits`, which the configuration requires");
        assert_eq!(told, !kept, "{who:?}: {}", ran.stderr);
    }
}

/// Each is told with the remedy that helps, or does not matter; none ends kiln without a word.
#[test]
fn limits_of_the_caller_are_told_or_do_not_matter() {
    for who in Who::all() {
        let world = World::warm(who);
        write(&world, &Row { name: "a caller", ..ROWS[4] });
        world.kiln(&["build", "--no-sign"]).exits(0);
        let kiln = world.path("bin/kiln");
        for (limit, code, words) in [
            ("ulimit -s 100", 0, "passed"),
            ("export RUST_MIN_STACK=99999999999999999", 0, "passed"),
            ("export RUST_MIN_STACK=many", 0, "passed"),
            ("ulimit -f 0", 7, "ulimit -f unlimited"),
            ("ulimit -n 12", 7, "ulimit -n 1024"),
            ("ulimit -n 30", 7, "ulimit -n 1024"),
            // Enough for kiln, and fewer than a step has.
            ("ulimit -n 300", 7, "KILN-0504"),
            ("ulimit -n 1023", 7, "ulimit -n 1024"),
            ("ulimit -n 1024", 0, "passed"),
            ("ulimit -v 1000000000", 7, "ulimit -v unlimited"),
            ("ulimit -d 1000000000", 7, "KILN-0504"),
            ("ulimit -f 1000000000", 7, "ulimit -f unlimited"),
            ("ulimit -t 100000", 7, "ulimit -t unlimited"),
            ("ulimit -S -v 1000000000; ulimit -S -d 1000000000", 0, "passed"),
        ] {
            let script = format!("{limit}; exec {} build --no-sign --no-cache", kiln.display());
            let ran = world.run(&["bash", "-c", &script], &[]).exits(code);
            assert!(ran.says(words), "{who:?}: {limit}: {}", ran.stderr);
        }
    }
}

/// A user's hard limit of processes is in force in a step, and so is a ban on memory that was written and runs:
/// neither is what the statement would say.
#[test]
fn fewer_processes_and_no_executable_memory_are_told() {
    let denies = "perl -e 'syscall(157, 65, 1, 0, 0, 0) == 0 or exit 77; exec @ARGV'";
    for who in Who::all() {
        let world = World::warm(who);
        write(&world, &Row { name: "fewer", ..ROWS[4] });
        world.kiln(&["build", "--no-sign"]).exits(0);
        let kiln = world.path("bin/kiln");
        let build = |before: &str, after: &str| {
            let build = format!("{before} {} build --no-sign --no-cache {after}", kiln.display());
            world.run(&["bash", "-c", &build], &[])
        };
        let _alone = of_processes();
        // Who may raise the limit again does: capability 24, CAP_SYS_RESOURCE.
        let raises = world.run(&["bash", "-c", "ulimit -u 900; ulimit -u 1000"], &[]).code == 0;
        let code = if raises { 0 } else { 7 };
        let ran = build("ulimit -u 900; exec", "").exits(code);
        let told = ran.says("KILN-0504") && ran.says("ulimit -u 4096");
        assert_eq!(told, code == 7, "{who:?}: {}", ran.stderr);
        let told = world
            .run(&["bash", "-c", &format!("ulimit -u 900; exec {} doctor", kiln.display())], &[]);
        assert_eq!(told.says("limit of its processes"), code == 7, "{who:?}: {}", told.stderr);
        build("ulimit -u 900; exec", "--allow-missing limits").exits(0);
        // A default gives way to what a small host gives each user.
        once_there_are_enough(|| build("ulimit -u 3000; exec", "")).exits(0);
        if world.run(&["bash", "-c", &format!("{denies} true")], &[]).code == 77 {
            skipped("a ban on executable memory", "the kernel does not know it");
            continue;
        }
        let ran = build(denies, "").exits(7);
        assert!(ran.says("KILN-0504") && ran.says("executable memory"), "{}", ran.stderr);
    }
}

#[test]
fn an_engine_that_is_closed_to_the_caller_is_not_told_as_absent() {
    let Some(user) = Who::all().into_iter().find(|who| *who != Who::Root) else { return };
    let world = World::cold(user);
    write(&world, &Row { name: "an engine", ..ROWS[4] });
    let socket = world.path("closed.sock");
    let _open = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(&socket, closed).expect("it is ours");
    let host = format!("unix://{}", socket.display());
    let env = [("DOCKER_HOST", host.as_str()), ("COLUMNS", "200")];
    let ran = world.kiln_with(&["build", "--no-sign", "--backend", "docker"], &env).exits(7);
    let told = ran.says("may not speak to the container engine") && ran.says("usermod -aG");
    assert!(told && ran.says("KILN-0506") && !ran.says("start it"), "{}", ran.stderr);
}

#[test]
fn a_build_that_waived_a_guarantee_says_what_becomes_of_its_statement() {
    let world = World::warm(Who::all()[0]);
    write(&world, &Row { name: "a waiver", ..ROWS[4] });
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.key();
    let ran = world.kiln(&["build", "--sign"]).exits(0);
    assert!(!ran.says("kiln trust add"), "control: {}", ran.stderr);
    let ran = world.kiln(&["build", "--sign", "--allow-missing", "limits"]).exits(0);
    assert!(ran.says("made without limits") && ran.says("kiln trust add"), "{}", ran.stderr);
    let ran = world.kiln_with(&["verify", "kiln-out/out"], &[("COLUMNS", "200")]).exits(4);
    assert!(ran.says("kiln trust add KEYFILE --builder-id URI"), "{}", ran.stderr);
    // Who names the key believes it for any builder: what was waived is told with the verdict, everywhere.
    world.write("key.pem", &world.kiln(&["key", "export"]).exits(0).stdout);
    let by_key = ["verify", "kiln-out/out", "--key", "key.pem"];
    let ran = world.kiln(&by_key).exits(0);
    assert!(ran.stdout.lines().any(|line| line == " waived: limits"), "{}", ran.stdout);
    let ran = world.kiln(&[&["--json"], &by_key[..]].concat()).exits(0);
    assert!(ran.stdout.contains("\"waivers\": [\n") && ran.says("\"limits\""), "{}", ran.stdout);
}

/// The example of docs/backends.md, as it stands there.
#[test]
fn the_example_of_what_is_required_holds_here_and_refuses_a_backend_that_lacks_it() {
    let page = include_str!("../docs/backends.md");
    let (_, rest) = page.split_once("## What a host must keep: `require`").expect("its section");
    let (_, rest) = rest.split_once("```toml\n").expect("its example");
    let (example, _) = rest.split_once("```").expect("its end");
    for who in Who::all() {
        let world = World::warm(who);
        write(&world, &Row { name: "an example", ..ROWS[4] });
        configure(&world, example);
        world.kiln(&["build", "--no-sign"]).exits(0);
        world.kiln(&["doctor"]).exits(0);
        let refused = world.kiln(&["build", "--no-sign", "--backend", "confined"]).exits(7);
        let told = refused.says("KILN-0506") && refused.says("does not give a step `loopback`");
        assert!(told, "{}", refused.stderr);
        configure(&world, &example.replace("loopback", "loopbck"));
        let refused = world.kiln(&["build", "--no-sign"]).exits(2);
        assert!(refused.says("KILN-0105") && refused.says("config.toml:1:"), "{}", refused.stderr);
    }
}

/// A rehearsal makes a whole sandbox: one is enough, whoever asks for its result.
#[test]
fn what_is_required_is_rehearsed_once() {
    for who in Who::all() {
        let world = World::warm(who);
        write(&world, &Row { name: "a count", ..ROWS[4] });
        world.kiln(&["build", "--no-sign"]).exits(0);
        let kiln = world.path("bin/kiln").display().to_string();
        let made = |more: &[&str]| {
            let trace = world.path("tmp/trace").display().to_string();
            let strace = ["strace", "-f", "-qq", "-e", "trace=pivot_root", "-o", &trace];
            let build = [kiln.as_str(), "build", "--no-sign"];
            world.run(&[&strace[..], &build, more].concat(), &[]).exits(0);
            let text = fs::read_to_string(&trace).expect("it was traced");
            // Each sandbox, rehearsed or real, changes its root once.
            text.lines()
                .filter(|line| line.contains("pivot_root(") && line.ends_with("= 0"))
                .count()
        };
        let (plain, cached) = (made(&["--no-cache"]), made(&[]));
        assert!(plain > 0 && cached == 0, "{who:?}: {plain} and {cached} sandboxes");
        configure(&world, "require = [\"syscalls\"]\n");
        assert_eq!(made(&["--no-cache"]), plain, "{who:?}: rehearsed more than once");
        assert_eq!(made(&[]), 1, "{who:?}: not rehearsed once");
    }
}

/// What every step would meet is told by `doctor` wherever it is asked, and no build begins either.
#[test]
fn doctor_refuses_what_a_build_refuses_also_without_a_project() {
    for who in Who::all() {
        let world = World::warm(who);
        write(&world, &Row { name: "a caller", ..ROWS[4] });
        world.run(&["mkdir", "-p", "tmp"], &[]);
        let kiln = world.path("bin/kiln").display().to_string();
        let elsewhere = world.path("tmp").display().to_string();
        let project = world.path("project").display().to_string();
        for limit in ["-n 300", "-v 1000000000", "-d 1000000000", "-f 1000000000", "-t 100000"] {
            let run = |folder: &str, what: &str| {
                let script = format!("ulimit {limit}; cd {folder}; exec {kiln} {what}");
                world.run(&["bash", "-c", &script], &[]).exits(7)
            };
            for ran in [run(&elsewhere, "doctor"), run(&project, "build --no-sign --no-cache")] {
                assert!(ran.says("KILN-0504"), "{who:?}: {limit}: {}", ran.stderr);
            }
            let told = run(&elsewhere, "doctor --json");
            let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
            assert_eq!(
                (&told["ready"], &told["errors"][0]["code"]),
                (&false.into(), &"KILN-0504".into())
            );
        }
        let script = format!("cd {elsewhere}; exec {kiln} doctor");
        world.run(&["bash", "-c", &script], &[]).exits(0);
    }
}

/// Whoever may start no further thread hears of the limit, and not of a fault of kiln's.
#[test]
fn too_few_processes_are_the_hosts_to_give() {
    let Some(user) = Who::all().into_iter().find(|who| *who != Who::Root) else { return };
    let world = World::warm(user);
    write(&world, &Row { name: "a process", ..ROWS[4] });
    let kiln = world.path("bin/kiln").display().to_string();
    let script = format!("ulimit -u 1; exec {kiln} build --no-sign --no-cache");
    let ran = world.run(&["bash", "-c", &script], &[]).exits(7);
    assert!(ran.says("KILN-0505") && ran.says("ulimit -u"), "{}", ran.stderr);
}

/// What a build writes is no input of the next one: where a source would hold it, that is told before anything runs.
#[test]
fn a_build_that_writes_where_a_source_reads_says_so() {
    for in_git in [false, true] {
        let who = Who::all()[0];
        let world = World::warm(who);
        world.write("input", &world.token);
        world.write("lib/kept", "kept\n");
        let text = |exclude: &str| {
            build_file(
                "cat input > out; ls > list",
                "{out: out, list: list}",
                "[{file: attack.out}, {file: attack.list}]",
            )
            .replace("{local: src}", &format!("{{local: .{exclude}}}"))
        };
        world.write("kiln.yaml", &text(""));
        world.kiln(&["lock"]).exits(0);
        if in_git {
            world.commit();
        }
        let told = |folder: &str, path: &str| {
            let ran = world.kiln(&["build", "--no-sign", "-o", folder]).exits(0);
            let told = format!("source `src` holds {path}, so the next build reads");
            assert!(ran.says(&told), "{folder}: {}", ran.stderr);
            assert!(ran.says("such as kiln-out"), "{}", ran.stderr);
        };
        let first =
            |folder: &str| if in_git { format!("{folder}/SHA256SUMS") } else { folder.to_owned() };
        let remove = |folder: &str| fs::remove_dir_all(world.path("project").join(folder));
        told("dist", &first("dist"));
        remove("dist").expect("it was built");
        told("lib/../dist", &first("dist"));
        remove("dist").expect("it was built");
        // Nothing runs, and nothing is said.
        let seen = world.kiln(&["build", "--plan", "-o", "dist"]).exits(0);
        assert!(!seen.says("so the next build") && !world.path("project/dist").exists());
        // The controls: out of the project, where kiln's own lies, and what is left out.
        let builds = |folder: &str| {
            for _ in 0..2 {
                let ran = world.kiln(&["build", "--no-sign", "-o", folder]).exits(0);
                assert!(!ran.says("so the next build"), "{}", ran.stderr);
            }
            let list = world.read(&format!("{folder}/list"));
            assert_eq!(list.lines().collect::<Vec<_>>(), LISTED, "{folder}, in git: {in_git}");
        };
        builds("../elsewhere");
        builds("kiln-out");
        builds("kiln-out/deep");
        if in_git {
            world.write(".gitignore", "/dist/\n");
            builds("dist");
            builds("dist/deep");
            told("lib/dist", "lib/dist/SHA256SUMS");
            remove("lib/dist").expect("it was built");
            // A file that the commit has counts, whatever ignores it.
            world.write("dist/out", "tracked\n");
            world.git(&["add", "-f", "dist/out"]);
            told("dist", "dist/out");
        } else {
            world.write("kiln.yaml", &text(", exclude: [/dist/]"));
            builds("dist");
            told("lib/dist", "lib/dist");
        }
    }
}

/// What the step sees of its source.
const LISTED: [&str; 4] = ["input", "lib", "list", "out"];
