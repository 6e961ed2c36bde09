//! Cases that take more than one step or more than one build, but no change of inputs.

use std::fs;
use std::os::unix::fs::symlink;

use super::Arena;
use super::arena::StepOf;
use crate::support::Ran;

const ONE_SOURCE: &str = "sources: {src: {local: src}}";

/// Returns a line if something does not hold.
fn unless(holds: bool, what: &str, ran: &Ran) -> Option<String> {
    if holds { None } else { Some(format!("{what}: {ran:?}")) }
}

fn attack(arena: &Arena, names: &[(&str, &str, &str)]) -> Ran {
    let scripts: Vec<(String, String)> = names
        .iter()
        .map(|(_, id, more)| {
            let run = format!("python3 attack.py {id} > out || {{ cat out; exit 1; }}");
            (run, format!("{}{more}", arena.env_line()))
        })
        .collect();
    let steps: Vec<StepOf<'_>> = names
        .iter()
        .zip(&scripts)
        .map(|((name, ..), (run, more))| StepOf { name, more, run, outputs: "{out: out}" })
        .collect();
    let artifacts: Vec<String> =
        names.iter().map(|(name, ..)| format!("{{file: {name}.out, name: {name}}}")).collect();
    arena.write_steps(ONE_SOURCE, &steps, &format!("[{}]", artifacts.join(", ")));
    arena.clear();
    arena.lock_once();
    arena.kiln(&["build", "--no-sign", "-j", "4"])
}

/// Returns a line for each of these artifacts that does not end in `contained`.
fn all_contained(arena: &Arena, ran: &Ran, names: &[&str]) -> Vec<String> {
    let bad = names
        .iter()
        .filter(|name| !arena.artifact(name).is_some_and(|bytes| bytes.ends_with(b"contained\n")));
    bad.map(|name| {
        let said = arena.artifact(name).unwrap_or_default();
        format!("{name} said {:?}: {ran:?}", String::from_utf8_lossy(&said))
    })
    .collect()
}

/// S-A25: two steps at once look for each other everywhere; two processes of one step do meet.
pub fn steps_that_meet(arena: &Arena) -> Vec<String> {
    let together = attack(arena, &[("one", "S-A25-together", "")]);
    let mut wrong = all_contained(arena, &together, &["one"]);
    let ran = attack(arena, &[("first", "S-A25-first", ""), ("second", "S-A25-second", "")]);
    wrong.extend(all_contained(arena, &ran, &["first", "second"]));
    wrong
}

/// S-B08-marks: one step sets times where every step may; the next one looks for them.
pub fn marks_left_behind(arena: &Arena) -> Vec<String> {
    let env = arena.env_line();
    let more = format!("{env}    mount: {{src: .}}\n    from: {{marks.out: in/mark}}\n");
    let marks = "python3 attack.py S-B08-marks > out || { cat out; exit 1; }";
    let looks = "python3 attack.py S-B08-looks > out || { cat out; exit 1; }";
    let steps = [
        StepOf { name: "marks", more: &env, run: marks, outputs: "{out: out}" },
        StepOf { name: "looks", more: &more, run: looks, outputs: "{out: out}" },
    ];
    arena.write_steps(
        ONE_SOURCE,
        &steps,
        "[{file: marks.out, name: marks}, {file: looks.out, name: looks}]",
    );
    arena.clear();
    arena.lock_once();
    // One after the other, in one place.
    let ran = arena.kiln(&["build", "--no-sign", "--no-cache", "-j", "1"]);
    all_contained(arena, &ran, &["marks", "looks"])
}

/// S-B09: a server left behind is gone, one beside is another network's.
pub fn servers_left_behind(arena: &Arena) -> Vec<String> {
    let steps = [
        ("leaves", "S-B09-leaves", ""),
        ("calls", "S-B09-calls", "    needs: [leaves]\n"),
        ("beside", "S-B09-beside", ""),
        ("again", "S-B09-beside", ""),
    ];
    let ran = attack(arena, &steps);
    all_contained(arena, &ran, &["leaves", "calls", "beside", "again"])
}

