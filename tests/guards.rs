//! Guards against the build file itself, and against whoever left it: what it cannot bring in, and
//! what it cannot make kiln say.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::support::{PACKAGES, Who, World, build_file, skipped};

/// A small build file whose step copies its input.
fn copying() -> String {
    build_file("cp input out", "{out: out}", "[{file: attack.out}]")
}

#[test]
fn the_key_is_no_input_of_a_step() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        world.key();
        let shown = world.kiln(&["key", "show"]).exits(0);
        let key = shown.stdout.lines().last().expect("the key's path").to_owned();
        let folder = key.rsplit_once('/').expect("a folder").0.to_owned();
        for from in [key.as_str(), folder.as_str()] {
            let listed = format!("], paths: [{{from: {from}, at: /opt/k}}]}}\nsteps:");
            let file = copying().replace("]}\nsteps:", &listed);
            assert!(file.contains(from), "{file}");
            world.write("kiln.yaml", &file);
            let ran = world.kiln(&["build"]);
            assert_ne!(ran.code, 0, "{from} went in");
            assert!(!ran.says("PRIVATE KEY"), "{from}");
            assert!(!world.path("project/kiln-out").exists(), "{from}");
        }
    }
}

#[test]
fn a_build_file_that_no_commit_names_is_never_clean() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        world.write("kiln.yaml", &copying());
        world.kiln(&["lock"]).exits(0);
        world.commit();
        world.key();
        // The control: as committed, it is signed.
        world.kiln(&["build", "--sign"]).exits(0);
        // Ignored and out of the index, its content is nobody's.
        world.write(".gitignore", "/kiln.yaml\n/kiln-out/\n");
        world.git(&["rm", "-q", "--cached", "kiln.yaml"]);
        world.git(&["add", ".gitignore"]);
        world.git(&["commit", "-q", "-m", "ignore"]);
        let ran = world.kiln(&["build", "--sign"]).exits(2);
        assert!(ran.says("KILN-0702"), "{}", ran.stderr);
        // A link could lead anywhere.
        fs::rename(world.path("project/kiln.yaml"), world.path("project/other")).expect("moved");
        symlink("other", world.path("project/kiln.yaml")).expect("linked");
        let ran = world.kiln(&["build"]).exits(2);
        assert!(ran.says("KILN-0115"), "{}", ran.stderr);
    }
}

#[test]
fn verify_does_not_wait_for_a_pipe() {
    let world = World::warm(Who::all()[0]);
    world.write("file", "x\n");
    world.run(&["mkfifo", "pipe", "file.sigstore.json"], &[]).exits(0);
    let kiln = world.path("bin/kiln");
    let kiln = kiln.to_str().expect("UTF-8");
    for (arguments, code) in
        [(vec!["verify", "pipe"], 2), (vec!["verify", "file"], 4), (vec!["inspect", "pipe"], 2)]
    {
        // The guard against waiting for ever is far above what a refusal takes.
        let mut all = vec!["timeout", "60", kiln];
        all.extend(&arguments);
        world.run(&all, &[]).exits(code);
    }
}

#[test]
fn an_interrupted_import_leaves_nothing() {
    let world = World::cold(Who::all()[0]);
    world.write("src/input", "x\n");
    world.write("kiln.yaml", &copying());
    let kiln = world.path("bin/kiln");
    let kiln = kiln.to_str().expect("UTF-8");
    // `timeout` sends the signal; whether it meets the import, the step or neither, nothing is left.
    let ran = world.run(&["timeout", "-s", "INT", "1", kiln, "build"], &[]);
    assert!([0, 124, 130].contains(&ran.code), "{}: {}", ran.code, ran.stderr);
    world.kiln(&["store", "verify", "--deep"]).exits(0);
}

/// Returns the folder that a step sees in which a file holds these bytes.
fn checkout_with(world: &World, name: &str, bytes: &str) -> PathBuf {
    let all = fs::read_dir(world.store.join("checkouts")).expect("the store has checkouts");
    let mut trees = all.flatten().map(|entry| entry.path().join("tree"));
    let found = trees.find(|tree| fs::read(tree.join(name)).is_ok_and(|is| is == bytes.as_bytes()));
    found.expect("the step had its source")
}

