//! What this host is like, read from files: settings, filters, the container around us, control groups.
//!
//! Nothing here decides whether a step can run; `probe` finds that out by doing. This is what a refusal is
//! explained with, and what a person is told.
//!
//! Changes nothing but to make and remove one control group.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use model::isolation::{Enforced, Guarantee};

use crate::native::cgroup::Host as ControlGroups;
use crate::native::{landlock, rehearse};

/// Files by which engines mark the inside of a container, and the engine's name.
const MARKS: [(&str, &str); 4] = [
    ("/.dockerenv", "docker"),
    ("/run/.containerenv", "podman"),
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
    ("/run/systemd/container", "a container manager"),
];

/// The mechanism that says in a step's evidence that a filter around kiln was around the step too.
pub const OUTER_FILTER: &str = "outer-seccomp";

/// Facts of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What settings say of user namespaces.
    pub settings: Settings,
    /// The engine whose container we are in, if we are in one.
    pub container: Option<&'static str>,
    /// Whether parts of `/proc` are covered, as in a container.
    pub masked_proc: bool,
    /// Whether we are root and may not mount, as in a container: steps' inputs are opened by that right.
    pub root_without_mount: bool,
    /// The newest Landlock interface that would be used; 0 for none.
    pub landlock: i32,
    /// What control groups can limit here.
    pub limits: Limits,
}

/// What settings and filters say of user namespaces; none where the kernel has no such setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`.
    pub unprivileged_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`.
    pub apparmor_restricts: Option<u64>,
    /// Whether a seccomp filter was there before us.
    pub filtered: bool,
    /// Whether we are root.
    pub root: bool,
}

/// What control groups can limit here, found by making one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The kind that is used: `cgroup-v1`, `cgroup-v2`, or none.
    pub kind: Option<&'static str>,
    /// What is mounted, whether or not it may be used: `v1`, `v2`, `v1 and v2`, or none.
    pub mounted: Option<&'static str>,
    /// Processes.
    pub pids: bool,
    /// Memory.
    pub memory: bool,
    /// Processor time.
    pub cpu: bool,
}

/// Reads the facts.
pub fn look() -> Facts {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mark = MARKS.iter().find(|(mark, _)| Path::new(mark).exists());
    // A mark may be a leftover: of an image that a machine was made from, say.
    let mark = mark.filter(|_| {
        !has_initial_namespaces(|kind| fs::read_link(Path::new("/proc/self/ns").join(kind)).ok())
    });
    let host = ControlGroups::get();
    Facts {
        settings: settings(),
        container: mark.map(|(_, engine)| *engine),
        masked_proc: masks_proc(&mounts),
        root_without_mount: !rehearse::has_right(),
        landlock: landlock::usable().unwrap_or(0),
        limits: Limits {
            kind: host.kind(),
            mounted: mounted(&mounts),
            pids: host.limits_pids(),
            memory: host.limits_memory(),
            cpu: host.limits_cpu(),
        },
    }
}

/// Says whether a seccomp filter was there before ours; asked once, in the build process, which has none of ours.
pub fn is_filtered() -> bool {
    static FILTERED: OnceLock<bool> = OnceLock::new();
    *FILTERED.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2'))
    })
}

/// Writes a filter around kiln down, of which nobody can read what it refuses.
pub(crate) fn tell_filter(out: &mut Enforced) {
    if is_filtered() {
        out.add(Guarantee::Syscalls, OUTER_FILTER, "a filter around kiln, which may refuse more");
    }
}

/// Reads the settings.
pub fn settings() -> Settings {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    Settings {
        max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
        unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        filtered: is_filtered(),
        root: rustix::process::geteuid().is_root(),
    }
}

/// Namespaces that a container has of its own, and the numbers of those that a machine starts with
/// (`PROC_*_INIT_INO` of linux/proc_ns.h).
const INITIAL: [(&str, u32); 4] =
    [("pid", 0xefff_fffc), ("uts", 0xefff_fffe), ("ipc", 0xefff_ffff), ("cgroup", 0xefff_fffb)];

/// Says whether we are in the namespaces that the machine started with: then we are in no container.
fn has_initial_namespaces(link: impl Fn(&str) -> Option<PathBuf>) -> bool {
    let is_first = |(kind, number)| {
        link(kind).is_some_and(|text| text.as_os_str() == OsStr::new(&format!("{kind}:[{number}]")))
    };
    INITIAL.into_iter().all(is_first)
}

/// Says whether something is mounted over a part of `/proc` (proc_pid_mountinfo(5): the fifth field).
fn masks_proc(mounts: &str) -> bool {
    let over = |line: &str| line.split(' ').nth(4).is_some_and(|at| at.starts_with("/proc/"));
    let own = |line: &str| line.contains(" - binfmt_misc ") || line.contains(" - autofs ");
    mounts.lines().any(|line| over(line) && !own(line))
}

fn mounted(mounts: &str) -> Option<&'static str> {
    let has = |kind: &str| mounts.lines().any(|line| line.contains(kind));
    match (has(" - cgroup "), has(" - cgroup2 ")) {
        (true, true) => Some("v1 and v2"),
        (true, false) => Some("v1"),
        (false, true) => Some("v2"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_namespaces_of_the_start_is_no_container() {
        let machine = |kind: &str| {
            let (name, number) = INITIAL.iter().find(|(name, _)| *name == kind)?;
            Some(PathBuf::from(format!("{name}:[{number}]")))
        };
        assert_eq!(machine("pid"), Some("pid:[4026531836]".into()));
        assert_eq!(machine("cgroup"), Some("cgroup:[4026531835]".into()));
        assert!(has_initial_namespaces(machine));
        for own in ["pid", "uts", "ipc", "cgroup"] {
            let other = |kind: &str| {
                if kind == own { Some("x:[4026532000]".into()) } else { machine(kind) }
            };
            assert!(!has_initial_namespaces(other), "{own}");
            let closed = |kind: &str| machine(kind).filter(|_| kind != own);
            assert!(!has_initial_namespaces(closed), "{own}");
        }
    }

    #[test]
    fn a_covered_proc_and_the_kinds_of_control_groups_are_seen() {
        let plain = "21 25 0:19 / /proc rw - proc proc rw\n";
        let host = format!("{plain}36 21 0:30 / /proc/sys/fs/binfmt_misc rw - autofs x rw\n");
        let inside = format!("{plain}40 21 0:5 /null /proc/kcore rw - tmpfs tmpfs rw\n");
        assert!(!masks_proc(plain) && !masks_proc(&host) && masks_proc(&inside));
        let (v1, v2) = ("1 2 0:3 / /a rw - cgroup c rw\n", "1 2 0:4 / /b rw - cgroup2 c rw\n");
        assert_eq!(mounted(plain), None);
        assert_eq!(mounted(v1), Some("v1"));
        assert_eq!(mounted(v2), Some("v2"));
        assert_eq!(mounted(&format!("{v1}{v2}")), Some("v1 and v2"));
    }
}
