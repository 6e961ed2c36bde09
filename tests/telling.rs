//! What a build tells beside its results: states of steps, reports of tests, logs.

use serde_json::Value;

use crate::support::{PACKAGES, Ran, Who, World, build_file};

/// Returns a build file with these steps and tests.
fn file(steps: &str) -> String {
    format!(
        "kiln: 1\nname: test\nsources: {{src: {{local: src}}}}\nenvironment:\n  host: {{packages: \
         {PACKAGES}}}\n{steps}"
    )
}

#[track_caller]
fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

#[test]
fn a_failed_build_tells_the_state_of_every_step() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", &world.token);
    let steps = "steps:\n  - {name: good, run: cp input out, outputs: {out: out}}\n  - {name: bad, run: \
                 exit 3}\n  - {name: after, run: 'true', needs: [bad]}\n  - {name: last, run: 'true', needs: \
                 [after]}\n";
    world.write("kiln.yaml", &file(steps));
    for good in ["passed", "cached"] {
        let told = document(&world.kiln(&["build", "--json"]).exits(1));
        assert_eq!(told["schema"], "kiln/errors");
        assert_eq!(told["errors"][0]["code"], "KILN-0401");
        assert_eq!(told["id"].as_str().map(str::len), Some(32));
        let states: Vec<_> = ["good", "bad", "after", "last"]
            .map(|step| told["steps"][step]["state"].as_str().unwrap_or("none").to_owned())
            .into();
        assert_eq!(states, [good, "failed", "blocked", "blocked"]);
        assert_eq!(told["steps"]["bad"]["detail"], "exit status 3");
    }
    // Where no step was to run yet, there are errors alone.
    world.write("kiln.yaml", "kiln: 1\n");
    let told = document(&world.kiln(&["build", "--json"]).exits(2));
    assert!(told.get("steps").is_none() && told["errors"].is_array(), "{told}");
}

/// A report with names that would write to the terminal.
const REPORT: &str = "<testsuites><testsuite><testcase name='good'/><testcase classname='c' name='bad&#x9b;31m'>\
                      <failure/></testcase><testcase name='later'><skipped/></testcase></testsuite></testsuites>";

#[test]
fn the_report_of_a_test_is_told_with_the_names_of_what_did_not_pass() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", &world.token);
    world.write("src/report.xml", REPORT);
    let unit = |end: &str| {
        file(&format!(
            "steps:\n  - {{name: make, run: 'true'}}\ntests:\n  - {{name: unit, run: 'cp report.xml r.xml; exit \
             {end}', reports: {{junit: r.xml}}}}\n"
        ))
    };
    for (end, code, detail) in [
        ("1", 1, "exit status 1; 3 tests, 1 failure, 1 skipped"),
        ("0", 0, "3 tests, 1 failure, 1 skipped"),
    ] {
        world.write("kiln.yaml", &unit(end));
        let ran = world.kiln(&["build", "--json"]).exits(code);
        let told = document(&ran);
        let story = &told["steps"]["unit"];
        assert_eq!(story["detail"], detail);
        assert_eq!(story["cases"]["tests"], 3);
        assert_eq!(story["cases"]["not_passed"][0], "c.bad\u{9b}31m");
        assert!(ran.stderr.contains("test unit: c.bad\\x9b31m did not pass"), "{}", ran.stderr);
        assert!(!ran.stderr.contains('\u{9b}'));
    }
    // Found again, it says the same.
    let told = document(&world.kiln(&["build", "--json"]).exits(0));
    assert_eq!(told["steps"]["unit"]["state"], "cached");
    assert_eq!(told["steps"]["unit"]["cases"]["failures"], 1);
}

