//! A button that stops a running step, from another thread or from a signal handler.
//!
//! It is a pipe and not a flag, because `run` sleeps in `poll` and must wake at once; and not an
//! eventfd, because a signal handler writes one byte and an eventfd refuses that. One press is for
//! ever: the byte is never read back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

/// Stops the runs it is handed to, once and for ever. Clones share the button.
#[derive(Clone, Debug)]
pub struct Cancel {
    ends: Arc<Ends>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Cancel {
    /// Makes a button that nobody has pressed.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<Cancel> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Cancel { ends: Arc::new(Ends { read, write }) })
    }

    /// Presses it. A second press changes nothing.
    pub fn trigger(&self) {
        // A full pipe was pressed before; no other failure is possible on a pipe whose ends we hold.
        let _ = rustix::io::write(&self.ends.write, b"x");
    }

    /// Says whether it was pressed.
    pub fn is_triggered(&self) -> bool {
        let mut wait = [PollFd::new(&self.ends.read, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut wait, Some(&now)), Ok(1..))
    }

    /// Returns the end that a signal handler may write one byte to, which presses the button.
    pub fn signal_end(&self) -> BorrowedFd<'_> {
        self.ends.write.as_fd()
    }
}

/// The end to wait on: readable once the button was pressed.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends.read.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_is_seen_by_every_clone_for_ever() {
        let cancel = Cancel::new().expect("a pipe");
        let other = cancel.clone();
        assert!(!other.is_triggered());
        cancel.trigger();
        assert!(other.is_triggered() && other.is_triggered() && cancel.is_triggered());
    }

    #[test]
    fn one_byte_from_a_signal_handler_presses_it() {
        let cancel = Cancel::new().expect("a pipe");
        rustix::io::write(cancel.signal_end(), b"X").expect("one byte");
        assert!(cancel.is_triggered());
    }
}
