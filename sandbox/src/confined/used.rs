//! A slot in use by one step: prepared, proven, and wiped when it is let go.
//!
//! It lives as long as the outcome does, because outputs are read from it. Letting it go removes all that
//! the step could write. If a kiln is killed before that, the next user of the slot does it first.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::slot::{self, Slot, Slots};
use super::users::Users;
use super::{root, work};
use crate::error::Error;
use crate::native::error::{Doing, Naming};
use crate::native::run::explain;
use crate::native::{launch, sys, wire};
use crate::outcome::Writable;
use crate::spec::Parts;

/// Longest wait for the sweeper, which takes milliseconds.
const SWEEP_WAIT: Duration = Duration::from_secs(10);

/// A slot, its prepared root, and what that looks like.
#[derive(Debug)]
pub struct Used {
    slot: Slot,
    root: OwnedFd,
    noted: String,
    once: bool,
}

impl Used {
    /// Takes a slot for a step and makes everything in it; returns it with the writable places.
    pub fn take(slots: &Slots, parts: &Parts) -> Result<(Used, Vec<Writable>), Error> {
        // A rehearsal has no environment.
        let environment = Some(parts.root.as_path()).filter(|path| !path.as_os_str().is_empty());
        let once = environment.is_none() || work::grows(parts);
        let name = if once { root::ONCE.to_owned() } else { root::name(&parts.tree) };
        let slot = slot::take(slots, &name)?;
        // Only after a kiln that was killed is there anybody.
        clear_of(slot.users)?;
        root::clear_passing(slot.folder.as_fd()).or_fail(Doing::Wipe, "slot").map_err(explain)?;
        let (root, noted) = root::prepare(slot.folder.as_fd(), &name, environment)?;
        let used = Used { slot, root, noted, once };
        used.wipe().map_err(explain)?;
        let writable = work::lay(&used.root, parts, used.slot.users)?;
        Ok((used, writable))
    }

    /// Returns who runs in it.
    pub fn users(&self) -> Users {
        self.slot.users
    }

    /// Returns the folder that becomes the step's root.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Proves that no process of the step's user lives and that its root is as it was.
    pub fn prove(&self) -> Result<(), Error> {
        let left = self.users().alive().or_fail(Doing::KillByUser, "look").map_err(explain)?;
        if !left.is_empty() {
            return Err(Error::StillAlive { pids: left });
        }
        if self.once {
            // It was made for this step with parts of its own, and nobody uses it again.
            return Ok(());
        }
        let now = root::looks(self.root.as_fd()).or_fail(Doing::PreparedRoot, "look");
        if now.map_err(explain)? == self.noted {
            return Ok(());
        }
        let changed = std::io::Error::from_raw_os_error(libc::ESTALE);
        Err(explain(Doing::RootUnchanged.failed("", &changed)))
    }

    fn wipe(&self) -> Result<(), crate::native::error::Failure> {
        work::wipe(self.slot.folder.as_fd(), self.root.as_fd()).or_fail(Doing::Wipe, "root")
    }
}

/// Nothing of the step stays. What cannot be removed is told, and tried again before the slot is used.
impl Drop for Used {
    fn drop(&mut self) {
        let cleared = clear_of(self.users());
        let unchanged = self.once || cleared.is_err() || self.prove().is_ok();
        let slot = self.slot.folder.as_fd();
        let wiped = if self.once {
            root::clear_passing(slot).or_fail(Doing::Wipe, "slot")
        } else if !unchanged {
            root::clear(slot).or_fail(Doing::Wipe, "slot")
        } else {
            self.wipe()
        };
        if let Err(error) = cleared.and(wiped.map_err(explain)) {
            tracing::warn!(%error, "what a confined step left could not be removed");
        }
    }
}

/// Sees to it that no process of a step's user lives, by a child that kills them.
fn clear_of(users: Users) -> Result<(), Error> {
    let look = || users.alive().or_fail(Doing::KillByUser, "look").map_err(explain);
    if look()?.is_empty() {
        return Ok(());
    }
    let failed = |source| Error::Setup { doing: Doing::KillByUser, operand: String::new(), source };
    let launched = launch::apart()?;
    let packed = wire::pack(&users, &[]).map_err(failed)?;
    wire::send(launched.socket.as_fd(), wire::SWEEP, &[packed.as_fd()]).map_err(failed)?;
    let deadline = Instant::now() + SWEEP_WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: 1_000_000 };
        // Interrupted or over: what counts is whether it has ended.
        let _ = poll(&mut [PollFd::new(&launched.child, PollFlags::IN)], Some(&wait));
        if sys::reap(&launched.child).map_err(failed)?.is_some() {
            break;
        }
        if left.is_zero() {
            let _ = pidfd_send_signal(&launched.child, Signal::KILL);
            break;
        }
    }
    match look()? {
        left if left.is_empty() => Ok(()),
        pids => Err(Error::StillAlive { pids }),
    }
}
