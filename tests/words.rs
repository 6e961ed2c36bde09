//! What a person reads of wrong input beside the build file: options, places, keys of a step that failed.
//!
//! The build file's own messages are in `failure_messages`. Here each row is typed as a user would, and
//! what is compared is the code, the place and the remedy.

use crate::support::{PACKAGES, Ran, Who, World};

/// Returns a build file of these steps and tests.
fn file(steps: &str) -> String {
    format!(
        "kiln: 1\nname: test\nsources: {{}}\nenvironment:\n  host: {{packages: {PACKAGES}}}\n{steps}"
    )
}

/// Returns the line of `text` on which `piece` stands and its column, both from 1.
fn place(text: &str, piece: &str) -> String {
    let at = text.find(piece).expect("it is in the file");
    let line = text[..at].matches('\n').count() + 1;
    let column = at - text[..at].rfind('\n').map_or(0, |end| end + 1) + 1;
    format!("--> kiln.yaml:{line}:{column}\n")
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not in:\n{}", ran.stderr);
    }
}

#[test]
fn a_failed_step_is_shown_at_the_key_that_is_to_blame() {
    let world = World::warm(Who::all()[0]);
    let step = |more: &str| file(&format!("steps:\n  - name: bad\n{more}"));
    for (text, piece, code) in [
        (step("    run: [sleep, '60']\n    timeout: 1s\n"), "1s", "KILN-0404"),
        (step("    run: [sleep, '60']\n    resources: {idle: 1s}\n"), "1s", "KILN-0404"),
        (
            step("    run: head -c 9000000 /dev/zero > x\n    resources: {disk: 1Mi}\n"),
            "1Mi",
            "KILN-0406",
        ),
        (step("    run: 'true'\n    outputs: {o: not/there}\n"), "not/there", "KILN-0402"),
        (step("    run: mkfifo pipe\n    outputs: {o: pipe}\n"), "pipe}", "KILN-0407"),
        (step("    run: exit 3\n    outputs: {o: o}\n"), "exit 3", "KILN-0401"),
        (step("    run: exit 3\n    shell: [/bin/none, -e]\n"), "shell:", "KILN-0401"),
        (step("    run: [none, x]\n"), "[none", "KILN-0401"),
        // A default is written nowhere, so what ran is shown.
        (step("    run: exit 4\n    resources: {}\n"), "exit 4", "KILN-0401"),
        (
            file(
                "steps: [{name: a, run: 'true'}]\ntests:\n  - name: t\n    run: 'true'\n    \
                 reports: {junit: gone.xml}\n",
            ),
            "gone.xml",
            "KILN-0402",
        ),
    ] {
        world.write("kiln.yaml", &text);
        let ran = world.kiln(&["build"]).exits(1);
        says(&ran, &[&format!("error[{code}]"), &place(&text, piece)]);
    }
    // One that no host has room for: refused with the same place, by another exit code.
    let text = step("    run: 'true'\n    cpus: 8000\n");
    world.write("kiln.yaml", &text);
    says(&world.kiln(&["build"]).exits(7), &["error[KILN-0506]", &place(&text, "8000")]);
}

#[test]
fn a_report_that_is_missing_is_no_output_of_a_step() {
    let world = World::warm(Who::all()[0]);
    world.write(
        "kiln.yaml",
        &file("steps: [{name: a, run: 'true'}]\ntests:\n  - {name: t, run: 'true', reports: {junit: r.xml}}\n"),
    );
    let ran = world.kiln(&["build"]).exits(1);
    says(&ran, &["report `junit` of test `t`", "take it out of `reports`"]);
}

#[test]
fn what_kiln_run_refuses_is_shown_on_the_command_line() {
    let world = World::warm(Who::all()[0]);
    for (arguments, code, words) in [
        (
            &["--input", "gone", "--", "true"][..],
            2,
            &["KILN-0108", "line:1:10", "--input PATH"][..],
        ),
        (&["--input", "../x", "--", "true"], 2, &["KILN-0105", "line:1:10"]),
        (&["--package", "no-such-one", "--", "true"], 3, &["KILN-0206", "line:1:10"]),
        (&["--output", ".", "--", "true"], 2, &["KILN-0105", "line:1:10"]),
        (
            &["--output", "x", "--", "true"],
            1,
            &["KILN-0402", "line:1:10", "kiln run --output x -- true", "leave the option out"],
        ),
        (&["--", "sh", "-c", "exit 3"], 1, &["KILN-0401", "line:1:13", "sh -c 'exit 3'"]),
        (&["--", "no-such-program"], 1, &["KILN-0401", "line:1:13", "--package NAME"]),
    ] {
        let ran = world.kiln(&[&["run"], arguments].concat()).exits(code);
        says(&ran, words);
        assert!(!ran.stderr.contains("kiln.yaml"), "{}", ran.stderr);
    }
    // A line that holds a secret is not shown, by no error on it.
    let secret = "TOKEN=ghp_123456789012345678901234567890123456";
    let ran = world.kiln(&["run", "--env", secret, "--output", ".", "--", "true"]).exits(2);
    says(&ran, &["KILN-0113"]);
    assert!(!ran.says("ghp_"), "{}", ran.stderr);
}

