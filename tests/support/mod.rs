//! Scratch worlds in which the end-to-end tests run `kiln` as its users do.
//!
//! A [`World`] has a home, a configuration, a temporary folder and a project of its own below one
//! folder that is deleted at the end. kiln runs there with a cleared environment, as root or, by way
//! of `setpriv`, as an unprivileged user. Worlds of one user share a store, as projects of one user
//! do, so that the host's packages are imported once; a world that looks at its store has its own.
//!
//! Where the tests do not run as root, only the unprivileged half can run.

mod aftermath;
pub mod backend;
pub mod container;
pub mod engine;
pub mod processes;

pub use aftermath::Canaries;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Longest time one start of kiln may take, in seconds: a guard against hanging, no measure.
const SECONDS_MAX: &str = "900";
/// The unprivileged user, by number: needs no entry in the host's user database.
const USER: u32 = 1000;
/// The packages of most test environments; one set, so that it is imported once.
pub const PACKAGES: &str = "[gcc, libc6-dev, make, python3]";

/// Who runs kiln.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The superuser.
    Root,
    /// Somebody without any privilege.
    User,
}

impl Who {
    /// Returns everybody whom this process can be.
    pub fn all() -> Vec<Who> {
        if uid() == 0 { vec![Who::Root, Who::User] } else { vec![Who::User] }
    }

    /// Returns a command that runs `program` as this user.
    pub fn command(self, program: &Path) -> Command {
        match self {
            Who::User if uid() == 0 => {
                let id = USER.to_string();
                let mut command = Command::new("setpriv");
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program);
                command
            }
            Who::Root | Who::User => Command::new(program),
        }
    }

    /// Returns the user's number.
    pub fn uid(self) -> u32 {
        match self {
            Who::User if uid() == 0 => USER,
            Who::Root | Who::User => uid(),
        }
    }

    /// Makes this user the owner of everything below a path.
    pub fn give(self, path: &Path) {
        if self == Who::User && uid() == 0 {
            let owner = format!("{USER}:{USER}");
            let status = Command::new("chown").args(["-hR", &owner]).arg(path).status();
            assert!(status.expect("chown can be started").success(), "chown {}", path.display());
        }
    }
}

/// Says on the screen that a test did not run, and why: what a test prints is shown only when it fails.
pub fn skipped(test: &str, why: &str) {
    let line = format!("{test}: skipped: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("there is a standard error");
}

/// Keeps what is wrong for the end of `make test`, which shows it last.
pub fn failed(lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(base().join("failed"))
        .expect("a file of ours");
    file.write_all(format!("{}\n", lines.join("\n")).as_bytes()).expect("it is written");
}

fn uid() -> u32 {
    fs::metadata("/proc/self").expect("/proc is there").uid()
}

/// What a start of kiln came to.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; 124 where it took too long, 128 and more where a signal ended it.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

impl Ran {
    /// Reads a program's end.
    pub fn of(output: &Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(128),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails unless it ended with this code, and shows all that it said.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Says whether it said this anywhere.
    pub fn says(&self, words: &str) -> bool {
        self.stdout.contains(words) || self.stderr.contains(words)
    }
}

/// A scratch world of one user.
pub struct World {
    /// Who lives there.
    pub who: Who,
    /// A word that occurs nowhere else.
    pub token: String,
    /// Where its store lies.
    pub store: PathBuf,
    folder: TempDir,
}

impl World {
    /// Makes a world that uses the store of all this user's worlds.
    pub fn warm(who: Who) -> World {
        let mut world = World::cold(who);
        world.store = base().join(format!("store-{who:?}"));
        fs::create_dir_all(&world.store).expect("a folder for the store");
        fs::set_permissions(&world.store, fs::Permissions::from_mode(0o700)).expect("it is ours");
        // Only the folder: what is below belongs to its user already.
        if who == Who::User && uid() == 0 {
            std::os::unix::fs::chown(&world.store, Some(USER), Some(USER)).expect("we are root");
        }
        world
    }

    /// Makes a world with a store of its own, which is empty.
    pub fn cold(who: Who) -> World {
        let folder =
            tempfile::Builder::new().prefix("world-").tempdir_in(base()).expect("a folder");
        let token =
            folder.path().file_name().expect("it has a name").to_string_lossy().into_owned();
        let store = folder.path().join("cache/kiln");
        let world = World { who, token, store, folder };
        fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        for name in ["home", "config", "cache", "tmp", "project", "bin"] {
            fs::create_dir(world.path(name)).expect("a new folder");
        }
        // A file of its own, by which /proc/PID/exe tells this world's processes from others. Not a
        // hard link: that changes the inode which another world's kiln may be hashing just then.
        // By a process of its own: a descriptor that may write to it, copied here into a child that another
        // test is just starting, would make it "text file busy".
        let copied = Command::new("cp").arg(kiln()).arg(world.path("bin/kiln")).status();
        assert!(copied.expect("cp starts").success(), "there is room");
        who.give(world.folder.path());
        world
    }

    /// Returns a path below the world's folder.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Writes a file of the project, with the folders above it.
    pub fn write(&self, at: &str, text: &str) {
        let path = self.path("project").join(at);
        fs::create_dir_all(path.parent().expect("below the project")).expect("a folder");
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.who.give(&self.path("project"));
    }

    /// Reads a file of the project.
    #[track_caller]
    pub fn read(&self, at: &str) -> String {
        let path = self.path("project").join(at);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts kiln in the project and waits.
    pub fn kiln(&self, arguments: &[&str]) -> Ran {
        self.kiln_with(arguments, &[])
    }

    /// Starts kiln in the project with more variables and waits.
    pub fn kiln_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
        let program = self.path("bin/kiln");
        let mut all = vec![program.to_str().expect("UTF-8")];
        all.extend(arguments);
        self.run(&all, env)
    }

    /// Starts any program in the project, as this world's user, and waits.
    pub fn run(&self, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
        let output = self.command(arguments, env).output().expect("it can be started");
        Ran::of(&output)
    }

    /// Returns the command that [`World::run`] starts.
    pub fn command(&self, arguments: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = self.who.command(Path::new("timeout"));
        command.args(["-k", "10", SECONDS_MAX]).args(arguments);
        command.current_dir(self.path("project")).stdin(Stdio::null()).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LANG", "C.UTF-8").env("HOME", self.path("home"));
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command.env("KILN_STORE", &self.store);
        command.env("TMPDIR", self.path("tmp"));
        command.envs(env.iter().copied());
        command
    }

    /// Makes the project a repository, where it is none, and commits all of it.
    pub fn commit(&self) {
        self.git(&["init", "-q", "."]);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "a commit"]);
    }

    /// Runs git in the project with a fixed identity.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut all = vec!["git", "-c", "user.name=kiln", "-c", "user.email=kiln@localhost"];
        all.extend(["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]);
        all.extend(arguments);
        let time = "2020-01-01T00:00:00Z";
        self.run(&all, &[("GIT_AUTHOR_DATE", time), ("GIT_COMMITTER_DATE", time)]).exits(0).stdout
    }

    /// Makes the default key.
    pub fn key(&self) {
        self.kiln(&["key", "generate"]).exits(0);
    }

    /// Makes a warm world with a key of its own and a signed build of one file, `kiln-out/out`.
    pub fn signed(who: Who) -> World {
        let world = World::warm(who);
        world.write("src/input", "the input\n");
        let script = "cat src/input src/input > out";
        let file = build_file(script, "{out: out}", "[{file: attack.out}]");
        world.write("kiln.yaml", &file.replace("{local: src}", "{local: .}"));
        world.kiln(&["lock"]).exits(0);
        world.commit();
        world.key();
        world.kiln(&["build", "--sign"]).exits(0);
        world
    }

    /// Returns the statement beside an artifact, decoded and not verified.
    #[track_caller]
    pub fn statement(&self, artifact: &str) -> serde_json::Value {
        let line = self.read(&format!("kiln-out/{artifact}.intoto.jsonl"));
        let envelope: serde_json::Value = serde_json::from_str(line.trim()).expect("one JSON line");
        let payload = envelope["payload"].as_str().expect("a payload");
        serde_json::from_slice(&unbase64(payload)).expect("a statement")
    }
}

/// Decodes standard base64, of which these tests see only what kiln wrote.
pub fn unbase64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is not base64"),
    };
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::from(value(byte));
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

