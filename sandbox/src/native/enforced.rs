//! From what was read back to `Enforced`: guarantee, mechanism, detail.
//!
//! Lists only what the kernel confirmed in the sealed process, or what was written to a control
//! group without an error. An extra guarantee that the host lacks is named with its reason.

use model::isolation::{Enforced, Guarantee};

use super::cgroup::{Host, Wanted};
use super::order::Ordered;
use super::outer::Outer;
use super::share::Share;
use super::space::Space;
use super::wire::Facts;
use super::{inherited, lists, seccomp};
use crate::host;
use crate::spec::{Parts, Widen};

/// Why a nested step has no rules of Landlock on files.
const NESTED_LANDLOCK: &str = "a step is nested, and rules on files would forbid its mounts";

/// Writes down what held.
pub fn enforced(facts: &Facts, parts: &Parts, host: &Host, ordered: &Ordered) -> Enforced {
    let mut out = Enforced::default();
    core(&mut out, facts, parts);
    out.add(Guarantee::Identity, "outer-user", outer_detail(ordered.order.outer));
    limits(&mut out, facts, parts, host, (ordered.wanted, &ordered.share, &ordered.work));
    match facts.landlock {
        Some(abi) if parts.widen.nested => {
            out.add(Guarantee::Landlock, "landlock", format!("ABI {abi}, scopes only"));
            absent(&mut out, Guarantee::Landlock, NESTED_LANDLOCK);
        }
        None if parts.widen.nested => absent(&mut out, Guarantee::Landlock, NESTED_LANDLOCK),
        Some(abi) => {
            out.add(Guarantee::Landlock, "landlock", format!("ABI {abi}, all its rights on files"))
        }
        None => {
            absent(&mut out, Guarantee::Landlock, "the kernel has no Landlock of ABI 2 or newer")
        }
    }
    out
}

fn core(out: &mut Enforced, facts: &Facts, parts: &Parts) {
    let has = |name: &str| facts.namespaces.contains_key(name);
    out.add(Guarantee::Files, "mount-namespace", "own root by pivot_root, read-only");
    if facts.views_copied {
        out.add(Guarantee::Files, "copy", "private views: no overlay can be made here");
    } else {
        out.add(Guarantee::Files, "overlay", "private views, redirect_dir=nofollow");
    }
    if facts.own_inodes {
        out.add(Guarantee::Files, "overlay", "inodes of its own for all that is read-only");
    } else {
        out.add(Guarantee::Files, "bind", "inodes shared with other steps: no overlay over them");
    }
    let devices =
        if facts.own_devices { "of its own" } else { "the host's, shared with other steps" };
    out.add(Guarantee::Files, "device-nodes", devices);
    out.add(Guarantee::Files, "user-namespace", format!("map {}", facts.uid_map));
    if facts.interfaces == ["lo"] {
        out.add(Guarantee::Network, "net-namespace", "lo only");
    }
    out.add(Guarantee::Processes, "pid-namespace", "killed with its first process");
    out.add(Guarantee::Processes, "ipc-namespace", "private");
    if facts.ceilings {
        out.add(Guarantee::Processes, "user-ceilings", ceilings_detail());
    }
    match facts.capabilities {
        Some(0) => {
            out.add(Guarantee::Identity, "no-capabilities", "all sets and the bounding set empty");
        }
        Some(_) if parts.widen.fakeroot => {
            out.add(Guarantee::Identity, "capabilities", lists::FAKEROOT_NAMES.join(" "));
        }
        Some(_) | None => {}
    }
    out.add(Guarantee::Identity, "uts-namespace", facts.host.clone());
    if has("time") {
        out.add(Guarantee::Identity, "time-namespace", "clocks since start begin at zero");
    }
    if has("cgroup") {
        out.add(Guarantee::Identity, "cgroup-namespace", "own root");
    }
    if facts.no_more_namespaces {
        out.add(Guarantee::Identity, "max-user-namespaces", "0");
    }
    if facts.no_new_privileges {
        out.add(Guarantee::Syscalls, "no-new-privileges", "set");
    }
    if facts.filter {
        out.add(Guarantee::Syscalls, "seccomp", seccomp_detail(parts.widen));
    }
    host::tell_filter(out);
}

fn outer_detail(outer: Option<Outer>) -> &'static str {
    match outer {
        None => "the caller's",
        Some(Outer { shown: Some(_), .. }) => "one that no other step has meanwhile",
        Some(Outer { shown: None, .. }) => {
            "one for all steps: no mounts that show other owners here"
        }
    }
}

fn ceilings_detail() -> String {
    let some = |word: &str| {
        let found = lists::CEILINGS.iter().find(|(name, _)| name.ends_with(word));
        found.map_or(0, |(_, most)| *most)
    };
    let (instances, watches) = (some("inotify_instances"), some("inotify_watches"));
    format!("inotify {instances} instances, {watches} watches")
}

fn seccomp_detail(widen: Widen) -> String {
    let mut text = format!("{} calls allowed", seccomp::allowed_count(widen.nested));
    if widen.nested {
        text.push_str(", among them those for own namespaces and mounts (nested)");
    }
    if widen.abi32 {
        text.push_str(", and 32-bit programs by a table of their own (abi32)");
    }
    text
}

fn limits(
    out: &mut Enforced,
    facts: &Facts,
    parts: &Parts,
    host: &Host,
    (wanted, share, work): (Wanted, &Share, &Space),
) {
    let kind = host.kind().unwrap_or("rlimit");
    let mut missing = inherited::missing(&parts.limits, share);
    if host.limits_memory() {
        out.add(Guarantee::Limits, kind, format!("memory {}", wanted.memory));
    } else {
        missing.push("memory is not limited: no control group may be made here".to_owned());
    }
    if host.limits_pids() {
        out.add(Guarantee::Limits, kind, format!("pids {}", wanted.pids));
    } else {
        out.add(Guarantee::Limits, "rlimit", format!("pids {}", wanted.pids));
    }
    if let Some(cpu) = wanted.cpu {
        out.add(Guarantee::Limits, kind, format!("cpu {cpu}"));
    }
    if parts.cpus.is_some() {
        let plural = if facts.processors == 1 { "" } else { "s" };
        out.add(Guarantee::Limits, "affinity", format!("{} processor{plural}", facts.processors));
    }
    if !inherited::is_short_of_files(&parts.limits) {
        out.add(Guarantee::Limits, "rlimit", format!("files {}", parts.limits.files.value));
    }
    let mechanism = match work {
        Space::Memory { .. } => "tmpfs",
        Space::Folder { .. } => "watched-folder",
    };
    out.add(Guarantee::Limits, mechanism, format!("disk {}", work.bytes()));
    out.add(Guarantee::Limits, "clock", format!("timeout {}", parts.timeout));
    if !missing.is_empty() {
        absent(out, Guarantee::Limits, &missing.join("; "));
    }
}

fn absent(out: &mut Enforced, guarantee: Guarantee, reason: &str) {
    out.absent.insert(guarantee, reason.to_owned());
}
