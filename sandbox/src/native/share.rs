//! What one step may have of all the processes that kiln's user may have.
//!
//! The kernel counts the user's processes on the whole host, where it limits them (`crowd.rs`): kiln's own
//! threads and children among them, and those of all its steps. So a step's own limit is such that it is met
//! before the user's is: who meets the own one is told of, and kiln keeps what it needs to go on. Steps of one
//! kiln at the same time never have more together than that: one that would waits for another to end.
//!
//! A default gives way, down to [`LEAST`]; a number that was written does not. A step gets the same alone and
//! beside others.
//!
//! Does not catch: what others of the user start after a step was given its share. `crowd.rs` sees that.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::limits::{Count, Limits};

use super::crowd::{self, Crowd};
use crate::cancel::Cancel;
use crate::error::Error;

/// Processes and threads that kiln itself may start while a step runs, with all that signs and stores.
const KEPT: u64 = 48;
/// The same for each further step at the same time.
const KEPT_BY_STEP: u64 = 8;
/// Fewest processes with which a step is started that does not say how many it may have.
const LEAST: u64 = 1024;
/// Given where less than that is left and nobody minds.
const LEAST_OF_ALL: u64 = 8;
/// Time between two looks whether the button was pressed while a step waits for its share.
const PAUSE: Duration = Duration::from_millis(50);

/// A step's share, held until it is over.
#[derive(Debug)]
pub struct Share {
    /// Most processes and threads of the step.
    pub pids: Count,
    /// Whether that is fewer than it is to have, which was allowed.
    pub is_short: bool,
    /// The limit of the user, where there is one.
    line: Option<u64>,
}

/// What the steps that run now have together.
#[derive(Debug, Default, Clone, Copy)]
struct Given {
    steps: u64,
    processes: u64,
}

static GIVEN: Mutex<Given> = Mutex::new(Given { steps: 0, processes: 0 });
static GIVEN_BACK: Condvar = Condvar::new();

/// Takes a step's share, once there is one; less than it is to have only if that was `waived`.
///
/// # Errors
/// When even alone it could not have what it is to have.
pub fn take(limits: &Limits, waived: bool, cancel: &Cancel) -> Result<Share, Error> {
    match crowd::line() {
        Some(line) => take_of(line, limits, waived, cancel),
        None => Ok(Share { pids: limits.pids.value, is_short: false, line: None }),
    }
}

fn take_of(line: u64, limits: &Limits, waived: bool, cancel: &Cancel) -> Result<Share, Error> {
    let wanted = limits.pids.value.0;
    let mut given = given();
    loop {
        let free = free(line, *given, wanted);
        let alone = given.steps == 0;
        if alone && !waived {
            enough(limits, line, free)?;
        }
        if alone || free >= wanted || cancel.is_triggered() {
            let pids = wanted.min(free.max(LEAST_OF_ALL));
            given.steps += 1;
            given.processes += pids;
            let is_short = pids < least(limits);
            return Ok(Share { pids: Count(pids), is_short, line: Some(line) });
        }
        tracing::debug!(wanted, free, "waits for the processes of another step");
        given = GIVEN_BACK.wait_timeout(given, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Refuses a step that could not have its processes on this host now, even alone.
///
/// # Errors
/// Says how many are left.
pub fn judge(limits: &Limits) -> Result<(), Error> {
    let Some(line) = crowd::line() else { return Ok(()) };
    enough(limits, line, free(line, Given::default(), limits.pids.value.0))
}

impl Share {
    /// Begins to look whether the user's limit is met. A step that is limited by its own rlimit meets that one in
    /// place of the user's where the kernel counts all of the user's.
    pub fn watch(&self, by_rlimit: bool) -> Option<Crowd> {
        let of_all = (by_rlimit && !crowd::counts_step_alone()).then_some(self.pids.0);
        self.line.into_iter().chain(of_all).min().map(Crowd::start)
    }

    /// Returns what an error of a step that never ran comes from, where others of the user left it too little.
    pub fn explain(&self, limits: &Limits, error: Error) -> Error {
        let refused = match &error {
            Error::Setup { source, .. } | Error::Missing { source, .. } => {
                source.raw_os_error() == Some(libc::EAGAIN)
            }
            _ => false,
        };
        let Some(line) = self.line.filter(|_| refused) else { return error };
        let free = free(line, Given::default(), limits.pids.value.0);
        enough(limits, line, free).err().unwrap_or(error)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.line.is_some() {
            let mut given = given();
            given.steps -= 1;
            given.processes -= self.pids.0;
            GIVEN_BACK.notify_all();
        }
    }
}

fn given() -> MutexGuard<'static, Given> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn least(limits: &Limits) -> u64 {
    if limits.pids.asked { limits.pids.value.0 } else { LEAST }
}

fn enough(limits: &Limits, line: u64, free: u64) -> Result<(), Error> {
    let wanted = least(limits);
    if free >= wanted {
        return Ok(());
    }
    Err(Error::FewProcesses { allowed: line, left: free, wanted })
}

/// Returns how many processes a step could have now beside those that have their share. Of a number that is
/// large enough nobody is counted.
fn free(line: u64, given: Given, wanted: u64) -> u64 {
    let room = line.saturating_sub(KEPT + given.processes + given.steps * KEPT_BY_STEP);
    let beside = |threads: Option<u64>| room.saturating_sub(threads.unwrap_or(u64::MAX));
    match beside(crowd::threads_of_host()) {
        free if free >= wanted => free,
        _ => beside(crowd::threads_of_user()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::limits::Limit;

    #[test]
    fn a_default_gives_way_and_what_was_written_does_not() {
        let limits = |pids| Limits { pids, ..Limits::default() };
        let (default, asked) = (Limit::default_of(Count(4096)), Limit::asked(Count(4096)));
        assert!(enough(&limits(default), 5000, 1024).is_ok());
        assert!(enough(&limits(default), 5000, 1023).is_err());
        assert!(enough(&limits(asked), 5000, 4096).is_ok());
        let refused = enough(&limits(asked), 5000, 4095);
        assert!(matches!(
            refused,
            Err(Error::FewProcesses { allowed: 5000, left: 4095, wanted: 4096 })
        ));
    }

    #[test]
    fn who_would_have_too_much_beside_another_waits_for_its_end() {
        let line = 1 << 40;
        let limits = Limits { pids: Limit::asked(Count(line / 3 * 2)), ..Limits::default() };
        let (open, pressed) = (Cancel::new().expect("a button"), Cancel::new().expect("a button"));
        pressed.trigger();
        let one = take_of(line, &limits, false, &open).expect("a share");
        assert_eq!(one.pids, limits.pids.value);
        // Nobody waits whose button was pressed; he gets what there is.
        let other = take_of(line, &limits, false, &pressed).expect("a rest");
        assert!(other.pids < limits.pids.value, "{other:?}");
        drop((one, other));
        let next = take_of(line, &limits, false, &open).expect("a share");
        assert_eq!(next.pids, limits.pids.value);
    }

    #[test]
    fn who_has_a_share_leaves_less_to_the_next() {
        let none = Given::default();
        let line = 1 << 40;
        let (alone, beside) =
            (free(line, none, 1), free(line, Given { steps: 1, processes: 500 }, 1));
        // The host goes on meanwhile: give it what no host starts and ends in that time.
        let less = alone - beside;
        assert!((500 + KEPT_BY_STEP).abs_diff(less) < 400, "{less}");
        assert_eq!(free(KEPT, none, 1), 0);
    }
}
