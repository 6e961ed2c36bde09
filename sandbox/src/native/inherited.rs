//! Sets back what the step would inherit from whoever started kiln, as far as this process may.
//!
//! Each is set to the kernel's own default, without asking what it was. Going down needs no right, going
//! up may: a user with a nice value, an idle scheduling class or a lowered hard limit keeps it, and
//! `docs/threat-model.md` lists those; a test compares two callers with the list.
//!
//! Never fails: what may not be changed stays, and is on the list.

use std::io::Write;
use std::num::NonZeroU64;

use model::limits::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{disable_transparent_huge_pages, set_current_timer_slack};

use super::share::Share;
use super::sys;
use crate::error::CallerLimit;

/// Slack of timers, in nanoseconds: the kernel's default (proc_pid_timerslack_ns(5)).
const TIMER_SLACK_NS: u64 = 50_000;
/// Which memory a core dump holds: the kernel's default (core(5)).
const COREDUMP_FILTER: &[u8] = b"0x33";
/// Resources whose hard limit only a privileged process may raise, and which the step's own limits are cut
/// from later.
const RESOURCES: [Resource; 14] = [
    Resource::As,
    Resource::Core,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
    Resource::Locks,
    Resource::Memlock,
    Resource::Msgqueue,
    Resource::Nproc,
    Resource::Rss,
    Resource::Rttime,
    Resource::Sigpending,
    Resource::Stack,
    Resource::Nofile,
];
/// The kernel's own ceiling of open files, where it was not moved (`fs.nr_open`).
const FILES_MAX: u64 = 1 << 20;

/// Resources that the kernel also counts by user: whoever makes a user namespace leaves its soft limits of them in
/// it for ever, so each goes up to the hard one before.
const OF_USERS: [Resource; 4] =
    [Resource::Nproc, Resource::Memlock, Resource::Msgqueue, Resource::Sigpending];

/// What is told of a caller with too low a limit of open files.
const FEWER_FILES: &str = "kiln was started with a lower limit of open files: ulimit -n";
/// What is told of a caller with too low a limit of processes.
const FEWER_PROCESSES: &str = "kiln was started with a limit of its processes";

/// Sets everything back.
pub fn set_back() {
    // The class first: a nice value means nothing in another one.
    let _ = sys::ordinary_scheduling();
    let _ = setpriority_process(None, 0);
    let _ = sys::ordinary_input_output_priority();
    let _ = sys::ordinary_memory_policy();
    let _ = set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));
    let _ = disable_transparent_huge_pages(false);
    sys::ordinary_processor_and_pages();
    let filter = std::fs::OpenOptions::new().write(true).open("/proc/self/coredump_filter");
    let _ = filter.and_then(|mut filter| filter.write_all(COREDUMP_FILTER));
    if rustix::process::geteuid().is_root() {
        RESOURCES.into_iter().for_each(raise);
    }
    for resource in OF_USERS {
        let maximum = getrlimit(resource).maximum;
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}

/// Says whether the caller's hard limit of open files is below the step's. As root a child might raise it; that
/// the caller set it too low for us is told all the same, and the same to everybody.
pub fn is_short_of_files(limits: &Limits) -> bool {
    getrlimit(Resource::Nofile).maximum.is_some_and(|hard| hard < limits.files.value.0)
}

/// Returns what a step does not have because of the caller's limits, where that was allowed.
pub fn missing(limits: &Limits, share: &Share) -> Vec<String> {
    let short = is_short_of_files(limits).then(|| FEWER_FILES.to_owned());
    let of_caller =
        of_caller().map(|limit| format!("kiln was started with a limit of its {limit}"));
    let few = share.is_short.then(|| FEWER_PROCESSES.to_owned());
    short.into_iter().chain(of_caller).chain(few).collect()
}

/// Returns the limits that the caller has and no step has: who meets one is told so by the kernel and nobody
/// else. Of processes see [`share`](super::share).
pub fn of_caller() -> impl Iterator<Item = CallerLimit> {
    let all = [
        (Resource::As, CallerLimit::AddressSpace),
        (Resource::Data, CallerLimit::Data),
        (Resource::Fsize, CallerLimit::FileSize),
        (Resource::Cpu, CallerLimit::ProcessorTime),
    ];
    let is_limited = |resource| getrlimit(resource).maximum.is_some();
    let named =
        all.into_iter().filter_map(move |(resource, limit)| is_limited(resource).then_some(limit));
    let denied = sys::denies_write_then_execute().then_some(CallerLimit::ExecutableMemory);
    named.chain(denied)
}

/// Raises a hard limit as far as it goes; the soft one stays.
fn raise(resource: Resource) {
    let current = getrlimit(resource).current;
    let maximum = (resource == Resource::Nofile).then_some(FILES_MAX);
    if let (Resource::Nofile, Some(hard)) = (resource, getrlimit(resource).maximum)
        && hard >= FILES_MAX
    {
        return;
    }
    let _ = setrlimit(resource, Rlimit { current, maximum });
}
