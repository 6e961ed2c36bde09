//! Cases in which the host changes an input while kiln looks at it (group F).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Arena;
use super::arena::StepOf;
use crate::support::{Ran, Who};

const ONE_SOURCE: &str = "sources: {src: {local: src}}";
/// What is done to a source while a build runs.
type Change<'a> = &'a (dyn Fn(&Path) + Sync);

/// Most times that a race is run before it is given up: far above what any needs.
const ROUNDS_MAX: usize = 200;

fn unless(holds: bool, what: &str, ran: &Ran) -> Option<String> {
    if holds { None } else { Some(format!("{what}: {ran:?}")) }
}

/// Writes a build file whose one step is harmless, over the source `src`.
fn harmless(arena: &Arena) {
    let step = StepOf { name: "attack", more: "", run: "cp victim out", outputs: "{out: out}" };
    arena.write_steps(ONE_SOURCE, &[step], "[{file: attack.out}]");
    arena.clear();
    arena.lock_once();
}

/// Returns the numbers of the processes of this arena's step whose command holds a word.
fn processes(arena: &Arena, word: &str) -> Vec<String> {
    let mark = format!("KILN_TEST={}", arena.world.token);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&environ).contains(&mark)
            && String::from_utf8_lossy(&command).contains(word)
        {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// Says whether a process hears the signal that it waits for, so that it is not killed by it.
fn is_waiting(number: &String) -> bool {
    /// The bit of SIGUSR1 on both architectures.
    const USR1: u64 = 1 << 9;
    let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught
        .is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & USR1 != 0))
}

/// Builds two steps, of which the second mounts `late`; does something while the first one waits.
fn meanwhile(arena: &Arena, act: Change<'_>) -> Ran {
    let late = arena.world.path("project/late");
    let _ = fs::remove_dir_all(&late);
    arena.world.write("late/data", "as it was hashed\n");
    let first = format!("{}    mount: {{src: .}}\n", arena.env_line());
    // What changes with each round, so that no earlier result is believed.
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let waits = format!("python3 attack.py S-F01-waits\necho {round} > out");
    let reads = format!("cp late/data data\npython3 attack.py S-F01-reads > out\n: {round}");
    let second = "    mount: {src: ., late: late}\n    needs: [first]\n";
    let steps = [
        StepOf { name: "first", more: &first, run: &waits, outputs: "{out: out}" },
        StepOf { name: "second", more: second, run: &reads, outputs: "{out: out}" },
    ];
    let head = "sources: {src: {local: src}, late: {local: late}}";
    arena.write_steps(head, &steps, "[{file: second.out}]");
    arena.clear();
    arena.lock();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut done = false;
            while !over.load(Ordering::Relaxed) {
                for number in processes(arena, "S-F01-waits").into_iter().filter(is_waiting) {
                    if !done {
                        act(&late);
                        done = true;
                    }
                    let _ = Command::new("kill").args(["-USR1", &number]).status();
                }
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        });
        let ran = arena.kiln(&["build", "--no-sign"]);
        over.store(true, Ordering::Relaxed);
        ran
    })
}

/// S-F01: a source changes after it was hashed and before it is mounted.
pub fn changed_between_hash_and_mount(arena: &Arena) -> Vec<String> {
    let contained = || arena.artifact("out").is_some_and(|out| out.ends_with(b"contained\n"));
    let plain = meanwhile(arena, &|_| {});
    let mut wrong: Vec<String> =
        unless(plain.code == 0 && contained(), "the control", &plain).into_iter().collect();
    let canary = arena.canaries.file();
    let acts: [(&str, Change<'_>); 5] = [
        ("other bytes", &|late| {
            fs::write(late.join("data"), "other bytes here\n").expect("written")
        }),
        ("a link", &|late| {
            fs::remove_file(late.join("data")).expect("removed");
            symlink(&canary, late.join("data")).expect("linked");
        }),
        ("a folder that is a link", &|late| {
            fs::rename(late, late.with_extension("away")).expect("renamed");
            symlink(canary.parent().expect("a folder"), late).expect("linked");
        }),
        ("nothing", &|late| fs::remove_file(late.join("data")).expect("removed")),
        ("a pipe", &|late| {
            fs::remove_file(late.join("data")).expect("removed");
            let made = Command::new("mkfifo").arg(late.join("data")).status();
            assert!(made.expect("mkfifo starts").success());
        }),
    ];
    for (what, act) in acts {
        let ran = meanwhile(arena, act);
        let held = (ran.code == 3 && ran.says("KILN-0301")) || (ran.code == 0 && contained());
        wrong.extend(unless(held, what, &ran));
        let late = arena.world.path("project/late");
        let _ = fs::remove_dir_all(late.with_extension("away"));
        let _ = fs::remove_file(&late);
        let _ = fs::remove_dir_all(&late);
    }
    let _ = fs::remove_file(arena.world.path("project/kiln.lock"));
    wrong
}

/// Lets a thread change the project without rest while builds run, until it has changed it often.
fn race(
    arena: &Arena,
    often: u64,
    change: &(dyn Fn(u64) + Sync),
    judge: &dyn Fn(&Ran) -> bool,
) -> Vec<String> {
    let (over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                change(count.fetch_add(1, Ordering::Relaxed));
            }
        });
        let mut wrong = Vec::new();
        for _ in 0..ROUNDS_MAX {
            arena.clear();
            let ran = arena.kiln(&["build", "--no-sign"]);
            wrong.extend(unless(judge(&ran), "the race", &ran));
            if count.load(Ordering::Relaxed) >= often || !wrong.is_empty() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        wrong
    })
}