#[test]
fn a_command_line_that_is_wrong_is_an_error_like_all_others() {
    let world = World::cold(Who::all()[0]);
    world.write("kiln.yaml", &file("steps: [{name: compile, run: 'true'}]\n"));
    for (arguments, code, words) in [
        (&["buidl"][..], 2, &["KILN-0108", "did you mean `build`?"][..]),
        (&["build", "--bakend", "docker"], 2, &["KILN-0108", "did you mean `--backend`?"]),
        (&["build", "--backend", "dcker"], 2, &["KILN-0105", "one of confined, docker, native"]),
        (&["verify"], 2, &["KILN-0103", "usage:  kiln verify"]),
        (&["build", "--allow-missing", "limts"], 2, &["KILN-0105", "did you mean `limits`?"]),
        (&["build", "--allow-missing", "wall"], 2, &["one of files, identity", "syscalls"]),
        (&["-C", "/nonexistent", "build"], 2, &["KILN-0105", "-C names no folder"]),
        (&["verify", "gone"], 2, &["KILN-0105", "--> gone", "kiln-out/"]),
        (&["--store", "/proc/x", "store", "info"], 7, &["KILN-0604", "--store DIR"]),
        (&["log", "^99"], 2, &["KILN-0605", "`^99`", "kiln build"]),
    ] {
        says(&world.kiln(arguments).exits(code), words);
        let json = world.kiln(&[&["--json"], arguments].concat()).exits(code);
        let told: serde_json::Value = serde_json::from_str(&json.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", json.stdout));
        let errors = told.get("errors").or_else(|| told.pointer("/files/0/errors"));
        let first = errors.and_then(|errors| errors.get(0)).expect("an error");
        assert!(first["code"].as_str().is_some_and(|code| code.starts_with("KILN-")), "{told}");
        assert!(first["help"].as_array().is_some_and(|help| !help.is_empty()), "{told}");
    }
    // The twin of the flag counts too, with the words that people give such variables.
    let told = world.kiln_with(&["buidl"], &[("KILN_JSON", "1")]).exits(2);
    assert!(told.stdout.contains("kiln/errors"), "{}", told.stdout);
    world.kiln_with(&["version"], &[("KILN_JSON", "0"), ("KILN_OFFLINE", "1")]).exits(0);
}

#[test]
fn a_step_that_is_not_there_is_told_with_those_that_are() {
    let world = World::warm(Who::all()[0]);
    world.write(
        "kiln.yaml",
        &file("steps:\n  - {name: compile, run: 'true'}\n  - {name: pack, run: 'true'}\n"),
    );
    for (step, words) in [("comp", "did you mean `compile`?"), ("zz", "one of compile, pack")] {
        says(&world.kiln(&["build", step]).exits(2), &["KILN-0108", words]);
    }
}

#[test]
fn a_home_is_refused_as_one_wherever_it_lies() {
    let world = World::warm(Who::all()[0]);
    let home = world.path("home");
    let text = format!(
        "kiln: 1\nname: test\nsources: {{}}\nenvironment:\n  host: {{paths: [{}]}}\nsteps:\n  - {{name: a, run: 'true'}}\n",
        home.display()
    );
    world.write("kiln.yaml", &text);
    let ran = world.kiln(&["build"]).exits(2);
    says(&ran, &["is a home or holds one", &place(&text, &home.display().to_string())]);
}

#[test]
fn a_template_that_was_asked_for_was_not_found() {
    let world = World::cold(Who::all()[0]);
    world.write("Makefile", "all:\n");
    let ran = world.kiln(&["init", "--template", "rust"]).exits(0);
    assert!(ran.says("template rust") && !ran.says("found"), "{}", ran.stderr);
}

#[test]
fn man_pages_are_told_as_json() {
    let world = World::cold(Who::all()[0]);
    let ran = world.kiln(&["--json", "man", "--out", "pages"]).exits(0);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a document");
    let wrote = told["wrote"].as_array().expect("a list");
    assert!(wrote.len() > 10 && world.path("project/pages/kiln.1").exists(), "{told}");
}

#[test]
fn a_log_commands_no_ci_system_unless_it_is_asked_for_raw() {
    let world = World::warm(Who::all()[0]);
    // The token, so that no earlier result of this step is found, which would leave no log.
    let text = format!(
        "steps:\n  - name: speak\n    run: |\n      echo '::error::x'; echo 'a ##vso[task.x]y'; echo '##[group]{}'\n",
        world.token
    );
    world.write("kiln.yaml", &file(&text));
    world.kiln(&["build"]).exits(0);
    let ci = [("CI", "true")];
    let shown = world.kiln_with(&["log"], &ci).exits(0).stdout;
    assert!(shown.contains("| ::error::x") && shown.contains("##vso\\x5btask"), "{shown}");
    for raw in [world.kiln_with(&["log", "--raw"], &ci), world.kiln(&["log"])] {
        let shown = raw.exits(0).stdout;
        assert!(shown.starts_with("::error::x\na ##vso[task.x]y\n"), "{shown}");
    }
    // A file is no CI system.
    let (path, program) = (world.path("log"), world.path("bin/kiln"));
    let mut command = world.command(&[program.to_str().expect("UTF-8"), "log"], &ci);
    command.stdout(std::fs::File::create(&path).expect("a file"));
    assert!(command.status().expect("kiln can be started").success());
    let kept = std::fs::read_to_string(&path).expect("it was written");
    assert!(kept.starts_with("::error::x\na ##vso[task.x]y\n"), "{kept}");
}

#[test]
fn a_log_that_is_cut_says_so_while_it_is_read_along() {
    let world = World::warm(Who::all()[0]);
    let text = format!(
        "steps:\n  - name: much\n    run: 'seq 10000; : {}'\n    resources: {{log: 1Ki}}\n",
        world.token
    );
    world.write("kiln.yaml", &file(&text));
    let ran = world.kiln(&["build", "-v"]).exits(0);
    says(&ran, &["[kiln: log cut at its limit of 1Ki]"]);
}

/// The words between these and a closing quote are the names of variables that are read.
const READS: [&str; 8] = [
    "variable(\"",
    "variables.get(\"",
    "absolute(&variables, \"",
    "absolute(&self.variables, \"",
    " place(\"",
    "set(\"",
    "env::var(\"",
    "env = \"",
];

#[test]
fn help_names_every_variable_that_is_read() {
    let world = World::cold(Who::all()[0]);
    let shown = world.kiln(&["help", "environment"]).exits(0).stdout;
    let named: Vec<&str> =
        shown.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').collect();
    let mut found = std::collections::BTreeSet::new();
    let files = crate::tidy::files();
    for file in files.iter().filter(|file| file.ships()) {
        let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for read in READS {
            let after = code.split(read).skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(
                after.filter(|name| name.starts_with(|one: char| one.is_ascii_uppercase())),
            );
        }
    }
    let missing: Vec<&&str> = found.iter().filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty() && found.len() > 20, "{missing:?} of {found:?}\n{shown}");
}

