//! Limits by control groups: a group for each step, made beside it and removed after it.
//!
//! Which kind works is found by doing, once per process: version 2 where a folder above us may be
//! written and hands on the controllers, else version 1 per controller as root, else none, and then
//! rlimits hold what they can. Files are written by hand; there are five.
//!
//! ```text
//! v2  <folder>/kiln-PID-N/{cgroup.procs,pids.max,memory.max,memory.swap.max,cpu.max,memory.events}
//! v1  <controller>/<own group>/kiln-PID-N/{cgroup.procs,pids.max,memory.limit_in_bytes,…}
//! ```
//!
//! A nested step may mount control groups from its own downwards, and without root they are its user's
//! own. So on version 2 it lies one group below its limits: `kiln-PID-N/step`.
//!
//! The end of the pid namespace kills a step; an empty group is the second proof of it. A step that is
//! stopped is killed by its group as well where one write does it (`cgroup.kill`, version 2 since Linux
//! 5.14). Whatever is found in a group after the proof is killed too, and told as an error.
//!
//! The group is made when the child is started, ahead of its step, and the child moved into it at once: a move
//! can wait for the kernel's grace period, which is longer than all the rest of a start. The limits come with
//! the step, before the child is told to go on; until then it starts nothing. So nothing of a step ever runs
//! outside, or unlimited. Cloning the first process into the group (`CLONE_INTO_CGROUP`) would hand the child
//! a descriptor of the group that limits it, and leave the child itself outside.
//!
//! See cgroups(7).

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::limits::{Bytes, Count, MilliCpus};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Prefix of every group made here; the process id follows, so that leftovers can be told.
const PREFIX: &str = "kiln-";
/// Span over which processor time is counted: the kernel's default, in microseconds.
const PERIOD_US: u64 = 100_000;
/// Longest wait for a group to be seen empty after its last process was reaped.
const EMPTY_WAIT: Duration = Duration::from_secs(1);
/// The same after its processes were killed: they have to run once more to end, on a host under load.
const KILLED_WAIT: Duration = Duration::from_secs(10);
/// Time between two looks at whether a group is empty: less than a step's end takes.
const PAUSE: Duration = Duration::from_micros(200);
/// Most processes that are held by descriptors at once, far below anybody's limit of open files.
const HELD_AT_ONCE: usize = 128;
/// Bytes below its limit at which a group of version 1 has met it: more than is charged at once.
const NEAR_LIMIT: u64 = 1 << 20;
/// Name of the group below the limits.
const BELOW: &str = "step";
/// Most groups that a nested step may make, and how deep: more than any of its programs needs.
const NESTED_GROUPS: (&str, &str) = ("64", "16");

/// What this host lets us limit by control groups.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Folder for groups of version 2, and whether it limits pids, memory, cpu.
    v2: Option<PathBuf>,
    pids: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
}

/// What a step may use, as far as groups limit it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Memory.
    pub memory: Bytes,
    /// Processes and threads.
    pub pids: Count,
    /// Processor time.
    pub cpu: Option<MilliCpus>,
    /// Whether the step lies one group below its limits.
    pub below: bool,
}

/// The groups of one step. Dropping it removes them.
#[derive(Debug)]
pub struct Group {
    folders: Vec<PathBuf>,
    pids: Option<PathBuf>,
    memory: Option<PathBuf>,
    /// Made only for a step whose processor time is limited, where it is not one of the others.
    cpu: Option<PathBuf>,
    v2: bool,
}

impl Host {
    /// Returns what this host can do; found out once per process.
    pub fn get() -> &'static Host {
        static HOST: OnceLock<Host> = OnceLock::new();
        HOST.get_or_init(find)
    }

    /// Returns the folders for groups, by what they limit.
    fn folders(&self) -> impl Iterator<Item = &Path> {
        [&self.pids, &self.memory, &self.cpu].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Says whether memory can be limited.
    pub fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Says whether the number of processes can be limited.
    pub fn limits_pids(&self) -> bool {
        self.pids.is_some()
    }

    /// Says whether processor time can be limited.
    pub fn limits_cpu(&self) -> bool {
        self.cpu.is_some()
    }

    /// Returns the kind in the field's word.
    pub fn kind(&self) -> Option<&'static str> {
        match self {
            Host { v2: Some(_), .. } => Some("cgroup-v2"),
            Host { pids: None, memory: None, cpu: None, .. } => None,
            Host { .. } => Some("cgroup-v1"),
        }
    }
}