/// S-A26: mount points whose name, or whose folder, is a symlink of the tree below.
pub fn mounts_over_links(arena: &Arena) -> Vec<String> {
    let canary = arena.canaries.file();
    let folder = canary.parent().expect("it lies in a folder");
    let tree = arena.world.path("project/linked");
    arena.world.write("linked/real/file", "real\n");
    arena.world.write("other/file", "other\n");
    for (target, name) in [
        (folder, "absolute"),
        (&canary, "file"),
        ("real".as_ref(), "relative"),
        ("/nowhere/at/all".as_ref(), "dangling"),
    ] {
        symlink(target, tree.join(name)).expect("a new link");
    }
    arena.world.who.give(&tree);
    let mut wrong = Vec::new();
    for (at, mounts) in [
        ("fresh/deep", true),
        ("absolute/x", false),
        ("absolute", false),
        ("relative/x", false),
        ("dangling", false),
        ("dangling/x", false),
        ("file", false),
        ("real/file/x", false),
    ] {
        let more = format!("    mount: {{tree: ., other: {at}}}\n");
        let outputs = "{out: out}";
        let step = StepOf { name: "attack", more: &more, run: "cat real/file > out", outputs };
        let head = "sources: {tree: {local: linked}, other: {local: other}}";
        arena.write_steps(head, &[step], "[{file: attack.out}]");
        arena.clear();
        arena.lock();
        let ran = arena.kiln(&["build", "--no-sign"]);
        let good = if mounts { ran.code == 0 } else { [1, 2].contains(&ran.code) };
        wrong.extend(unless(good && (mounts || ran.says("KILN-0")), at, &ran));
    }
    for name in ["linked", "other"] {
        fs::remove_dir_all(arena.world.path("project").join(name)).expect("it was made");
    }
    fs::remove_file(arena.world.path("project/kiln.lock")).expect("it was written");
    wrong
}

/// S-C04: the order in which files were made is not in a source's digest; that a step can see the
/// store's order is on the documented list.
pub fn order_of_names(arena: &Arena) -> Vec<String> {
    let names: Vec<String> =
        (0..200).map(|number| format!("{:x}", number * 7919 % 65_537)).collect();
    let make = |names: &mut dyn Iterator<Item = &String>| {
        let _ = fs::remove_dir_all(arena.world.path("project/order"));
        fs::create_dir_all(arena.world.path("project/order")).expect("a folder");
        for name in names {
            fs::write(arena.world.path("project/order").join(name), name).expect("a file");
        }
        arena.world.who.give(&arena.world.path("project/order"));
    };
    let run = "mkdir tree\ncp -r order/. tree\ndate +%N >&2";
    let step = StepOf {
        name: "attack",
        more: "    mount: {order: order}\n",
        run,
        outputs: "{tree: tree/}",
    };
    let head = "sources: {order: {local: order}}";
    arena.write_steps(head, &[step], "[{archive: [attack.tree], name: tree.tar}]");
    let mut wrong = Vec::new();
    let mut first = None;
    for round in 0..2 {
        if round == 0 {
            make(&mut names.iter())
        } else {
            make(&mut names.iter().rev())
        }
        arena.clear();
        arena.lock();
        let ran = arena.kiln(&["build", "--no-sign"]);
        wrong.extend(unless(ran.code == 0 && (round == 0 || ran.says("cached")), "order", &ran));
        let tree = arena.artifact("tree.tar");
        wrong.extend(unless(first.is_none() || first == tree, "two trees", &ran));
        first = tree;
    }
    let documented =
        include_str!("../../docs/threat-model.md").contains("order of names in a folder");
    if !documented {
        wrong.push("docs/threat-model.md does not list the order of names".to_owned());
    }
    fs::remove_dir_all(arena.world.path("project/order")).expect("it was made");
    fs::remove_file(arena.world.path("project/kiln.lock")).expect("it was written");
    wrong
}

/// S-C11: steps run one, two and eight at once, with their order shuffled; the bytes are the same.
pub fn steps_at_once(arena: &Arena) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut first = None;
    for seed in 0..6_usize {
        let names: Vec<String> =
            (0..8).map(|number| format!("s{}", (number * 3 + seed) % 8)).collect();
        let runs: Vec<String> = names.iter().map(|name| format!("echo {name} > out")).collect();
        let steps: Vec<StepOf<'_>> = names
            .iter()
            .zip(&runs)
            .map(|(name, run)| StepOf { name, more: "    mount: {}\n", run, outputs: "{out: out}" })
            .collect();
        let mut sorted = names.clone();
        sorted.sort();
        let all: Vec<String> = sorted.iter().map(|name| format!("{name}.out")).collect();
        // Collected by a last step, so that one artifact tells of all.
        let from: Vec<String> = all.iter().map(|out| format!("{out}: in/{out}")).collect();
        let more = format!("    mount: {{}}\n    from: {{{}}}\n", from.join(", "));
        let last =
            StepOf { name: "last", more: &more, run: "cp -r in tree", outputs: "{tree: tree/}" };
        let steps: Vec<StepOf<'_>> = steps.into_iter().chain([last]).collect();
        arena.write_steps(ONE_SOURCE, &steps, "[{archive: [last.tree], name: tree.tar}]");
        arena.clear();
        arena.lock_once();
        let jobs = ["1", "2", "8"][seed % 3];
        let ran = arena.kiln(&["build", "--no-sign", "--no-cache", "-j", jobs]);
        let tree = arena.artifact("tree.tar");
        let same = tree.is_some() && (first.is_none() || first == tree);
        wrong.extend(unless(ran.code == 0 && same, "another digest", &ran));
        first = tree;
    }
    wrong
}

