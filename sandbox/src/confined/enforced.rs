//! From what was read back to `Enforced`, for a confined step.
//!
//! Lists only what the kernel confirmed in the shut-in step, or what was proven after its end.

use model::isolation::{Enforced, Guarantee};

use super::users::Users;
use crate::native::cgroup::{Host, Wanted};
use crate::native::share::Share;
use crate::native::wire::Facts;
use crate::native::{inherited, seccomp};
use crate::spec::Parts;

/// Writes down what held.
pub fn enforced(
    facts: &Facts,
    parts: &Parts,
    host: &Host,
    (wanted, share): (Wanted, &Share),
    users: Users,
) -> Enforced {
    let mut out = Enforced::default();
    let landlock = facts.landlock.unwrap_or(0);
    let calls = seccomp::confined_count();
    for (guarantee, mechanism, detail) in [
        (
            Guarantee::Files,
            "chroot",
            "a prepared root of another user, unchanged after the step".to_owned(),
        ),
        (Guarantee::Files, "landlock", format!("ABI {landlock}, all its rights on files")),
        (Guarantee::Files, "copy", "private views".to_owned()),
        (
            Guarantee::Network,
            "seccomp",
            "no socket but connected pairs, so no loopback either".to_owned(),
        ),
        (Guarantee::Processes, "own-user", "killed by user, and none of that user left".to_owned()),
        (Guarantee::Processes, "subreaper", "every descendant reaped".to_owned()),
        (Guarantee::Identity, "own-user", format!("{}, of no account", users.step)),
        (Guarantee::Identity, "no-capabilities", "all sets and the bounding set empty".to_owned()),
        (Guarantee::Syscalls, "no-new-privileges", "set".to_owned()),
        (Guarantee::Syscalls, "seccomp", format!("{calls} calls allowed")),
        (Guarantee::Limits, "rlimit", format!("pids {}", wanted.pids)),
        (Guarantee::Limits, "rlimit", format!("one file {}", parts.limits.disk.value)),
        (Guarantee::Limits, "clock", format!("timeout {}", parts.timeout)),
        (Guarantee::Landlock, "landlock", format!("ABI {landlock}, all its rights on files")),
    ] {
        out.add(guarantee, mechanism, detail);
    }
    crate::host::tell_filter(&mut out);
    if !inherited::is_short_of_files(&parts.limits) {
        out.add(Guarantee::Limits, "rlimit", format!("files {}", parts.limits.files.value));
    }
    let kind = host.kind().unwrap_or_default();
    if host.limits_memory() {
        out.add(Guarantee::Limits, kind, format!("memory {}", wanted.memory));
    }
    if let Some(cpu) = wanted.cpu {
        out.add(Guarantee::Limits, kind, format!("cpu {cpu}"));
    }
    let absent = match host.limits_memory() {
        true => "the disk is not limited: nothing can be mounted here",
        false => {
            "memory and disk are not limited: no control group may be made and nothing mounted here"
        }
    };
    let mut missing = inherited::missing(&parts.limits, share);
    missing.push(absent.to_owned());
    out.absent.insert(Guarantee::Limits, missing.join("; "));
    out
}
