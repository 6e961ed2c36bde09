//! Builds under a limit of all processes of a user, who also runs other tests at the same time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Ran;

/// How often a build is tried that others leave too few processes.
pub const TRIES_MAX: usize = 40;

/// Lets one test at a time meet the limit of its user.
pub fn of_processes() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says whether a build was refused before its step, or kiln before the build, with the remedy.
pub fn are_few(ran: &Ran) -> bool {
    ran.code == 7 && ran.says("ulimit -u") && !ran.says("cannot set up the sandbox")
}

/// Runs until others of the user leave enough, or for as often as is tried.
pub fn once_there_are_enough(run: impl Fn() -> Ran) -> Ran {
    let mut ran = run();
    for _ in 0..TRIES_MAX {
        if !are_few(&ran) {
            break;
        }
        ran = run();
    }
    ran
}