#[test]
fn a_checkout_changed_in_place_reaches_no_build() {
    let attacks = [
        ("content", "printf X | dd of=input conv=notrunc status=none && touch -d @318211202 input"),
        ("one more", "touch more && touch -d @318211202 ."),
        ("one less", "rm other && touch -d @318211202 ."),
        ("mode", "chmod 0755 input"),
        ("link", "rm input && ln -s other input && touch -h -d @318211202 input . "),
    ];
    for who in Who::all() {
        // A store of its own: whoever verifies one that is shared finds what is changed here.
        let world = World::cold(who);
        let text = format!("{}\n", world.token);
        world.write("src/input", &text);
        world.write("src/other", "other\n");
        let run = "{ cat input; stat -c '%A %Y' input; ls; } > attack.out";
        let file = build_file(run, "{out: attack.out}", "[{file: attack.out}]");
        // The Essential packages have all that is needed.
        world.write("kiln.yaml", &file.replace(PACKAGES, "[]"));
        let build = ["build", "--no-cache", "--no-sign"];
        world.kiln(&build).exits(0);
        let right = world.read("kiln-out/attack.out");
        // The control: an untouched one is used, and nothing is said.
        assert!(!world.kiln(&build).exits(0).says("had been changed"));
        for (what, attack) in attacks {
            let tree = checkout_with(&world, "input", &text);
            let tree = tree.to_str().expect("UTF-8");
            world.run(&["sh", "-c", &format!("cd {tree} && {attack}")], &[]).exits(0);
            let ran = world.kiln(&build).exits(0);
            assert_eq!(ran.stderr.matches("had been changed").count(), 1, "{what}: {}", ran.stderr);
            assert_eq!(world.read("kiln-out/attack.out"), right, "{what}");
            assert!(!world.kiln(&build).exits(0).says("had been changed"), "{what}");
        }
    }
}

#[test]
fn a_store_inside_a_source_is_refused_before_it_is_made() {
    let world = World::cold(Who::all()[0]);
    world.write("src/input", "x\n");
    world.write("kiln.yaml", &copying());
    for store in ["src/store", "src/../src/more/store", "./src/store"] {
        let ran = world.kiln(&["--store", store, "build"]).exits(2);
        assert!(ran.says("KILN-0105") && ran.says("kiln's own folder"), "{}", ran.stderr);
        assert!(!world.path("project/src/store").exists(), "{store}");
        assert!(!world.path("project/src/more").exists(), "{store}");
    }
}

#[test]
fn damage_is_told_by_the_report_alone() {
    let world = World::cold(Who::all()[0]);
    world.kiln(&["store", "info"]).exits(0);
    let shard = world.store.join("objects/ab");
    fs::create_dir_all(&shard).expect("a folder");
    fs::write(shard.join("c".repeat(62)), "other bytes").expect("it can be written");
    world.who.give(&world.store);
    let ran = world.kiln(&["store", "verify", "--deep"]).exits(3);
    assert!(ran.says("KILN-0601"), "{}", ran.stderr);
    assert!(!ran.says("WARN"), "{}", ran.stderr);
}

/// How many threads hash is no variable's to say: a hundred thousand of them stop a whole host.
#[test]
fn a_variable_of_the_caller_makes_no_threads() {
    for who in Who::all() {
        let world = World::warm(who);
        let (kiln, heard) = (world.path("bin/kiln"), world.path("home/threads"));
        let (kiln, heard) = (kiln.to_str().expect("UTF-8"), heard.to_str().expect("UTF-8"));
        let traced = ["strace", "-f", "-qq", "-e", "trace=clone,clone3", "-o", heard, kiln];
        let command = [&traced[..], &["store", "verify", "--deep"]].concat();
        world.run(&command, &[("RAYON_NUM_THREADS", "500")]).exits(0);
        let threads = std::fs::read_to_string(heard).expect("a trace").lines().count();
        assert!((1..400).contains(&threads), "{threads} threads");
    }
}

/// A named pipe in a file's place is not waited for: nobody writes into it.
#[test]
fn a_pipe_in_a_files_place_is_not_waited_for() {
    for who in Who::all() {
        let world = World::cold(who);
        let pipe = |at: &str| {
            let path = world.path(at);
            let path = path.to_str().expect("UTF-8").to_owned();
            let folder = path.rsplit_once('/').expect("a folder").0.to_owned();
            world.run(&["mkdir", "-p", &folder], &[]).exits(0);
            world.run(&["mkfifo", &path], &[]).exits(0);
        };
        pipe("project/Makefile");
        pipe("project/.gitignore");
        world.kiln(&["init", "--template", "blank"]).exits(0);
        pipe("config/kiln/config.toml");
        let ran = world.kiln(&["doctor"]);
        assert!(ran.code == 2 && ran.says("config.toml"), "{} {}", ran.code, ran.stderr);
    }
}