#[test]
fn a_report_that_is_none_is_a_note_and_the_test_passes() {
    let world = World::warm(Who::all()[0]);
    let test = file(
        "steps:\n  - {name: make, run: 'true'}\ntests:\n  - {name: unit, run: 'cp report.xml r.xml', reports: \
         {junit: r.xml}}\n",
    );
    world.write("kiln.yaml", &test);
    // Of this world only: worlds share a store, and a result that is found says nothing anew.
    world.write("src/token", &world.token);
    let deep = "<testsuite>".repeat(50_000);
    for (report, why) in [
        ("ok 1 - this is another format", "not well-formed"),
        ("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><testsuite/>", "document type"),
        (&deep, "deep"),
    ] {
        world.write("src/report.xml", report);
        let ran = world.kiln(&["build", "--json"]).exits(0);
        assert!(ran.stderr.contains("is kept and not read"), "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
        assert!(document(&ran)["steps"]["unit"]["cases"].is_null());
    }
}

#[test]
fn a_build_of_one_target_keeps_the_digests_of_the_others() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", &world.token);
    let steps = |run: &str| {
        file(&format!(
            "steps:\n  - {{name: one, run: '{run}', outputs: {{out: one}}}}\n  - {{name: two, run: '{run}; cp one \
             two', outputs: {{out: two}}}}\nartifacts: [{{file: one.out}}, {{file: two.out}}]\n"
        ))
    };
    let sums = || {
        let text = world.read("kiln-out/SHA256SUMS");
        text.lines().filter_map(|line| line.split("  ").nth(1)).collect::<Vec<_>>().join(" ")
    };
    let checked = || {
        let arguments = ["sh", "-c", "cd kiln-out && sha256sum --check --strict SHA256SUMS"];
        world.run(&arguments, &[]).exits(0);
    };
    world.write("kiln.yaml", &steps("cp input one"));
    world.kiln(&["build", "--no-sign", "one"]).exits(0);
    assert_eq!(sums(), "one");
    world.kiln(&["build", "--no-sign", "two"]).exits(0);
    assert_eq!(sums(), "one two");
    checked();
    // One that was changed since is not what its line says.
    std::fs::write(world.path("project/kiln-out/one"), "changed").expect("it can be written");
    world.kiln(&["build", "--no-sign", "two"]).exits(0);
    assert_eq!(sums(), "two");
    world.kiln(&["build", "--no-sign"]).exits(0);
    assert_eq!(sums(), "one two");
    checked();
}

#[test]
fn verbose_shows_the_set_up_and_more_of_it_the_program() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", &world.token);
    let steps = "steps:\n  - {name: one, run: cp input out, env: {A: \"x\\e[31my\"}, outputs: {out: out}}\n";
    world.write("kiln.yaml", &file(steps));
    let told = |flag: &str| world.kiln(&["build", "--no-cache", "--no-sign", flag]).exits(0).stderr;
    let (output, set_up, trace) = (told("-v"), told("-vv"), told("-vvv"));
    assert!(!output.contains("set-up"), "{output}");
    for words in ["step{id=one}", "set-up number=0", "Tmpfs", "Attach", "all processes are dead"] {
        assert!(set_up.contains(words), "{words}: {set_up}");
    }
    // In the order in which it is done: the root is made before anything is attached below it.
    let at = |words: &str| set_up.find(words).unwrap_or(usize::MAX);
    assert!(at("set-up number=0") < at("set-up number=1"));
    assert!(!set_up.contains("variable"), "{set_up}");
    assert!(trace.contains("variable") && trace.contains("x\\x1b[31my"), "{trace}");
    assert!(trace.contains("read back guarantee=network"), "{trace}");
    assert!(!trace.contains('\u{1b}'));
}

/// Builds of one second have an order: `^0` is the one that ended last.
#[test]
fn the_last_build_is_the_last_within_a_second_too() {
    let world = World::warm(Who::all()[0]);
    for number in 0..6 {
        let step = format!("step-{number}");
        world.write(
            "kiln.yaml",
            &format!("kiln: 1\nname: t\nsteps:\n  - {{name: {step}, mount: {{}}, run: exit 3}}\n"),
        );
        world.kiln(&["build", "--no-sign"]).exits(1);
        let log = world.kiln(&["log", "^0", &step]);
        assert_eq!(log.code, 0, "{number}: {}", log.stderr);
    }
}