#[test]
fn the_attestor_has_a_page_as_every_command_has() {
    let world = World::cold(Who::all()[0]);
    for words in [&["attestor"][..], &["attestor", "order"], &["attestor", "journal", "verify"]] {
        let asked = world.kiln(&[&["help"][..], words].concat()).exits(0).stdout;
        let told = world.kiln(&[words, &["--help"]].concat()).exits(0).stdout;
        assert_eq!(asked, told);
        assert!(!told.contains("--json"), "{told}");
    }
    let page = world.kiln(&["help", "attestor"]).exits(0).stdout;
    for verb in ["listen", "order", "journal", "serve"] {
        assert!(page.contains(&format!("\n  {verb} ")), "{verb}: {page}");
    }
    assert!(world.kiln(&["--help"]).exits(0).stdout.contains("\n  attestor "));
    let ran =
        world.kiln(&["--json", "attestor", "journal", "verify", "--state-dir", "/x"]).exits(2);
    assert!(ran.stdout.contains("`attestor` is the first word"), "{}", ran.stdout);
    world.kiln(&["man", "--out", "pages"]).exits(0);
    assert!(world.read("pages/kiln-attestor.1").contains("listen"));
}

/// What was refused is called what it is, and the remedy is the one that helps.
#[test]
fn what_is_in_the_way_is_named_and_not_something_beside_it() {
    let who = Who::all()[0];
    let world = World::warm(who);
    world.key();
    let config = world.path("config/kiln").display().to_string();
    for (path, words) in [
        ("/run/docker.sock", "lies in a folder that kiln makes itself"),
        (&config, "meets a folder of kiln's own (store, keys, configuration)"),
    ] {
        let text = file("steps:\n  - {name: a, run: 'true'}\n");
        let listed = format!("], paths: [{path}]}}\nsteps:");
        world.write("kiln.yaml", &text.replace("]}\nsteps:", &listed));
        says(&world.kiln(&["build"]).exits(2), &["KILN-0105", words]);
    }
    let ran = world.kiln(&["run", "--env", "PATH=/x", "--", "true"]).exits(1);
    says(&ran, &["got:      PATH=/x", "help: PATH was set for this step"]);
    let ran = world.kiln(&["run", "--", "no-such-program"]).exits(1);
    assert!(!ran.says("PATH was set"), "{}", ran.stderr);
    world.write("kiln.yaml", &file("steps:\n  - {name: a, run: 'true'}\n"));
    world.commit();
    world.run(&["sh", "-c", "rm .git/HEAD && mkfifo .git/HEAD"], &[]).exits(0);
    says(&world.kiln(&["build"]).exits(2), &["KILN-0116", ".git/HEAD", "it is no plain file"]);
    if who == Who::Root {
        let script = "mount -t tmpfs none /proc && ../bin/kiln build";
        let ran = world.run(&["unshare", "--mount", "sh", "-c", script], &[]);
        says(&ran, &["cannot find this program's own file", "help: mount /proc"]);
        assert!(!ran.says("set HOME"), "{}", ran.stderr);
    }
}