/// S-D09: one step spins on all processors with many processes; the others come to their end.
pub fn one_step_spins(arena: &Arena) -> Vec<String> {
    let spin = "    timeout: 6s\n";
    let names = ["w1", "w2", "w3", "w4"];
    let steps: Vec<(&str, &str, &str)> = std::iter::once(("spin", "S-D09-spins", spin))
        .chain(names.map(|name| (name, "S-D09-works", "")))
        .collect();
    let ran = attack(arena, &steps);
    let mut wrong: Vec<String> =
        unless(ran.code == 1 && ran.says("KILN-0404"), "the spinning step", &ran)
            .into_iter()
            .collect();
    for name in names {
        let passed = ran.stderr.lines().any(|line| {
            line.contains(name) && (line.contains("passed") || line.contains("cached"))
        });
        wrong.extend(unless(passed, name, &ran));
    }
    wrong
}

/// S-D10: more steps than a build file can hold, and as many as it can.
pub fn steps_without_end(arena: &Arena) -> Vec<String> {
    let file = |count: usize| {
        let steps: String =
            (0..count).map(|number| format!("- {{name: s{number}, run: a}}\n")).collect();
        format!("kiln: 1\nname: many\nsteps:\n{steps}")
    };
    arena.world.write("kiln.yaml", &file(100_000));
    let many = arena.world.kiln(&["lock"]);
    let mut wrong: Vec<String> =
        unless(many.code == 2 && many.says("KILN-0101"), "10^5 steps", &many).into_iter().collect();
    arena.world.write("kiln.yaml", &file(1_000));
    let some = arena.world.kiln(&["build", "--plan"]);
    wrong.extend(unless(some.code == 0, "1,000 steps", &some));
    let _ = fs::remove_file(arena.world.path("project/kiln.lock"));
    wrong
}

/// S-E07: odd names come out of the archive as they went in, and are never shown raw.
pub fn odd_names(arena: &Arena) -> Vec<String> {
    let step = StepOf {
        name: "attack",
        more: "",
        run: "python3 attack.py S-E07",
        outputs: "{tree: tree/}",
    };
    arena.write_steps(ONE_SOURCE, &[step], "[{archive: [attack.tree], name: tree.tar}]");
    arena.clear();
    arena.lock_once();
    let ran = arena.kiln(&["build", "--no-sign", "--json"]);
    let mut wrong: Vec<String> =
        unless(ran.code == 0 && !ran.says("\u{1b}"), "odd names", &ran).into_iter().collect();
    let json: Result<serde_json::Value, _> = serde_json::from_str(&ran.stdout);
    wrong.extend(unless(json.is_ok(), "no JSON", &ran));
    let look = "import sys, tarfile\nsys.path.insert(0, 'src')\nimport capture_more as c\n\
                names = {m.name.split('/')[-1]: m for m in tarfile.open('kiln-out/tree.tar') if m.isfile()}\n\
                assert set(names) == set(c.NAMES), set(names) ^ set(c.NAMES)";
    let stub = "import sys, types\nm = types.ModuleType('attack')\nm.attack = lambda n: lambda f: f\n\
                m.breach_if = m.BACKEND = None\nsys.modules['attack'] = m\n";
    let text = format!("{stub}{look}");
    let seen =
        arena.world.run(&["/usr/bin/python3", "-c", &text], &[("PYTHONDONTWRITEBYTECODE", "1")]);
    wrong.extend(unless(seen.code == 0, "the archive's names", &seen));
    wrong
}