#[test]
fn a_choice_that_no_combination_has_is_refused() {
    let world = World::warm(Who::all()[0]);
    world.write(
        "kiln.yaml",
        "kiln: 1\nname: t\nmatrix: {f: [x, y], g: [p, q], exclude: [{f: y, g: q}]}\nsteps:\n  - {name: a, \
         mount: {}, run: echo}\n",
    );
    let refused =
        world.kiln(&["build", "--no-sign", "--matrix", "f=y", "--matrix", "g=q"]).exits(2);
    assert!(refused.says("KILN-0105") && refused.says("f=y g=q"), "{}", refused.stderr);
    world.kiln(&["build", "--no-sign", "--matrix", "f=y", "--matrix", "g=p"]).exits(0);
}

/// The statement names `NAME.inputs`, so another level of it is another statement.
#[test]
fn inputs_of_every_level_are_exported_and_signed_anew() {
    let world = World::warm(Who::all()[0]);
    world.write(
        "kiln.yaml",
        "kiln: 1\nname: t\nsteps:\n  - {name: a, mount: {}, run: echo 17 > o, outputs: {o: o}}\n\
         artifacts: [{file: a.o}]\n",
    );
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.key();
    let named = |world: &World| -> String {
        let statement = world.statement("o");
        let byproducts =
            statement["predicate"]["runDetails"]["byproducts"].as_array().expect("a list");
        let inputs = byproducts.iter().find(|one| one["name"] == "t.inputs").expect("t.inputs");
        inputs["digest"]["sha256"].as_str().expect("a digest").to_owned()
    };
    let mut seen = Vec::new();
    for level in ["plan", "all", "all", "plan"] {
        world.kiln(&["build", "--sign", "--inputs", level]).exits(0);
        let bytes = std::fs::read(world.path("project/kiln-out/t.inputs")).expect("t.inputs");
        assert_eq!(named(&world), model::Digest::of(&bytes).hex(), "{level}");
        seen.push(named(&world));
    }
    assert_eq!((&seen[0], &seen[1]), (&seen[3], &seen[2]));
    assert_ne!(seen[0], seen[1]);
}
/// A report whose test has a command of a CI system for a name.
const COMMANDING: &str = "<testsuites><testsuite><testcase name='a ##vso[task.x]junit'><failure/></testcase>\
                          </testsuite></testsuites>";

#[test]
fn nothing_that_a_step_writes_or_names_commands_a_ci_system() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", &world.token);
    world.write("src/report.xml", COMMANDING);
    let wants = "cp /bin/bash '/tmp/##[net'; '/tmp/##[net' -c ': 3<>/dev/tcp/192.0.2.1/80' || true";
    let steps = format!(
        "steps:\n  - name: twins\n    run: \"mkdir out; touch 'out/##[a' 'out/##[A'; echo 'x ##[error]passed'; \
         {wants}\"\n    outputs: {{out: out/}}\ntests:\n  - {{name: unit, run: 'cp report.xml r.xml; echo \"x \
         ##[error]failed\"; exit 1', reports: {{junit: r.xml}}}}\n"
    );
    world.write("kiln.yaml", &file(&steps));
    let own = |line: &&str| line.starts_with("##[group]") || *line == "##[endgroup]";
    for (name, marks) in [("GITHUB_ACTIONS", 0), ("TF_BUILD", 2), ("CI", 0), ("NONE", 0)] {
        let arguments = ["build", "--no-cache", "-v"];
        let ran = world.kiln_with(&arguments, &[(name, "true")]).exits(1);
        for shown in [
            "`##\\x5ba`",
            "##\\x5bnet",
            "##vso\\x5btask.x]junit",
            "x ##\\x5berror]passed",
            "x ##\\x5berror]failed",
        ] {
            assert!(ran.stderr.contains(shown), "{name}: {shown}: {}", ran.stderr);
        }
        assert_eq!(ran.stderr.lines().filter(own).count(), marks, "{name}: {}", ran.stderr);
        for line in ran.stderr.lines() {
            let rest = line.strip_prefix("##[").filter(|_| own(&line)).unwrap_or(line);
            assert!(!rest.contains("##[") && !rest.contains("##vso["), "{name}: {line}");
        }
    }
    let told = world.kiln(&["build", "--json", "--progress", "json"]).exits(1);
    assert_eq!(document(&told)["steps"]["unit"]["cases"]["not_passed"][0], "a ##vso[task.x]junit");
    for text in [&told.stdout, &told.stderr] {
        assert!(!text.contains("##[") && !text.contains("##vso["), "{text}");
    }
}

