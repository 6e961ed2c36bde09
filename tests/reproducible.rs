//! The same plan gives the same bytes, whoever builds it and wherever; what is not declared does not
//! count, and what is declared always does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::hostile::ATTACKS;
use crate::support::backend::{Backend, Reach};
use crate::support::{PACKAGES, Who, World};

/// Steps that write down what differs between hosts, users and runs if anything does (S-C01 to
/// S-C03, S-C08).
fn facts() -> String {
    let step = |id: &str, name: &str, outputs: &str| {
        format!(
            "  - name: {name}\n    run: |\n      python3 attack.py {id} > facts\n      grep -qx \
             contained facts\n    outputs: {outputs}\n"
        )
    };
    let mut text = format!(
        "kiln: 1\nname: facts\nsources: {{src: {{local: src}}}}\nenvironment:\n  host: {{packages: \
         {PACKAGES}}}\nsteps:\n"
    );
    for (id, name) in [("S-C01", "times"), ("S-C02", "identity"), ("S-C03", "processes")] {
        text += &step(id, name, "{facts: facts}");
    }
    text += &step("S-C08", "modes", "{tree: tree/}");
    text += "artifacts:\n";
    for name in ["times", "identity", "processes"] {
        text += &format!("  - {{file: {name}.facts, name: {name}}}\n");
    }
    text + "  - {archive: [modes.tree], name: modes.tar}\n"
}

const ARTIFACTS: [&str; 4] = ["times", "identity", "processes", "modes.tar"];

fn world_of_facts(who: Who) -> World {
    let world = World::warm(who);
    for (name, text) in ATTACKS {
        world.write(&format!("src/{name}"), text);
    }
    world.write("kiln.yaml", &facts());
    world.kiln(&["lock"]).exits(0);
    world.commit();
    world.key();
    world
}

fn statements(world: &World) -> Vec<Value> {
    ARTIFACTS.iter().map(|name| world.statement(name)).collect()
}

/// Returns a statement without the part that belongs to one run.
fn lasting(mut statement: Value) -> Value {
    statement["predicate"]["runDetails"] = Value::Null;
    statement
}

#[test]
fn root_and_another_user_build_the_same_bytes() {
    let worlds: Vec<World> = Who::all().into_iter().map(world_of_facts).collect();
    for world in &worlds {
        world.kiln(&["build", "--sign"]).exits(0);
    }
    for world in &worlds[1..] {
        for name in ARTIFACTS {
            let path = format!("kiln-out/{name}");
            assert_eq!(world.read(&path), worlds[0].read(&path), "{name}");
        }
        let pairs = statements(world).into_iter().zip(statements(&worlds[0]));
        for (theirs, ours) in pairs {
            assert_eq!(lasting(theirs), lasting(ours));
        }
    }
    let listing = worlds[0].run(&["tar", "-tvf", "kiln-out/modes.tar"], &[]).exits(0).stdout;
    for line in listing.lines() {
        let good =
            ["-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x"].iter().any(|mode| line.starts_with(mode));
        assert!(good && line.contains("1980-02-01"), "{line}");
    }
}

#[test]
fn two_builds_of_one_plan_differ_only_in_run_details() {
    for who in Who::all() {
        let world = world_of_facts(who);
        world.kiln(&["build", "--sign"]).exits(0);
        let first = statements(&world);
        fs::remove_dir_all(world.path("project/kiln-out")).expect("it was built");
        world.kiln(&["build", "--sign", "--no-cache"]).exits(0);
        for (first, second) in first.into_iter().zip(statements(&world)) {
            assert_ne!(first["predicate"]["runDetails"], second["predicate"]["runDetails"]);
            assert_eq!(lasting(first), lasting(second));
        }
    }
}

/// Describes every file below a folder so that any rewriting shows.
fn inodes(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("it was built") {
        let path = entry.expect("it can be read").path();
        let meta = fs::symlink_metadata(&path).expect("it can be read");
        found.push(format!(
            "{} {} {}.{} {}.{}",
            path.display(),
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec()
        ));
    }
    found.sort();
    found
}

#[test]
fn no_op_build_rewrites_nothing() {
    for who in Who::all() {
        let world = world_of_facts(who);
        world.kiln(&["build", "--sign"]).exits(0);
        let out = world.path("project/kiln-out");
        let before = inodes(&out);
        world.kiln(&["build", "--sign"]).exits(0);
        assert_eq!(inodes(&out), before, "{who:?}");
        // A file that was changed there is restored, and said so; the others stay.
        fs::write(out.join("times"), "something else").expect("it can be written");
        world.who.give(&out.join("times"));
        let ran = world.kiln(&["build", "--sign"]).exits(0);
        assert!(ran.says("restored"), "{}{}", ran.stdout, ran.stderr);
        world.kiln(&["verify", "kiln-out/times"]).exits(0);
        assert_eq!(
            inodes(&out).iter().filter(|line| before.contains(line)).count(),
            before.len() - 1
        );
    }
}