/// S-F02: a file is swapped for a link to a secret of the host and back, a thousand times.
pub fn swapped_for_a_link(arena: &Arena) -> Vec<String> {
    let source = arena.world.path("project/src");
    let canary = arena.canaries.file();
    fs::write(source.join("swap"), "plain\n").expect("a file");
    arena.world.who.give(&source);
    let run = "if [ -e swap ]; then cat swap > out; else echo link > out; fi";
    let step = StepOf { name: "attack", more: "", run, outputs: "{out: out}" };
    arena.write_steps(ONE_SOURCE, &[step], "[{file: attack.out}]");
    arena.lock_once();
    let change = |round: u64| {
        let next = source.with_extension("next");
        let _ = fs::remove_file(&next);
        if round.is_multiple_of(2) {
            symlink(&canary, &next).expect("a link");
        } else {
            fs::write(&next, "plain\n").expect("a file");
            arena.world.who.give(&next);
        }
        fs::rename(&next, source.join("swap")).expect("renamed");
    };
    let wrong = race(arena, 1000, &change, &|ran| {
        let out = arena.artifact("out").unwrap_or_default();
        let clean = !String::from_utf8_lossy(&out).contains("canary-secret");
        clean && ([0, 3].contains(&ran.code))
    });
    let _ = fs::remove_file(source.with_extension("next"));
    fs::remove_file(source.join("swap")).expect("it was made");
    wrong
}

/// S-F05: a file is cut short and grows again while it is hashed.
pub fn cut_short_while_hashed(arena: &Arena) -> Vec<String> {
    let path = arena.world.path("project/src/long");
    let file = fs::File::create(&path).expect("a file");
    arena.world.who.give(&path);
    harmless(arena);
    let change = |round: u64| {
        let size = if round.is_multiple_of(2) { 24 << 20 } else { 4096 };
        file.set_len(size).expect("it can be cut");
        std::thread::park_timeout(std::time::Duration::from_millis(2));
    };
    let wrong = race(arena, 500, &change, &|ran| {
        (ran.code == 0 || (ran.code == 3 && ran.says("KILN-0301"))) && !ran.says("panicked")
    });
    fs::remove_file(&path).expect("it was made");
    wrong
}

/// S-F03: links out of the tree are text: nothing of what they name comes in.
pub fn links_out_of_the_tree(arena: &Arena) -> Vec<String> {
    arena.world.write("links/victim", "as it was\n");
    arena.world.write("links/sub/file", "x\n");
    let tree = arena.world.path("project/links");
    let canary = arena.canaries.file();
    for (target, name) in [
        (canary.as_path(), "absolute"),
        ("../../../../outside".as_ref(), "outward"),
        ("itself".as_ref(), "itself"),
        ("nowhere".as_ref(), "dangling"),
        ("../victim".as_ref(), "sub/up"),
    ] {
        symlink(target, tree.join(name)).expect("a new link");
    }
    for (name, _) in super::cases::ATTACKS.iter().filter(|(name, _)| name.ends_with(".py")) {
        fs::copy(arena.world.path("project/src").join(name), tree.join(name)).expect("a copy");
    }
    arena.world.who.give(&tree);
    let run = "python3 attack.py S-F03 > out || { cat out; exit 1; }";
    let step = StepOf { name: "attack", more: &arena.env_line(), run, outputs: "{out: out}" };
    arena.write_steps("sources: {links: {local: links}}", &[step], "[{file: attack.out}]");
    arena.clear();
    arena.lock();
    let ran = arena.kiln(&["build", "--no-sign"]);
    let contained = arena.artifact("out").is_some_and(|out| out.ends_with(b"contained\n"));
    fs::remove_dir_all(&tree).expect("it was made");
    fs::remove_file(arena.world.path("project/kiln.lock")).expect("it was written");
    unless(ran.code == 0 && contained, "links", &ran).into_iter().collect()
}

