//! The after-check: nothing of a build is left, nothing of the host was touched, nothing leaked.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::World;

/// Host files that a step must neither read nor change, and a secret of the environment.
pub struct Canaries {
    folder: PathBuf,
    before: Vec<String>,
    /// The secret; its variable is handed to kiln, so it must turn up nowhere.
    pub secret: String,
}

impl Canaries {
    /// Plants them in a world.
    pub fn plant(world: &World) -> Canaries {
        let folder = world.path("canary");
        let secret = format!("canary-secret-{}", world.token);
        fs::create_dir(&folder).expect("a new folder");
        fs::write(folder.join("hostname-canary"), &secret).expect("a new file");
        fs::write(folder.join("program"), "#!/bin/sh\necho original\n").expect("a new file");
        symlink("hostname-canary", folder.join("link")).expect("a new link");
        world.who.give(&folder);
        Canaries { before: state(&folder), folder, secret }
    }

    /// Returns the file that must not be read.
    pub fn file(&self) -> PathBuf {
        self.folder.join("hostname-canary")
    }

    /// Returns what is wrong in the world after a build. The world must have a store of its own.
    pub fn aftermath(&self, world: &World) -> Vec<String> {
        let mut wrong = processes(world);
        wrong.extend(mounts(world));
        wrong.extend(left_over(&world.path("tmp"), "a temporary file"));
        wrong.extend(left_over(&world.store.join("tmp"), "a temporary file of the store"));
        if state(&self.folder) != self.before {
            wrong.push(format!("canaries changed: {:?}", state(&self.folder)));
        }
        for folder in ["cache", "project/kiln-out", "config"] {
            let found = world
                .run(&["grep", "-rlF", &self.secret, world.path(folder).to_str().unwrap()], &[]);
            wrong.extend(found.stdout.lines().map(|path| format!("the secret is in {path}")));
        }
        let verified = world.kiln(&["store", "verify", "--deep"]);
        if verified.code != 0 {
            wrong.push(format!("the store is damaged: {}{}", verified.stdout, verified.stderr));
        }
        wrong
    }
}

/// Describes every file of a folder as far as a step could have changed it.
fn state(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the canaries are there");
    let mut state: Vec<String> = entries
        .map(|entry| {
            let path = entry.expect("it can be read").path();
            let meta = fs::symlink_metadata(&path).expect("it can be read");
            let content = fs::read(&path).unwrap_or_default();
            let facts =
                (meta.mode(), meta.uid(), meta.mtime_nsec(), meta.ctime_nsec(), meta.nlink());
            format!("{} {facts:?} {}", path.display(), String::from_utf8_lossy(&content))
        })
        .collect();
    state.sort();
    state
}

/// Returns processes of this world's kiln, and of its steps by the variable that each step has.
fn processes(world: &World) -> Vec<String> {
    let mark = format!("KILN_TEST={}", world.token);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let folder = entry.path();
        let program = fs::read_link(folder.join("exe")).unwrap_or_default();
        let environ = fs::read(folder.join("environ")).unwrap_or_default();
        let step = String::from_utf8_lossy(&environ).contains(&mark);
        if program.starts_with(world.path("bin")) || step {
            let command = fs::read(folder.join("cmdline")).unwrap_or_default();
            found.push(format!(
                "a process is left: {} {}",
                folder.display(),
                String::from_utf8_lossy(&command).replace('\0', " ")
            ));
        }
    }
    found
}

fn mounts(world: &World) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
    let left = table.lines().filter(|line| line.contains(&world.token));
    left.map(|line| format!("a mount is left: {line}")).collect()
}

fn left_over(folder: &Path, what: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| format!("{what} is left: {}", entry.path().display())).collect()
}
