//! What lies in `/dev` and what is hidden in `/proc`: lists as data, each line with its reason.
//!
//! A list that stands in code between mount calls is a list that nobody reads. Profile `kiln/1`.
//! Absent names are skipped, since kernels differ; nothing else is.

use rustix::thread::CapabilitySet;

/// Device nodes: name, major, minor (Documentation/admin-guide/devices.txt of Linux).
pub const DEVICES: [(&str, u32, u32); 5] = [
    // Everything redirects to it.
    ("null", 1, 3),
    // Some tests want a full disk.
    ("full", 1, 7),
    // Old programs read randomness here instead of calling getrandom.
    ("random", 1, 8),
    ("urandom", 1, 9),
    // Zeroes for dd and for anonymous memory of old programs.
    ("zero", 1, 5),
];

/// Links in `/dev`: every shell's `/dev/stdin` and process substitution.
pub const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// Names in `/proc` that would tell of the host, act on it, or carry a word from one step to another one by a
/// count that both can read: covered by something blank. What programs read to do their work (`cpuinfo`,
/// `meminfo`, `stat`, `loadavg`, `uptime`) stays, and so do `net` and `self`, which are links to each process's own.
pub const PROC_MASKED: [&str; 36] = [
    // Talks to the firmware.
    "acpi",
    // Names the host's sound cards.
    "asound",
    // Parameters that the boot loader handed over, the same as the boot line.
    "bootconfig",
    // Free memory of the host, block by block.
    "buddyinfo",
    // The host's devices.
    "bus",
    // The host's boot line, which may name disks and keys.
    "cmdline",
    // How the kernel was built.
    "config.gz",
    // What the host's disks do.
    "diskstats",
    // Disks, free blocks and counts of the host's file systems.
    "fs",
    // Counts per device: a clock and a fingerprint.
    "interrupts",
    // The host's devices, and which processor serves each.
    "irq",
    // Kernel addresses.
    "kallsyms",
    // The host's memory.
    "kcore",
    // How many keys each user of the host has.
    "key-users",
    // The host's key rings.
    "keys",
    // The host's kernel log.
    "kmsg",
    // Who waits for what on the host.
    "latency_stats",
    // Locks of open file descriptions, and of device nodes, are shown to everybody, with a number that the
    // holder chose: so a step could spell words to another one.
    "locks",
    // Which drivers are loaded.
    "modules",
    // How long the host waits; and everybody may set off work of the kernel's for the whole host.
    "pressure",
    // Processes of the host, on old kernels.
    "sched_debug",
    // The host's disks.
    "scsi",
    // The host's work, as `interrupts`.
    "softirqs",
    // How many of each thing the whole host has open: each a count that steps can move and read.
    "sys/fs/aio-nr",
    "sys/fs/dentry-state",
    "sys/fs/file-nr",
    "sys/fs/inode-nr",
    "sys/fs/inode-state",
    "sys/fs/quota",
    "sys/kernel/pty/nr",
    // Reboots the host.
    "sysrq-trigger",
    // Timers of the host's processes.
    "timer_list",
    "timer_stats",
    // The host's memory as another dump.
    "vmcore",
    // Counts of the host's memory, as `zoneinfo`.
    "vmstat",
    "zoneinfo",
];

/// Capabilities that the option `fakeroot` keeps, inside the step's own user namespace: those by which
/// a package's install script changes owners and modes of its own files. With one id mapped they
/// reach nothing that belongs to somebody else.
pub const FAKEROOT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID);

/// The same, in words.
pub const FAKEROOT_NAMES: [&str; 6] =
    ["chown", "dac_override", "fowner", "fsetid", "setgid", "setuid"];

/// Names in `/proc` that may be read and never written.
pub const PROC_READ_ONLY: [&str; 1] = ["sys"];

/// Files in `/proc` with a fixed text in place of the host's.
pub const PROC_REPLACED: [(&str, &str); 1] =
    // A new one at each boot would make every build that reads it differ.
    [("sys/kernel/random/boot_id", "00000000-0000-4000-8000-000000000000\n")];

/// What the step's user namespace may hold at once, by the names in `/proc/sys/user`. The kernel charges
/// each of these to the user outside as well, where all steps of one user share one account of, say, 128
/// inotify instances. A step that may take a small part of it neither empties it nor feels another take its own.
pub const CEILINGS: [(&str, u32); 4] = [
    // Its calls are refused by the filter.
    ("max_fanotify_groups", 0),
    ("max_fanotify_marks", 0),
    // An eighth of the kernel's default.
    ("max_inotify_instances", 16),
    // Half of the least that the kernel gives a user, on a host with little memory.
    ("max_inotify_watches", 4096),
];

/// The same for namespaces, of which a step makes none.
pub const NAMESPACE_CEILINGS: [&str; 8] = [
    "max_cgroup_namespaces",
    "max_ipc_namespaces",
    "max_mnt_namespaces",
    "max_net_namespaces",
    "max_pid_namespaces",
    "max_time_namespaces",
    "max_user_namespaces",
    "max_uts_namespaces",
];

/// How many of each kind a nested step may make: hosts allow tens of thousands.
pub const NESTED_NAMESPACES: u32 = 256;

/// Returns every ceiling of a step.
pub fn ceilings(nested: bool) -> impl Iterator<Item = (&'static str, u32)> {
    let most = if nested { NESTED_NAMESPACES } else { 0 };
    CEILINGS.into_iter().chain(NAMESPACE_CEILINGS.into_iter().map(move |name| (name, most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_without_repetition() {
        assert!(PROC_MASKED.is_sorted_by(|left, right| left < right));
        assert!(PROC_READ_ONLY.is_sorted_by(|left, right| left < right));
        assert!(CEILINGS.is_sorted_by(|left, right| left < right));
        assert!(NAMESPACE_CEILINGS.is_sorted_by(|left, right| left < right));
        assert!(DEVICE_LINKS.is_sorted_by(|left, right| left.0 < right.0));
    }
}