/// Makes the groups of one step, empty and without limits; none where the host has no groups.
///
/// # Errors
/// When the host refuses what it allowed before.
pub fn make(host: &Host) -> io::Result<Option<Group>> {
    if host.kind().is_none() {
        return Ok(None);
    }
    let mut parents: Vec<&PathBuf> = [&host.pids, &host.memory].into_iter().flatten().collect();
    parents.sort();
    parents.dedup();
    let name = free_name(&parents);
    let place = |parent: &Option<PathBuf>| parent.as_ref().map(|parent| parent.join(&name));
    let (pids, memory, cpu) = (place(&host.pids), place(&host.memory), place(&host.cpu));
    let mut group = Group { folders: Vec::new(), pids, memory, cpu, v2: host.v2.is_some() };
    for parent in parents {
        group.add(parent.join(&name))?;
    }
    Ok(Some(group))
}

/// Returns a name that nobody has: another process with our number may live in another pid namespace.
fn free_name(parents: &[&PathBuf]) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let name =
            format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        if !parents.iter().any(|parent| parent.join(&name).exists()) {
            return name;
        }
    }
}

fn limit_memory(folder: &Path, memory: Bytes, v2: bool) -> io::Result<()> {
    let text = memory.0.to_string();
    if v2 {
        put(&folder.join("memory.max"), &text)?;
        // Absent where the host has no swap accounting, and then there is nothing to forbid.
        let _ = put(&folder.join("memory.swap.max"), "0");
        // One process killed for memory means a result that is not to be trusted: kill them all.
        put(&folder.join("memory.oom.group"), "1")
    } else {
        put(&folder.join("memory.limit_in_bytes"), &text).map_err(too_little)?;
        let _ = put(&folder.join("memory.memsw.limit_in_bytes"), &text);
        // What lies in queues of TCP is counted on its own here, and by version 2 as memory. Absent on some kernels.
        let _ = put(&folder.join("memory.kmem.tcp.limit_in_bytes"), &text);
        Ok(())
    }
}

/// Version 1 refuses a limit below what the child holds already; version 2 takes it, and kills the child.
fn too_little(cause: io::Error) -> io::Error {
    match cause.kind() {
        io::ErrorKind::ResourceBusy => io::Error::new(io::ErrorKind::OutOfMemory, cause),
        _ => cause,
    }
}

