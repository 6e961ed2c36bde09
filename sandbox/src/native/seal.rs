//! Takes every right away that the set-up needed: the last act before the step exists.
//!
//! The first process seals itself, and the step's process inherits the seal; so the resolver stub
//! and the reaper run under it too. Order: unreadable by others, no capabilities, no new
//! privileges, Landlock, filter. What was done is then read back from the kernel, not assumed.
//!
//! Does not catch: a capability that a kernel newer than this list knows; the empty sets cover it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use model::step::Widen;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    clear_ambient_capability_set, configure_capability_in_ambient_set, no_new_privs,
    remove_capability_from_bounding_set, sched_getaffinity, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use super::error::{Doing, Failure, Naming};
use super::wire::{Facts, Order};
use super::{landlock, lists, namespaces, seccomp, sys};

/// Seals this process; returns what the kernel says it now is, and where calls that wait are heard.
pub fn seal(
    order: &Order,
    ceilings: namespaces::Ceilings,
) -> Result<(Facts, Option<OwnedFd>), Failure> {
    // 1. Names that only an unsealed process can read, read after the root has changed.
    let mut facts = read_names();
    facts.ceilings = ceilings.hold();
    drop(ceilings);
    let mut status = own_status()?;
    // 2. No other process may look into this one, not even one of the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .or_fail(Doing::Capabilities, "dumpable")?;
    // 3. No capability but those asked for, now or by any later exec.
    drop_capabilities(kept(order.widen))?;
    // 4. No privilege by a set-user-id file.
    set_no_new_privs(true).or_fail(Doing::NoNewPrivileges, "")?;
    // 5. A second line for files.
    facts.landlock = landlock::restrict(order.widen, &order.writable)?;
    // 6. The listed system calls and no others.
    let program: Vec<libc::sock_filter> = order
        .filter
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let listener = match filter(&program) {
        Ok(listener) => listener,
        Err(_) if order.may_miss.syscalls => None,
        Err(cause) => return Err(Doing::Filter.failed("", &cause)),
    };
    // 7. What the kernel says.
    read_rights(&mut facts, &mut status)?;
    let root = rustix::fs::statvfs("/").or_fail(Doing::ReadBack, "/")?;
    facts.root_read_only = root.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    Ok((facts, listener))
}

/// Installs the filter. Where no call can wait for us, as inside a sandbox that listens itself, those
/// calls go through unheard; no guarantee rests on hearing them.
fn filter(program: &[libc::sock_filter]) -> io::Result<Option<OwnedFd>> {
    match sys::install_filter_with_listener(program) {
        Ok(listener) => Ok(Some(listener)),
        Err(_) => {
            let program: Vec<_> = program.iter().copied().map(seccomp::unheard).collect();
            sys::install_filter(&program).map(|()| None)
        }
    }
}

/// Returns the capabilities that the step keeps inside its user namespace: none, unless it is `fakeroot`.
pub fn kept(widen: Widen) -> CapabilitySet {
    if widen.fakeroot { lists::FAKEROOT } else { CapabilitySet::empty() }
}

/// Empties all five sets but for what is kept. A kept one is ambient, so it survives an exec although
/// user 0 gets nothing by being user 0.
pub fn drop_capabilities(kept: CapabilitySet) -> Result<(), Failure> {
    clear_ambient_capability_set().or_fail(Doing::Capabilities, "ambient")?;
    if !kept.is_empty() {
        let own = capabilities(None).or_fail(Doing::Capabilities, "sets")?;
        set_capabilities(None, CapabilitySets { inheritable: kept, ..own })
            .or_fail(Doing::Capabilities, "inheritable")?;
        for capability in kept.iter() {
            configure_capability_in_ambient_set(capability, true)
                .or_fail(Doing::Capabilities, "ambient")?;
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits).or_fail(Doing::Capabilities, "securebits")?;
    for capability in every_capability().filter(|capability| !kept.contains(*capability)) {
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows fewer capabilities than there are bits.
            Err(rustix::io::Errno::INVAL) => break,
            Err(cause) => return Err(Doing::Capabilities.failed("bounding", &cause.into())),
        }
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets).or_fail(Doing::Capabilities, "sets")
}

/// Every capability by its bit, lowest first; the kernel says where the list ends.
fn every_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..63).map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}

/// Reads what the files of the new `/proc` tell. Absence reads as empty and is judged by the caller.
fn read_names() -> Facts {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut facts = Facts::default();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        if let Ok(link) = fs::read_link(format!("/proc/self/ns/{name}")) {
            facts.namespaces.insert(name.to_owned(), link.to_string_lossy().into_owned());
        }
    }
    let interfaces = text("/proc/self/net/dev");
    let names = interfaces.lines().filter_map(|line| line.split_once(':'));
    facts.interfaces = names.map(|(name, _)| name.trim().to_owned()).collect();
    facts.uid_map = text("/proc/self/uid_map").split_whitespace().collect::<Vec<_>>().join(" ");
    let uname = rustix::system::uname();
    facts.host = uname.nodename().to_string_lossy().into_owned();
    facts.no_more_namespaces = text("/proc/sys/user/max_user_namespaces").trim() == "0";
    facts
}

/// Opens what the kernel says of this process. What is read later is what is true then.
pub fn own_status() -> Result<File, Failure> {
    File::open("/proc/self/status").or_fail(Doing::ReadBack, "/proc/self/status")
}

/// Reads back which rights this process has.
pub fn read_rights(facts: &mut Facts, own_status: &mut File) -> Result<(), Failure> {
    facts.no_new_privileges = no_new_privs().or_fail(Doing::ReadBack, "no-new-privileges")?;
    // The kernel's own text: it lists every set at once, also those of capabilities unknown here.
    let mut status = String::new();
    own_status.read_to_string(&mut status).or_fail(Doing::ReadBack, "/proc/self/status")?;
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let bits = |set: &str| value(set).and_then(|bits| u64::from_str_radix(bits, 16).ok());
    facts.capabilities = bits("CapInh:").filter(|first| {
        ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].iter().all(|set| bits(set) == Some(*first))
    });
    facts.filter = value("Seccomp:") == Some("2");
    let allowed = sched_getaffinity(None).or_fail(Doing::ReadBack, "affinity")?;
    facts.processors = allowed.count();
    Ok(())
}