/// `needs` may name a test: nothing is made of what was not found good.
#[test]
fn a_step_that_needs_a_test_runs_after_it_has_passed_and_not_otherwise() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", "x\n");
    for (word, code, states) in
        [("true", 0, ["passed", "passed", "passed"]), ("false", 1, ["cached", "failed", "blocked"])]
    {
        let file = format!(
            "kiln: 1\nname: gate\nsources: {{src: {{local: src}}}}\nsteps:\n  - name: build\n    run: |\n      echo {}\n      \
             cp input out\n    outputs: {{out: out}}\n  - name: ship\n    needs: [unit]\n    from: {{build.out: got}}\n    \
             run: echo {}; cp got out\n    outputs: {{out: out}}\ntests:\n  - name: unit\n    from: {{build.out: got}}\n    run: \
             test -e got && echo {} && {word}\nartifacts: [{{file: ship.out}}]\n",
            world.token, world.token, world.token
        );
        world.write("kiln.yaml", &file);
        // Also where only the step is asked for.
        let ran = world.kiln(&["build", "ship", "--no-sign", "--json"]).exits(code);
        let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let state = |step: &str| told["steps"][step]["state"].as_str().unwrap_or("none").to_owned();
        assert_eq!(["build", "unit", "ship"].map(state), states, "{told:#}");
    }
    let file = world
        .read("kiln.yaml")
        .replace("from: {build.out: got}\n    run: test", "from: {ship.out: got}\n    run: test");
    world.write("kiln.yaml", &file);
    let ran = world.kiln(&["build"]).exits(2);
    assert!(ran.says("KILN-0110") && ran.says("kiln.yaml:17:"), "{}", ran.stderr);
}

/// A static program for 32-bit x86: `exit(0)` by `int 0x80`. Made here, since not every host has a linker for it.
fn program_of_32_bits() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    // mov eax, 1; xor ebx, ebx; int 0x80
    let code = [0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80];
    let size = HEADERS + u32::try_from(code.len()).expect("nine bytes");
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half =
        |elf: &mut Vec<u8>, all: &[u16]| all.iter().for_each(|one| elf.extend(one.to_le_bytes()));
    let word =
        |elf: &mut Vec<u8>, all: &[u32]| all.iter().for_each(|one| elf.extend(one.to_le_bytes()));
    half(&mut elf, &[2, 3]);
    word(&mut elf, &[1, BASE + HEADERS, 52, 0, 0]);
    half(&mut elf, &[52, 32, 1, 0, 0, 0]);
    word(&mut elf, &[1, 0, BASE, BASE, size, size, 5, 0x1000]);
    elf.extend(code);
    elf
}