fn limit_cpu(folder: &Path, cpu: MilliCpus, v2: bool) -> io::Result<()> {
    let quota = (cpu.0 * PERIOD_US / 1000).max(1000);
    if v2 {
        put(&folder.join("cpu.max"), &format!("{quota} {PERIOD_US}"))
    } else {
        put(&folder.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
        put(&folder.join("cpu.cfs_quota_us"), &quota.to_string())
    }
}

impl Group {
    fn add(&mut self, folder: PathBuf) -> io::Result<()> {
        fs::create_dir(&folder)?;
        self.folders.push(folder.clone());
        // Whatever umask kiln's caller has: without root one may lock us out of our own group.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))
    }

    /// Puts a process, and so all it will start, into the groups.
    pub fn admit(&self, pid: u32) -> io::Result<()> {
        self.folders.iter().try_for_each(|folder| enter(folder, pid))
    }

    /// Sets the limits. A process that was admitted goes along into a group that these need besides.
    pub fn limit(&mut self, wanted: Wanted, pid: u32) -> io::Result<()> {
        if let Some(folder) = &self.pids {
            put(&folder.join("pids.max"), &wanted.pids.0.to_string())?;
        }
        if let Some(folder) = &self.memory {
            limit_memory(folder, wanted.memory, self.v2)?;
        }
        if let (Some(folder), Some(cpu)) = (self.cpu.clone(), wanted.cpu) {
            if !self.folders.contains(&folder) {
                self.add(folder.clone())?;
                enter(&folder, pid)?;
            }
            limit_cpu(&folder, cpu, self.v2)?;
        }
        if let Some(folder) = self.folders.first().filter(|_| self.v2 && wanted.below) {
            put(&folder.join("cgroup.max.descendants"), NESTED_GROUPS.0)?;
            put(&folder.join("cgroup.max.depth"), NESTED_GROUPS.1)?;
            let below = folder.join(BELOW);
            self.add(below.clone())?;
            enter(&below, pid)?;
        }
        Ok(())
    }

    /// Returns how often a new process or thread was refused.
    pub fn refused_processes(&self) -> u64 {
        count(self.pids.as_deref(), "pids.events", "max ")
    }

    /// Returns how many processes were killed because memory ran out.
    pub fn killed_for_memory(&self) -> u64 {
        let name = if self.v2 { "memory.events" } else { "memory.oom_control" };
        count(self.memory.as_deref(), name, "oom_kill ")
    }

    /// Says whether the limit of memory was met. Else who was killed for memory was so by a limit on a group above,
    /// or since the host had none left.
    pub fn met_memory_limit(&self) -> bool {
        let memory = self.memory.as_deref();
        if self.v2 {
            return count(memory, "memory.events", "oom ") > 0;
        }
        // Not by its count of failures, which some kernels keep at 0.
        let (most, limit) = ("memory.max_usage_in_bytes", "memory.limit_in_bytes");
        count(memory, most, "") + NEAR_LIMIT >= count(memory, limit, "")
    }

    /// Returns the most memory held at once.
    pub fn memory_peak(&self) -> Option<Bytes> {
        let name = if self.v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = fs::read_to_string(self.memory.as_ref()?.join(name)).ok()?;
        text.trim().parse().ok().map(Bytes)
    }

    /// Kills every process of the step by one write; says whether this kernel can.
    pub fn kill(&self) -> bool {
        let top = self.folders.first().filter(|_| self.v2);
        top.is_some_and(|top| put(&top.join("cgroup.kill"), "1").is_ok())
    }

    /// Removes the groups, which proves them empty.
    ///
    /// # Errors
    /// The processes that were still in one of them. They are killed.
    pub fn remove(&mut self) -> Result<(), Vec<u32>> {
        let Err(alive) = self.remove_empty(false) else { return Ok(()) };
        if let Err(pids) = self.remove_empty(true) {
            tracing::warn!(?pids, "a control group of a step could not be emptied");
        }
        Err(alive)
    }

    /// Removes the groups once they are empty, or made so; returns who is in one for too long.
    fn remove_empty(&mut self, by_force: bool) -> Result<(), Vec<u32>> {
        let deadline = Instant::now() + if by_force { KILLED_WAIT } else { EMPTY_WAIT };
        while let Some(folder) = self.folders.last() {
            if by_force && !self.kill() {
                self.kill_each(folder);
            }
            match fs::remove_dir(folder) {
                Ok(()) => drop(self.folders.pop()),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => drop(self.folders.pop()),
                // The kernel lets go of a reaped process a moment after the reaping.
                Err(_) if Instant::now() < deadline => {
                    clear(folder);
                    std::thread::sleep(PAUSE);
                }
                Err(_) => return Err(members(folder)),
            }
        }
        Ok(())
    }

    /// Kills what is in a group one by one, and lets it start nothing meanwhile.
    fn kill_each(&self, folder: &Path) {
        if let Some(folder) = &self.pids {
            // Absent where it was removed before; then whoever is left is killed at the next turn.
            let _ = put(&folder.join("pids.max"), "0");
        }
        for pids in members(folder).chunks(HELD_AT_ONCE) {
            let numbers = pids.iter().filter_map(|pid| i32::try_from(*pid).ok());
            let held = numbers.filter_map(|pid| {
                let number = Pid::from_raw(pid)?;
                Some((pid.cast_unsigned(), pidfd_open(number, PidfdFlags::empty()).ok()?))
            });
            let held: Vec<_> = held.collect();
            // A number may be another's since it was read. Who is held and still listed is ours.
            let still = members(folder);
            for (_, process) in held.iter().filter(|(pid, _)| still.contains(pid)) {
                // Fails only if it is dead already.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
        }
    }
}

fn enter(folder: &Path, pid: u32) -> io::Result<()> {
    put(&folder.join("cgroup.procs"), &pid.to_string())
}

/// Returns the processes in a group and in those below it, by their numbers here.
fn members(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let own = text.lines().filter_map(|line| line.parse().ok());
    // 0 stands for a process of another pid namespace.
    let mut pids: Vec<u32> = own.filter(|pid| *pid != 0).collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(members(&entry.path()));
        }
    }
    pids
}

/// Removes the groups below a group, which a nested step may have made: at most as deep as it may.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
            // Refused while something lives in it; whoever called tries again.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Returns a count out of a file of counts; 0 where there is none.
