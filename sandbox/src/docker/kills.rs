//! Sees that a process of a container was killed for memory, beside an engine that may not tell.
//!
//! The kernel counts such kills in the container's control group, which goes with the container: so the count is
//! read again and again while it lives, through one open file. An engine's cleaning takes far longer than one
//! interval.
//!
//! Does not catch: a kill in the last interval of a container that is gone before the next one; an engine in
//! another pid namespace, whose numbers mean nothing here.
//!
//! Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, `memory.events`; cgroup-v1/memory.rst,
//! `memory.oom_control`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::native::around;

/// Between two looks: far less than an engine takes to clean up.
const INTERVAL: Duration = Duration::from_millis(5);
/// More than such a file has.
const TEXT_MAX: usize = 4096;

/// Looks until it is asked what it saw.
pub struct Kills {
    stop: Arc<AtomicBool>,
    looks: Option<JoinHandle<bool>>,
}

impl Kills {
    /// Begins to look at the group of a container by its first process, where both can be found.
    pub fn of(pid: Option<i64>, id: &str) -> Kills {
        let stop = Arc::new(AtomicBool::new(false));
        let counter = pid.filter(|pid| *pid > 0).and_then(|pid| counter(pid, id));
        let looks = counter.and_then(|counter| {
            let stop = Arc::clone(&stop);
            let look = move || look(&counter, &stop);
            std::thread::Builder::new().name("kills".to_owned()).spawn(look).ok()
        });
        Kills { stop, looks }
    }

    /// Says whether a process was killed.
    pub fn seen(mut self) -> bool {
        self.stop.store(true, Ordering::SeqCst);
        let Some(looks) = self.looks.take() else { return false };
        looks.thread().unpark();
        looks.join().unwrap_or(false)
    }
}

impl Drop for Kills {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn look(counter: &File, stop: &AtomicBool) -> bool {
    let mut text = [0; TEXT_MAX];
    loop {
        let last = stop.load(Ordering::SeqCst);
        match counter.read_at(&mut text, 0) {
            Ok(length) if around::killed(&text[..length]) > Some(0) => return true,
            Ok(_) if !last => std::thread::park_timeout(INTERVAL),
            // The group is gone.
            Ok(_) | Err(_) => return false,
        }
    }
}

/// Opens the counter of the group of a container, which has the container's id in its name.
fn counter(pid: i64, id: &str) -> Option<File> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    File::open(place(&groups, id)?).ok()
}

/// Returns where the kernel counts, from a process's list of groups: `4:memory:/path`, `0::/path`.
fn place(groups: &str, id: &str) -> Option<String> {
    let group = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            (controllers.split(',').any(|one| one == wanted) && path.contains(id)).then_some(path)
        })
    };
    match group("memory") {
        Some(path) => Some(format!("/sys/fs/cgroup/memory{path}/memory.oom_control")),
        None => group("").map(|path| format!("/sys/fs/cgroup{path}/memory.events")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_that_of_the_container_and_no_other() {
        let first = "4:memory:/libpod_parent/libpod-ab\n1:cpu:/libpod_parent/libpod-ab\n0::/libpod_parent/libpod-ab\n";
        let at = "/sys/fs/cgroup/memory/libpod_parent/libpod-ab/memory.oom_control";
        assert_eq!(place(first, "ab").as_deref(), Some(at));
        let second = "0::/user.slice/libpod-ab.scope/container\n";
        let at = "/sys/fs/cgroup/user.slice/libpod-ab.scope/container/memory.events";
        assert_eq!(place(second, "ab").as_deref(), Some(at));
        assert_eq!(place(second, "cd"), None);
        assert_eq!(place("", "ab"), None);
        assert!(Kills::of(None, "ab").looks.is_none() && Kills::of(Some(1), "ab").looks.is_none());
    }
}
