//! Nobody keeps a worker waiting by what it leaves behind.
//!
//! Closing what came from others can take long: a TCP socket that lingers holds whoever closes the last of it, for
//! as long as its maker said, also where it was never read and lies within the connection that is closed. The kernel
//! stops such a wait when the thread has a signal to take. So whatever lets go of others' descriptors is done within
//! a time, after which the thread is sent signals until it is through.
//!
//! Does not catch: waits that no signal ends, such as for a file on FUSE that was written and whose server does not
//! answer. Where a user has a role, its two connections bound that; whoever has none does not connect (`admit`).

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything that is let go of may take: far above what an ordinary descriptor takes.
pub(super) const LETTING_GO: Duration = Duration::from_millis(50);
/// Pause between signals: one may come just before the wait begins, and is lost then.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends a signal that does nothing to a thread of this process, by its number. It is the caller's, since this crate
/// has no unsafe code; the process must take the signal, as the kernel ends no wait for one that is ignored.
pub type Interrupt = fn(i32) -> std::io::Result<()>;

/// Who is to be through by when.
#[derive(Debug, Default)]
pub(super) struct Watch {
    due: Mutex<BTreeMap<i32, Instant>>,
    changed: Condvar,
}

impl Watch {
    /// Does something that is to be through within `time`.
    pub(super) fn within<T>(&self, time: Duration, act: impl FnOnce() -> T) -> T {
        let thread = rustix::thread::gettid().as_raw_pid();
        self.due().insert(thread, Instant::now() + time);
        self.changed.notify_one();
        let done = act();
        self.due().remove(&thread);
        done
    }

    /// Interrupts whoever is not through in time, for ever.
    pub(super) fn keep(&self, interrupt: Interrupt) -> ! {
        let mut due = self.due();
        loop {
            due = if due.is_empty() {
                self.changed.wait(due).unwrap_or_else(PoisonError::into_inner)
            } else {
                drop(due);
                std::thread::sleep(PAUSE);
                self.due()
            };
            let now = Instant::now();
            for thread in due.iter().filter(|(_, due)| **due <= now).map(|(thread, _)| *thread) {
                // It is one of ours, and there as long as it stands in the table.
                let _ = interrupt(thread);
            }
        }
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<i32, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