fn count(folder: Option<&Path>, name: &str, key: &str) -> u64 {
    let text = folder.and_then(|folder| fs::read_to_string(folder.join(name)).ok());
    let text = text.unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix(key));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// On a path that failed before the proof: nothing is captured then, and nothing of it may live on.
impl Drop for Group {
    fn drop(&mut self) {
        if let Err(pids) = self.remove_empty(true) {
            tracing::warn!(?pids, "a control group of a step could not be removed");
        }
    }
}

fn find() -> Host {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let host = find_v2(&own, &mounts).unwrap_or_else(|| find_v1(&own, &mounts));
    for folder in host.folders() {
        sweep(folder);
    }
    host
}

/// Removes groups of kiln processes that are gone, and waits for the processes in them, which are dying.
pub fn sweep_up() {
    let host = Host::get();
    let deadline = Instant::now() + KILLED_WAIT;
    // Whoever does not die is of a kiln that another pid namespace hides, and is left alone.
    while host.folders().filter(|folder| sweep(folder)).count() > 0 && Instant::now() < deadline {
        std::thread::sleep(PAUSE);
    }
}

/// Looks for a folder, from our own upwards, that we may write and that hands on `pids` and `memory`.
fn find_v2(own: &str, mounts: &str) -> Option<Host> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let top = mount_point(mounts, "cgroup2", None)?;
    let mut folder = top.join(path.trim_start_matches('/'));
    while folder.starts_with(&top) {
        let handed = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
        let handed: Vec<&str> = handed.split_whitespace().collect();
        if handed.contains(&"pids") && handed.contains(&"memory") && may_make(&folder) {
            let some = Some(folder.clone());
            let cpu = some.clone().filter(|_| handed.contains(&"cpu"));
            return Some(Host { v2: some.clone(), pids: some.clone(), memory: some, cpu });
        }
        if !folder.pop() {
            break;
        }
    }
    None
}

fn find_v1(own: &str, mounts: &str) -> Host {
    let folder = |controller: &str| {
        let line = own.lines().find(|line| {
            line.split(':')
                .nth(1)
                .is_some_and(|list| list.split(',').any(|name| name == controller))
        })?;
        let path = line.splitn(3, ':').nth(2)?;
        let top = mount_point(mounts, "cgroup", Some(controller))?;
        let folder = top.join(path.trim_start_matches('/'));
        // In a container the path is the host's, and the mount begins at the container's own group.
        let folder = if folder.is_dir() { folder } else { top };
        may_make(&folder).then_some(folder)
    };
    Host { v2: None, pids: folder("pids"), memory: folder("memory"), cpu: folder("cpu") }
}