/// Returns the folder of all worlds: `KILN_TESTS_DIR`, or one below the temporary folder.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = std::env::var_os("KILN_TESTS_DIR").map_or_else(
            || std::env::temp_dir().join(format!("kiln-tests-{}", uid())),
            PathBuf::from,
        );
        fs::create_dir_all(&base).expect("a folder for the tests");
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).expect("it is ours");
        base
    })
}

/// Builds kiln, once, and returns a copy of it that every user may run.
pub fn kiln() -> &'static Path {
    static KILN: OnceLock<PathBuf> = OnceLock::new();
    KILN.get_or_init(|| {
        // As these tests were built: `cargo test --release` asks about the kiln that ships.
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let built = ["build", "-q", "--profile", profile, "-p", "runner"];
        let built = Command::new(env!("CARGO")).args(built).status();
        assert!(built.expect("cargo can be started").success(), "kiln does not build");
        // target/debug/deps/tests-… is this program, target/debug/kiln the other.
        let here = std::env::current_exe().expect("this program has a path");
        let kiln = here.ancestors().nth(2).expect("in deps").join("kiln");
        let fresh = base().join(format!("kiln-{}", std::process::id()));
        // Without its symbols, since each world has a copy.
        let status = Command::new("strip").arg("-o").arg(&fresh).arg(&kiln).status();
        assert!(status.expect("strip can be started").success(), "{}", kiln.display());
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let copy = base().join("kiln");
        fs::rename(fresh, &copy).expect("in one folder");
        copy
    })
}

/// Returns a build file with one step, `attack`, whose source is the folder `src`.
pub fn build_file(run: &str, outputs: &str, artifacts: &str) -> String {
    build_file_with(run, outputs, artifacts, "")
}

/// As [`build_file`], with more keys of the step.
pub fn build_file_with(run: &str, outputs: &str, artifacts: &str, more: &str) -> String {
    let script = run.lines().map(|line| format!("      {line}\n")).collect::<String>();
    let artifacts =
        if artifacts.is_empty() { String::new() } else { format!("artifacts: {artifacts}\n") };
    format!(
        "kiln: 1\nname: test\nsources: {{src: {{local: src}}}}\nenvironment:\n  host: {{packages: \
         {PACKAGES}}}\nsteps:\n  - name: attack\n    run: |\n{script}    outputs: {outputs}\n{more}{artifacts}"
    )
}
