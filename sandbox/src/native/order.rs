//! From the parts of a `Spec` and a look at the host to the order for the child and the bounds of the run.
//!
//! Looks at three things: what the environment's top folder holds, what each source is, and how much
//! memory and how many processors there are. Everything that is decided from them is decided in
//! `setup`, or here without a second look.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use model::isolation::Guarantee;
use model::limits::{Bytes, Limits};
use model::{AbsPath, Name};

use super::cgroup::{Host, Wanted};
use super::inherited;
use super::met::Most;
use super::outer::assign;
use super::run::explain;
use super::seccomp;
use super::setup::{self, Kind, Op, Seen};
use super::share::Share;
use super::space::{self, Memory, Space};
use super::trial::Trial;
use super::wire::{MayMiss, Order, Program};
use crate::error::{Error, LimitName, MountProblem};
use crate::spec::{Parts, Widen};

/// There only if the kernel was built with `CONFIG_IA32_EMULATION`.
const RUNS_32_BIT: &str = "/proc/sys/abi/vsyscall32";

/// The order and what the build process keeps to itself.
pub struct Ordered {
    /// What the child gets.
    pub order: Order,
    /// Where the step may write, in the order of their descriptors.
    pub places: Vec<AbsPath>,
    /// What the control group limits.
    pub wanted: Wanted,
    /// What it has of its user's processes.
    pub share: Share,
    /// Where the writable space lies, and its size.
    pub work: Space,
    /// The lock on the step's user, where it has one of its own.
    pub slot: Option<OwnedFd>,
}

/// Decides everything about a step.
pub fn order(parts: &Parts, host: &Host, share: Share) -> Result<Ordered, Error> {
    can_widen(parts.widen)?;
    let wanted = wanted(parts, host, &share)?;
    let work = space::choose(parts, memory(&wanted, host));
    let plan = setup::plan(parts, &look(parts, &work)?)?;
    let mut sources = vec![parts.root.clone()];
    sources.extend(parts.mounts.iter().map(|mount| mount.source.clone()));
    finish(parts, host, (wanted, share), work, plan, sources)
}

/// Decides everything about a step that has no environment, folders as inputs, and one view of nothing.
pub fn order_without_environment(
    parts: &Parts,
    host: &Host,
    share: Share,
) -> Result<Ordered, Error> {
    let wanted = wanted(parts, host, &share)?;
    let work = space::choose(parts, memory(&wanted, host));
    // In the place of the environment stands what is opened and not used.
    let inputs = parts.mounts.iter().map(|mount| mount.source.clone());
    let sources: Vec<PathBuf> = inputs.clone().take(1).chain(inputs).collect();
    let kinds = vec![Kind::Folder; parts.mounts.len()];
    let seen = Seen { root: BTreeMap::new(), sources: kinds, work: work.clone() };
    let plan = setup::plan_without_environment(parts, &seen)?;
    finish(parts, host, (wanted, share), work, plan, sources)
}

fn finish(
    parts: &Parts,
    host: &Host,
    (wanted, share): (Wanted, Share),
    work: Space,
    plan: setup::Plan,
    sources: Vec<PathBuf>,
) -> Result<Ordered, Error> {
    let places = plan.ops.iter().filter_map(|op| match op {
        Op::Open { inside, .. } => Some(inside.clone()),
        _ => None,
    });
    let places = places.collect();
    let program = Program {
        argv: parts.argv.clone(),
        env: parts.env.clone(),
        cwd: parts.cwd.clone(),
        files: parts.limits.files.value.0,
        processes: (!host.limits_pids()).then_some(wanted.pids.0),
        file_bytes: None,
        may_randomize: false,
        // Without an environment it is a rehearsal.
        trial: if parts.root.as_os_str().is_empty() { Trial::Place } else { Trial::None },
    };
    let waived = |guarantee| parts.waived.contains(&guarantee);
    let may_miss =
        MayMiss { network: waived(Guarantee::Network), syscalls: waived(Guarantee::Syscalls) };
    let scratch = match &work {
        Space::Memory { .. } => None,
        Space::Folder { path, .. } => Some(path.clone()),
    };
    let (held, on_disk) = match &work {
        Space::Memory { bytes, .. } => (*bytes, false),
        Space::Folder { shared, .. } => (*shared, true),
    };
    let memory = (held, space::inodes(held));
    let most = Most { memory, on_disk, processes: program.processes };
    let given = Some(&parts.root).filter(|root| !root.as_os_str().is_empty());
    let given = given.or_else(|| parts.mounts.first().map(|mount| &mount.source));
    let (outer, slot) = assign(given.map(PathBuf::as_path)).map_err(explain)?;
    let order = Order {
        sources,
        scratch,
        ops: plan.ops,
        outer,
        processors: processors(parts.cpus)?,
        writable: plan.writable,
        widen: parts.widen,
        program,
        may_miss,
        most,
        host_namespaces: host_namespaces().clone(),
        filter: filter(parts.widen).to_vec(),
    };
    Ok(Ordered { order, places, wanted, share, work, slot })
}

