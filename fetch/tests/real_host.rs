//! Observes this very machine and asks its own tools whether the answer is right.
//!
//! The oracles are dpkg-query, apt and the compiler itself: none shares code with the observation.
//! On a machine without dpkg or without the packages the tests say so and pass. Programs are started
//! here, and only here in this crate.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]
#![expect(
    clippy::disallowed_methods,
    reason = "the host's own tools are the oracle; scratch files are written"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use fetch::checksum::Md5Sum;
use fetch::host::{
    Altered, Asked, AskedPackage, Entry, EntryKind, Forbidden, Observation, observe, stamp,
};

const HOST: &str = "/";

fn asked(packages: &[&str]) -> Asked {
    let packages = packages.iter().map(|name| AskedPackage::new(name).unwrap()).collect();
    Asked::new(packages, Vec::new(), Forbidden::default()).unwrap()
}

/// Observes the host, or says why the test cannot be made.
fn observed(packages: &[&str]) -> Option<Observation> {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}\n"])
        .args(packages)
        .output();
    let installed = query.is_ok_and(|out| out.status.success() && !out.stdout.is_empty());
    if !installed {
        eprintln!("skipped: dpkg or one of {packages:?} is not installed here");
        return None;
    }
    Some(observe(&asked(packages), Path::new(HOST)).unwrap())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn all(observation: &Observation) -> impl Iterator<Item = &Entry> {
    let packages = observation.packages.iter().flat_map(|package| &package.entries);
    packages
        .chain(&observation.unpackaged)
        .chain(observation.paths.iter().flat_map(|path| &path.entries))
}

#[test]
fn the_closure_is_whole_for_apt_and_no_wider() {
    let Some(found) = observed(&["gcc", "libc6-dev", "make"]) else { return };
    let names: BTreeSet<&str> =
        found.packages.iter().map(|package| package.name.as_str()).collect();
    eprintln!("{} packages", names.len());
    // Whole: apt finds nothing broken on a machine that has these packages only.
    let scratch = tempfile::tempdir().unwrap();
    let status = fs::read_to_string("/var/lib/dpkg/status").unwrap();
    let kept = status.split_inclusive("\n\n").filter(|stanza| {
        let name = stanza.lines().find_map(|line| line.strip_prefix("Package: "));
        name.is_some_and(|name| names.contains(name))
    });
    fs::write(scratch.path().join("status"), kept.collect::<String>()).unwrap();
    fs::create_dir_all(scratch.path().join("lists/partial")).unwrap();
    let option = |name: &str, file: &str| {
        format!("-oDir::State::{name}={}", scratch.path().join(file).display())
    };
    let check = Command::new("apt-get")
        .args([
            option("status", "status"),
            option("lists", "lists"),
            option("extended_states", "extended"),
        ])
        .args([
            "-oDir::Cache::pkgcache=",
            "-oDir::Cache::srcpkgcache=",
            "-oDebug::NoLocking=1",
            "check",
        ])
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    // No wider: every package is needed by an Essential or asked one, as apt follows dependencies.
    let essential = output("dpkg-query", &["-W", "-f", "${Essential} ${Package}\n"]);
    let roots = essential.lines().filter_map(|line| line.strip_prefix("yes "));
    let mut arguments =
        vec!["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-enhances"];
    arguments.extend([
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "gcc",
        "libc6-dev",
        "make",
    ]);
    arguments.extend(roots);
    let reached = output("apt-cache", &arguments);
    let word = |line: &str| {
        line.trim().rsplit([' ', '|']).next().unwrap_or("").trim_matches(['<', '>']).to_owned()
    };
    let reached: BTreeSet<String> =
        reached.lines().map(|line| word(line).split(':').next().unwrap_or("").to_owned()).collect();
    let wider: Vec<_> = names.iter().filter(|name| !reached.contains(**name)).collect();
    assert!(wider.is_empty(), "not needed: {wider:?}");
}

