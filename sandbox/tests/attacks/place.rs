//! The place of the tests: a small environment made from the host's own programs, and short ways to
//! run something in it.
#![allow(clippy::disallowed_methods, reason = "tests ask ldd and write files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use model::AbsPath;
use model::limits::{Limits, Millis};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use sandbox::{
    Cancel, Error, Exit, Mount, MountMode, Outcome, Parts, Scratch, Spec, Stream, Widen,
};
use tempfile::TempDir;

/// Programs of the environment: a shell, the core tools that the scripts use, and perl, which can
/// make any system call.
const PROGRAMS: [&str; 27] = [
    "sh", "cat", "ls", "ln", "mkdir", "rm", "cp", "mv", "touch", "stat", "id", "env", "sleep",
    "dd", "head", "chmod", "chown", "mknod", "mkfifo", "true", "false", "hostname", "find",
    "readlink", "date", "yes", "perl",
];

/// A root to run in, and a folder for what a test needs.
pub struct Place {
    folder: TempDir,
}

/// What a run said and how it ended.
pub struct Ran {
    pub outcome: Outcome,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    /// Makes the environment: in a folder that only the current user may enter.
    pub fn make() -> Place {
        let folder = tempfile::Builder::new().prefix("kiln-place-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("private");
        let root = folder.path().join("root");
        let mut files = BTreeSet::new();
        for program in PROGRAMS {
            let path = ["/usr/bin", "/bin"]
                .iter()
                .map(|at| Path::new(at).join(program))
                .find(|path| path.exists());
            let path = path.unwrap_or_else(|| panic!("the host has no {program}"));
            files.extend(libraries_of(&path));
            put(&root, &path, &Path::new("/usr/bin").join(program));
        }
        for file in files {
            put(&root, &file, &file);
        }
        for folder in perl_folders() {
            copy_tree(&folder, &root.join(folder.strip_prefix("/").expect("absolute")));
        }
        symlink("usr/bin", root.join("bin")).expect("a link");
        fs::create_dir_all(root.join("etc")).expect("a folder");
        fs::create_dir_all(root.join("opt")).expect("a folder");
        fs::create_dir_all(root.join("var/tmp")).expect("a folder");
        for (name, text) in [
            ("passwd", "kiln:x:1000:1000::/build:/bin/sh\n"),
            ("group", "kiln:x:1000:\n"),
            ("hosts", "127.0.0.1 localhost\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
            ("resolv.conf", "nameserver 127.0.0.1\n"),
        ] {
            fs::write(root.join("etc").join(name), text).expect("a file");
        }
        settle(&root, model::T0_SECONDS);
        Place { folder }
    }

    /// Returns the environment's checkout.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Returns the folder that everything of the tests lies in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a folder with files (a name ending in `*` is executable) as a source.
    pub fn source(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let top = self.folder.path().join(name);
        let _ = fs::remove_dir_all(&top);
        fs::create_dir_all(&top).expect("a folder");
        for (path, text) in files {
            let (path, mode) = path.strip_suffix('*').map_or((*path, 0o644), |path| (path, 0o755));
            let path = top.join(path);
            fs::create_dir_all(path.parent().expect("beneath the top")).expect("folders");
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        }
        settle(&top, model::SOURCE_SECONDS);
        top
    }

    /// Returns a request to run a shell script with nothing mounted.
    pub fn script(&self, script: &str) -> Parts {
        self.program(&["/bin/sh", "-c", script])
    }

    /// Returns a request to run perl, which has `syscall`.
    pub fn perl(&self, script: &str) -> Parts {
        self.program(&["/usr/bin/perl", "-e", script])
    }

    /// Returns a request to run a program.
    pub fn program(&self, argv: &[&str]) -> Parts {
        let env = [
            ("HOME", "/build"),
            ("LANG", "C"),
            ("PATH", "/usr/bin:/bin"),
            ("SOURCE_DATE_EPOCH", "318211200"),
            ("TMPDIR", "/tmp"),
            ("TZ", "UTC"),
        ];
        Parts {
            root: self.root(),
            tree: model::Digest::of(b"attacks"),
            mounts: Vec::new(),
            files: Vec::new(),
            folders: Vec::new(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            cwd: at("/build"),
            limits: Limits::default(),
            // Against a step that hangs, also in an emulated machine on a busy host.
            timeout: Millis(600_000),
            cpus: None,
            widen: Widen::default(),
            waived: BTreeSet::new(),
            scratch: None,
        }
    }
}

/// Copies a program by a process of its own: a descriptor that may write to it, copied here into a child that
/// is just being started, would make it "text file busy".
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["--preserve=mode", "--"]).arg(from).arg(to).status();
    assert!(copied.is_ok_and(|end| end.success()), "{} to {}", from.display(), to.display());
}

/// Copies this program into a folder.
pub fn copy_of_this_program(folder: &Path) -> PathBuf {
    let to = folder.join("attacks");
    copy(&std::env::current_exe().expect("a program has a path"), &to);
    to
}

/// A folder on the disk for what a step writes; removed at the end, whatever the step left in it.
pub struct Room(pub PathBuf);

impl Room {
    /// Makes one below `parent`, for nobody but the step and its owner.
    pub fn make(parent: &Path) -> Room {
        let outer = tempfile::Builder::new().prefix("kiln-room-").tempdir_in(parent);
        let outer = outer.expect("a folder").keep();
        let inner = outer.join("space");
        fs::create_dir(&inner).expect("a folder");
        for path in [&outer, &inner] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("private");
        }
        if let Some((uid, gid)) = sandbox::outer_owner() {
            std::os::unix::fs::chown(&inner, Some(uid), Some(gid)).expect("an owner");
        }
        Room(inner)
    }