/// Refuses 32-bit programs where the kernel runs none.
pub fn can_widen(widen: Widen) -> Result<(), Error> {
    if widen.abi32 && !Path::new(RUNS_32_BIT).exists() {
        let why = "the kernel was built without 32-bit programs";
        return Err(Error::CannotWiden { option: "abi32", why });
    }
    Ok(())
}

/// Returns the limits that were asked for and that this host cannot keep. Of open files the default counts as
/// asked for: nobody is told of a lower limit, and the result would be used where it is higher.
pub fn short(limits: &Limits, host: &Host) -> impl Iterator<Item = LimitName> {
    let memory_asked = limits.memory.is_some_and(|limit| limit.asked);
    let cpu_asked = limits.cpu.is_some_and(|limit| limit.asked);
    let all = [
        (memory_asked && !host.limits_memory(), LimitName::Memory),
        (cpu_asked && !host.limits_cpu(), LimitName::Cpu),
        (inherited::is_short_of_files(limits), LimitName::Files),
    ];
    all.into_iter().filter_map(|(short, limit)| short.then_some(limit))
}

/// Holds every limit that was asked for against what this host can do.
pub fn wanted(parts: &Parts, host: &Host, share: &Share) -> Result<Wanted, Error> {
    let limits = &parts.limits;
    let waived = parts.waived.contains(&Guarantee::Limits);
    if let Some(limit) = short(limits, host).next().filter(|_| !waived) {
        return Err(Error::Unenforceable { limit });
    }
    if let Some(limit) = inherited::of_caller().next().filter(|_| !waived) {
        return Err(Error::CallerLimited { limit });
    }
    let half = Bytes(memory_bytes() / 2);
    Ok(Wanted {
        memory: limits.memory.map_or(half, |limit| limit.value),
        pids: share.pids,
        cpu: limits.cpu.map(|limit| limit.value).filter(|_| host.limits_cpu()),
        below: parts.widen.nested,
    })
}

/// Returns what memory a step has.
fn memory(wanted: &Wanted, host: &Host) -> Memory {
    Memory { bytes: wanted.memory, grouped: host.limits_memory() }
}

/// Returns the memory of this host.
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(info.mem_unit.into())
}

/// Returns the first processors that this process may use, if the step is to be pinned.
pub fn processors(asked: Option<NonZeroU32>) -> Result<Option<Vec<usize>>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let present = (0..rustix::thread::CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor));
    let chosen: Vec<usize> = present.take(asked.get() as usize).collect();
    if chosen.len() < asked.get() as usize {
        let present = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
        return Err(Error::TooFewProcessors { asked: asked.get(), present });
    }
    Ok(Some(chosen))
}

/// Looks at the environment's top folder and at each source.
pub fn look(parts: &Parts, work: &Space) -> Result<Seen, Error> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Error::Source { path, source }
    };
    let mut root = BTreeMap::new();
    for entry in fs::read_dir(&parts.root).map_err(unusable(&parts.root))? {
        let entry = entry.map_err(unusable(&parts.root))?;
        let path = entry.path();
        let text = entry.file_name();
        let name = text.to_str().and_then(|text| Name::new(text).ok());
        let not_utf8 = || Error::Place { at: AbsPath::default(), problem: MountProblem::NotUtf8 };
        let name = name.ok_or_else(not_utf8)?;
        root.insert(name, kind(&path).map_err(unusable(&path))?.ok_or_else(|| wrong_kind(&path))?);
    }
    let mut sources = Vec::new();
    for mount in &parts.mounts {
        let kind = kind(&mount.source).map_err(unusable(&mount.source))?;
        sources.push(kind.ok_or_else(|| wrong_kind(&mount.source))?);
    }
    Ok(Seen { root, sources, work: work.clone() })
}

fn wrong_kind(path: &Path) -> Error {
    Error::Source { path: path.to_owned(), source: io::ErrorKind::InvalidInput.into() }
}

/// Returns what lies at a path of the host; none for a device, pipe or socket.
fn kind(path: &Path) -> io::Result<Option<Kind>> {
    let kind = fs::symlink_metadata(path)?.file_type();
    Ok(if kind.is_dir() {
        Some(Kind::Folder)
    } else if kind.is_file() {
        Some(Kind::File)
    } else if kind.is_symlink() {
        let text = fs::read_link(path)?;
        Some(Kind::Symlink(
            text.into_os_string().into_string().map_err(|_| io::ErrorKind::InvalidData)?,
        ))
    } else {
        None
    })
}

/// The build process's own namespaces, read once.
fn host_namespaces() -> &'static BTreeMap<String, String> {
    static OWN: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    OWN.get_or_init(|| {
        let names = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].into_iter();
        let link = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        names
            .filter_map(|name| Some((name.to_owned(), link(name)?.to_string_lossy().into_owned())))
            .collect()
    })
}

/// The filter program, built once for each way to widen it.
fn filter(widen: Widen) -> &'static [seccomp::Instruction] {
    static PROGRAMS: [OnceLock<Vec<seccomp::Instruction>>; 8] = [const { OnceLock::new() }; 8];
    let Widen { nested, fakeroot, abi32 } = widen;
    let program =
        &PROGRAMS[usize::from(nested) + 2 * usize::from(abi32) + 4 * usize::from(fakeroot)];
    program.get_or_init(|| seccomp::program(widen))
}