#[test]
fn packages_are_named_as_dpkg_names_them() {
    let Some(found) = observed(&["gcc"]) else { return };
    let text = output("dpkg-query", &["-W", "-f", "${Package} ${Version} ${Architecture}\n"]);
    let known: BTreeSet<&str> = text.lines().collect();
    for package in &found.packages {
        let line = format!("{} {} {}", package.name, package.version, package.arch);
        assert!(known.contains(line.as_str()), "{line}");
        assert!(package.purl.as_str().starts_with("pkg:deb/"), "{}", package.purl);
    }
}

#[test]
fn every_file_dpkg_lists_is_there_or_accounted_for() {
    let Some(found) = observed(&["gcc", "libc6-dev", "make"]) else { return };
    let there: BTreeSet<&str> = all(&found).map(|entry| entry.at.as_str()).collect();
    let omitted: BTreeSet<&str> = found.omitted.iter().map(|omitted| omitted.at.as_str()).collect();
    for package in &found.packages {
        let name = format!("{}:{}", package.name, package.arch);
        let name = if package.arch.as_str() == "all" { package.name.to_string() } else { name };
        for path in output("dpkg", &["-L", &name])
            .lines()
            .filter(|line| line.starts_with('/') && *line != "/.")
        {
            // The kernel's own answer to where a path lies, last name aside.
            let (above, last) = path.rsplit_once('/').unwrap();
            let above = fs::canonicalize(if above.is_empty() { "/" } else { above });
            let real = above
                .map_or(path.to_owned(), |above| above.join(last).to_string_lossy().into_owned());
            let real = real.trim_start_matches('/');
            assert!(there.contains(real) || omitted.contains(real), "{path} of {name}");
        }
    }
}

#[test]
fn nothing_is_there_that_no_package_and_no_table_names() {
    let Some(found) = observed(&["gcc", "libc6-dev", "make"]) else { return };
    let mut kinds: BTreeMap<&str, bool> = BTreeMap::new();
    for entry in all(&found) {
        let folder = entry.kind == EntryKind::Dir;
        let before = kinds.insert(entry.at.as_str(), folder);
        assert!(before.is_none() || (before == Some(true) && folder), "{} twice", entry.at);
    }
    for at in kinds.keys() {
        let above = at.match_indices('/').map(|(end, _)| &at[..end]);
        above
            .into_iter()
            .for_each(|above| assert_ne!(kinds.get(above), Some(&false), "{at} lies below a file"));
    }
    for absent in [
        "etc/shadow",
        "etc/machine-id",
        "etc/localtime",
        "etc/ld.so.cache",
        "root/.bashrc",
        "usr/local/bin/python3",
    ] {
        assert!(!kinds.contains_key(absent), "{absent}");
    }
    for needed in [
        "bin",
        "lib64",
        "usr/bin/cc",
        "etc/alternatives/cc",
        "usr/bin/awk",
        "usr/bin/sh",
        "etc/passwd",
    ] {
        assert!(kinds.contains_key(needed), "{needed}");
    }
}