/// Returns where a hierarchy is mounted (proc_pid_mountinfo(5): type and options follow ` - `).
fn mount_point(mounts: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    let line = mounts.lines().find(|line| {
        let Some((_, tail)) = line.split_once(" - ") else { return false };
        let mut fields = tail.split(' ');
        let right_kind = fields.next() == Some(kind);
        let options = fields.nth(1).unwrap_or_default();
        right_kind
            && controller.is_none_or(|wanted| options.split(',').any(|option| option == wanted))
    })?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// Finds out by doing whether a group can be made and entered here.
fn may_make(folder: &Path) -> bool {
    let probe = folder.join(format!("{PREFIX}{}-probe", std::process::id()));
    if fs::create_dir(&probe).is_err() {
        return false;
    }
    // Entering needs the right to write here and, in version 2, in the folder common to both.
    let writable = fs::OpenOptions::new().write(true).open(probe.join("cgroup.procs")).is_ok()
        && fs::OpenOptions::new().write(true).open(folder.join("cgroup.procs")).is_ok();
    fs::remove_dir(&probe).is_ok() && writable
}

/// Removes groups of kiln processes that are gone; says whether one is left because a process is in it.
fn sweep(folder: &Path) -> bool {
    let mut left = false;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let gone = owner.is_some_and(|pid| {
            !pid.is_empty()
                && pid.bytes().all(|digit| digit.is_ascii_digit())
                && !Path::new("/proc").join(pid).exists()
        });
        if gone {
            clear(&entry.path());
            let removed = fs::remove_dir(entry.path()).map_err(|error| error.kind());
            left |= removed == Err(io::ErrorKind::ResourceBusy);
        }
    }
    left
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests start programs")]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    const MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn groups_of_kilns_that_are_gone_are_removed_and_no_others() {
        let top = tempfile::tempdir().expect("a folder");
        let alive = format!("{PREFIX}{}-1", std::process::id());
        // Above the most that the kernel ever gives out (PID_MAX_LIMIT).
        let gone = format!("{PREFIX}4194305-1");
        for name in [&alive, &gone, "kiln-x-1", "kiln-", "other-4194305-1"] {
            fs::create_dir(top.path().join(name)).expect("a folder");
        }
        // As a nested step leaves it.
        fs::create_dir_all(top.path().join(&gone).join(BELOW).join("its own")).expect("folders");
        sweep(top.path());
        let left: std::collections::BTreeSet<String> = fs::read_dir(top.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        let others = [alive.as_str(), "kiln-x-1", "kiln-", "other-4194305-1"];
        assert_eq!(left, others.map(str::to_owned).into());
    }

    #[test]
    fn a_group_of_a_dead_maker_goes_with_the_last_that_dies_in_it() {
        let Some(top) = Host::get().folders().next() else { return };
        let group = top.join(format!("{PREFIX}4194305-{}", std::process::id()));
        fs::create_dir(&group).expect("the host allows it");
        let mut sleeper = Command::new("sleep").arg("600").spawn().expect("sleep starts");
        enter(&group, sleeper.id()).expect("it is moved");
        assert!(sweep(top) && group.exists(), "control: somebody lives in it");
        sleeper.kill().expect("it lived");
        // It is dying, and nobody has waited for it.
        sweep_up();
        assert!(!group.exists());
        sleeper.wait().expect("a child");
    }

    #[test]
    fn hierarchies_are_found_by_their_controller() {
        let found = |kind, controller| mount_point(MOUNTS, kind, controller);
        assert_eq!(found("cgroup", Some("cpu")), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(found("cgroup", Some("memory")), None);
        assert_eq!(found("cgroup2", None), Some("/sys/fs/cgroup/unified".into()));
    }
    /// Makes a group with three processes in it; none where this host lets us make no group.
    fn filled() -> Option<(Group, Child)> {
        let (memory, pids) = (Bytes(64 << 20), Count(20));
        let wanted = Wanted { memory, pids, cpu: None, below: false };
        let mut group = make(Host::get()).expect("the host allows it")?;
        let script = "read go; sleep 600 & sleep 600 & echo ready; wait";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("a shell");
        group.admit(shell.id()).expect("it is admitted");
        group.limit(wanted, shell.id()).expect("it is limited");
        shell.stdin.take().expect("a pipe").write_all(b"go\n").expect("it listens");
        let mut said = String::new();
        let out = shell.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut said).expect("it speaks");
        assert_eq!(said, "ready\n");
        assert_eq!(group.folders.first().map(|folder| members(folder).len()), Some(3), "control");
        Some((group, shell))
    }

    /// Says whether the groups are gone, which they cannot be while anybody lives; ends the shell.
    fn are_gone(folders: &[PathBuf], mut shell: Child) -> bool {
        let gone = folders.iter().all(|folder| !folder.exists());
        if !gone {
            let _ = shell.kill();
        }
        assert_eq!(shell.wait().expect("a child").code(), None, "ended by a signal");
        gone
    }

    #[test]
    fn who_is_alive_after_the_proof_is_told_and_killed() {
        let Some((mut group, shell)) = filled() else { return };
        let folders = group.folders.clone();
        let told = group.remove().expect_err("three are alive");
        assert_eq!((told.len(), told.contains(&shell.id())), (3, true), "{told:?}");
        assert!(are_gone(&folders, shell), "{folders:?}");
    }

    #[test]
    fn a_group_that_is_let_go_kills_what_is_in_it() {
        let Some((group, shell)) = filled() else { return };
        let folders = group.folders.clone();
        drop(group);
        assert!(are_gone(&folders, shell), "{folders:?}");
    }

    #[test]
    fn one_write_kills_all_where_the_kernel_can() {
        let Some((mut group, mut shell)) = filled() else { return };
        let can = group.folders.first().is_some_and(|top| top.join("cgroup.kill").exists());
        assert_eq!(group.kill(), can && group.v2);
        if group.v2 && can {
            // Nobody else ends it, and its children end with it.
            assert_eq!(shell.wait().expect("a child").code(), None, "ended by a signal");
            group.remove().expect("nobody is alive");
        } else {
            let folders = group.folders.clone();
            drop(group);
            assert!(are_gone(&folders, shell), "{folders:?}");
        }
    }
}