/// Everything that lies beside an artifact is put back as well, and only what somebody touched is told.
#[test]
fn evidence_that_somebody_touched_is_restored_and_said_so() {
    for who in Who::all() {
        let world = world_of_facts(who);
        world.kiln(&["build", "--sign"]).exits(0);
        let out = world.path("project/kiln-out");
        let inputs = fs::read_dir(&out).expect("it is there").flatten();
        let inputs = inputs.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let inputs = inputs.into_iter().find(|name| name.ends_with(".inputs")).expect("the inputs");
        let told = |ran: &crate::support::Ran| {
            let words = ["is restored", "is signed anew"];
            let lines =
                ran.stderr.lines().filter(|line| words.iter().any(|one| line.ends_with(one)));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(told(&world.kiln(&["build", "--sign"]).exits(0)), Vec::<String>::new());
        for (name, remove, words) in [
            (inputs.as_str(), true, "was removed from"),
            (inputs.as_str(), false, "was changed in"),
            ("SHA256SUMS", false, "SHA256SUMS was changed and is restored"),
            ("times.sigstore.json", true, "the evidence of times was changed"),
            ("times.intoto.jsonl", false, "the evidence of times was changed"),
        ] {
            let path = out.join(name);
            let before = fs::read(&path).expect("it is there");
            fs::remove_file(&path).expect("it can be removed");
            if !remove {
                fs::write(&path, "something else").expect("it can be written");
                who.give(&path);
            }
            let lines = told(&world.kiln(&["build", "--sign"]).exits(0));
            assert!(lines.len() == 1 && lines[0].contains(words), "{name}, {who:?}: {lines:#?}");
            let signed = name.starts_with("times.");
            assert_eq!(fs::read(&path).expect("it is back") == before, !signed, "{name}, {who:?}");
            world.kiln(&["verify", "kiln-out/times"]).exits(0);
            let again = world.kiln(&["build", "--sign"]).exits(0);
            assert_eq!(told(&again), Vec::<String>::new(), "{name}, {who:?}");
        }
        // A new commit is signed anew too, and nobody touched anything.
        world.commit();
        assert_eq!(told(&world.kiln(&["build", "--sign"]).exits(0)), Vec::<String>::new());
    }
}

#[test]
fn undeclared_changes_are_cache_hits_and_declared_ones_are_not() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "one\n");
        world.write("beside", "undeclared\n");
        // The clock and a random number show whether the step ran again.
        let script = "cat input > out\ndate +%s.%N >> out\ncat /proc/sys/kernel/random/uuid >> out";
        let artifacts = "[{file: attack.out}]";
        world.write("kiln.yaml", &crate::support::build_file(script, "{out: out}", artifacts));
        world.kiln(&["lock"]).exits(0);
        world.kiln(&["build", "--no-sign"]).exits(0);
        let first = world.read("kiln-out/out");
        world.write("beside", "undeclared and changed\n");
        world.run(&["touch", "-d", "2001-01-01", "src/input", "kiln.yaml"], &[]).exits(0);
        let ran = world.kiln_with(
            &["build", "--no-sign"],
            &[("FOO", "bar"), ("LC_ALL", "C"), ("TZ", "Asia/Tokyo"), ("USER", "somebody")],
        );
        assert!(ran.exits(0).says("cached"));
        assert_eq!(world.read("kiln-out/out"), first, "{who:?}");
        world.write("src/input", "two\n");
        world.kiln(&["build", "--no-sign"]).exits(0);
        assert_ne!(world.read("kiln-out/out"), first, "{who:?}");
    }
}

/// S-C13: objects of an earlier build, brought in with their times, are not taken for fresh.
#[test]
fn stale_objects_are_rebuilt() {
    let makefile = "prog: prog.o\n\tcc -o prog prog.o\nprog.o: prog.c\n\tcc -c prog.c\n";
    let program = |word: &str| {
        format!("#include <stdio.h>\nint main(void) {{ puts(\"{word}\"); return 0; }}\n")
    };
    let file = format!(
        "kiln: 1\nname: stale\nsources: {{old: {{local: old}}, new: {{local: new}}}}\nenvironment:\n  \
         host: {{packages: {PACKAGES}}}\nsteps:\n  - name: first\n    mount: {{old: .}}\n    run: |\n      \
         make\n      python3 -c 'import said'\n      mkdir kept\n      cp -a prog prog.o kept\n      if [ -d __pycache__ ]; then cp -a __pycache__ kept; fi\n    outputs: {{kept: kept/}}\n  - name: second\n    mount: {{new: \
         .}}\n    from: {{first.kept: kept}}\n    run: |\n      cp -a kept/. .\n      make\n      ./prog > \
         out\n      python3 -c 'import said' >> out\n    outputs: {{out: out}}\nartifacts:\n  - {{file: \
         second.out}}\n"
    );
    for backend in Backend::here() {
        // A container has only the world.
        let cold = *backend == Backend::Confined;
        let world = if cold { World::cold(backend.who()) } else { World::warm(backend.who()) };
        let reach = Reach::of(*backend, &world);
        for (folder, word) in [("old", "old"), ("new", "new")] {
            world.write(&format!("{folder}/Makefile"), makefile);
            world.write(&format!("{folder}/prog.c"), &program(word));
            world.write(&format!("{folder}/said.py"), &format!("print('{word}')\n"));
        }
        world.write("kiln.yaml", &file);
        reach.kiln(&world, &["lock"]).exits(0);
        reach.kiln(&world, &["build", "--no-sign"]).exits(0);
        assert_eq!(world.read("kiln-out/out"), "new\nnew\n", "{}", backend.name());
    }
}
