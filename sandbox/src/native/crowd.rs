//! How many processes the user has who runs kiln, and whether that met his limit while a step ran.
//!
//! Since Linux 5.14 the kernel counts each new process twice: in the step's user namespace, against the step's own
//! limit, and with all others of the user who made that namespace, against what was his hard limit then. Before,
//! there was only the second count, and the step's own limit was held against it. Who is refused by the second
//! count is told so by nobody. So the build process looks how many there are: never fewer than there were.
//!
//! The kernel says for one read how many threads the whole host has, and which number it gave last. Those of the
//! user are no more than all of the first look, and those numbered since. Only where that may be as many as the
//! limit are the user's counted one by one.
//!
//! Does not catch: what another container starts and ends between two looks, where kiln itself is in one.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, getuid, setrlimit};

use super::met::{self, Told};

/// Time between two looks, and at least between two counts of all processes.
const EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// Where the numbers begin that users get for use in their own containers (`SUB_UID_MIN` of login.defs(5)): such
/// a process is charged to its user as well, and whose it is is not told.
const SUBORDINATE: u32 = 100_000;

/// Returns the limit on all processes of kiln's user, where there is one that kiln may not raise.
pub fn line() -> Option<u64> {
    getrlimit(Resource::Nproc).maximum.filter(|_| !may_raise())
}

/// Lets kiln itself have as many as its steps may have together: else a low soft limit would refuse it a thread
/// while a step runs, which goes up to the hard one.
pub fn take_whole_line() {
    let maximum = getrlimit(Resource::Nproc).maximum;
    let _ = setrlimit(Resource::Nproc, Rlimit { current: maximum, maximum });
}

/// Says whether a hard limit may be raised, as by root on the host: the sandbox child then does. Found out by
/// doing, since root of a user namespace may not, whatever its capabilities are.
fn may_raise() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let was = getrlimit(Resource::Nproc);
        let more = Rlimit { maximum: None, ..was };
        geteuid().is_root()
            && setrlimit(Resource::Nproc, more).is_ok()
            && setrlimit(Resource::Nproc, was).is_ok()
    })
}

/// Says whether a step's own limit counts the step's processes alone: where the kernel knows the step's namespace
/// from others of its user, or the step has a user of its own, as it has from root.
pub fn counts_step_alone() -> bool {
    let name = rustix::system::uname();
    geteuid().is_root() || counts_of_version(&name.release().to_string_lossy())
}

fn counts_of_version(release: &str) -> bool {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0_u32);
    (next(), next()) >= (5, 14)
}

/// Returns the threads of the whole host, which are no fewer than those of any user.
pub fn threads_of_host() -> Option<u64> {
    let told = File::open(met::TOLD).ok()?;
    met::told(&told).map(|told| told.threads)
}

/// Counts the threads that may be charged to kiln's user, one process after the other; none without `/proc`.
pub fn threads_of_user() -> Option<u64> {
    let user = getuid();
    let mut threads = 0;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        // A process that may not be dumped shows root as its owner, and its true user in `status`.
        let owner = entry.metadata().map_or(0, |about| about.uid());
        let may_be = |uid: u32| user.is_root() || uid == user.as_raw() || uid >= SUBORDINATE;
        if may_be(owner) || owner == 0 {
            // One that is gone meanwhile is none any more.
            let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
            let word = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                line?.split_whitespace().next()?.parse::<u32>().ok()
            };
            if word("Uid:").is_none_or(may_be) {
                threads += u64::from(word("Threads:").unwrap_or(1).max(1));
            }
        }
    }
    Some(threads)
}

/// Looks while a step runs, and remembers.
#[derive(Debug)]
pub struct Crowd {
    line: u64,
    numbers: u64,
    /// Where the kernel tells; none where it does not, which is as if the limit were met.
    file: Option<File>,
    last: u64,
    /// At least as many as the user had at any time since the look before.
    most: u64,
    met: bool,
    next: Instant,
    next_count: Instant,
}

impl Crowd {
    /// Begins, before the step is told to go.
    pub fn start(line: u64) -> Crowd {
        let file = File::open(met::TOLD).ok();
        let told = file.as_ref().and_then(met::told);
        let now = Instant::now();
        let (last, most) = told.map_or((0, u64::MAX), |told| (told.last, told.threads));
        let met = told.is_none();
        let numbers = met::numbers();
        let mut crowd = Crowd { line, numbers, file, last, most, met, next: now, next_count: now };
        crowd.count_if_many(now);
        crowd.next = now + crowd.every();
        crowd
    }

    /// Returns when the next look is due.
    pub fn next_look(&self) -> Instant {
        self.next
    }

    /// Looks, if it is time to.
    pub fn look(&mut self) {
        let now = Instant::now();
        if now >= self.next {
            self.look_now(now);
            self.next = now + self.every();
        }
    }

    /// Looks for the last time; says whether the limit was met, or may have been.
    pub fn finish(mut self) -> bool {
        self.look_now(Instant::now());
        self.met
    }

    fn look_now(&mut self, now: Instant) {
        let Some(Told { threads, last }) = self.file.as_ref().and_then(met::told) else {
            self.met = true;
            return;
        };
        self.most = self.most.saturating_add(met::made(self.last, last, self.numbers));
        self.last = last;
        // Also where there are fewer now: what was between the two looks is not known for less.
        self.met |= met::may_be_met(self.most, self.line);
        self.most = self.most.min(threads);
        self.count_if_many(now);
    }

    fn count_if_many(&mut self, now: Instant) {
        if met::is_to_be_counted(self.most, self.line) && now >= self.next_count {
            self.most = self.most.min(threads_of_user().unwrap_or(u64::MAX));
            self.next_count = now + EVERY.1;
        }
    }

    /// The time in which what is left of the limit may be started.
    fn every(&self) -> Duration {
        met::time_of(self.line.saturating_sub(self.most)).clamp(EVERY.0, EVERY.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_processes_a_limit_counts_is_known_by_the_version() {
        for (release, counts) in [
            ("5.13.19", false),
            ("5.14.0-70.el9", true),
            ("6.1-cloud", true),
            ("4.19", false),
            ("", false),
        ] {
            assert_eq!(counts_of_version(release), counts, "{release}");
        }
    }

    #[test]
    fn who_lives_and_who_was_numbered_meets_a_limit() {
        let all = threads_of_host().expect("/proc");
        let ours = threads_of_user().expect("/proc");
        assert!(ours > 0 && all > 0);
        assert!(!Crowd::start(u64::MAX).finish(), "control");
        assert!(Crowd::start(1).finish());
        // Of many that are numbered between two looks none is there any more at the second one.
        let mut crowd = Crowd::start(1 << 40);
        crowd.most = (1 << 40) - 100;
        crowd.numbers = 0;
        crowd.last = 0;
        let numbered = crowd.file.as_ref().and_then(met::told).expect("/proc").last;
        crowd.last = numbered.saturating_sub(100);
        assert!(numbered < 100 || crowd.finish());
    }
}