/// `abi32` is what a program needs that is killed for its width, whoever started it.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_program_killed_for_its_width_names_the_option() {
    let runs = std::path::Path::new("/proc/sys/abi/vsyscall32").exists();
    let world = World::warm(Who::all()[0]);
    let program = world.path("project/src/small");
    world.write("src/input", &world.token);
    std::fs::write(&program, program_of_32_bits()).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("it is ours");
    let step =
        |run: &str, more: &str| file(&format!("steps:\n  - {{name: small, run: '{run}'{more}}}\n"));
    for run in ["exec ./small", "./small", "./small; exit 3"] {
        world.write("kiln.yaml", &step(run, ""));
        let told = world.kiln(&["build"]).exits(1);
        for words in ["KILN-0401", "SIGSYS", "abi32: true"] {
            assert!(told.says(words), "{run}: {words}: {}", told.stderr);
        }
    }
    // One that ends by itself is not told so, nor one whose step has the option.
    world.write("kiln.yaml", &step("exit 3", ""));
    assert!(!world.kiln(&["build"]).exits(1).says("abi32"));
    if runs {
        world.write("kiln.yaml", &step("./small", ", abi32: true"));
        world.kiln(&["build"]).exits(0);
    }
}

/// An answer that is lost is no success and no fault of kiln's own, whichever command gives it.
#[test]
fn an_answer_that_cannot_be_written_is_told_with_its_code() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", &world.token);
    world.write("kiln.yaml", &file("steps:\n  - {name: make, run: echo made}\n"));
    world.kiln(&["build"]).exits(0);
    world.key();
    let program = crate::support::kiln().to_str().expect("UTF-8");
    for arguments in [
        vec!["version"],
        vec!["help"],
        vec!["help", "exit-codes"],
        vec!["--help"],
        vec!["build", "--help"],
        vec!["explain", "KILN-0401"],
        vec!["schema", "build-file"],
        vec!["completions", "bash"],
        vec!["man"],
        vec!["graph"],
        vec!["show"],
        vec!["log"],
        vec!["build", "--json"],
        vec!["build", "--plan"],
        vec!["doctor"],
        vec!["doctor", "--json"],
        vec!["store", "info"],
        vec!["store", "verify"],
        vec!["key", "show"],
        vec!["key", "export"],
        vec!["trust", "list"],
        vec!["attestor", "--help"],
    ] {
        let all = [&[program][..], &arguments].concat();
        let mut command = world.command(&all, &[]);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let ran = Ran::of(&command.stdout(full).output().expect("it can be started"));
        assert_eq!(ran.code, 7, "{arguments:?}: {}", ran.stderr);
        let told = "error[KILN-0603]: the answer cannot be written to standard output";
        assert!(ran.stderr.contains(told), "{arguments:?}: {}", ran.stderr);
    }
    // Errors go to the other stream, and keep their own code.
    let mut command = world.command(&[program, "show", "no-such-build"], &[]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let ran = Ran::of(&command.stdout(full).output().expect("it can be started"));
    assert!(ran.code == 2 && ran.stderr.contains("KILN-0605"), "{}", ran.stderr);
}

