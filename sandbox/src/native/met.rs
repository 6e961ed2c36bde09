//! Which limits a step meets, as its first process sees it in looks while it runs and one at its end.
//!
//! A step that is refused something may go on and pass, and its result then says more of the limit than of
//! the inputs. No cheap call tells of a refusal, and to be told of every call would cost every call. So the
//! looks are made such that little can happen between two of them:
//!
//! - **Space in memory** has headroom above the limit (`space.rs`). A step that is seen above the limit is
//!   stopped, and one that goes above it unseen is refused nothing, so its result is sound. To be refused and
//!   pass, it has to fill the headroom and give it back between two looks. Where the writable space lies on the
//!   disk this is `/dev/shm` alone, and the rest is looked at by the build process (`usage.rs`).
//! - **Processes**, where no control group counts the refusals: the kernel numbers them in their own
//!   namespace one after the other, also those that are gone. Those alive at one look and those numbered up to
//!   the next are at least as many as ever were alive together. That is never too few, so no refusal by this
//!   limit is missed; a step that starts very many at once may be said to have met it although it did not.
//!
//! Refusals because of all that the user has are seen by the build process (`crowd.rs`).
//!
//! Does not catch: space asked for in one piece that is larger than all there is (`fallocate`), which is
//! refused before any of it is taken.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Dir, Mode, OFlags, StatVfs, openat, stat, statvfs};
use rustix::io;
use serde::{Deserialize, Serialize};

/// Time between two looks at the space in memory: too little to fill and free its headroom.
const SPACE_EVERY: Duration = Duration::from_millis(50);
/// Time between two looks at the processes, by their limit: at most a part of it is started in between, on
/// any host and by any build that does not mean to reach it.
const PROCESSES_EVERY: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(250));
/// Processes that a build starts in a millisecond: more than any does.
const STARTED_IN_MS: u64 = 16;
/// The part of the limit of processes above which they are counted, one by one.
const COUNT_ABOVE: (u64, u64) = (3, 4);
/// A process counts from the moment its start begins, also if it is refused or fails then. So this many below the
/// limit it may have been met: a part of it, and at most as many as start at one moment on any host.
const UNDER_WAY: (u64, u64) = (16, 64);
/// Where the kernel tells the number of all threads, and the last number that it gave in the reader's namespace.
pub const TOLD: &str = "/proc/loadavg";
/// The highest process number where the kernel does not say: its default.
const NUMBERS: u64 = 32_768;

/// What the first process is told to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Most {
    /// Most bytes and inodes of what is written to memory.
    pub memory: (u64, u64),
    /// Whether that is `/dev/shm` only, since the rest lies on the disk.
    pub on_disk: bool,
    /// Most processes and threads, where no control group counts them.
    pub processes: Option<u64>,
}

/// What was met. Each may be with or without each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Met {
    /// There was more in memory than may be written there.
    pub over: bool,
    /// No byte or no file could be added to a writable place.
    pub full: bool,
    /// As many processes and threads as may be were, or may have been.
    pub processes: bool,
}

/// Looks, and remembers.
#[derive(Debug)]
pub struct Lookout {
    most: Most,
    processes: Option<Processes>,
    met: Met,
    /// The time between two looks, and when the next one is due.
    every: Duration,
    next: Instant,
}

impl Lookout {
    /// Begins, before the step is started.
    pub fn start(most: Most) -> Lookout {
        let (least, longest) = PROCESSES_EVERY;
        let by_processes = |limit| time_of(limit).clamp(least, longest);
        let every =
            most.processes.map_or(SPACE_EVERY, |limit| by_processes(limit).min(SPACE_EVERY));
        let (met, next) = (Met::default(), Instant::now() + every);
        let processes = most.processes.map(Processes::start);
        Lookout { most, processes, met, every, next }
    }

    /// Returns how long to sleep until the next look.
    pub fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks if it is time to; says whether the step has just been found to be above its limit of space.
    pub fn look(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + self.every;
        let before = self.met.over;
        self.look_now();
        self.met.over && !before
    }

    /// Looks for the last time, when nothing of the step lives any more.
    pub fn finish(mut self) -> Met {
        self.look_now();
        self.met
    }

    fn look_now(&mut self) {
        let in_memory = if self.most.on_disk { "/dev/shm" } else { "/tmp" };
        if let Ok(space) = statvfs(in_memory) {
            let ((bytes, inodes), most) = (taken(&space), self.most.memory);
            self.met.over |= bytes > most.0 || inodes > most.1;
            self.met.full |= is_full(&space);
        }
        if self.most.on_disk {
            self.met.full |= statvfs("/tmp").is_ok_and(|space| is_full(&space));
        }
        if let Some(processes) = &mut self.processes {
            self.met.processes |= processes.look();
        }
    }
}

/// Says whether no byte or no file could be added.
pub fn is_full(space: &StatVfs) -> bool {
    space.f_bavail == 0 || space.f_favail == 0
}