/// S-E11: two names of one file and two equal files are one output.
pub fn hard_links(arena: &Arena) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut trees = Vec::new();
    for id in ["S-E11", "S-E11-apart"] {
        let run = format!("python3 attack.py {id}");
        let step = StepOf { name: "attack", more: "", run: &run, outputs: "{tree: tree/}" };
        arena.write_steps(ONE_SOURCE, &[step], "[{archive: [attack.tree], name: tree.tar}]");
        arena.clear();
        arena.lock_once();
        let ran = arena.kiln(&["build", "--no-sign"]);
        wrong.extend(unless(ran.code == 0, id, &ran));
        trees.push(arena.artifact("tree.tar"));
    }
    if trees[0] != trees[1] {
        wrong.push("the archives differ".to_owned());
    }
    wrong
}

/// S-E12: what is empty is kept.
pub fn empty_things(arena: &Arena) -> Vec<String> {
    let step = StepOf {
        name: "attack",
        more: "",
        run: "python3 attack.py S-E12",
        outputs: "{tree: tree/}",
    };
    arena.write_steps(ONE_SOURCE, &[step], "[{archive: [attack.tree], name: tree.tar, prefix: t}]");
    arena.clear();
    arena.lock_once();
    let ran = arena.kiln(&["build", "--no-sign"]);
    let listing = arena.world.run(&["tar", "-tf", "kiln-out/tree.tar"], &[]);
    let mut wrong: Vec<String> = unless(ran.code == 0, "empty things", &ran).into_iter().collect();
    for name in ["t/empty/", "t/file", "t/dots/.one", "t/dots/..two"] {
        wrong.extend(unless(listing.stdout.lines().any(|line| line == name), name, &listing));
    }
    wrong
}

/// S-D05: 256 MiB of output under a limit of 1 MiB: cut with a mark, and kiln's memory stays bounded.
pub fn output_without_end(arena: &Arena) -> Vec<String> {
    /// Far above what a build of this size takes, far below what it is sent, in kB.
    const PEAK_MAX: u64 = 200 << 10;
    let more = "    resources: {log: 1Mi}\n";
    let run = "python3 attack.py S-D05\necho done > out";
    let step = StepOf { name: "attack", more, run, outputs: "{out: out}" };
    arena.write_steps(ONE_SOURCE, &[step], "[{file: attack.out}]");
    arena.clear();
    arena.lock_once();
    let over = std::sync::atomic::AtomicBool::new(false);
    let (ran, peak) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                peak = peak.max(peak_of(&arena.world.path("bin")));
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
            peak
        });
        let ran = arena.kiln(&["build", "--no-sign", "-v"]);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        (ran, watch.join().expect("it only reads"))
    });
    let log = arena.world.kiln(&["log", "attack"]);
    let mut wrong: Vec<String> = unless(
        ran.code == 0,
        "much output",
        &Ran {
            stdout: String::new(),
            stderr: ran.stderr.chars().take(2000).collect(),
            code: ran.code,
        },
    )
    .into_iter()
    .collect();
    let (told, kept) = (ran.stdout.len() + ran.stderr.len(), log.stdout.len());
    if !(1 << 20..4 << 20).contains(&kept) || told > 64 << 20 {
        wrong.push(format!("{told} bytes were shown, {kept} bytes were kept"));
    }
    let end: String =
        log.stdout.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
    if !ran.says("cut") && !end.contains("cut") && !log.stderr.contains("cut") {
        wrong.push(format!("nothing says that output was cut: {end:?} {:?}", log.stderr));
    }
    if !(1..PEAK_MAX).contains(&peak) {
        wrong.push(format!("kiln took {peak} kB"));
    }
    wrong
}

/// Returns the most memory that a process of a program below `folder` held, in kB.
fn peak_of(folder: &std::path::Path) -> u64 {
    let mut peak = 0;
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if program.starts_with(folder) {
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let held = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            peak = peak.max(held.unwrap_or(0));
        }
    }
    peak
}

/// S-A18: a program of Node.js, whose library would use io_uring, works without it.
pub fn node_works(arena: &Arena) -> Vec<String> {
    let run = "node -e 'require(\"fs\").promises.readFile(\"victim\").then(() => console.log(\"contained\"))' > out";
    let step = StepOf { name: "attack", more: "", run, outputs: "{out: out}" };
    arena.write_steps(ONE_SOURCE, &[step], "[{file: attack.out}]");
    let text = arena.world.read("kiln.yaml").replace("[python3]", "[python3, nodejs]");
    arena.world.write("kiln.yaml", &text);
    arena.clear();
    arena.lock();
    let ran = arena.kiln(&["build", "--no-sign"]);
    let wrong = all_contained(arena, &ran, &["out"]);
    fs::remove_file(arena.world.path("project/kiln.lock")).expect("it was written");
    wrong
}
