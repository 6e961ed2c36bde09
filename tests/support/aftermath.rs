//! The after-check: nothing of a build is left, nothing of the host was touched, nothing leaked.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::World;

/// Host files that a step must neither read nor change, and a secret of the environment.
pub struct Canaries {
    folder: PathBuf,
    before: Vec<String>,
    /// The program itself, and settings of the kernel that a step might change.
    settings: Vec<String>,
    groups: BTreeSet<PathBuf>,
    /// Whether this world's kiln could make control groups. Where it cannot, one that is left is that of
    /// somebody else on this host.
    pub has_groups: bool,
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
        Canaries {
            before: state(&folder),
            settings: settings(world),
            groups: groups(),
            has_groups: true,
            folder,
            secret,
        }
    }

    /// Returns the file that must not be read.
    pub fn file(&self) -> PathBuf {
        self.folder.join("hostname-canary")
    }

    /// Returns what is wrong in the world after a build. The world must have a store of its own.
    pub fn aftermath(&self, world: &World) -> Vec<String> {
        let mut wrong = self.shortly_after(world);
        wrong.extend(self.secrets(world, &["cache", "config"]));
        let verified = world.kiln(&["store", "verify", "--deep"]);
        if verified.code != 0 {
            wrong.push(format!("the store is damaged: {}{}", verified.stdout, verified.stderr));
        }
        wrong
    }

    /// As [`Canaries::aftermath`], but the store is looked at without reading all of it.
    pub fn shortly_after(&self, world: &World) -> Vec<String> {
        let mut wrong = processes(world);
        wrong.extend(mounts(world));
        wrong.extend(left_over(&world.path("tmp"), "a temporary file"));
        wrong.extend(left_over(&world.store.join("tmp"), "a temporary file of the store"));
        wrong.extend(left_over(&world.store.join("quarantine"), "a damaged object"));
        if state(&self.folder) != self.before {
            wrong.push(format!("canaries changed: {:?}", state(&self.folder)));
        }
        if settings(world) != self.settings {
            wrong.push(format!("the host changed: {:?}", settings(world)));
        }
        let ours = |group: &&PathBuf| {
            fs::metadata(group).is_ok_and(|meta| meta.uid() == world.who.uid())
                && is_orphan(group, world)
        };
        let groups = if self.has_groups { groups() } else { BTreeSet::new() };
        for group in groups.difference(&self.groups).filter(ours) {
            wrong.push(format!("a control group is left: {}", group.display()));
        }
        wrong.extend(self.secrets(world, &["project/kiln-out"]));
        let verified = world.kiln(&["store", "verify"]);
        if verified.code != 0 {
            wrong.push(format!("the store is damaged: {}{}", verified.stdout, verified.stderr));
        }
        wrong
    }

    fn secrets(&self, world: &World, folders: &[&str]) -> Vec<String> {
        let mut wrong = Vec::new();
        for folder in folders {
            let path = world.path(folder);
            let words = ["grep", "-rlaF", &self.secret, path.to_str().expect("UTF-8")];
            let found = world.run(&words, &[]);
            wrong.extend(found.stdout.lines().map(|path| format!("the secret is in {path}")));
        }
        wrong
    }
}

/// Describes what a step could change of the program and of the kernel's settings.
fn settings(world: &World) -> Vec<String> {
    let meta = fs::metadata(world.path("bin/kiln")).expect("the program is there");
    let mut all = vec![format!("{} {} {}", meta.size(), meta.mtime_nsec(), meta.ctime_nsec())];
    for name in ["core_pattern", "modprobe", "hostname", "domainname", "poweroff_cmd"] {
        all.push(fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default());
    }
    all
}

/// Returns the control groups of all kilns of this host.
fn groups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with("kiln-") {
                    found.insert(entry.path());
                } else {
                    left.push(entry.path());
                }
            }
        }
    }
    found
}

/// Says whether the kiln that made a group is gone, and a process of this world still lives in the group. An
/// empty one may be that of a killed kiln of somebody else on this host, which the next kiln removes; and what
/// another test killed a moment ago may still be dying in its own.
fn is_orphan(group: &Path, world: &World) -> bool {
    let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // `kiln-PID-N`: whatever else has such a name is no step's.
    let Some(owner) = name.split('-').nth(1).and_then(|word| word.parse::<u32>().ok()) else {
        return false;
    };
    let members = [group.to_owned(), group.join("step")]
        .map(|folder| fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default());
    let mut members = members.iter().flat_map(|text| text.lines());
    !Path::new("/proc").join(owner.to_string()).exists()
        && members.any(|number| is_of(number, world))
}

/// Says whether a process is of this world's kiln: by the folder in which it was started, or by the mounts of its
/// step where they lead into the world. A step in memory alone tells of no world; it is nobody else's unless
/// it is dying.
fn is_of(number: &str, world: &World) -> bool {
    let process = Path::new("/proc").join(number);
    let folder = fs::read_link(process.join("cwd")).unwrap_or_default();
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    let is_in_a_step = !folder.starts_with(super::base());
    folder.starts_with(world.path(""))
        || mounts.contains(&world.token)
        || (is_in_a_step && !is_dying(number))
}

/// Says whether a process, or one that takes it along, was killed: it has not come to its end yet, on a host under
/// load.
fn is_dying(number: &str) -> bool {
    /// The bit of SIGKILL.
    const KILL: u64 = 1 << 8;
    /// `PF_EXITING` of linux/sched.h.
    const EXITING: u64 = 4;
    let mut number = number.to_owned();
    while number != "0" && number != "1" {
        let process = Path::new("/proc").join(&number);
        let (Ok(status), Ok(stat)) =
            (fs::read_to_string(process.join("status")), fs::read_to_string(process.join("stat")))
        else {
            return true;
        };
        let word = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()).unwrap_or_default()
        };
        let is_killed = |key| u64::from_str_radix(word(key), 16).is_ok_and(|set| set & KILL != 0);
        // The ninth field; the second one is a name, in brackets, and may hold anything.
        let flags = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(6));
        let is_ending = flags
            .and_then(|flags| flags.parse().ok())
            .is_some_and(|flags: u64| flags & EXITING != 0);
        if is_killed("SigPnd:") || is_killed("ShdPnd:") || is_ending {
            return true;
        }
        number = word("PPid:").to_owned();
    }
    false
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