/// Returns the bytes and inodes that are taken.
fn taken(space: &StatVfs) -> (u64, u64) {
    let bytes = space.f_blocks.saturating_sub(space.f_bfree).saturating_mul(space.f_frsize);
    (bytes, space.f_files.saturating_sub(space.f_ffree))
}

/// What is known of how many processes and threads there are.
#[derive(Debug)]
struct Processes {
    limit: u64,
    numbers: u64,
    /// Where the kernel tells the last number that it gave in our namespace; none where it does not.
    told: Option<File>,
    last: u64,
    /// At least as many as there were at any time since they were counted.
    most: u64,
}

impl Processes {
    fn start(limit: u64) -> Processes {
        let (numbers, told) = (numbers(), File::open(TOLD).ok());
        let last = told.as_ref().and_then(last_number).unwrap_or(1);
        // Nobody is here yet but us.
        Processes { limit, numbers, told, last, most: 1 }
    }

    /// Says whether there may have been as many as may be since the last look.
    fn look(&mut self) -> bool {
        match self.told.as_ref().and_then(last_number) {
            Some(last) => {
                self.most += made(self.last, last, self.numbers);
                self.last = last;
            }
            // Then only those who are there can be counted.
            None => self.most = count().unwrap_or(0),
        }
        let met = may_be_met(self.most, self.limit);
        if is_to_be_counted(self.most, self.limit) {
            self.most = count().unwrap_or(self.most);
        }
        met || may_be_met(self.most, self.limit)
    }
}

/// Returns how many numbers there are.
pub fn numbers() -> u64 {
    let numbers = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    numbers.and_then(|text| text.trim().parse().ok()).unwrap_or(NUMBERS)
}

/// Says whether somebody may have been refused where there were so many.
pub fn may_be_met(most: u64, limit: u64) -> bool {
    let (part, most_under_way) = UNDER_WAY;
    most.saturating_add((limit / part).min(most_under_way)) >= limit
}

/// Says whether there may be so many that they are counted one by one.
pub fn is_to_be_counted(most: u64, limit: u64) -> bool {
    most > limit / COUNT_ABOVE.1 * COUNT_ABOVE.0
}

/// Returns the least time in which so many are started.
pub fn time_of(processes: u64) -> Duration {
    Duration::from_millis(processes / STARTED_IN_MS)
}

/// Returns how many numbers were given between two, of which the second may have begun anew from the start.
pub fn made(before: u64, now: u64, numbers: u64) -> u64 {
    if now >= before { now - before } else { numbers.saturating_sub(before) + now }
}

/// What the kernel tells of processes.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// All threads of the host, whatever namespace they are in.
    pub threads: u64,
    /// The last number given in the reader's namespace.
    pub last: u64,
}

/// Reads what [`TOLD`] says: in the fourth word after the slash, and in the fifth.
pub fn told(file: &File) -> Option<Told> {
    let mut bytes = [0; 128];
    let got = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(bytes.get(..got)?).ok()?;
    let mut words = text.split_whitespace().skip(3);
    let threads = words.next()?.split_once('/')?.1.parse().ok()?;
    Some(Told { threads, last: words.next()?.parse().ok()? })
}

fn last_number(file: &File) -> Option<u64> {
    told(file).map(|told| told.last)
}

/// Counts the threads of all processes here: a process's folder `task` has a link for each, and two.
fn count() -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, "/proc", flags, Mode::empty())?;
    let mut threads = 0;
    for entry in Dir::read_from(&folder)?.flatten() {
        let name = entry.file_name().to_bytes();
        if !name.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let path = [b"/proc/", name, b"/task"].concat();
        // The number of links is of this type on some machines and of another on others.
        #[allow(clippy::useless_conversion, reason = "u32 or u64, by architecture")]
        let links = stat(path).map_or(0, |task| task.st_nlink.into());
        // One that is gone meanwhile counted when its number was given.
        threads += u64::saturating_sub(links, 2).max(1);
    }
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_began_anew_are_never_fewer_than_were_given() {
        assert_eq!(made(5, 5, NUMBERS), 0);
        assert_eq!(made(5, 9, NUMBERS), 4);
        // The kernel begins anew at 300, so ten were given here.
        assert!(made(NUMBERS - 4, 306, NUMBERS) >= 10);
    }

    #[test]
    fn a_limit_is_met_by_who_was_alive_and_who_may_have_been() {
        let at = |most, limit| {
            let told = File::open("/proc/loadavg").ok();
            let last = told.as_ref().and_then(last_number).expect("a number");
            Processes { limit, numbers: u64::MAX, told, last, most }.look()
        };
        assert!(!at(1, 1 << 20), "control");
        assert!(at(1 << 20, 1 << 20));
        // Who is alive now is counted, also where fewer were numbered since.
        let alive = count().expect("/proc");
        assert!(alive > 0 && at(alive, alive));
    }
}
