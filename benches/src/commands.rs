//! Whole commands: an attested build, a build with nothing to do, one wrapped command, a verification.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::measure::{detail, faster, figure, in_blocks, in_turn, quietly, ratio, write};
use crate::start::ENGINE_BLOCKS;
use runner::file_times::SETTLED_SECONDS;

/// Measures them all with the kiln beside this program.
pub fn measure(scratch: &Path, lua: &Path) {
    println!("\n== commands");
    let bench = Bench::new(scratch);
    bench.quietly(scratch, &["key", "generate"]);
    wrapped(&bench);
    lua_build(&bench, lua);
    no_op(&bench);
}

/// The kiln beside this program, in a home of its own.
pub struct Bench {
    kiln: PathBuf,
    scratch: PathBuf,
}

impl Bench {
    pub fn new(scratch: &Path) -> Bench {
        let here = std::env::current_exe().expect("this program has a path");
        for folder in ["home/config", "home/cache"] {
            std::fs::create_dir_all(scratch.join(folder)).expect("a folder");
        }
        Bench { kiln: here.with_file_name("kiln"), scratch: scratch.to_owned() }
    }

    /// Where everything of this run lies.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kiln);
        command.args(arguments).current_dir(folder);
        command.env("HOME", self.scratch.join("home"));
        command.env("XDG_CONFIG_HOME", self.scratch.join("home/config"));
        command.env("XDG_CACHE_HOME", self.scratch.join("home/cache"));
        command
    }

    pub fn quietly(&self, folder: &Path, arguments: &[&str]) {
        quietly(&mut self.command(folder, arguments));
    }

    pub fn git(&self, folder: &Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=kiln", "-c", "user.email=kiln@localhost"]);
        command.args(arguments).current_dir(folder).env("HOME", self.scratch.join("home"));
        quietly(&mut command);
    }
}

fn wrapped(bench: &Bench) {
    let folder = bench.scratch.join("wrapped");
    std::fs::create_dir_all(&folder).expect("a folder");
    let first = Instant::now();
    bench.quietly(&folder, &["run", "--", "true"]);
    let first = first.elapsed();
    let mut plain = || quietly(&mut Command::new("true"));
    let mut found = || bench.quietly(&folder, &["run", "--", "true"]);
    let mut run = || bench.quietly(&folder, &["run", "--no-cache", "--", "true"]);
    let times = in_turn(10, &mut [&mut run, &mut plain, &mut found]);
    for (what, times) in
        [("kiln run -- true", &times[0]), ("the same, its result found", &times[2])]
    {
        figure(what, &format!("{:.3?} (best {:.3?})", times.median(), times.best()), "");
    }
    if let Some(engine) = Engine::with(&crate::start::prepare(&bench.scratch)) {
        let mut theirs = || engine.run();
        let mut actions: [&mut dyn FnMut(); 3] = [&mut run, &mut theirs, &mut found];
        let times = in_blocks(ENGINE_BLOCKS, &mut || engine.settle(), &mut actions);
        faster("kiln run -- true, in blocks", &times[0], "docker run", &times[1], "-");
        faster("the same, its result found", &times[2], "docker run", &times[1], "-");
        engine.told(ENGINE_BLOCKS);
    }
    detail("the first time, with the import of the host", &format!("{first:.3?}"));
    detail("`true` alone", &format!("{:.3?}", times[1].median()));
}

/// A cold attested build of Lua against plain `make`; the environment is in the store.
fn lua_build(bench: &Bench, lua: &Path) {
    let folder = bench.scratch.join("lua");
    quietly(Command::new("mkdir").arg("-p").arg(&folder));
    quietly(Command::new("cp").arg("-R").arg(lua).arg(folder.join("upstream")));
    let file = include_str!("../../examples/real/lua/kiln.yaml");
    write(&folder.join("kiln.yaml"), file);
    bench.quietly(&folder, &["lock"]);
    bench.git(&folder, &["init", "-q", "."]);
    bench.git(&folder, &["add", "-A"]);
    bench.git(&folder, &["commit", "-q", "-m", "lua"]);
    bench.quietly(&folder, &["build", "--sign"]);
    let raw = bench.scratch.join("raw");
    let mut ours = || {
        std::fs::remove_dir_all(folder.join("kiln-out")).expect("it was built");
        bench.quietly(&folder, &["build", "--sign", "--no-cache", "-j", "1"]);
    };
    let mut theirs = || {
        let _ = std::fs::remove_dir_all(&raw);
        quietly(Command::new("cp").arg("-R").arg(lua).arg(&raw));
        quietly(Command::new("make").args(["-C", "src", "linux"]).current_dir(&raw));
    };
    let times = in_turn(3, &mut [&mut ours, &mut theirs]);
    ratio("cold attested build of Lua", &times[0], "make", &times[1], "<= 1.03");
    let extra = times[0].median().saturating_sub(times[1].median());
    detail("what kiln adds, with a test and three statements", &format!("{extra:.3?}"));
    let mut verify = || bench.quietly(&folder, &["verify", "kiln-out/lua"]);
    let learn = ["policy", "init", "kiln-out/lua", "-o", "policy.yaml"];
    bench.quietly(&folder, &learn);
    let policy = std::fs::read_to_string(folder.join("policy.yaml")).expect("it was learned");
    let rules = "rules:\n  - {name: few, expr: \"dependencies.all(d, size(d.digest) > 0)\"}\n";
    write(&folder.join("policy.yaml"), format!("{policy}{rules}"));
    let with_policy = ["verify", "kiln-out/lua", "--policy", "policy.yaml"];
    let mut by_policy = || bench.quietly(&folder, &with_policy);
    let times = in_turn(20, &mut [&mut verify, &mut by_policy]);
    for (what, times) in
        [("verify of one bundle", &times[0]), ("the same, with a policy", &times[1])]
    {
        let figures = format!("{:.3?} (best {:.3?})", times.median(), times.best());
        figure(what, &figures, "<= 10 ms");
    }
}

/// A build with nothing to do in a repository of 10,000 files, against `git status`.
fn no_op(bench: &Bench) {
    let folder = bench.scratch.join("many");
    for number in 0..10_000 {
        let path = format!("src/{:02}/{:02}/file-{number}.c", number % 100, number / 100);
        write(&folder.join(path), format!("int f{number}(void) {{ return {number}; }}\n"));
    }
    let file = "kiln: 1\nname: many\nsources: {src: {local: src}}\nenvironment: {host: {}}\nsteps:\n  \
                - {name: build, run: find . -type f | wc -l > count, outputs: {count: count}}\n\
                artifacts:\n  - {file: build.count}\n";
    write(&folder.join("kiln.yaml"), file);
    bench.quietly(&folder, &["lock"]);
    bench.git(&folder, &["init", "-q", "."]);
    bench.git(&folder, &["add", "-A"]);
    bench.git(&folder, &["commit", "-q", "-m", "many"]);
    bench.quietly(&folder, &["build", "--sign"]);
    // Only of files that did not change for a while a digest is remembered.
    std::thread::sleep(Duration::from_secs(u64::from(SETTLED_SECONDS) + 1));
    bench.quietly(&folder, &["build", "--sign"]);
    let mut ours = || bench.quietly(&folder, &["build", "--sign"]);
    let mut theirs = || bench.git(&folder, &["status", "--porcelain"]);
    let times = in_turn(20, &mut [&mut ours, &mut theirs]);
    ratio("no-op build of 10,000 files", &times[0], "git status", &times[1], "<= 1");
}