    /// Makes a request use it.
    pub fn of(&self, mut parts: Parts) -> Parts {
        parts.scratch = Some(Scratch { folder: self.0.clone(), always: true });
        parts
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let outer = self.0.parent().expect("it was made in one");
        let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(outer).status();
        assert!(Command::new("rm").arg("-rf").arg(outer).status().is_ok_and(|end| end.success()));
    }
}

/// Returns an absolute path inside.
pub fn at(path: &str) -> AbsPath {
    AbsPath::new(path).expect("a clean path")
}

/// Returns a writable view.
pub fn view(place: &str, source: PathBuf) -> Mount {
    Mount { at: at(place), source, mode: MountMode::View }
}

/// Returns a read-only mount.
pub fn read_only(place: &str, source: PathBuf) -> Mount {
    Mount { at: at(place), source, mode: MountMode::ReadOnly }
}

/// Runs a request, which must be no error.
pub fn ran(parts: Parts) -> Ran {
    try_run(parts).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// Runs a request.
pub fn try_run(parts: Parts) -> Result<Ran, Error> {
    try_run_with(parts, &Cancel::new().expect("a button"))
}

/// Runs a request that can be cancelled.
pub fn try_run_with(parts: Parts, cancel: &Cancel) -> Result<Ran, Error> {
    let spec = Spec::check(parts).expect("a sensible request");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let outcome =
        sandbox::run(
            &spec,
            &sandbox::Backend::Native,
            cancel,
            &mut |stream, bytes| match stream {
                Stream::Stdout => stdout.extend_from_slice(bytes),
                Stream::Stderr => stderr.extend_from_slice(bytes),
            },
        )?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { outcome, stdout: text(stdout), stderr: text(stderr) })
}

impl Ran {
    /// Insists on success and returns what was printed.
    pub fn ok(self) -> String {
        assert_eq!(
            self.outcome.exit,
            Exit::Exited(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

/// Returns an error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Returns the libraries that a program of the host is linked with.
pub fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let told = Command::new("ldd").arg(program).output().expect("ldd");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    told.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// Folders of perl's own modules that the scripts use.
fn perl_folders() -> Vec<PathBuf> {
    let told = Command::new("/usr/bin/perl")
        .args(["-e", "print join \"\\n\", @INC"])
        .output()
        .expect("perl");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let base = told.lines().filter(|line| line.contains("perl-base")).map(PathBuf::from);
    base.filter(|folder| folder.is_dir()).collect()
}

fn put(root: &Path, from: &Path, to: &Path) {
    let target = root.join(to.strip_prefix("/").expect("absolute"));
    fs::create_dir_all(target.parent().expect("beneath the root")).expect("folders");
    fs::copy(from, &target).unwrap_or_else(|cause| panic!("{}: {cause}", from.display()));
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// Returns whom checkouts must belong to, as the runner finds it out.
fn owner() -> Option<(u32, u32)> {
    static OWNER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *OWNER.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("kiln-owner-").tempdir().expect("a folder");
        sandbox::probe::probe_in(folder.path()).outer
    })
}

/// Gives a tree the step's owner and its times, as the runner does with a checkout.
fn settle(path: &Path, seconds: i64) {
    let kind = fs::symlink_metadata(path).expect("an entry");
    if kind.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            settle(&entry.expect("an entry").path(), seconds);
        }
    }
    if let Some((uid, gid)) = owner() {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).expect("an owner");
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let accessed = Timespec { tv_sec: model::ACCESSED_SECONDS, tv_nsec: 0 };
    let times = Timestamps { last_access: accessed, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
}