/// S-F04: an input that is no file: refused at once, by name.
pub fn inputs_that_are_no_files(arena: &Arena) -> Vec<String> {
    let at = |name: &str| arena.world.path("project/src").join(name);
    let make = |words: &[&str]| {
        let made = Command::new(words[0]).args(&words[1..]).status();
        assert!(made.expect("it starts").success(), "{words:?}");
    };
    let mut kinds = vec!["pipe", "socket"];
    if arena.world.who == Who::Root {
        kinds.extend(["null", "disk"]);
    }
    let mut wrong = Vec::new();
    for kind in kinds {
        let path = at(kind);
        let text = path.to_str().expect("UTF-8");
        harmless(arena);
        let socket = (kind == "socket").then(|| UnixListener::bind(&path).expect("a socket"));
        match kind {
            "pipe" => make(&["mkfifo", text]),
            "null" => make(&["mknod", text, "c", "1", "3"]),
            "disk" => make(&["mknod", text, "b", "8", "0"]),
            _ => {}
        }
        arena.world.who.give(&path);
        let ran = arena.kiln(&["build", "--no-sign"]);
        let named = ran.says(&format!("src/{kind}")) && ran.says("kiln.yaml:3:");
        let good = ran.code == 2 && ran.says("KILN-0116") && named;
        wrong.extend(unless(good && arena.artifact("out").is_none(), kind, &ran));
        drop(socket);
        fs::remove_file(&path).expect("it was made");
    }
    harmless(arena);
    let ran = arena.kiln(&["build", "--no-sign"]);
    wrong.extend(unless(ran.code == 0, "the control", &ran));
    wrong
}

/// S-F06: a file that may not be read is named, not passed over.
pub fn closed_input(arena: &Arena) -> Vec<String> {
    let path = arena.world.path("project/src/closed");
    arena.world.write("src/closed", "closed\n");
    harmless(arena);
    let mut wrong = Vec::new();
    let before = arena.kiln(&["build", "--no-sign"]);
    wrong.extend(unless(before.code == 0, "the control", &before));
    arena.world.write("src/closed", "closed, and other bytes\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("it is ours");
    arena.clear();
    let ran = arena.kiln(&["build", "--no-sign"]);
    let good = ran.code == 2 && ran.says("src/closed") && ran.says("KILN-0116");
    wrong.extend(unless(good && arena.artifact("out").is_none(), "a closed file", &ran));
    fs::remove_file(&path).expect("it was made");
    // A closed folder as well.
    arena.world.write("src/folder/file", "x\n");
    let folder = arena.world.path("project/src/folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).expect("it is ours");
    let ran = arena.kiln(&["build", "--no-sign"]);
    let good = ran.code == 2 && ran.says("src/folder") && ran.says("KILN-0116");
    wrong.extend(unless(good, "a closed folder", &ran));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::remove_dir_all(&folder).expect("it was made");
    wrong
}

/// S-F08: a source that is not there is named with file, line and column; nothing passes over it.
pub fn absent_input(arena: &Arena) -> Vec<String> {
    harmless(arena);
    let sound = arena.world.read("kiln.yaml");
    arena.world.write("kiln.yaml", &sound.replace("local: src", "local: absent"));
    let ran = arena.kiln(&["build", "--no-sign"]);
    let good = ran.code == 2 && ran.says("KILN-0108") && ran.says("kiln.yaml:3:");
    let mut wrong: Vec<String> = unless(good, "an absent source", &ran).into_iter().collect();
    for more in ["optional: true", "if-exists: true"] {
        let text = sound.replace("local: src", &format!("local: absent, {more}"));
        arena.world.write("kiln.yaml", &text);
        let ran = arena.kiln(&["build", "--no-sign"]);
        wrong.extend(unless(ran.code == 2 && ran.says("KILN-0102"), more, &ran));
    }
    arena.world.write("kiln.yaml", &sound);
    wrong
}