/// What a step chose is escaped where it is shown, once, and whole in what is signed.
#[test]
fn the_name_of_a_process_is_escaped_once_wherever_it_is_told() {
    let world = World::warm(Who::all()[0]);
    world.key();
    let look = "import socket\nopen('/proc/self/comm', 'w').write('a\\x1b[31m\\\\b')\ntry:\n    \
                socket.getaddrinfo('host.example', 80)\nexcept OSError:\n    pass\nopen('out', 'w')\n";
    world.write("src/look.py", look);
    world.write("src/input", &world.token);
    let step = |end: &str| {
        let text = build_file(
            &format!("python3 src/look.py; exit {end}"),
            "{out: out}",
            "[{file: attack.out}]",
        );
        text.replace("{local: src}", "{local: .}")
    };
    let once = "a\\x1b[31m\\\\b";
    let is_once =
        |text: &str| text.contains(once) && !text.contains("\\\\x1b") && !text.contains('\x1b');
    world.write("kiln.yaml", &step("1"));
    let failed = world.kiln(&["build"]).exits(1);
    assert!(failed.says("KILN-0403") && is_once(&failed.stderr), "{}", failed.stderr);
    world.write("kiln.yaml", &step("0"));
    world.kiln(&["lock"]).exits(0);
    world.commit();
    let passed = world.kiln(&["build", "--sign", "--attest", "runtime-trace"]).exits(0);
    assert!(passed.says("asked in vain for") && is_once(&passed.stderr), "{}", passed.stderr);
    let told = world.kiln(&["inspect", "kiln-out/out.runtime-trace.sigstore.json"]).exits(0);
    assert!(told.says("attempted") && is_once(&told.stdout), "{}", told.stdout);
    // What is signed has no control letter in it, by whichever name.
    let raw =
        world.kiln(&["inspect", "--raw", "kiln-out/out.runtime-trace.sigstore.json"]).exits(0);
    assert!(!raw.stdout.contains("\\u001b"), "{}", raw.stdout);
}

/// A remote's address enters a statement in plain letters, without whatever else its owner wrote into it.
#[test]
fn the_remotes_address_is_signed_in_letters_that_everybody_sees() {
    let world = World::warm(Who::all()[0]);
    world.key();
    world.write("src/input", &world.token);
    let text = build_file("cat src/input > out", "{out: out}", "[{file: attack.out}]");
    world.write("kiln.yaml", &text.replace("{local: src}", "{local: .}"));
    world.kiln(&["lock"]).exits(0);
    world.commit();
    for (remote, told) in [
        (
            "https://me:hunter2@Git.example.org/a\u{202e}b",
            "git+https://git.example.org/a%E2%80%AEb",
        ),
        (
            "https://git.example.org/a\x1b[31mb\u{200b}",
            "git+https://git.example.org/a%1B[31mb%E2%80%8B",
        ),
        ("https://git.example.org/a\nb?token=hunter2", "git+https://git.example.org/a%0Ab"),
        // No remote reads as an address with a reference.
        (
            "https://git.example.org/a/hello@refs/tags/v9",
            "git+https://git.example.org/a/hello%40refs/tags/v9",
        ),
        ("https://git.example.org\u{202e}/a", "local"),
        ("me:hunter2@git.example.org:a/b", "local"),
    ] {
        world.git(&["config", "remote.origin.url", remote]);
        let built = world.kiln(&["build", "--sign"]).exits(0);
        let statement = world.statement("out");
        let parameters = &statement["predicate"]["buildDefinition"]["externalParameters"];
        assert_eq!(parameters["source"], told, "{parameters}");
        let all = format!("{statement}{}{}", built.stdout, built.stderr);
        for hidden in ["hunter2", "\u{202e}", "\u{200b}", "\\u001b", "\\u202e"] {
            assert!(!all.contains(hidden), "{hidden:?}: {all}");
        }
    }
}

/// What a step wrote is shown as it wrote it, but for what would move a cursor.
#[test]
fn a_backslash_of_a_step_is_shown_as_it_is() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", &world.token);
    let text = "printf(\"%d\\n\", \\x1b);";
    world.write("src/said", &format!("{text}\n\t    ^~\n\u{1b}[31mred\n"));
    world.write("kiln.yaml", &build_file("cat said; exit 1", "{out: out}", ""));
    for flags in [&["build"][..], &["build", "-v"], &["build", "--progress", "plain", "-v"]] {
        let ran = world.kiln(flags).exits(1);
        let shown = ran.stderr.matches(text).count();
        assert!(shown == flags.len().min(2), "{flags:?}: {shown} times: {}", ran.stderr);
        assert!(ran.says("        ^~") && ran.says("\\x1b[31mred"), "{}", ran.stderr);
        assert!(!ran.says("\u{1b}[31m") && !ran.says("\\\\n"), "{}", ran.stderr);
    }
}
