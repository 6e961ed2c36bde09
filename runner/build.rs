//! Links the compiler's unwinder into the binary, so that kiln needs libc and nothing else at run time;
//! and tells the program which commit it was built from.
//!
//! The standard library asks the linker for `libgcc_s`. A linker script of that name, first on the
//! search path, answers with the two archives that hold the same code; the compiler brings them beside
//! the shared library. A build script and not a `.cargo/config.toml`: RUSTFLAGS of whoever builds would
//! replace what stands there, and `cargo install` would not read it.
//!
//! Does nothing of that where libc is not the shared one of GNU: a static musl binary has its unwinder
//! already.
//!
//! The commit is what `KILN_COMMIT` says, for whoever builds from an archive; else git is asked, where
//! there is one and this folder is its work tree. Otherwise it is unknown, and that is said. Files that
//! differ from the commit are told as well. The same commit gives the same bytes: no time, host or path
//! goes in. Only release builds ask git: others would be compiled anew after each commit.
#![allow(
    clippy::disallowed_methods,
    reason = "a build script is told by cargo's variables, writes where they say, and asks git"
)]

use std::env;
use std::path::Path;
use std::process::Command;

/// What stands in for the shared library: its exception handling and its arithmetic.
const ARCHIVES: &str = "INPUT(-l:libgcc_eh.a -l:libgcc.a)\n";
/// The sources that git is asked about.
const WATCHED: [&str; 6] =
    ["../Cargo.lock", "../attestor/src", "../fetch/src", "../model/src", "../sandbox/src", "src"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let target = (env::var("CARGO_CFG_TARGET_OS")?, env::var("CARGO_CFG_TARGET_ENV")?);
    if target == ("linux".to_owned(), "gnu".to_owned()) {
        let folder = env::var("OUT_DIR")?;
        std::fs::write(Path::new(&folder).join("libgcc_s.so"), ARCHIVES)?;
        println!("cargo::rustc-link-search=native={folder}");
    }
    println!("cargo::rerun-if-env-changed=KILN_COMMIT");
    let given = env::var("KILN_COMMIT").ok().filter(|commit| is_plain(commit));
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| if release { asked() } else { None });
    if release {
        watch();
    }
    println!("cargo::rustc-env=KILN_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    Ok(())
}

/// Has cargo ask again when git's answer may be another one.
fn watch() {
    WATCHED.iter().for_each(|path| println!("cargo::rerun-if-changed={path}"));
    let folder = git(&["rev-parse", "--absolute-git-dir"]).unwrap_or_default();
    for name in ["HEAD", "index", "logs/HEAD"] {
        let path = Path::new(folder.trim()).join(name);
        if path.is_absolute() && path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

fn asked() -> Option<String> {
    // The top of its own work tree, or it is somebody else's repository that this archive lies in.
    if !git(&["rev-parse", "--show-prefix"])?.trim().is_empty() {
        return None;
    }
    let commit = git(&["rev-parse", "--verify", "HEAD"])?.trim().to_owned();
    let clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    is_plain(&commit).then(|| if clean { commit } else { format!("{commit}+changes") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.args(["-c", "core.fsmonitor=false", "-C", ".."]).args(arguments);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CEILING_DIRECTORIES"] {
        command.env_remove(name);
    }
    let answer = command.output().ok().filter(|answer| answer.status.success())?;
    String::from_utf8(answer.stdout).ok()
}

fn is_plain(commit: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+';
    (1..=80).contains(&commit.len()) && commit.bytes().all(legal)
}
