//! A container engine to compare with: its image, one run of it, and when it is done with that.
//!
//! An engine answers before it has cleaned up. What is measured right after pays for that: the kernel
//! makes and unmakes namespaces and mounts one after the other. So a comparison waits until the engine's
//! own processes spend no time any more.
//!
//! Does not catch: what the kernel still does for it in threads of its own.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::measure::{detail, quietly};

const IMAGE: &str = "kiln-bench-true";
/// Names of an engine's processes, as the kernel cuts them.
const PROCESSES: [&str; 5] = ["dockerd", "containerd", "containerd-shim", "runc", "docker-proxy"];
/// How long it must have been quiet, and the longest wait for that.
const QUIET: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// An engine that answers, with an image of a prepared root.
#[derive(Default)]
pub struct Engine {
    /// How often it did not come to rest in time.
    restless: Cell<u32>,
}

impl Engine {
    /// Makes the image; none where no engine answers.
    pub fn with(root: &Path) -> Option<Engine> {
        let info = Command::new("docker").arg("info").output();
        if !info.is_ok_and(|info| info.status.success()) {
            return None;
        }
        let tar = root.with_extension("tar");
        quietly(Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&tar).arg("."));
        quietly(Command::new("docker").arg("import").arg(&tar).arg(IMAGE));
        Some(Engine::default())
    }

    /// Runs `true` in a container without a network and removes it.
    pub fn run(&self) {
        let all = ["run", "--rm", "--network=none", IMAGE, "/bin/true"];
        quietly(Command::new("docker").args(all));
    }

    /// Says how a comparison in blocks came about.
    pub fn told(&self, (blocks, rounds): (usize, usize)) {
        let restless = self.restless.get();
        let quiet = match restless {
            0 => "the engine quiet before each".to_owned(),
            _ => {
                format!("before {restless} of them the engine was NOT quiet: somebody else uses it")
            }
        };
        detail("measured", &format!("{blocks} blocks of {rounds} each, order turned, {quiet}"));
    }

    /// Waits until the engine is quiet, but not for ever.
    pub fn settle(&self) {
        let start = Instant::now();
        let mut before = spent_ticks();
        loop {
            std::thread::sleep(QUIET);
            let now = spent_ticks();
            // A daemon that has nothing to do still looks at its timers.
            if now <= before + 1 {
                return;
            }
            if start.elapsed() >= WAIT_MAX {
                self.restless.set(self.restless.get() + 1);
                return;
            }
            before = now;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        quietly(Command::new("docker").args(["rmi", "-f", IMAGE]));
    }
}

/// Returns the processor time of the engine's processes, in ticks of the kernel (proc_pid_stat(5)).
fn spent_ticks() -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        let name = name.split_once('(').map_or("", |(_, name)| name);
        if PROCESSES.contains(&name) {
            // After the name come state and ten numbers, then user and system time.
            let times = rest.split_whitespace().skip(11).take(2);
            sum += times.map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum::<u64>();
        }
    }
    sum
}
