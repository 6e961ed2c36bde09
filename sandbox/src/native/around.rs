//! What the kernel does for memory in the control group that kiln itself lies in.
//!
//! Where kiln may make no group for a step, the step lies in kiln's own, and a limit there is one that kiln did not
//! set: a unit's `MemoryMax=`, a container's `--memory`. The kernel counts the processes that it kills there, before
//! each dies. So the count is read before a step and after its last process is reaped, and a step in whose time it
//! rose is not believed: which of the processes in the group was killed is not told, so that is every such step.
//!
//! ```text
//! v2  memory.events       oom_kill of the group and of all below it; of the next group above that counts memory
//! v1  memory.oom_control  oom_kill of the group itself
//! -   /proc/vmstat        oom_kill of the whole host, where no group counts or none can be seen
//! ```
//!
//! Does not catch: a program on the host that kills for memory in the kernel's place (earlyoom); its kills look like
//! anybody's. systemd-oomd ends the whole group, and kiln with it.
//!
//! Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, `memory.events`; cgroup-v1/memory.rst,
//! `memory.oom_control`; proc_pid_mountinfo(5).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use model::limits::Bytes;

/// The count of the whole host.
const OF_THE_HOST: &str = "/proc/vmstat";
/// More than any of the three has.
const TEXT_MAX: usize = 16 << 10;

/// A limit of memory on a group that kiln lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryAround {
    /// The group's folder.
    pub folder: PathBuf,
    /// What all in it may have together.
    pub limit: Bytes,
}

/// The group in which this process's memory counts.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    folder: PathBuf,
    /// The highest group that is seen here.
    top: PathBuf,
    v2: bool,
}

/// How many processes had been killed when it was made.
#[derive(Debug)]
pub struct Kills {
    counter: &'static File,
    before: u64,
}

impl Kills {
    /// Begins to count; none where this kernel tells of no kill.
    ///
    /// # Errors
    /// When the count that was there before cannot be read.
    pub fn begin() -> io::Result<Option<Kills>> {
        static COUNTER: OnceLock<Option<File>> = OnceLock::new();
        let Some(counter) = COUNTER.get_or_init(counter) else { return Ok(None) };
        Ok(Some(Kills { counter, before: read(counter)? }))
    }

    /// Returns how many processes were killed since.
    ///
    /// # Errors
    /// When the count cannot be read, as where the group is gone.
    pub fn since(&self) -> io::Result<u64> {
        Ok(read(self.counter)?.saturating_sub(self.before))
    }
}

/// Returns the least limit of memory among the groups that kiln lies in, as far as they are seen here.
pub fn memory_around() -> Option<MemoryAround> {
    let own = own()?;
    let name = if own.v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let all = own.groups().filter_map(|folder| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        let limit = text.trim().parse().ok().map(Bytes)?;
        Some(MemoryAround { folder: folder.to_owned(), limit })
    });
    // Version 1 writes a number of its own for none.
    let some = all.filter(|around| around.limit.0 < super::order::memory_bytes());
    some.min_by_key(|around| around.limit)
}

/// Returns how many processes were killed, out of any of the files above.
pub fn killed(text: &[u8]) -> Option<u64> {
    let lines = text.split(|byte| *byte == b'\n');
    let count = lines.filter_map(|line| line.strip_prefix(b"oom_kill ")).next()?;
    std::str::from_utf8(count).ok()?.trim().parse().ok()
}

fn read(counter: &File) -> io::Result<u64> {
    let mut text = [0; TEXT_MAX];
    let length = counter.read_at(&mut text, 0)?;
    killed(text.get(..length).unwrap_or_default()).ok_or(io::ErrorKind::InvalidData.into())
}

fn counter() -> Option<File> {
    let told = |path: &Path| File::open(path).ok().filter(|file| read(file).is_ok());
    let of_groups = own().and_then(|own| match own.v2 {
        true => own.groups().find_map(|folder| told(&folder.join("memory.events"))),
        false => told(&own.folder.join("memory.oom_control")),
    });
    of_groups.or_else(|| told(Path::new(OF_THE_HOST)))
}

fn own() -> Option<Own> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    find(&groups, &fs::read_to_string("/proc/self/mountinfo").ok()?)
}

impl Own {
    /// Returns the group and those above it.
    fn groups(&self) -> impl Iterator<Item = &Path> {
        self.folder.ancestors().take_while(|folder| folder.starts_with(&self.top))
    }
}

/// Finds the group, from a process's list of groups (`4:memory:/path`, `0::/path`) and of mounts. In a container a
/// mount begins at a group of its own, which stands as the root of the mount.
fn find(groups: &str, mounts: &str) -> Option<Own> {
    let group = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            controllers.split(',').any(|one| one == wanted).then_some(path)
        })
    };
    let (path, v2) = match group("memory") {
        Some(path) => (path, false),
        None => (group("")?, true),
    };
    mounts.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let mut tail = tail.split(' ');
        let kind = tail.next()?;
        let is_ours = match v2 {
            true => kind == "cgroup2",
            false => kind == "cgroup" && tail.nth(1)?.split(',').any(|option| option == "memory"),
        };
        let mut head = head.split(' ').skip(3).filter(|_| is_ours);
        let (root, top) = (head.next()?, PathBuf::from(head.next()?));
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Own { folder: top.join(below), top, v2 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_also_where_its_mount_begins_below_the_top() {
        let found = |groups: &str, mounts: &str| {
            find(groups, mounts).map(|own| (own.folder.display().to_string(), own.v2))
        };
        let v1 = "30 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                  31 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                  32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let v2 = "32 25 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let inside = "31 25 0:27 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let first = "4:memory:/a/b\n0::/c\n".to_owned();
        let in_v1 = |below: &str| Some((format!("/sys/fs/cgroup/memory{below}"), false));
        assert_eq!(found(&first, v1), in_v1("/a/b"));
        assert_eq!(found("4:cpu,memory:/docker/ab/c\n", inside), in_v1("/c"));
        assert_eq!(found("4:memory:/docker/ab\n", inside), in_v1("/"));
        assert_eq!(
            found("0::/user.slice/x\n", v2),
            Some(("/sys/fs/cgroup/user.slice/x".to_owned(), true))
        );
        // Not below what is mounted, not mounted, not there.
        for (groups, mounts) in
            [("4:memory:/other\n", inside), (first.as_str(), v2), ("0::/../x\n", inside), ("", v1)]
        {
            assert_eq!(found(groups, mounts), None, "{groups}");
        }
    }

    #[test]
    fn kills_are_read_in_the_words_of_all_three() {
        for (text, count) in [
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", Some(0)),
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", Some(2)),
            ("low 0\nhigh 0\nmax 31\noom 1\noom_kill 1\noom_group_kill 0\n", Some(1)),
            ("low 0\nhigh 0\nmax 31\noom 1\noom_kill 0\noom_group_kill 1\n", Some(0)),
            ("pgfault 5\noom_kill 7\nnuma_hit 1\n", Some(7)),
            ("oom_kill x\n", None),
            ("", None),
        ] {
            assert_eq!(killed(text.as_bytes()), count, "{text}");
        }
    }
}