#[test]
fn files_are_those_the_packages_brought() {
    let Some(found) = observed(&["make"]) else { return };
    let mut checked = 0;
    for package in &found.packages {
        for entry in &package.entries {
            if let EntryKind::File { from, expected_md5: Some(_), .. } = &entry.kind {
                let sum = Md5Sum::of(&fs::read(from).unwrap());
                assert_eq!(Altered::check(&package.name, entry, sum), Ok(()));
                assert!(Altered::check(&package.name, entry, Md5Sum::of(b"altered")).is_err());
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "only {checked} files have checksums");
}

#[test]
fn everybody_may_read_what_is_there() {
    let Some(found) = observed(&["gcc", "libc6-dev", "make"]) else { return };
    for entry in all(&found) {
        if let EntryKind::File { from, .. } = &entry.kind {
            assert_ne!(fs::symlink_metadata(from).unwrap().mode() & 0o004, 0, "{}", from.display());
        }
    }
}

#[test]
fn the_stamp_is_the_same_while_nothing_changes() {
    let Some(found) = observed(&["make"]) else { return };
    assert_eq!(stamp(&asked(&["make"]), Path::new(HOST)).unwrap(), found.stamp);
    assert_ne!(stamp(&asked(&[]), Path::new(HOST)).unwrap(), found.stamp);
}

/// Run by root, this test runs itself once more as a user and compares what the two print.
#[test]
fn a_user_sees_what_root_sees() {
    let Some(found) = observed(&["gcc", "libc6-dev", "make"]) else { return };
    let shown = format!("{:?} {:?} {:?}", found.packages, found.unpackaged, found.omitted);
    let line = format!("observed {}", model::Digest::of(shown.as_bytes()).hex());
    eprintln!("{line}");
    if output("id", &["-u"]).trim() != "0" {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let program = scratch.path().join("test");
    // By a process of its own: a descriptor that may write to it, copied here into a child that another test
    // is just starting, would make it "text file busy".
    let own = std::env::current_exe().unwrap();
    assert!(Command::new("cp").arg(own).arg(&program).status().unwrap().success());
    for path in [scratch.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut user = Command::new("setpriv");
    user.args(["--reuid", "1000", "--regid", "1000", "--clear-groups"]).arg(&program);
    user.args(["--exact", "a_user_sees_what_root_sees", "--nocapture"]).current_dir("/");
    let user = user.output().unwrap();
    let said = String::from_utf8_lossy(&user.stderr);
    assert!(
        said.contains(&line),
        "root: {line}\nuser: {said}{}",
        String::from_utf8_lossy(&user.stdout)
    );
}

/// Lays an observation out as a folder of fresh files.
fn lay_out(observation: &Observation, root: &Path) {
    for entry in all(observation) {
        let path = root.join(entry.at.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (bytes, executable) = match &entry.kind {
            EntryKind::Dir => {
                fs::create_dir_all(&path).unwrap();
                continue;
            }
            EntryKind::Symlink { target } => {
                symlink(target, &path).unwrap();
                continue;
            }
            EntryKind::File { from, executable, .. } => (fs::read(from).unwrap(), *executable),
            EntryKind::Synthetic { bytes, executable } => (bytes.clone(), *executable),
        };
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(
            &path,
            fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }),
        )
        .unwrap();
    }
    for own in ["build", "tmp", "dev", "proc"] {
        fs::create_dir(root.join(own)).unwrap();
    }
    // A plain file does for a null device here: nothing reads back what is written to it.
    fs::write(root.join("dev/null"), "").unwrap();
}

/// Runs a script inside a root, as the only thing there is; as root by chroot alone, else with a
/// user namespace.
fn inside(root: &Path, script: &str) -> Option<(bool, String)> {
    let is_root = output("id", &["-u"]).trim() == "0";
    let mut command = Command::new(if is_root { "chroot" } else { "unshare" });
    if !is_root {
        command.args(["--user", "--map-root-user", "chroot"]);
    }
    command.arg(root).args(["/bin/sh", "-euc", script]).stdin(Stdio::null());
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("TMPDIR", "/tmp");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: cannot enter another root: {error}");
            return None;
        }
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.starts_with("unshare: ") {
        eprintln!("skipped: {text}");
        return None;
    }
    Some((output.status.success(), text))
}

#[test]
fn the_environment_compiles_and_runs_a_program() {
    let Some(found) = observed(&["gcc", "libc6-dev", "make", "perl", "python3"]) else { return };
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    lay_out(&found, root.path());
    let script = r#"
        cd /build
        printf '#include <stdio.h>\n#include <pwd.h>\nint main(void) { struct passwd *p = getpwuid(1000); printf("%%s %%s\\n", "hello", p ? p->pw_name : "?"); return 0; }\n' >hello.c
        printf 'hello: hello.c\n\tcc -O2 -o $@ $<\n' >Makefile
        make
        ./hello
        perl -MPOSIX -MEncode -e 'print "perl ", POSIX::floor(2.5), "\n"'
        python3 -c 'import ssl, json, ctypes; print("python", json.dumps([1]))'
        echo a b | awk '{print "awk", $2}'
        echo text | sed s/text/sed/ | tar cf - -T /dev/null | wc -c
        test ! -e /etc/ld.so.cache
    "#;
    let Some((success, text)) = inside(root.path(), script) else { return };
    assert!(success, "{text}");
    for line in ["hello build", "perl 2", "python [1]", "awk b"] {
        assert!(text.contains(line), "{line} not in:\n{text}");
    }
}