/// An answer that nobody could read is no success, whatever it would have been.
#[test]
fn an_answer_that_is_lost_is_no_success() {
    let world = World::warm(Who::User);
    world.write("src/input", "x\n");
    world.write("kiln.yaml", &copying());
    world.kiln(&["lock"]).exits(0);
    let kiln = world.path("bin/kiln");
    let kiln = kiln.to_str().expect("UTF-8");
    let full = world.run(&["sh", "-c", &format!("{kiln} graph --json >/dev/full")], &[]);
    assert!(full.code == 7 && full.says("cannot be written"), "{} {}", full.code, full.stderr);
    // A pipe that nobody reads from.
    let script = "import os, subprocess, sys\nread, write = os.pipe()\nos.close(read)\n\
                  sys.exit(subprocess.call([sys.argv[1], 'graph', '--json'], stdout=write))";
    let gone = world.run(&["python3", "-c", script, kiln], &[]);
    assert_eq!(gone.code, 141, "{}", gone.stderr);
}

/// What is listed can be printed, and is that of every project that uses the store.
#[test]
fn what_the_store_keeps_is_listed_with_the_digests_that_print_it() {
    let world = World::warm(Who::all()[0]);
    world.write("src/input", "x\n");
    let token = world.token.clone();
    let run = format!("echo {token} > out");
    world.write("kiln.yaml", &build_file(&run, "{out: out}", "[{file: attack.out}]"));
    world.kiln(&["lock"]).exits(0);
    world.kiln(&["build", "--no-sign"]).exits(0);
    let listed = world.kiln(&["store", "ls"]).exits(0).stdout;
    let digest = format!("sha256:{}", model::Digest::of(format!("{token}\n").as_bytes()).hex());
    let line = listed.lines().find(|line| line.contains(&digest)).expect("it is listed");
    assert!(line.ends_with(" out"), "{line}");
    let printed = world.kiln(&["store", "cat", &digest]).exits(0).stdout;
    assert_eq!(printed, format!("{token}\n"));
    assert_ne!(listed, world.kiln(&["store", "info"]).exits(0).stdout);
}

/// Starts its arguments behind a filter that answers EPERM to 140, which is getpriority on x86_64: 38 and 22 are
/// PR_SET_NO_NEW_PRIVS and PR_SET_SECCOMP.
const BEHIND_A_FILTER: &str = "my $code = join '', map { pack 'S C C L', @$_ } [0x20, 0, 0, 0], [0x15, 0, 1, 140], [6, 0, 0, 0x50001], [6, 0, 0, 0x7fff0000]; \
    my $whole = pack 'S x6 P', 4, $code; syscall(157, 38, 1, 0, 0, 0) == 0 && syscall(157, 22, 2, $whole, 0, 0) == 0 or die $!; exec @ARGV";

/// What a filter around kiln refuses becomes part of a result, which nobody without one may get.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_result_made_under_a_filter_around_kiln_serves_nobody_without_one() {
    for who in Who::all() {
        let world = World::warm(who);
        world.write("src/input", "x\n");
        let run =
            format!("perl -e '$! = 0; getpriority(0, 0); print $! + 0' > out # {}", world.token);
        world.write("kiln.yaml", &build_file(&run, "{out: out}", "[{file: attack.out}]"));
        world.kiln(&["lock"]).exits(0);
        world.commit();
        let kiln = world.path("bin/kiln");
        let kiln = kiln.to_str().expect("UTF-8");
        let out = || fs::read_to_string(world.path("project/kiln-out/out")).expect("an artifact");
        let behind =
            || world.run(&["perl", "-e", BEHIND_A_FILTER, kiln, "build", "--no-sign"], &[]);
        let ran = behind().exits(0);
        assert!(ran.says("a seccomp filter around kiln"), "{who:?}: {}", ran.stderr);
        assert_eq!(out(), "1", "control: the filter decides the result");
        let told = world.run(&["perl", "-e", BEHIND_A_FILTER, kiln, "doctor"], &[]);
        let line =
            told.stdout.lines().chain(told.stderr.lines()).find(|line| line.contains(" syscalls "));
        assert!(line.is_some_and(|line| line.contains("a filter around kiln")), "{line:?}");
        let ran = behind().exits(0);
        assert!(!ran.says("a seccomp filter around kiln"), "it is used again: {}", ran.stderr);
        let ran = world.kiln(&["build", "--no-sign"]).exits(0);
        assert!(!ran.says("a seccomp filter around kiln"), "{who:?}: {}", ran.stderr);
        assert_eq!(out(), "0", "{who:?}: {}", ran.stderr);
    }
}

/// What decides about builds and signatures is replaced by no artifact, by whatever path its folder is named.
#[test]
fn no_artifact_replaces_a_key_the_build_file_or_what_is_gits() {
    for who in Who::all() {
        let world = World::signed(who);
        let out = world.path("fresh").display().to_string();
        let named = |names: &str| {
            let names = names.split(' ').map(|name| format!("{{file: attack.out, name: {name}}}"));
            let artifacts = format!("[{}]", names.collect::<Vec<_>>().join(", "));
            let text = build_file("echo mine > out", "{out: out}", &artifacts);
            world.write("kiln.yaml", &text.replace("{local: src}", "{local: .}"));
        };
        let config = world.path("config/kiln").display().to_string();
        let store = world.store.display().to_string();
        symlink(world.path("config"), world.path("tmp/link")).expect("a new link");
        let linked = world.path("tmp/link/kiln/below").display().to_string();
        let git = world.path("project/.git").display().to_string();
        let (below_store, hooks) = (format!("{store}/state"), format!("{git}/hooks"));
        let kept =
            ["../config/kiln/key.pem", "../config/kiln/trust.toml", "kiln.lock", ".git/HEAD"];
        let before = kept.map(|at| world.read(at));
        named("key.pem trust.toml HEAD pre-commit");
        let mut places = vec![config.as_str(), &linked, &store, &below_store, &git, &hooks];
        places.extend(["../config/kiln", ".git"]);
        for place in places {
            let ran = world.kiln(&["build", "--no-sign", "-o", place]).exits(2);
            assert!(ran.says("lies in") && ran.says("-o DIR"), "{place}: {}", ran.stderr);
            assert!(!ran.says("running"), "{place}: {}", ran.stderr);
        }
        // The control: elsewhere these are names like any other.
        world.kiln(&["build", "--no-sign", "-o", &out]).exits(0);
        assert_eq!(world.read("../fresh/key.pem"), "mine\n");
        let taken = ["kiln.yaml", "kiln.lock", ".git", ".git"];
        for (name, place) in taken.into_iter().zip([".", "src/..", ".", out.as_str()]) {
            named(name);
            let text = world.read("kiln.yaml");
            let ran = world.kiln(&["build", "--no-sign", "-o", place]).exits(2);
            let words = [format!("written over {name}"), "kiln.yaml:".to_owned()];
            assert!(words.iter().all(|words| ran.says(words)), "{name}: {}", ran.stderr);
            assert_eq!(world.read("kiln.yaml"), text);
        }
        named("kiln.yaml kiln.lock");
        world.kiln(&["build", "--no-sign"]).exits(0);
        assert_eq!(kept.map(|at| world.read(at)), before);
    }
}

/// A folder is known by what it is: the same one, mounted elsewhere.
#[test]
fn a_mount_of_kilns_configuration_takes_no_artifact() {
    let who = Who::all()[0];
    if who != Who::Root {
        return skipped("a_mount_of_kilns_configuration_takes_no_artifact", "needs root");
    }
    let world = World::signed(who);
    let artifacts = "[{file: attack.out, name: key.pem}]";
    world.write("kiln.yaml", &build_file("echo mine > out", "{out: out}", artifacts));
    let key = world.read("../config/kiln/key.pem");
    fs::create_dir(world.path("tmp/mounted")).expect("a new folder");
    let script = "mount --bind ../config/kiln ../tmp/mounted && ../bin/kiln build --no-sign -o ../tmp/mounted";
    let ran = world.run(&["unshare", "--mount", "sh", "-c", script], &[]).exits(2);
    assert!(ran.says("lies in kiln's configuration"), "{}", ran.stderr);
    assert_eq!(world.read("../config/kiln/key.pem"), key);
}
